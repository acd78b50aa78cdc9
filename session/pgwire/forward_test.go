package pgwire_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/pgwire"
	"github.com/twokey/twokey/session/pgwire/pgtest"
)

// port is what a forwarded port leads to: whoever connects is greeted, waits,
// and is served.
type port struct {
	*rig
	dir   string
	ready chan struct{}
	end   context.CancelCauseFunc

	mu      sync.Mutex
	clients []*pgwire.Client
	waited  int // and went away
}

func forwarded(t *testing.T, want session.Request) *port {
	t.Helper()
	dir, err := os.MkdirTemp("", "port")
	if err != nil {
		t.Fatal(err)
	}
	p := &port{rig: opened(t, upstream(), want), dir: dir, ready: make(chan struct{})}
	ctx, end := context.WithCancelCause(t.Context())
	p.end = end
	lis, err := net.Listen("unix", filepath.Join(dir, pgwire.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lis.Close(); end(nil); os.RemoveAll(dir) })
	go func() { // ends with the listener
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			go p.serve(ctx, conn)
		}
	}()
	return p
}

func (p *port) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	c, err := pgwire.Greet(conn)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.clients = append(p.clients, c)
	p.mu.Unlock()
	if c.Wait(ctx, p.ready) {
		p.Serve(c)
		return
	}
	p.mu.Lock()
	p.waited++
	p.mu.Unlock()
}

// each does something to all who have come so far, and returns how many.
func (p *port) each(do func(*pgwire.Client)) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.clients {
		do(c)
	}
	return len(p.clients)
}

// runs starts one of Postgres' own programs on the port.
func (p *port) runs(program, stdin string, args ...string) *psql {
	p.t.Helper()
	c := &psql{Cmd: exec.Command(pgtest.Bin(program), args...)}
	c.Env = []string{"PGHOST=" + p.dir, "PGPORT=5432", "PGUSER=whoever", "PGDATABASE=orders"}
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &c.out, &c.err
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// Clients of every kind: pgbench speaks all of the protocol that drivers do.
func TestForwardedClients(t *testing.T) {
	p := forwarded(t, request())
	close(p.ready)
	scripts := t.TempDir()
	plain, piped := filepath.Join(scripts, "plain"), filepath.Join(scripts, "piped")
	os.WriteFile(plain, []byte("\\set n random(1, 9)\nselect :n + 1;\nselect :n / 1;\n"), 0o600)
	os.WriteFile(piped, []byte("\\startpipeline\nselect 1;\nselect 2;\nselect 3;\n\\endpipeline\n"), 0o600)
	for _, args := range [][]string{{"simple", plain}, {"extended", plain}, {"prepared", plain}, {"extended", piped}, {"prepared", piped}} {
		c := p.runs("pgbench", "", "-n", "-c", "3", "-t", "5", "-M", args[0], "-f", args[1])
		if err := c.Wait(); err != nil || !strings.Contains(c.out.String(), "15/15") {
			t.Errorf("%v: %v, %s%s", args, err, c.out.String(), c.err.String())
		}
	}
	run := 0
	for _, r := range p.door.results() {
		if r.SQLState == "" {
			run++
		}
	}
	if want := 3*15*2 + 2*15*3; run != want {
		t.Errorf("%d statements on the tape, want %d", run, want)
	}
}

// Whoever they say they are, they are the session's role, on its database.
func TestWhoForwardedClientsAre(t *testing.T) {
	want := request()
	want.Target.Name = "shop"
	p := forwarded(t, want)
	close(p.ready)
	for database, ok := range map[string]bool{"orders": true, "shop": true, "whoever": true, "postgres": false} {
		c := p.runs("psql", "select current_user || ' ' || current_database();", "-X", "-At", "-d", database)
		c.Wait()
		if came := strings.TrimSpace(c.out.String()) == "app orders"; came != ok {
			t.Errorf("as %s: %q, %q", database, c.out.String(), c.err.String())
		}
		if !ok && !strings.Contains(c.err.String(), `this session is for database "orders"; connecting to "postgres" is refused`) {
			t.Errorf("she reads %q", c.err.String())
		}
	}
}

// A client that waits reads why, and for whom; it may go away, and it may be
// told that nobody came.
func TestAForwardedClientWaits(t *testing.T) {
	p := forwarded(t, request())
	stays, leaves := p.runs("psql", "select 'in';", "-X", "-At"), p.runs("psql", "", "-X")
	eventually(t, "both are there", func() bool { return p.each(func(*pgwire.Client) {}) == 2 })
	p.each(func(c *pgwire.Client) { c.Tell("send a colleague") })
	eventually(t, "she reads it", func() bool { return strings.Contains(stays.err.String(), "NOTICE:  twokey: send a colleague") })
	leaves.Process.Kill()
	leaves.Wait()
	eventually(t, "it is noticed", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.waited == 1 })
	close(p.ready)
	if stays.Wait(); strings.TrimSpace(stays.out.String()) != "in" {
		t.Errorf("%q, %q", stays.out.String(), stays.err.String())
	}

	p = forwarded(t, request())
	late := p.runs("psql", "", "-X")
	eventually(t, "it is there", func() bool { return p.each(func(*pgwire.Client) {}) == 1 })
	p.end(session.Cause{Code: session.NobodyCame, Text: "nobody came"})
	if err := late.Wait(); err == nil || !strings.Contains(late.err.String(), "FATAL:  twokey: nobody-came: nobody came") {
		t.Errorf("%v, %q", err, late.err.String())
	}
}

// Notices come between two messages, whatever is under way, and change nothing
// of it.
func TestNoticesToForwardedClients(t *testing.T) {
	p := forwarded(t, request())
	close(p.ready)
	c := p.runs("psql", "select repeat('x', g % 3000) from generate_series(1, 20000) g;", "-X", "-At")
	told := 0
	for done := make(chan struct{}); ; {
		if told == 0 {
			go func() { c.Wait(); close(done) }()
		}
		p.each(func(c *pgwire.Client) { c.Tell(fmt.Sprintf("line %d", told)) })
		told++
		select {
		case <-done:
		case <-time.After(time.Millisecond):
			continue
		}
		break
	}
	rows := strings.Split(strings.TrimSuffix(c.out.String(), "\n"), "\n")
	for i, row := range rows {
		if len(row) != (i+1)%3000 || strings.Trim(row, "x") != "" {
			t.Fatalf("row %d is %.80q", i+1, row)
		}
	}
	if len(rows) != 20000 || strings.Count(c.err.String(), "NOTICE:  twokey: line") < 2 {
		t.Errorf("%d rows, and she reads %.300q", len(rows), c.err.String())
	}
}

// Ctrl-C reaches the statement, and the end of the session says why.
func TestCancelAndEndOfForwardedClients(t *testing.T) {
	p := forwarded(t, request())
	close(p.ready)
	active := func(what string) func() bool {
		return func() bool {
			return admin(t, "select count(*) from pg_stat_activity where query like '"+what+"%' and state = 'active' and application_name like 'twokey%'") == "1"
		}
	}
	c := p.runs("psql", "select pg_sleep(60);", "-X")
	eventually(t, "it sleeps", active("select pg_sleep(60)"))
	c.Process.Signal(os.Interrupt)
	if c.Wait(); !strings.Contains(c.err.String(), "canceling statement due to user request") {
		t.Errorf("at Ctrl-C she reads %q", c.err.String())
	}
	c = p.runs("psql", "select pg_sleep(61);", "-X")
	eventually(t, "it sleeps again", active("select pg_sleep(61)"))
	p.each(func(c *pgwire.Client) { c.End(session.Cause{Code: session.Killed, By: "bob", Text: "enough"}) })
	if err := p.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	if c.Wait(); !strings.Contains(c.err.String(), "the session has ended: killed by bob: enough") {
		t.Errorf("at the end she reads %q", c.err.String())
	}
}

func TestTurnAway(t *testing.T) {
	near, far := net.Pipe()
	go func() { pgwire.TurnAway(far, "ask for a reason"); far.Close() }()
	near.Write(startup(196608, good))
	answer := make([]byte, 1000)
	n, _ := near.Read(answer)
	if got := string(answer[:n]); !strings.Contains(got, "C28000") || !strings.Contains(got, "twokey: ask for a reason") {
		t.Errorf("%q", got)
	}
}

// libpq in pipeline mode, through the forwarded port, reads what it reads without it.
func TestLibpqPipelines(t *testing.T) {
	program := filepath.Join(t.TempDir(), "pipeline")
	if out, err := exec.Command("cc", "-o", program, "testdata/libpq/pipeline.c", "-I/usr/include/postgresql", "-lpq").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	direct := exec.Command(program)
	direct.Env = []string{"PGHOST=" + cluster.Socket, "PGPORT=" + itoa(cluster.Port), "PGUSER=app", "PGDATABASE=orders"}
	want, err := direct.Output()
	if err != nil {
		t.Fatal(err)
	}
	p := forwarded(t, request())
	close(p.ready)
	c := p.runs(program, "")
	if err := c.Wait(); err != nil {
		t.Fatalf("%v: %s", err, c.err.String())
	}
	same(t, c.out.String(), string(want))
	for _, has := range []string{"\n3998\n", "PGRES_PIPELINE_ABORTED", "22P02", "asked to flush", "COPY 1000"} {
		if !strings.Contains(string(want), has) {
			t.Errorf("it printed %.200q, without %q", want, has)
		}
	}
	ran := 0
	for _, r := range p.door.results() {
		if r.Tag == "SELECT 1" {
			ran++
		}
	}
	if ran != 20*100-50+1 {
		t.Errorf("%d statements ran, says the tape", ran)
	}
}
