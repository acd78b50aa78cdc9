package psql_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// This file is about whom psql runs as, and outlives.

// nobody runs the tests again as an ordinary user.
const nobody = 65534

func TestAsOrdinaryUser(t *testing.T) {
	args := []string{"-test.timeout=5m"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	if _, some, found := strings.Cut(flag.Lookup("test.run").Value.String(), "/"); found { // -run TestAsOrdinaryUser/TestCanary
		args = append(args, "-test.run="+some)
	}
	visit(t, nil, nil, args...)
}

// TestAsRoot is for a machine on which the tests run as an ordinary user: half of
// the cage is root's, and must not go untried unnoticed.
func TestAsRoot(t *testing.T) {
	if os.Getuid() == 0 || os.Getenv(roleKey) != "" {
		t.Log("root's half of the cage is tried by root")
		return
	}
	if err := exec.Command("sudo", "-n", "true").Run(); err != nil {
		const not = "NOT TRIED: root's half of the cage. Run the tests as root, or let sudo ask for no password"
		if os.Getenv("CI") != "" {
			t.Fatal(not)
		}
		t.Skip(not)
	}
	root := exec.Command("sudo", "-n", "env", playing(roleVisitor), "PATH="+os.Getenv("PATH"), os.Args[0], "-test.v", "-test.timeout=5m")
	out, err := root.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestOwnUser") {
		t.Fatalf("as root: %v\n%s", err, failures(string(out)))
	}
}

// As a service twokey may be nice already, have no new privileges and hold a
// capability that its programs inherit.
func TestAsService(t *testing.T) {
	visit(t, []string{"nice", "-n", "7", "setpriv", "--no-new-privs"}, []uintptr{unix.CAP_NET_BIND_SERVICE}, "-test.run=^(TestCanary|TestInForce)$")
}

// visit runs tests as an ordinary user, by a command, with capabilities.
func visit(t *testing.T, by []string, capabilities []uintptr, args ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("this is an ordinary user")
	}
	dir, err := os.MkdirTemp("", "twokey-psql")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary := filepath.Join(dir, "psql.test")
	if err := errors.Join(copySelf(binary), os.Chown(dir, nobody, nobody), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	command := append(slices.Clone(by), binary, "-test.v")
	visitor := exec.Command(command[0], append(command[1:], args...)...)
	visitor.Dir = dir
	visitor.Env = []string{playing(roleVisitor), "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	visitor.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: capabilities, Pdeathsig: syscall.SIGKILL,
	}
	out, err := visitor.CombinedOutput()
	passed := strings.Count(string(out), "--- PASS")
	if err != nil || passed == 0 {
		t.Fatalf("%v\n%s", err, failures(string(out)))
	}
	t.Logf("%d tests passed as user %d", passed, nobody)
}

// failures leaves out what passed.
func failures(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "=== ") && !strings.Contains(line, "--- PASS") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func copySelf(to string) error {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, from); err != nil {
		return err
	}
	return f.Close()
}

func TestNoPsqlOutlivesTwokey(t *testing.T) {
	orphan := exec.Command("/proc/self/exe")
	orphan.Env = []string{playing(roleOrphan), "PATH=" + os.Getenv("PATH")}
	stdout, err := orphan.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	orphan.Process.Kill()
	orphan.Wait()
	if err != nil {
		t.Fatal(err)
	}
	left := strings.Fields(line)
	if len(left) != 2 {
		t.Fatalf("it started %q", line)
	}
	for _, pid := range left {
		eventually(t, "psql and the launcher that waits are gone", func() bool { return !runs(pid) })
	}
}

// runs reports whether a process does more than to wait for its parent to look.
func runs(pid string) bool {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	return err == nil && !strings.Contains(string(status), "State:\tZ")
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func TestAnotherSessionsSocket(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("without root psqls are one user, and the gateway checks the process")
	}
	c := newCage(t)
	uid, release, err := c.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for d := filepath.Dir(dir); strings.Contains(d, "Test"); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	for _, path := range []string{dir, filepath.Join(dir, ".s.PGSQL.5432")} {
		if err := os.Chown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(dir, 0o700)
	called := make(chan struct{}, 10)
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			called <- struct{}{}
			conn.Close()
		}
	}()
	out := converse(t, c, toCluster(), fmt.Sprintf("\\c \"host=%s port=5432\"\n", dir))
	if len(called) > 0 || !strings.Contains(out, "No such file") { // not even to be seen
		t.Errorf("psql of one session reached the gateway of another: %s", out)
	}
	o := toCluster()
	o.Socket, o.Port, o.UID = dir, 5432, uid
	own, err := c.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Kill()
	if own.Wait(); len(called) == 0 {
		t.Error("psql did not reach its own gateway")
	}
}
