package psql_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/pgwire/pgtest"
	"github.com/twokey/twokey/session/psql"
)

var cluster *pgtest.Cluster

func TestMain(m *testing.M) {
	if psql.Main() {
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if cluster, err = pgtest.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer cluster.Stop()
	if err := os.Chmod(cluster.Socket, 0o755); err != nil { // the caged user has to reach it
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// breakout is something psql must not do: how it is tried, and how one sees
// that it worked. In the script DIR is a folder that everyone may write to,
// PORT a TCP port that counts its callers, ABSTRACT a socket that does.
type breakout struct {
	name   string
	script string
	worked func(w *outside, output string) bool
}

// outside is what lies around the cage.
type outside struct {
	dir       string
	port      int
	abstract  string
	callers   atomic.Int64
	listeners []net.Listener
}

func newOutside(t *testing.T) *outside {
	w := &outside{dir: t.TempDir(), abstract: fmt.Sprintf("@twokey-test-%d-%d", os.Getpid(), time.Now().UnixNano())}
	for d := w.dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o777)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unix, err := net.Listen("unix", w.abstract+"/.s.PGSQL.5432")
	if err != nil {
		t.Fatal(err)
	}
	w.port = tcp.Addr().(*net.TCPAddr).Port
	for _, l := range []net.Listener{tcp, unix} {
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				w.callers.Add(1)
				c.Close()
			}
		}()
	}
	return w
}

func prints(text string) func(*outside, string) bool {
	return func(_ *outside, out string) bool { return strings.Contains(out, text) }
}

func writes(w *outside, _ string) bool {
	info, err := os.Stat(filepath.Join(w.dir, "file"))
	return err == nil && info.Size() > 0
}

func called(w *outside, _ string) bool { return w.callers.Load() > 0 }

var breakouts = []breakout{
	{"shell", `\! echo BR''OKEN`, prints("BROKEN")},
	{"shell through a pager", "\\setenv PSQL_PAGER 'tee DIR/file'\n\\pset pager always\nselect 1;", writes},
	{"shell with a file", `\! id > DIR/file`, writes},
	{"backticks", "\\set x `echo BR''OKEN`\n\\echo :x", prints("BROKEN")},
	{"output to a program", "\\o |tee DIR/file\nselect 1;\n\\o", writes},
	{"query to a program", `select 1 \g |tee DIR/file`, writes},
	{"query buffer to a program", `select 1 \w |tee DIR/file`, writes},
	{"copy from a program", "\\copy (select 1) to program 'tee DIR/file'", writes},
	{"copy to from a program", "create temp table t (x text);\n\\copy t from program 'printf %s_%s BRO KEN'\nselect * from t;", prints("BRO_KEN")},
	{"editor", "\\setenv PSQL_EDITOR 'cp /etc/hostname DIR/file; true'\nselect 1\n\\e", writes},
	{"include /etc/passwd", `\i /etc/passwd`, prints("root:x")},
	{"copy /etc/passwd", "create temp table t (x text);\n\\copy t from '/etc/passwd'\nselect * from t;", prints("root:x")},
	{"large object from /etc/passwd", "select count(lo_unlink(oid)) from pg_largeobject_metadata;\n\\lo_import /etc/passwd\nselect convert_from(data, 'utf8') from pg_largeobject;", prints("root:x")},
	{"include relative to home", "\\cd /etc\n\\i passwd", prints("root:x")},
	{"read the process list", `\i /proc/self/environ`, prints("PGHOST")},
	{"read another process", `\i /proc/1/cmdline`, prints("syntax error")},
	{"output to a file", "\\o DIR/file\nselect 1;\n\\o", writes},
	{"query to a file", `select 1 \g DIR/file`, writes},
	{"query buffer to a file", "select 1\n\\w DIR/file", writes},
	{"copy to a file", `\copy (select 1) to 'DIR/file'`, writes},
	{"large object to a file", "select count(lo_unlink(oid)) from pg_largeobject_metadata;\nselect lo_from_bytea(77777, 'x');\n\\lo_export 77777 DIR/file", writes},
	{"log file", "\\set LOGFILE x\n\\copy (select 'x') to 'DIR/file'", writes},
	{"TCP", `\c "host=127.0.0.1 port=PORT"`, called},
	{"TCP by name", `\c "host=localhost hostaddr=127.0.0.1 port=PORT"`, called},
	{"abstract socket", `\c "host=ABSTRACT port=5432"`, called},
}

func (b breakout) run(t *testing.T, c *psql.Cage, w *outside, tty bool) string {
	t.Helper()
	script := strings.NewReplacer("DIR", w.dir, "PORT", fmt.Sprint(w.port), "ABSTRACT", w.abstract).Replace(b.script)
	o := psql.Options{Socket: cluster.Socket, Port: cluster.Port, Database: "postgres", User: "postgres", Term: "xterm"}
	if tty {
		o.Size = session.Size{Cols: 200, Rows: 50}
		script += "\n\\q\n"
	}
	return converse(t, c, o, script)
}

// converse runs psql with a script and returns all it printed.
func converse(t *testing.T, c *psql.Cage, o psql.Options, script string) string {
	t.Helper()
	uid, release, err := c.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	o.UID = uid
	s, err := c.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Kill()
	late := time.AfterFunc(20*time.Second, s.Kill)
	defer late.Stop()
	var out bytes.Buffer
	done := make(chan struct{})
	go func() { defer close(done); io.Copy(&out, s) }()
	var errs bytes.Buffer
	if e := s.Errors(); e != nil {
		io.Copy(sink(s, script), strings.NewReader(script))
		s.CloseInput()
		io.Copy(&errs, e)
	} else {
		io.Copy(sink(s, script), strings.NewReader(script))
	}
	<-done
	s.Wait()
	return out.String() + errs.String()
}

type writer struct{ s *psql.Shell }

func sink(s *psql.Shell, _ string) io.Writer { return writer{s} }

func (w writer) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		m, err := w.s.Write(p[n:])
		if err != nil {
			return n, err
		}
		if n += m; m == 0 {
			if err := w.s.Writable(); err != nil {
				return n, err
			}
		}
	}
	return len(p), nil
}

func TestBreakouts(t *testing.T) {
	caged, err := psql.NewCage(psql.CageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	free, err := psql.NewCage(psql.CageOptions{Off: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, tty := range []bool{false, true} {
		for _, b := range breakouts {
			if strings.Contains(b.name, "pager") && !tty {
				continue // psql pages on terminals alone
			}
			t.Run(fmt.Sprintf("%s/tty=%v", b.name, tty), func(t *testing.T) {
				w := newOutside(t)
				if out := b.run(t, free, w, tty); !b.worked(w, out) {
					t.Fatalf("the probe does nothing even without a cage: %s", out)
				}
				w = newOutside(t)
				if out := b.run(t, caged, w, tty); b.worked(w, out) {
					t.Errorf("broke out: %s", out)
				}
			})
		}
	}
}

func TestPsqlWorksInTheCage(t *testing.T) {
	c, err := psql.NewCage(psql.CageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	works := breakout{script: "select 6*7 as answer;\n\\d pg_class\n\\copy (select 'co'||'py') to stdout\n\\x\nselect 'ex'||'panded' as x;\n\\echo end"}
	for _, tty := range []bool{false, true} {
		out := works.run(t, c, newOutside(t), tty)
		for _, want := range []string{"42", "relname", "copy", "expanded", "RECORD 1"} {
			if !strings.Contains(out, want) {
				t.Errorf("tty=%v: no %q in %s", tty, want, out)
			}
		}
	}
}

func TestOwnUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else; the ordinary user's cage is the same but for this")
	}
	c, err := psql.NewCage(psql.CageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	uid, release, err := c.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	other, release2, err := c.Reserve()
	if err != nil || other == uid || other == 0 {
		t.Fatalf("two psqls run as %d and %d: %v", uid, other, err)
	}
	release2()
	s, err := c.Start(psql.Options{UID: uid, Socket: cluster.Socket, Port: cluster.Port, Database: "postgres", User: "postgres"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Kill()
	io.WriteString(writer{s}, "\\echo here\n")
	if _, err := s.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", fmt.Sprintf("Uid:\t%d", uid)} {
		if !strings.Contains(string(status), want) {
			t.Errorf("no %q in %s", want, status)
		}
	}
}

func TestKillEndsARead(t *testing.T) {
	c, err := psql.NewCage(psql.CageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []session.Size{{}, {Cols: 80, Rows: 24}} {
		uid, release, _ := c.Reserve()
		s, err := c.Start(psql.Options{UID: uid, Size: size, Socket: cluster.Socket, Port: cluster.Port, Database: "postgres", User: "postgres", Term: "xterm"})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { io.Copy(io.Discard, s); close(done) }()
		s.Kill()
		s.Kill()
		<-done
		if got := s.Wait(); got != 128+int(syscall.SIGKILL) {
			t.Errorf("status %d", got)
		}
		release()
	}
}

func TestCheckArgs(t *testing.T) {
	good := [][]string{
		{"--csv", "-c", "select 1"}, {"-Atc", "select 1"}, {"-f", "-"}, {"-f-"}, {"--file=-"}, {"--file", "-"},
		{"-v", "x=1"}, {"--set=x=1"}, {"-P", "pager=off"}, {"--tuples"}, {"-qAt", "-F", ","}, {"-c", "-h"}, {"-1"}, nil,
	}
	bad := [][]string{
		{"-h", "x"}, {"-hx"}, {"-Ath", "x"}, {"--host=x"}, {"--host", "x"}, {"--hos=x"}, {"-p1"}, {"-U", "x"}, {"-d", "x"}, {"--dbname=x"},
		{"postgres"}, {"postgres", "bob"}, {"--", "postgres"}, {"-o", "f"}, {"-L", "f"}, {"-f", "/etc/passwd"}, {"-f/etc/passwd"}, {"--file=x"},
		{"--file", "x"}, {"-W"}, {"-w"}, {"-s"}, {"-l"}, {"--nope"}, {"-k"}, {"--no"}, {"-c", "x", "y"}, {"-"}, {"--output=x"}, {""},
		{"-c", "a\x00b", "x"}, {"--dbn", "x"}, {"--field", "x"},
	}
	for _, args := range good {
		if err := psql.CheckArgs(args); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
	for _, args := range bad {
		if psql.CheckArgs(args) == nil {
			t.Errorf("%q passed", args)
		}
	}
}

func TestCanary(t *testing.T) {
	c, err := psql.NewCage(psql.CageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := c.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	t.Log(time.Since(start))
	open, err := psql.NewCage(psql.CageOptions{Off: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := open.ProbeAnyway(t.Context()); err == nil || !strings.Contains(err.Error(), "program") ||
		!strings.Contains(err.Error(), "socket") || !strings.Contains(err.Error(), "passwd") || !strings.Contains(err.Error(), "file") {
		t.Errorf("without a cage the canary finds: %v", err)
	}
}
