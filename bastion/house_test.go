package bastion_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/session"
)

// This file is a bastion in a test: real SSH on both ends, a session with a
// tape and a psql in memory, and people.

const issuer = "https://idp.example.com"

func person(name string, groups ...string) session.Identity {
	return session.Identity{Issuer: issuer, Subject: "sub-" + name, Name: name, Groups: groups}
}

var (
	alice = person("alice", "engineering")
	bob   = person("bob", "engineering")
	carol = person("carol", "sales")
	dave  = person("dave", "security")
	sam   = person("sam", "platform")
)

// house is a bastion that listens.
type house struct {
	t       *testing.T
	addr    string
	server  *bastion.Server
	options bastion.Options
	ca      *authority
	desk    *desk
	archive *archive
	log     *syncBuffer
	served  chan error

	mu    sync.Mutex
	tapes map[string]*tape
	psqls map[string]*psql
	n     int
}

var twoModes = session.Target{Name: "orders", Modes: []session.Mode{
	{Name: "read", Engineers: []string{"engineering"}, Limits: session.Limits{Wait: time.Minute, Grace: time.Minute}},
	{Name: "write", Engineers: []string{"engineering"}, Reason: true, Limits: session.Limits{Wait: time.Minute, Grace: time.Minute},
		Shadows: session.Quorum{{Count: 1, Groups: []string{"engineering"}}}},
	{Name: "watched", Engineers: []string{"engineering"}, Limits: session.Limits{Wait: time.Minute, Grace: time.Minute},
		Shadows: session.Quorum{{Count: 1, Groups: []string{"engineering"}}}, BreakGlass: session.BreakGlass{Groups: []string{"oncall"}, Review: 24 * time.Hour}},
}}

// open starts a bastion; change may alter its options first.
func open(t *testing.T, change ...func(*bastion.Options)) *house {
	t.Helper()
	h := &house{t: t, ca: newAuthority(t), desk: &desk{}, archive: &archive{indexed: session.Indexed{At: time.Now()}}, log: &syncBuffer{},
		served: make(chan error, 1), tapes: map[string]*tape{}, psqls: map[string]*psql{}}
	o := bastion.Options{
		HostSigners: []ssh.Signer{newKey(t)}, Authority: h.ca, Logins: h.desk, Targets: []session.Target{twoModes},
		Auditors: []string{"security"}, Admins: []string{"platform"}, Sessions: &session.Registry{}, Archive: h.archive, Index: h.archive, Reviews: h.archive,
		Open: h.openSession, NewID: h.newID, HostName: "bastion:2222", CheckArgs: checkArgs,
		Log:    slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Limits: bastion.Limits{Keepalive: 50 * time.Millisecond},
	}
	for _, c := range change {
		c(&o)
	}
	server, err := bastion.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.server, h.options, h.addr = server, o, l.Addr().String()
	go func() { h.served <- server.Serve(l) }()
	t.Cleanup(h.close)
	return h
}

func (h *house) close() {
	if err := h.shutdown(); err != nil {
		h.t.Error(err)
	}
	if h.t.Failed() {
		h.t.Logf("the bastion's log:\n%s", h.log)
	}
}

func (h *house) shutdown() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return h.server.Shutdown(ctx)
}

func (h *house) newID() (id, code string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	return fmt.Sprintf("01JD0000000000000000000%03d", h.n), fmt.Sprintf("7KQ%02d", h.n)
}

func checkArgs(args []string) error {
	if slices.Contains(args, "-o") {
		return errors.New("psql's -o writes files, which the cage does not let it")
	}
	return nil
}

func (h *house) openSession(_ context.Context, want session.Request) (*session.Session, error) {
	if want.Reason == "make it fail" {
		return nil, session.Cause{Code: session.NoRecorder, Text: "the store does not answer"}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	tp, p := &tape{}, newPsql(want.Size != session.Size{})
	h.tapes[want.ID], h.psqls[want.ID] = tp, p
	return session.New(want, tp, p, h.options.Log), nil
}

// live waits for the n-th session to be registered, and returns it.
func (h *house) live(n int) *session.Session {
	h.t.Helper()
	var all []*session.Session
	eventually(h.t, "a live session", func() bool {
		all = h.options.Sessions.Live()
		return len(all) >= n
	})
	return all[n-1]
}

func (h *house) psql(s *session.Session) *psql {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.psqls[s.Request().ID]
}

func (h *house) tape(s *session.Session) *tape {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tapes[s.Request().ID]
}

// as connects with a certificate for this person.
func (h *house) as(who session.Identity, user string) *ssh.Client {
	h.t.Helper()
	c, err := h.dial(user, ssh.PublicKeys(h.ca.certify(who)))
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

func (h *house) dial(user string, auth ...ssh.AuthMethod) (*ssh.Client, error) {
	c, err := ssh.Dial("tcp", h.addr, clientConfig(user, auth...))
	if err == nil {
		h.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func clientConfig(user string, auth ...ssh.AuthMethod) *ssh.ClientConfig {
	return &ssh.ClientConfig{User: user, Auth: auth, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 10 * time.Second}
}

// run runs a command and returns what it printed and its exit status.
func (h *house) run(who session.Identity, user, command string) (stdout, stderr string, status int) {
	h.t.Helper()
	return result(h.t, h.as(who, user), command, nil)
}

func result(t *testing.T, c *ssh.Client, command string, stdin io.Reader) (stdout, stderr string, status int) {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs syncBuffer
	s.Stdout, s.Stderr, s.Stdin = &out, &errs, stdin
	if command == "" {
		if err = s.Shell(); err == nil {
			err = s.Wait()
		}
	} else {
		err = s.Run(command)
	}
	return out.String(), errs.String(), exitStatus(t, err)
}

func exitStatus(t *testing.T, err error) int {
	t.Helper()
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return exit.ExitStatus()
	}
	if err != nil {
		t.Fatalf("not an exit status: %v", err)
	}
	return 0
}

// terminal is somebody at a terminal.
type terminal struct {
	t       *testing.T
	session *ssh.Session
	screen  syncBuffer
	keys    io.WriteCloser
	over    chan error
}

func (h *house) terminal(who session.Identity, user, command string) *terminal {
	h.t.Helper()
	return sitDown(h.t, h.as(who, user), command)
}

func sitDown(t *testing.T, c *ssh.Client, command string) *terminal {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, session: s, over: make(chan error, 1)}
	s.Stdout = &x.screen
	if x.keys, err = s.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.RequestPty("xterm-256color", 24, 100, nil); err != nil {
		t.Fatal(err)
	}
	if command == "" {
		err = s.Shell()
	} else {
		err = s.Start(command)
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() { x.over <- s.Wait() }()
	return x
}

func (x *terminal) types(keys string) {
	x.t.Helper()
	if _, err := io.WriteString(x.keys, keys); err != nil {
		x.t.Errorf("typing %q: %v", keys, err)
	}
}

func (x *terminal) sees(text string) {
	x.t.Helper()
	eventually(x.t, fmt.Sprintf("%q on the screen", text), func() bool { return strings.Contains(x.screen.String(), text) })
}

func (x *terminal) ends(status int) {
	x.t.Helper()
	select {
	case err := <-x.over:
		if got := exitStatus(x.t, err); got != status {
			x.t.Errorf("exit status %d, want %d; screen: %q", got, status, x.screen.String())
		}
	case <-time.After(10 * time.Second):
		x.t.Fatalf("it does not end; screen: %q", x.screen.String())
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func newKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// desk is a login desk whose only code is 123456 and signs in whoever is named.
type desk struct {
	mu     sync.Mutex
	who    session.Identity
	broken error
	begun  []string // fingerprints
}

func (d *desk) is(who session.Identity) { d.mu.Lock(); defer d.mu.Unlock(); d.who = who }

func (d *desk) Begin(_, fingerprint string) (id, url string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun = append(d.begun, fingerprint)
	return "ABCD-EFGH", "https://bastion.example.com/login/ABCD-EFGH", d.broken
}

func (d *desk) Cancel(string) {}

func (d *desk) Redeem(_ context.Context, id, code string) (session.Identity, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id != "ABCD-EFGH" || code != "123456" {
		return session.Identity{}, errors.New("that is not the code")
	}
	return d.who, nil
}

// archive is a handful of recordings in memory.
type archive struct {
	mu        sync.Mutex
	summaries []session.Summary
	events    map[string][]session.Event
	looked    []string
	noBooks   bool // that somebody looked cannot be written down
	finding   error
	indexed   session.Indexed
	stale     error // the store can not be followed
	shut      bool  // what runs is encrypted
	slow      bool  // verifying takes until it is stopped

	asked    map[string]session.Request // by session that has ended
	owes     []string
	reviewed []string // who, what, of which session, and the note
}

// people are the identities of everybody by name.
var people = map[string]session.Identity{"alice": alice, "bob": bob, "carol": carol, "dave": dave, "sam": sam, "olga": olga}

func (a *archive) Freshen(context.Context, bool) error { return a.stale }

func (a *archive) Indexed(context.Context) (session.Indexed, error) { return a.indexed, nil }

func (a *archive) Find(ctx context.Context, q session.Query) iter.Seq2[session.Found, error] {
	return func(yield func(session.Found, error) bool) {
		a.mu.Lock()
		list := slices.Clone(a.summaries)
		a.mu.Unlock()
		for _, s := range list {
			f := session.Found{Summary: s, Opened: people[s.Engineer]}
			for _, name := range s.Shadows {
				f.Seated = append(f.Seated, people[name])
			}
			hits := 0
			for range a.Within(ctx, s.ID, q) {
				hits++
			}
			if q.Matches(s) && (q.Text == "" || hits > 0) && (q.Before.ID == "" || s.ID < q.Before.ID) && !yield(f, nil) {
				return
			}
		}
	}
}

func (a *archive) Search(ctx context.Context, q session.Query) iter.Seq2[session.Hit, error] {
	return func(yield func(session.Hit, error) bool) {
		for f := range a.Find(ctx, q) {
			for hit := range a.Within(ctx, f.ID, q) {
				if hit.Found = f; !yield(hit, nil) {
					return
				}
			}
		}
	}
}

func (a *archive) Within(_ context.Context, id string, q session.Query) iter.Seq2[session.Hit, error] {
	return func(yield func(session.Hit, error) bool) {
		for i, e := range a.events[id] {
			if e.Statement == nil {
				continue
			}
			if at := strings.Index(strings.ToLower(e.Statement.Text), strings.ToLower(q.Text)); at >= 0 {
				if !yield(session.Hit{Place: session.Place{ID: id, N: i + 1}, At: e.At, N: e.Statement.N, Text: e.Statement.Text, Offset: at}, nil) {
					return
				}
			}
		}
		if a.shut {
			yield(session.Hit{}, session.ErrEncrypted)
		}
	}
}

func (a *archive) Events(_ context.Context, id string) iter.Seq2[session.Event, error] {
	return func(yield func(session.Event, error) bool) {
		events, ok := a.events[id]
		if !ok {
			yield(session.Event{}, fmt.Errorf("%s: %w", id, session.ErrNoRecording))
		}
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (a *archive) Tape(ctx context.Context, id string, from time.Duration, _ bool) iter.Seq2[session.Event, error] {
	return func(yield func(session.Event, error) bool) {
		for e, err := range a.Events(ctx, id) {
			if (err != nil || e.At >= from) && !yield(e, err) {
				return
			}
		}
	}
}

func (a *archive) Shown(ctx context.Context, who session.Identity, id string) error {
	return a.Viewed(ctx, who, "shown", id)
}

func (a *archive) Export(_ context.Context, id string, w io.Writer) error {
	_, err := fmt.Fprintf(w, "cast of %s\n", id)
	return err
}

func (a *archive) Summary(_ context.Context, id string) (session.Summary, error) {
	for s := range a.Find(context.Background(), session.Query{ID: id}) {
		return s.Summary, nil
	}
	return session.Summary{}, session.ErrNoRecording
}

func (a *archive) Judge(ctx context.Context, how session.Verification, w io.Writer) error {
	if a.slow {
		fmt.Fprintln(w, "checking")
		<-ctx.Done()
		return ctx.Err()
	}
	fmt.Fprintf(w, "ok %v\n", how.IDs)
	return a.finding
}

func (a *archive) Viewed(_ context.Context, who session.Identity, what, id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.noBooks {
		return errors.New("disk full")
	}
	a.looked = append(a.looked, who.Name+" "+what+" "+id)
	return nil
}

func (a *archive) Asked(_ context.Context, id string) (session.Request, error) {
	if want, ok := a.asked[id]; ok {
		return want, nil
	}
	return session.Request{}, fmt.Errorf("%s: %w", id, session.ErrNoRecording)
}

func (a *archive) Owes(session.Identity) ([]string, error) {
	if a.noBooks {
		return nil, errors.New("disk full")
	}
	return a.owes, nil
}

func (a *archive) Review(_ context.Context, who session.Identity, id, what, note string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(a.looked, who.Name+" replay "+id) {
		return session.Cause{Code: session.Refused, Text: "replay it first"}
	}
	a.reviewed = append(a.reviewed, strings.TrimSpace(strings.Join([]string{who.Name, what, id, note}, " ")))
	return nil
}

func (a *archive) Reviewed(id string) (what, by string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.reviewed {
		if words := strings.Fields(r); words[2] == id {
			what, by = words[1], words[0]
		}
	}
	return what, by
}

// tape is a recording in memory.
type tape struct {
	mu     sync.Mutex
	events []session.Event
	sealed *session.Summary
}

func (t *tape) Append(e session.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.Bytes = slices.Clone(e.Bytes)
	t.events = append(t.events, e)
	return nil
}

func (t *tape) Health() session.Health { return session.Health{} }

func (t *tape) Seal(s session.Summary) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sealed = &s
	return nil
}

func (t *tape) summary() *session.Summary {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sealed
}

// psql is what stands behind the gate: it greets, keeps what it is told, and
// leaves at "\q" or at the end of its input.
type psql struct {
	out, errs   *io.PipeReader
	print, warn *io.PipeWriter
	terminal    bool
	greeted     chan struct{}
	gone        chan struct{}
	once        sync.Once

	mu     sync.Mutex
	got    bytes.Buffer
	want   session.Request
	size   session.Size
	status int
}

func newPsql(terminal bool) *psql {
	p := &psql{terminal: terminal, gone: make(chan struct{}), greeted: make(chan struct{})}
	p.out, p.print = io.Pipe()
	p.errs, p.warn = io.Pipe()
	return p
}

func (p *psql) Open(_ context.Context, _ session.Door, want session.Request) (session.Gateway, session.Shell, error) {
	p.mu.Lock()
	p.want, p.size = want, want.Size
	p.mu.Unlock()
	go func() { io.WriteString(p.print, "psql is here\n"); close(p.greeted) }()
	return gateway{}, p, nil
}

func (p *psql) Greet(net.Conn) (session.Client, error) { return nil, errors.New("no client") }

type gateway struct{}

func (gateway) Kill(context.Context) error { return nil }
func (gateway) Serve(session.Client)       {}

func (p *psql) Read(b []byte) (int, error) { return p.out.Read(b) }
func (p *psql) Errors() io.Reader {
	if p.terminal {
		return nil
	}
	return p.errs
}

func (p *psql) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got.Write(b)
	if strings.Contains(p.got.String(), `\q`) {
		go p.exit(0)
	}
	return len(b), nil
}

func (p *psql) typed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got.String()
}

func (p *psql) request() (session.Request, session.Size) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.want, p.size
}

func (p *psql) Writable() error   { return nil }
func (p *psql) CloseInput() error { go func() { <-p.greeted; p.exit(3) }(); return nil }
func (p *psql) Secret() bool      { return false }
func (p *psql) Kill()             { p.exit(137) }
func (p *psql) Resize(s session.Size) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size = s
	return nil
}

func (p *psql) Wait() int {
	<-p.gone
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

func (p *psql) exit(status int) {
	p.once.Do(func() {
		p.mu.Lock()
		p.status = status
		p.mu.Unlock()
		p.print.Close()
		p.warn.Close()
		close(p.gone)
	})
}

// syncBuffer is a buffer that two goroutines may use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}
func (b *syncBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// receive waits for something that another goroutine says.
func receive[T any](t *testing.T, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(10 * time.Second):
		t.Fatalf("never: %s", what)
	}
	return v
}
