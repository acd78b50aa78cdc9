package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/deploy/demo/house"
	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/pgwire"
)

// This file puts the gateway beside a direct connection and beside pgbouncer in
// session pooling: the same clients over unix sockets, the same database, in
// turns. The gateway has a session and a tape of its own, in a folder; every
// statement is on it. pgbouncer records nothing.

// How much of each.
const (
	wireRounds  = 3
	pgbenchTime = 4 // seconds
	wireRows    = 1_000_000
	copyRows    = 1 << 20 // of 1 KiB
)

// way is one way to the database: a folder with the socket, and its port.
type way struct {
	name, dir, port string
}

// wire measures all three.
func wire(ctx context.Context, h *house.House) (err error) {
	dir, err := os.MkdirTemp("", "twokey-wire-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755) // the pooler is another user
	if err := prepare(ctx, h); err != nil {
		return err
	}
	pooler, err := startPooler(dir, h)
	if err != nil {
		return err
	}
	defer pooler.stop()
	gate, err := startGateway(dir, h)
	if err != nil {
		return err
	}
	defer gate.stop()
	ways := []way{{"twokey", gate.dir, "5432"}, {"pgbouncer", pooler.dir, "6432"}, {"direct", h.DB.Socket(), h.DB.Port()}}
	rest, err := gate.rest()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\ttwokey\tpgbouncer\tdirect\tto pgbouncer\tto direct\taim\t\n")
	for _, m := range wireMeasures {
		got := map[string][]float64{}
		for range wireRounds {
			for _, way := range ways {
				v, err := m.take(ctx, h, way)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", m.what, way.name, err)
				}
				got[way.name] = append(got[way.name], v)
			}
		}
		a, b, c := median(got["twokey"]), median(got["pgbouncer"]), median(got["direct"])
		fmt.Fprintf(w, "%s\t%.1f %s\t%.1f %s\t%.1f %s\t%.2f\t%.2f\t%s\t\n", m.what, a, m.unit, b, m.unit, c, m.unit, a/b, a/c, m.aim)
		fmt.Fprintf(os.Stderr, "measured %s\n", m.what)
	}
	fmt.Fprintf(w, "memory of a connection at rest\t%.0f KiB\t\t\t\t\tunder 100\t\n", rest)
	return w.Flush()
}

var wireMeasures = []struct {
	what, unit, aim string
	take            func(context.Context, *house.House, way) (float64, error)
}{
	{"a round trip, 1 client", "us", "direct + 60", func(ctx context.Context, h *house.House, w way) (float64, error) {
		_, latency, err := pgbench(ctx, w, 1)
		return latency * 1000, err
	}},
	{"select-only, 1 client", "/s", "pgbouncer's", func(ctx context.Context, h *house.House, w way) (float64, error) {
		tps, _, err := pgbench(ctx, w, 1)
		return tps, err
	}},
	{"select-only, 8 clients", "/s", "pgbouncer's", func(ctx context.Context, h *house.House, w way) (float64, error) {
		tps, _, err := pgbench(ctx, w, 8)
		return tps, err
	}},
	{"a million rows", "MB/s", "pgbouncer's", func(ctx context.Context, h *house.House, w way) (float64, error) {
		return w.moves(ctx, h, fmt.Sprintf("select g, md5(g::text) from generate_series(1, %d) g", wireRows), nil, 0)
	}},
	{"1 GiB of COPY out", "MB/s", "0.8 of direct", func(ctx context.Context, h *house.House, w way) (float64, error) {
		return w.moves(ctx, h, fmt.Sprintf("copy (select repeat('x', 1023) from generate_series(1, %d)) to stdout", copyRows), nil, 0)
	}},
	{"1 GiB of COPY in", "MB/s", "0.8 of direct", func(ctx context.Context, h *house.House, w way) (float64, error) {
		return w.moves(ctx, h, "copy sink from stdin where false", &lines{left: copyRows}, copyRows<<10)
	}},
}

// prepare makes what the measures work on.
func prepare(ctx context.Context, h *house.House) error {
	for _, sql := range []string{"create role wire login", "create database wire owner wire"} {
		if _, err := h.DB.Exec(ctx, "postgres", sql); err != nil {
			return err
		}
	}
	out, err := exec.CommandContext(ctx, house.ServerProgram("pgbench"), "-i", "-q", "-s", "5", "-h", h.DB.Socket(), "-p", h.DB.Port(), "-U", "wire", "wire").CombinedOutput()
	if err != nil {
		return fmt.Errorf("pgbench -i: %w: %s", err, out)
	}
	_, err = h.DB.Exec(ctx, "wire", "create table sink (line text); alter table sink owner to wire")
	return err
}

var pgbenchSays = regexp.MustCompile(`(?s)latency average = ([0-9.]+) ms.*tps = ([0-9.]+) `)

// pgbench runs its select-only script; the latency is in milliseconds.
func pgbench(ctx context.Context, w way, clients int) (tps, latency float64, err error) {
	n := strconv.Itoa(clients)
	out, err := exec.CommandContext(ctx, house.ServerProgram("pgbench"), "-n", "-S", "-c", n, "-j", n, "-T", strconv.Itoa(pgbenchTime),
		"-h", w.dir, "-p", w.port, "-U", "wire", "wire").CombinedOutput()
	m := pgbenchSays.FindSubmatch(out)
	if err != nil || m == nil {
		return 0, 0, fmt.Errorf("pgbench: %w: %s", err, out)
	}
	latency, _ = strconv.ParseFloat(string(m[1]), 64)
	tps, err = strconv.ParseFloat(string(m[2]), 64)
	return tps, latency, err
}

// moves runs a statement in psql and returns how many MB/s came out of it, or
// went in.
func (w way) moves(ctx context.Context, h *house.House, sql string, in io.Reader, size int64) (float64, error) {
	c := exec.CommandContext(ctx, h.DB.Psql(), "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", w.dir, "-p", w.port, "-U", "wire", "-d", "wire", "-c", sql)
	var errs strings.Builder
	count := &counter{}
	c.Stdin, c.Stdout, c.Stderr = in, count, &errs
	began := time.Now()
	if err := c.Run(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, errs.String())
	}
	return float64(max(size, count.n)) / 1e6 / time.Since(began).Seconds(), nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// lines is so many lines of 1 KiB.
type lines struct{ left int }

var oneLine = []byte(strings.Repeat("x", 1023) + "\n")

func (l *lines) Read(p []byte) (n int, err error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	for len(p)-n >= len(oneLine) && l.left > 0 {
		n += copy(p[n:], oneLine)
		l.left--
	}
	return n, nil
}

// pooler is pgbouncer.
type pooler struct {
	dir string
	cmd *exec.Cmd
}

const poolerConfig = `[databases]
wire = host=%s port=%s user=wire
[pgbouncer]
listen_addr =
unix_socket_dir = %s
listen_port = 6432
auth_type = any
pool_mode = session
default_pool_size = 20
server_reset_query =
ignore_startup_parameters = extra_float_digits
logfile = %s
`

func startPooler(dir string, h *house.House) (*pooler, error) {
	p := &pooler{dir: filepath.Join(dir, "pooler")}
	if err := os.Mkdir(p.dir, 0o777); err != nil {
		return nil, err
	}
	os.Chmod(p.dir, 0o777)
	config := filepath.Join(p.dir, "ini")
	text := fmt.Sprintf(poolerConfig, h.DB.Socket(), h.DB.Port(), p.dir, filepath.Join(p.dir, "log"))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	p.cmd = exec.Command("/usr/sbin/pgbouncer", "-q", config)
	if os.Getuid() == 0 { // it refuses to be root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	socket := filepath.Join(p.dir, ".s.PGSQL.6432")
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			return p, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	p.stop()
	return nil, fmt.Errorf("pgbouncer does not start: %s", log)
}

func (p *pooler) stop() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// gateway is a session without psql, whose clients come over a socket instead of
// a forwarded port.
type gateway struct {
	dir      string
	listener net.Listener
	session  *session.Session
	recorder *recorder.Recorder
	db       *pgwire.Database
	open     *pgwire.Gateway
	over     chan struct{}
}

func startGateway(dir string, h *house.House) (_ *gateway, err error) {
	g := &gateway{dir: filepath.Join(dir, "gateway"), over: make(chan struct{})}
	for _, d := range []string{g.dir, filepath.Join(dir, "state"), filepath.Join(dir, "store")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	folder, err := store.NewFolder(filepath.Join(dir, "store"))
	if err != nil {
		return nil, err
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, err
	}
	if g.recorder, err = recorder.New(recorder.Options{Dir: filepath.Join(dir, "state"), Store: folder, Signer: signer}); err != nil {
		return nil, err
	}
	port, _ := strconv.Atoi(h.DB.Port())
	if g.db, err = pgwire.NewDatabase(pgwire.Upstream{Host: h.DB.Socket(), Port: port, Database: "wire", User: "wire", SSLMode: "disable"}); err != nil {
		return nil, err
	}
	want := session.Request{
		ID: "01JD00000000000000000000ZZ", Code: "7KQ2M", Started: time.Now(), NoShell: true,
		Engineer: session.Identity{Issuer: "https://idp", Subject: "alice", Name: "alice"},
		Target:   session.Target{Name: "wire"}, Mode: session.Mode{Name: "read", Limits: session.Limits{Wait: time.Minute, Grace: time.Minute}},
	}
	tape, err := g.recorder.Begin(context.Background(), want)
	if err != nil {
		return nil, err
	}
	g.session = session.New(want, tape, g, slog.New(slog.DiscardHandler))
	if g.listener, err = net.Listen("unix", filepath.Join(g.dir, pgwire.SocketName)); err != nil {
		return nil, err
	}
	go func() {
		defer close(g.over)
		g.session.Run(context.Background(), session.Terminal{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
	}()
	go func() { // ends with the listener
		for {
			conn, err := g.listener.Accept()
			if err != nil {
				return
			}
			go g.session.Forward(conn)
		}
	}()
	return g, nil
}

// Open is session.Opener's.
func (g *gateway) Open(ctx context.Context, door session.Door, want session.Request) (session.Gateway, session.Shell, error) {
	open, err := g.db.Listen(pgwire.Options{
		Dir: filepath.Join(g.dir, "own"), Door: door, For: want, PeerPID: func() int { return 0 }, PeerUID: os.Getuid(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, nil, err
	}
	g.open = open
	return open, nil, open.Ready(ctx)
}

// Greet is session.Opener's.
func (g *gateway) Greet(conn net.Conn) (session.Client, error) { return pgwire.Greet(conn) }

func (g *gateway) stop() {
	g.listener.Close()
	g.session.Finish(session.Cause{Code: session.Quit})
	<-g.over
	if g.open != nil {
		g.open.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	g.recorder.Close(ctx)
}

// rest is what a connection that does nothing holds, in KiB of Go's heap and stacks.
func (g *gateway) rest() (float64, error) {
	const many = 16
	held := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc + m.StackInuse)
	}
	before := held()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
		time.Sleep(time.Second) // until they are gone
	}()
	for range many {
		conn, err := net.Dial("unix", filepath.Join(g.dir, pgwire.SocketName))
		if err != nil {
			return 0, err
		}
		conns = append(conns, conn)
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		conn.Write([]byte("\x00\x00\x00\x21\x00\x03\x00\x00user\x00wire\x00database\x00wire\x00\x00"))
		buf := make([]byte, 4096)
		for ready := false; !ready; {
			n, err := conn.Read(buf)
			if err != nil {
				return 0, errors.Join(errors.New("a connection for memory"), err)
			}
			ready = n >= 6 && string(buf[n-6:n-1]) == "Z\x00\x00\x00\x05"
		}
	}
	return (held() - before) / many / 1024, nil
}
