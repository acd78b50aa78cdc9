package pgwire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/pgwire"
	"github.com/twokey/twokey/session/pgwire/pgtest"
)

// cluster is the one Postgres of this test binary.
var cluster *pgtest.Cluster

func TestMain(m *testing.M) {
	var err error
	if cluster, err = pgtest.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, err = cluster.Exec(`
		create role app login password 'app''s \ secret';
		create role boss superuser login password 'boss';
		create role heir login password 'heir'; grant boss to heir;
		create role certified;`)
	if err == nil {
		_, err = cluster.Exec("create database orders owner app")
	}
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	cluster.Stop()
	os.Exit(code)
}

func password(pw string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return pw, nil }
}

func upstream() pgwire.Upstream {
	return pgwire.Upstream{
		Host: cluster.Host, Port: cluster.Port, Database: "orders", User: "app",
		Password: password(`app's \ secret`), SSLMode: "verify-full", SSLRootCert: cluster.CAFile,
	}
}

// door is a session: it records, and its gate can be shut.
type door struct {
	mu      sync.Mutex
	changed *sync.Cond
	events  []session.Event
	shut    bool
	waiting int   // in Pass, at the shut gate
	refuse  error // of every Pass: the tape is broken, or the session is over
	blind   error // of every Note
	passes  int
	asked   []session.AskInfo
	decide  func(session.AskInfo) session.Answer // nil: nobody ever does
	rows    int                                  // that may still be shown; 0 is all
}

func newDoor() *door {
	d := &door{}
	d.changed = sync.NewCond(&d.mu)
	return d
}

func (d *door) Pass(ctx context.Context, e *session.Event) error {
	stop := context.AfterFunc(ctx, func() { d.mu.Lock(); defer d.mu.Unlock(); d.changed.Broadcast() })
	defer stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting++
	for d.shut && d.refuse == nil && ctx.Err() == nil {
		d.changed.Wait()
	}
	d.waiting--
	if d.refuse != nil {
		return d.refuse
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d.passes++
	if e != nil {
		d.events = append(d.events, *e)
	}
	return nil
}

func (d *door) Note(e session.Event) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.blind != nil {
		return d.blind
	}
	d.events = append(d.events, e)
	return nil
}

func (d *door) Ask(ctx context.Context, what session.AskInfo) (session.Answer, error) {
	d.mu.Lock()
	d.asked = append(d.asked, what)
	decide := d.decide
	d.mu.Unlock()
	if decide != nil {
		return decide(what), nil
	}
	<-ctx.Done()
	return session.Answer{}, context.Cause(ctx)
}

func (d *door) Rows(ctx context.Context) (int, error) {
	stop := context.AfterFunc(ctx, func() { d.mu.Lock(); defer d.mu.Unlock(); d.changed.Broadcast() })
	defer stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.rows < 0 && ctx.Err() == nil {
		d.changed.Wait()
	}
	if d.rows == 0 {
		return 1 << 30, ctx.Err()
	}
	n := d.rows
	d.rows = -1
	return n, ctx.Err()
}

// request is what the session was opened for.
func request() session.Request {
	return session.Request{ID: "01JD00000000000000000000ZZ", Engineer: session.Identity{Issuer: "i", Subject: "s", Name: "alice"}}
}

func (d *door) set(change func(*door)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
	d.changed.Broadcast()
}

func (d *door) get(ask func(*door) bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return ask(d)
}

// tape tells the statements, results and alarms as lines.
func (d *door) tape() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	for _, e := range d.events {
		switch e.Type {
		case session.Statement:
			s := e.Statement
			fmt.Fprintf(&b, "%d> %s %s", s.N, s.Protocol, s.Text)
			if s.Name != "" {
				fmt.Fprintf(&b, " name=%s", s.Name)
			}
			if s.Params != nil {
				fmt.Fprintf(&b, " params=%q", s.Params)
			}
			if s.Touches != nil {
				fmt.Fprintf(&b, " touches=%q", s.Touches)
			}
		case session.Result:
			r := e.Result
			fmt.Fprintf(&b, "%d< %s", r.N, r.Tag)
			if r.Rows > 0 {
				fmt.Fprintf(&b, " rows=%d", r.Rows)
			}
			if r.SQLState != "" || r.Message != "" {
				fmt.Fprintf(&b, " %s %s", r.SQLState, r.Message)
			}
			fmt.Fprintf(&b, " %s", r.Tx)
		case session.Alarm:
			fmt.Fprintf(&b, "alarm: %s", e.Text)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (d *door) results() []session.ResultInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	var rs []session.ResultInfo
	for _, e := range d.events {
		if e.Type == session.Result {
			rs = append(rs, *e.Result)
		}
	}
	return rs
}

// rig is a gateway with its door and what it logged.
type rig struct {
	t testing.TB
	*pgwire.Gateway
	door *door
	dir  string
	pid  atomic.Int64
	log  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// open starts a gateway whose client is this process, until psql says otherwise.
func open(t testing.TB, up pgwire.Upstream) *rig {
	t.Helper()
	return opened(t, up, request())
}

func opened(t testing.TB, up pgwire.Upstream, want session.Request) *rig {
	t.Helper()
	db, err := pgwire.NewDatabase(up)
	if err != nil {
		t.Fatal(err)
	}
	return listenFor(t, db, want)
}

func listen(t testing.TB, db *pgwire.Database) *rig { return listenFor(t, db, request()) }

func listenFor(t testing.TB, db *pgwire.Database, want session.Request) *rig {
	t.Helper()
	return listenWith(t, db, pgwire.Options{For: want})
}

// listenWith fills in the options that are the same for all.
func listenWith(t testing.TB, db *pgwire.Database, o pgwire.Options) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, door: newDoor(), dir: filepath.Join(dir, "s"), log: &lockedBuffer{}}
	r.pid.Store(int64(os.Getpid()))
	o.Dir, o.Door, o.PeerUID, o.Log = r.dir, r.door, os.Getuid(), slog.New(slog.NewTextHandler(r.log, nil))
	o.PeerPID = func() int { return int(r.pid.Load()) }
	r.Gateway, err = db.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	return r
}

// psql is a real one that is running on the gateway.
type psql struct {
	*exec.Cmd
	out, err lockedBuffer
}

func (r *rig) start(stdin string, args ...string) *psql {
	r.t.Helper()
	p := &psql{Cmd: exec.Command(pgtest.Bin("psql"), append([]string{"-X"}, args...)...)}
	p.Env = []string{"PGHOST=" + r.dir, "PGPORT=5432", "PGUSER=app", "PGDATABASE=orders"}
	p.Stdin, p.Stdout, p.Stderr = strings.NewReader(stdin), &p.out, &p.err
	r.pid.Store(0)
	if err := p.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.pid.Store(int64(p.Process.Pid))
	return p
}

// psql runs one to its end.
func (r *rig) psql(stdin string, args ...string) (out, errs string) {
	r.t.Helper()
	p := r.start(stdin, args...)
	p.Wait()
	return p.out.String(), p.err.String()
}

// connect is pgx through the socket.
func (r *rig) connect() *pgconn.PgConn {
	r.t.Helper()
	conn, err := r.tryConnect("app", "orders")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn.Close(ctx)
	})
	return conn
}

func (r *rig) tryConnect(user, database string) (*pgconn.PgConn, error) {
	r.pid.Store(int64(os.Getpid()))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return pgconn.Connect(ctx, fmt.Sprintf("host=%s port=5432 user=%s dbname=%s", r.dir, user, database))
}

// admin runs SQL as the superuser in orders.
func admin(t testing.TB, sql string) string {
	t.Helper()
	out, err := cluster.ExecIn("orders", sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second) // pgx takes 15 to let go of a connection that timed out
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

func backends(t testing.TB) string {
	return admin(t, `select count(*) from pg_stat_activity where application_name like 'twokey alice%'`)
}

var errTape = errors.New("no space left on device")
