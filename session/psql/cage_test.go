package psql_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/pgwire/pgtest"
	"github.com/twokey/twokey/session/psql"
)

// cluster is the database of all tests.
var cluster *pgtest.Cluster

// Roles that this test binary plays in a process of its own.
const (
	roleKey     = "TWOKEY_PSQL_TEST"
	roleOrphan  = "orphan"  // starts a psql and waits to be killed
	roleVisitor = "visitor" // runs the tests as an ordinary user; the database is its parent's
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	role, place, _ := strings.Cut(os.Getenv(roleKey), " ")
	if role != "" {
		cluster = &pgtest.Cluster{Superuser: "postgres"}
		if _, err := fmt.Sscan(place, &cluster.Port, &cluster.Socket); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	switch role {
	case roleVisitor:
		return m.Run()
	case roleOrphan:
		return orphan()
	}
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

// playing is the environment of a process that plays a role.
func playing(role string) string {
	return fmt.Sprintf("%s=%s %d %s", roleKey, role, cluster.Port, cluster.Socket)
}

func newCage(t *testing.T) *psql.Cage {
	t.Helper()
	c, err := psql.NewCage(psql.CageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newFree(t *testing.T) *psql.Cage {
	t.Helper()
	c, err := psql.NewCage(psql.CageOptions{Off: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// toCluster are the options that reach the database.
func toCluster() psql.Options {
	return psql.Options{Socket: cluster.Socket, Port: cluster.Port, Database: "postgres", User: "postgres", Term: "xterm"}
}

// open starts a psql that ends with the test.
func open(t *testing.T, c *psql.Cage, o psql.Options) *psql.Shell {
	t.Helper()
	uid, release, err := c.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	o.UID = uid
	s, err := c.Start(o)
	if err != nil {
		release()
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Kill(); release() })
	return s
}

// converse runs psql with a script and returns all it printed.
func converse(t *testing.T, c *psql.Cage, o psql.Options, script string) string {
	t.Helper()
	s := open(t, c, o)
	defer time.AfterFunc(2*time.Minute, s.Kill).Stop() // so that one that hangs fails the test
	var out, errs bytes.Buffer
	done := make(chan struct{})
	go func() { defer close(done); io.Copy(&out, s) }()
	io.WriteString(writer{s}, script)
	s.CloseInput()
	if e := s.Errors(); e != nil {
		io.Copy(&errs, e)
	}
	<-done
	s.Wait()
	return out.String() + errs.String()
}

// writer gives a psql bytes and waits until it has taken them.
type writer struct{ s *psql.Shell }

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

// unixPending is how many bytes could be read.
func unixPending(f *os.File) (int, error) { return unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ) }

func TestPsqlWorksInTheCage(t *testing.T) {
	works := breakout{script: "select 6*7 as answer;\n\\d pg_class\n\\copy (select 'co'||'py') to stdout\n\\x\nselect 'ex'||'panded' as x;\n\\echo end"}
	for _, tty := range []bool{false, true} {
		out := works.run(t, newCage(t), newOutside(t), tty)
		for _, want := range []string{"42", "relname", "copy", "expanded", "RECORD 1"} {
			if !strings.Contains(out, want) {
				t.Errorf("tty=%v: no %q in %s", tty, want, out)
			}
		}
	}
}

func TestOwnUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	c := newCage(t)
	uid, release, err := c.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	other, release2, err := c.Reserve()
	if err != nil || other == uid || other == 0 || uid == 0 {
		t.Fatalf("two psqls run as %d and %d: %v", uid, other, err)
	}
	release2()
	o := toCluster()
	for _, o.UID = range []int{0, os.Getuid() + 1, other} {
		if _, err := c.Start(o); err == nil {
			t.Errorf("started as user %d, who is not reserved", o.UID)
		}
	}
}

func TestNoTwoPsqlsHaveOneUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	c := newCage(t)
	for given := map[int]bool{}; ; {
		uid, release, err := c.Reserve()
		if err != nil {
			return // there are no more
		}
		defer release()
		if given[uid] {
			t.Fatalf("two psqls run as %d", uid)
		}
		given[uid] = true
	}
}

func TestInForce(t *testing.T) {
	s := open(t, newCage(t), toCluster())
	io.WriteString(writer{s}, "\\echo here\n")
	if _, err := s.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "Threads:\t1"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("no %q in %s", want, status)
		}
	}
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if len(descriptors) > 4 { // its three and the database's
		t.Errorf("open descriptors: %v", descriptors)
	}
	for fd := range 3 { // psql does not expect to be told to come back later
		info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", s.PID(), fd))
		var flags int
		for line := range strings.Lines(string(info)) {
			fmt.Sscanf(line, "flags: %o", &flags)
		}
		if err != nil || flags&unix.O_NONBLOCK != 0 {
			t.Errorf("descriptor %d has flags %o: %v", fd, flags, err)
		}
	}
}

func TestKillEndsARead(t *testing.T) {
	for _, size := range []session.Size{{}, {Cols: 80, Rows: 24}} {
		o := toCluster()
		o.Size = size
		s := open(t, newCage(t), o)
		done := make(chan struct{})
		go func() { io.Copy(io.Discard, s); close(done) }()
		s.Kill()
		s.Kill()
		<-done
		if got := s.Wait(); got != 128+int(syscall.SIGKILL) {
			t.Errorf("status %d", got)
		}
	}
}

func TestCanary(t *testing.T) {
	start := time.Now()
	if err := newCage(t).Probe(t.Context()); err != nil {
		t.Error(err)
	}
	t.Log(time.Since(start))
	if err := newFree(t).ProbeAnyway(t.Context()); err == nil || !strings.Contains(err.Error(), "program") ||
		!strings.Contains(err.Error(), "socket") || !strings.Contains(err.Error(), "passwd") || !strings.Contains(err.Error(), "file") {
		t.Errorf("without a cage the canary finds: %v", err)
	}
}

// What is mounted on the machine while a psql runs is not mounted in its root: the canary looks,
// on a machine that passes mounts on, as systemd sets all up.
func TestNothingIsMountedInThatIsMountedLater(t *testing.T) {
	if os.Getuid() != 0 || !newCage(t).Apart() {
		t.Log("NOT TRIED: only root can have mounts passed on; that of an ordinary user's psql is made the same way")
		return
	}
	canary := exec.Command("unshare", "--mount", "--propagation", "shared", os.Args[0], "-test.run=^TestCanary$")
	canary.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", roleKey, roleVisitor, cluster.Port, cluster.Socket))
	if out, err := canary.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A service's umask keeps others out of what it makes, and psql's root is made by
// it for another user.
func TestTheCageUnderAStrictUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	if err := newCage(t).Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// orphan starts a psql and has a launcher wait, says which, and waits for psql's end.
func orphan() int {
	c, err := psql.NewCage(psql.CageOptions{})
	if err != nil {
		return 1
	}
	o := toCluster()
	if o.UID, _, err = c.Reserve(); err != nil {
		return 1
	}
	s, err := c.Start(o)
	if err != nil {
		return 1
	}
	go c.KeepReady(context.Background()) // ends with this process
	_, waits := c.Next()
	fmt.Println(s.PID(), waits)
	return s.Wait()
}
