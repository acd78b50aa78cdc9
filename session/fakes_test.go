package session_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
)

// tape is a recording in memory, with named faults.
type tape struct {
	mu          sync.Mutex
	events      []session.Event
	failAppend  bool          // the disk is gone
	behind      bool          // the store is gone for longer than max_lag
	hung        chan struct{} // the disk does not answer until it is closed
	sealed      *session.Summary
	afterSealed int // events that came too late: always a bug
}

func (t *tape) Append(e session.Event) error {
	t.hang()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed != nil {
		t.afterSealed++
	}
	if t.failAppend {
		return errors.New("no space left on device")
	}
	e.Bytes = slices.Clone(e.Bytes)
	t.events = append(t.events, e)
	return nil
}

func (t *tape) hang() {
	t.mu.Lock()
	hung := t.hung
	t.mu.Unlock()
	if hung != nil {
		<-hung
	}
}

func (t *tape) Health() session.Health {
	t.hang()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.behind {
		return session.Health{Err: errors.New("nothing stored for 1m0s")}
	}
	return session.Health{}
}

func (t *tape) Seal(s session.Summary) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sealed = &s
	return nil
}

func (t *tape) fault(set func(*tape)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	set(t)
}

// all returns the bytes of one type, and count how many events of it there are.
func (t *tape) all(typ session.EventType) (text string, count int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.events {
		if e.Type == typ {
			text += string(e.Bytes)
			count++
		}
	}
	return text, count
}

// psql is a shell that echoes what it is told to.
type psql struct {
	out    *io.PipeReader
	print  *io.PipeWriter
	status chan int
	gone   chan struct{}
	once   sync.Once

	mu        sync.Mutex
	got       bytes.Buffer
	full      chan struct{} // takes no more input until it is closed
	secret    bool
	passwords int // lines yet to be read as such
	killed    bool
	closed    bool
	size      session.Size
}

func newPsql() *psql {
	r, w := io.Pipe()
	return &psql{out: r, print: w, status: make(chan int, 1), gone: make(chan struct{})}
}

func (p *psql) Read(b []byte) (int, error) { return p.out.Read(b) }
func (p *psql) Errors() io.Reader          { return nil }
func (p *psql) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.full:
	default:
		if p.full != nil {
			return 0, nil
		}
	}
	p.passwords -= bytes.Count(b, []byte("\r"))
	return p.got.Write(b)
}
func (p *psql) Writable() error {
	p.mu.Lock()
	full := p.full
	p.mu.Unlock()
	select {
	case <-full:
		return nil
	case <-p.gone:
		return io.EOF
	}
}

func (p *psql) window() session.Size {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size
}

func (p *psql) dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killed
}

// fill makes psql take nothing more until drained.
func (p *psql) fill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full = make(chan struct{})
}

func (p *psql) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.full)
}
func (p *psql) CloseInput() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}
func (p *psql) Secret() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.secret || p.passwords > 0
}

// asks makes psql read so many lines as passwords.
func (p *psql) asks(passwords int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passwords = passwords
}
func (p *psql) Resize(s session.Size) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size = s
	return nil
}
func (p *psql) Kill() {
	p.mu.Lock()
	p.killed = true
	p.mu.Unlock()
	p.exit(137)
}
func (p *psql) Wait() int { return <-p.status }

func (p *psql) exit(status int) {
	p.print.Close()
	p.once.Do(func() { p.status <- status; close(p.gone) })
}

func (p *psql) typed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got.String()
}

// database is a gateway, and the opener of both.
type database struct {
	psql *psql

	mu     sync.Mutex
	door   session.Door
	opens  int
	killed int
	refuse error  // of Open
	during func() // happens while Open is under way
	hung   bool   // Kill can not confirm

	clients []*client
	once    sync.Once
	dead    chan struct{} // closed by Kill
}

func (d *database) Open(_ context.Context, door session.Door, want session.Request) (session.Gateway, session.Shell, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.during != nil {
		d.during()
	}
	d.opens++
	d.door = door
	if d.refuse != nil {
		return nil, nil, d.refuse
	}
	if want.NoShell {
		return d, nil, nil
	}
	return d, d.psql, nil
}

func (d *database) Greet(conn net.Conn) (session.Client, error) {
	return &client{conn: conn, db: d}, nil
}

// Serve serves until Kill.
func (d *database) Serve(c session.Client) {
	c.(*client).note("served")
	<-d.dead
}

// client is one on a forwarded port.
type client struct {
	conn net.Conn
	db   *database

	mu   sync.Mutex
	told []string
}

func (c *client) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, what)
}

func (c *client) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.told, "; ")
}

func (c *client) Tell(line string)      { c.note(line) }
func (c *client) End(why session.Cause) { c.note("ends by " + why.Error()) }
func (c *client) Wait(ctx context.Context, ready <-chan struct{}) bool {
	c.db.mu.Lock()
	c.db.clients = append(c.db.clients, c)
	c.db.mu.Unlock()
	select {
	case <-ready:
		return true
	case <-ctx.Done():
		c.note("told " + context.Cause(ctx).Error())
		return false
	}
}

func (d *database) counts() (opens, killed int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.opens, d.killed
}

// opened is the door, once the parts behind the gate are there.
func (d *database) opened() session.Door {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.door
}

func (d *database) Kill(ctx context.Context) error {
	d.mu.Lock()
	d.killed++
	hung := d.hung
	d.mu.Unlock()
	d.once.Do(func() { close(d.dead) })
	if hung {
		<-ctx.Done()
		return errors.New("backend 4711 is not confirmed gone")
	}
	return nil
}

// screen is the engineer's terminal: what she reads, and her keyboard.
type screen struct {
	keys *io.PipeWriter
	in   *io.PipeReader

	mu    sync.Mutex
	text  bytes.Buffer
	stuck chan struct{} // not nil: Write blocks until it is closed
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	stuck := s.stuck
	s.mu.Unlock()
	if stuck != nil {
		<-stuck
		return 0, io.ErrClosedPipe
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// story is one session with its people.
type story struct {
	*session.Session
	t      *testing.T
	tape   *tape
	db     *database
	screen *screen
	status int
	cause  session.Cause
	hangup context.CancelCauseFunc
	over   chan struct{} // Run returned
	sizes  chan session.Size
	log    *slog.Logger
}

func person(name string, groups ...string) session.Identity {
	return session.Identity{Issuer: "https://idp", Subject: "sub-" + name, Name: name, Groups: groups}
}

var (
	alice = person("alice", "engineering")
	bob   = person("bob", "engineering")
	carol = person("carol", "marketing")
)

var pairs = session.Mode{
	Name: "write", Engineers: []string{"engineering"},
	Shadows: session.Quorum{{Count: 1, Groups: []string{"engineering"}}},
	Limits:  session.Limits{Wait: 15 * time.Minute, Grace: 30 * time.Second},
}

var alone = session.Mode{Name: "read", Engineers: []string{"engineering"}, Limits: pairs.Limits}

// begin starts a session inside a synctest bubble.
func begin(t *testing.T, mode session.Mode, change ...func(*session.Request, *story)) *story {
	in, keys := io.Pipe()
	st := &story{t: t, tape: &tape{}, db: &database{psql: newPsql(), dead: make(chan struct{})}, screen: &screen{in: in, keys: keys}, over: make(chan struct{}), sizes: make(chan session.Size, 1), log: slog.New(slog.DiscardHandler)}
	want := session.Request{
		ID: "01JD", Code: "ABCDE", Engineer: alice, Target: session.Target{Name: "orders"}, Mode: mode,
		Size: session.Size{Cols: 80, Rows: 24}, Started: time.Now(),
	}
	for _, c := range change {
		c(&want, st)
	}
	st.Session = session.New(want, st.tape, st.db, st.log)
	ctx, cancel := context.WithCancelCause(t.Context())
	st.hangup = cancel
	terminal := session.Terminal{In: in, Out: st.screen, Err: st.screen, Resize: st.sizes, Hangup: st.letGo}
	go func() {
		st.status, st.cause = st.Run(ctx, terminal)
		keys.Close() // the bastion closes the channel after Run
		close(st.over)
	}()
	return st
}

func (st *story) letGo() {
	st.screen.mu.Lock()
	defer st.screen.mu.Unlock()
	if st.screen.stuck != nil {
		close(st.screen.stuck)
		st.screen.stuck = nil
	}
}

func (st *story) sit(who session.Identity) *session.Seat {
	st.t.Helper()
	seat, err := st.Sit(who, session.Size{Cols: 100, Rows: 30})
	if err != nil {
		st.t.Fatal(err)
	}
	return seat
}

func (st *story) types(keys string) { st.screen.keys.Write([]byte(keys)) }

func contextWithTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// stick makes the engineer's terminal take nothing any more.
func (st *story) stick() {
	st.screen.mu.Lock()
	defer st.screen.mu.Unlock()
	st.screen.stuck = make(chan struct{})
}
