package psql_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/psql"
)

// This file tries to break out of the cage. Each way is first shown to work
// without a cage: a probe that does nothing proves nothing.

// breakout is something psql must not do: how it is tried, and how one sees
// that it worked. In scripts and arguments DIR is a folder that everyone may
// write to, PORT a TCP port that counts its callers, ABSTRACT a socket that
// does, TTY somebody else's terminal, SOCKET and DBPORT those of the database.
type breakout struct {
	name   string
	script string
	worked func(w *outside, output string) bool
	modes  string   // "tty" or "pipe": only there; empty: both
	args   []string // of psql
	apart  bool     // only namespaces hold it
}

var breakouts = []breakout{
	// Programs.
	{name: "shell", script: `\! echo BR''OKEN`, worked: prints("BROKEN")},
	{name: "shell with a file", script: `\! id > DIR/file`, worked: writes},
	{name: "shell of one's own", script: "\\setenv SHELL /usr/bin/id\n\\!", worked: prints("uid=")},
	{name: "shell from an argument", args: []string{"-c", `\! echo BR''OKEN`}, worked: prints("BROKEN")},
	{name: "psql's pager", script: "\\setenv PSQL_PAGER 'tee DIR/file'\n\\pset pager always\nselect 1;", worked: writes, modes: "tty"},
	{name: "pager", script: "\\setenv PAGER 'tee DIR/file'\n\\pset pager always\nselect 1;", worked: writes, modes: "tty"},
	{name: "pager of the help", script: "\\setenv PAGER 'tee DIR/file'\n\\pset pager always\n\\?", worked: writes, modes: "tty"},
	{
		name: "pager of watch", modes: "tty", worked: writes,
		script: "\\setenv PSQL_WATCH_PAGER 'tee DIR/file'\ncreate temp sequence s;\nselect 1/(nextval('s')-2) \\watch 0.1",
	},
	{name: "backticks", script: "\\set x `echo BR''OKEN`\n\\echo :x", worked: prints("BROKEN")},
	{name: "backticks in a condition", script: "\\if `id > DIR/file; echo 1`\n\\endif", worked: writes},
	{name: "backticks in the prompt", script: "\\set PROMPT1 '%`echo BR\"OK\"EN` '\n", worked: prints("BROKEN"), modes: "tty"},
	{name: "output to a program", script: "\\o |tee DIR/file\nselect 1;\n\\o", worked: writes},
	{name: "query to a program", script: `select 1 \g |tee DIR/file`, worked: writes},
	{name: "expanded query to a program", script: `select 1 \gx |tee DIR/file`, worked: writes},
	{name: "query buffer to a program", script: `select 1 \w |tee DIR/file`, worked: writes},
	{name: "copy to a program", script: "\\copy (select 1) to program 'tee DIR/file'", worked: writes},
	{name: "copy from a program", script: "create temp table t (x text);\n\\copy t from program 'printf %s_%s BRO KEN'\nselect * from t;", worked: prints("BRO_KEN")},
	{name: "editor", script: "\\setenv PSQL_EDITOR 'cp /etc/hostname DIR/file; true'\nselect 1\n\\e", worked: writes},
	{name: "editor of a function", script: "\\setenv EDITOR 'cp /etc/hostname DIR/file; true'\n\\ef", worked: writes},
	{name: "editor of a view", script: "\\setenv VISUAL 'cp /etc/hostname DIR/file; true'\n\\ev", worked: writes},
	{
		name: "native code from the database", worked: writes,
		script: "select lo_from_bytea(0, decode('\nHEX', 'hex')) as o \\gset\n\\lo_export :o DIR/sent.so\n" +
			"\\copy (select unnest(string_to_array('openssl_conf = a;[a];providers = b;[b];evil = c;default = d;[c];module = DIR/sent.so;activate = 1;[d];activate = 1', ';'))) to 'DIR/sent.cnf'\n" +
			"select lo_unlink(:o);\n\\setenv OPENSSL_CONF DIR/sent.cnf\n\\c \"host=127.0.0.1 port=DBPORT sslmode=require password=wrong\"",
	},
	{
		name: "native code through OpenSSL", worked: writes,
		script: "\\setenv OPENSSL_CONF DIR/openssl.cnf\n\\c \"host=127.0.0.1 port=DBPORT sslmode=require password=wrong\"",
	},

	// Reading files.
	{name: "include /etc/passwd", script: `\i /etc/passwd`, worked: prints("root:x")},
	{name: "include through a link", script: `\i DIR/link`, worked: prints("root:x")},
	{name: "include through /proc", script: `\i /proc/self/root/etc/passwd`, worked: prints("root:x")},
	{name: "include relative to a folder", script: "\\cd /etc\n\\i passwd", worked: prints("root:x")},
	{name: "include relatively", script: `\ir ../../../../../../../../etc/passwd`, worked: prints("root:x")},
	{name: "include a script", script: `\i DIR/script`, worked: prints("INCLUDED")},
	{name: "file as an argument", args: []string{"-f", "/etc/passwd"}, worked: prints("root:x")},
	{name: "copy /etc/passwd", script: "create temp table t (x text);\n\\copy t from '/etc/passwd'\nselect * from t;", worked: prints("root:x")},
	{
		name: "large object from /etc/passwd", worked: prints("root:x"),
		script: "\\lo_import /etc/passwd\nselect convert_from(lo_get(:LASTOID), 'utf8');",
	},
	{name: "own environment", script: `\i /proc/self/environ`, worked: prints("PGHOST")},
	{name: "another process", script: `\i /proc/1/cmdline`, worked: prints("syntax error")},
	{
		name: "service file", worked: prints("template1_REACHED"),
		script: "\\setenv PGSERVICEFILE DIR/service\n\\c service=other\nselect current_database() || '_REACHED';",
	},
	{
		name: "service file of a folder", worked: prints("template1_REACHED"),
		script: "\\set ir IR\n\\setenv PGSYSCONFD:ir DIR\n\\c service=other\nselect current_database() || '_REACHED';",
	},
	{name: "list a folder", script: "\\i /etc/hostn\t", worked: prints("/etc/hostname"), modes: "tty"},

	// Writing files.
	{name: "output to a file", script: "\\o DIR/file\nselect 1;\n\\o", worked: writes},
	{name: "output over a file", script: "\\o DIR/script\nselect 1;\n\\o", worked: changes("script")},
	{name: "query to a file", script: `select 1 \g DIR/file`, worked: writes},
	{name: "expanded query to a file", script: `select 1 \gx DIR/file`, worked: writes},
	{name: "output relative to a folder", script: "\\cd DIR\n\\o file\nselect 1;\n\\o", worked: writes},
	{name: "copy relative to a folder", script: "\\cd DIR\n\\copy (select 1) to file", worked: writes},
	{name: "query buffer to a file", script: "select 1\n\\w DIR/file", worked: writes},
	{name: "copy to a file", script: `\copy (select 1) to 'DIR/file'`, worked: writes},
	{
		name: "large object to a file", worked: writes,
		script: "select lo_from_bytea(0, 'x') as o \\gset\n\\lo_export :o DIR/file",
	},
	{name: "history to a file", script: "select 1;\n\\s DIR/file", worked: writes, modes: "tty"},
	{name: "log file as an argument", args: []string{"-L", "DIR/file"}, script: "select 1;", worked: writes},
	{name: "output file as an argument", args: []string{"-o", "DIR/file"}, script: "select 1;", worked: writes},
	{name: "another terminal", script: "\\o TTY\n\\qecho hello\n\\o", worked: func(w *outside, _ string) bool { return w.typed() }},

	// The network.
	{name: "TCP", script: `\c "host=127.0.0.1 port=PORT"`, worked: called},
	{name: "TCP by name", script: `\c "host=localhost hostaddr=127.0.0.1 port=PORT"`, worked: called},
	{name: "TCP with TLS", script: `\c "host=127.0.0.1 port=PORT sslmode=require"`, worked: called},
	{name: "TCP by an argument", args: []string{"-h", "127.0.0.1", "-p", "PORT"}, worked: called},
	{name: "TCP by the environment", script: "\\setenv PGHOSTADDR 127.0.0.1\n\\setenv PGPORT PORT\n\\c \"port=PORT hostaddr=127.0.0.1\"", worked: called},
	{name: "abstract socket", script: `\c "host=ABSTRACT port=5432"`, worked: called},
	{name: "another database's socket", script: `\c "host=DIR port=5432"`, worked: called, apart: true},
}

func prints(text string) func(*outside, string) bool {
	return func(_ *outside, out string) bool { return strings.Contains(out, text) }
}

func writes(w *outside, _ string) bool {
	info, err := os.Stat(filepath.Join(w.dir, "file"))
	return err == nil && info.Size() > 0
}

func changes(name string) func(*outside, string) bool {
	return func(w *outside, _ string) bool {
		text, err := os.ReadFile(filepath.Join(w.dir, name))
		return err != nil || string(text) != files(w.dir)[name]
	}
}

func called(w *outside, _ string) bool { return w.callers.Load() > 0 }

// outside is what lies around the cage, all of it within reach of everybody.
type outside struct {
	dir      string
	port     int
	abstract string
	callers  atomic.Int64
	master   *os.File // of a terminal that is not psql's
	tty      string
	code     string // of a library that writes a file when it is loaded
}

// files are in the folder, besides a link and a library.
func files(dir string) map[string]string {
	service := fmt.Sprintf("[other]\nhost=%s\nport=%d\ndbname=template1\nuser=postgres\n", cluster.Socket, cluster.Port)
	return map[string]string{
		"script":          "\\echo IN''CLUDED\n",
		"service":         service,
		"pg_service.conf": service,
		"openssl.cnf":     "openssl_conf = a\n[a]\nproviders = b\n[b]\nevil = c\ndefault = d\n[c]\nmodule = " + dir + "/evil.so\nactivate = 1\n[d]\nactivate = 1\n",
	}
}

func newOutside(t *testing.T) *outside {
	w := &outside{dir: t.TempDir(), abstract: fmt.Sprintf("@twokey-test-%d-%d", os.Getpid(), time.Now().UnixNano())}
	for d := w.dir; strings.Contains(d, "Test"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files(w.dir) {
		w.put(t, name, text)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(w.dir, "link")); err != nil {
		t.Fatal(err)
	}
	w.listen(t)
	var slave *os.File
	var err error
	if w.master, slave, err = pty.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.master.Close(); slave.Close() })
	w.tty = slave.Name()
	if err := os.Chmod(w.tty, 0o666); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *outside) put(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func (w *outside) listen(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.port = tcp.Addr().(*net.TCPAddr).Port
	abstract, err1 := net.Listen("unix", w.abstract+"/.s.PGSQL.5432")
	path := filepath.Join(w.dir, ".s.PGSQL.5432")
	named, err2 := net.Listen("unix", path)
	if err := errors.Join(err1, err2, os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	for _, l := range []net.Listener{tcp, abstract, named} {
		t.Cleanup(func() { l.Close() })
		go func() { // ends with the listener
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
}

// typed reports whether something was written to the other terminal.
// typed reports whether something was written to the terminal. The kernel brings it
// to the other side in its own time.
func (w *outside) typed() bool {
	for until := time.Now().Add(time.Second); ; time.Sleep(10 * time.Millisecond) {
		if n, err := unixPending(w.master); err != nil || n > 0 || time.Now().After(until) {
			return err != nil || n > 0
		}
	}
}

func (w *outside) fill(s string) string {
	return strings.NewReplacer("DIR", w.dir, "DBPORT", fmt.Sprint(cluster.Port), "PORT", fmt.Sprint(w.port),
		"ABSTRACT", w.abstract, "TTY", w.tty, "SOCKET", cluster.Socket, "HEX", inLines(hex.EncodeToString([]byte(w.code)))).Replace(s)
}

func (b breakout) run(t *testing.T, c *psql.Cage, w *outside, tty bool) string {
	t.Helper()
	o := toCluster()
	for _, a := range b.args {
		o.Args = append(o.Args, w.fill(a))
	}
	script := w.fill(b.script) + "\n"
	if tty {
		o.Size = session.Size{Cols: 200, Rows: 50}
		script += "\\q\n"
	}
	return converse(t, c, o, script)
}

func TestBreakouts(t *testing.T) {
	caged, free := newCage(t), newFree(t)
	together := caged.Together() // Landlock, seccomp and limits alone
	evil := library(t)
	both := 0
	for _, b := range breakouts {
		if b.modes == "" {
			both++
		}
		for _, mode := range []string{"pipe", "tty"} {
			if b.modes != "" && b.modes != mode {
				continue
			}
			t.Run(b.name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				var w *outside
				try := func(c *psql.Cage) (bool, string) {
					w = newOutside(t)
					w.code = strings.ReplaceAll(evil, placeholder, pad(filepath.Join(w.dir, "file")))
					w.put(t, "evil.so", w.code)
					out := b.run(t, c, w, mode == "tty")
					return b.worked(w, out), out
				}
				if worked, out := try(free); !worked {
					t.Fatalf("the probe does nothing even without a cage: %s", out)
				}
				for _, c := range []*psql.Cage{caged, together} {
					if worked, out := try(c); worked && (c.Apart() || !b.apart) {
						t.Errorf("broke out of %s: %s", c, out)
					}
				}
			})
		}
	}
	if both < 46 {
		t.Errorf("only %d ways out are tried both on pipes and on a terminal", both)
	}
}

// placeholder is where the library has the path of the file that it writes.
var placeholder = strings.Repeat("@", 256)

func pad(path string) string { return path + strings.Repeat("\x00", len(placeholder)-len(path)) }

// inLines breaks a long text as a person's editor would.
func inLines(text string) string {
	var b strings.Builder
	for line := range slices.Chunk([]byte(text), 1000) {
		b.Write(line)
		b.WriteByte('\n')
	}
	return b.String()
}

// library compiles one that writes a file when it is loaded.
func library(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(compile(t, "evil.so", `#include <fcntl.h>
#include <unistd.h>
static volatile char path[] = "`+placeholder+`";
__attribute__((constructor)) static void run(void) {
	int fd = open((const char *)path, O_CREAT | O_WRONLY, 0666);
	write(fd, "code\n", 5);
	close(fd);
}
`, "-shared", "-fPIC", "-Os", "-s", "-nostdlib", "-Wl,-z,noseparate-code"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// compile makes a program or library of a C source.
func compile(t *testing.T, name, source string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.Contains(d, "Test"); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	if err := os.WriteFile(filepath.Join(dir, "source.c"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	cc := exec.Command("cc", append(flags, "-w", "-o", name, "source.c")...)
	cc.Dir = dir
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("cc, which deploy/demo/deps.sh installs: %v: %s", err, out)
	}
	return filepath.Join(dir, name)
}
