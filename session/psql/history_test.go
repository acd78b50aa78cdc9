package psql_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/psql"
)

// This file is about the up arrow.

var (
	alice = session.Identity{Issuer: "https://idp", Subject: "alice"}
	bob   = session.Identity{Issuer: "https://idp", Subject: "bob"}
)

func openHistory(t *testing.T) (*psql.History, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "history")
	h, err := psql.OpenHistory(dir)
	if err != nil {
		t.Fatal(err)
	}
	return h, dir
}

// private is a gateway of one session, which leads to the database.
func private(t *testing.T) psql.Options {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.Contains(d, "Test"); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := os.Chmod(filepath.Join(dir, ".s.PGSQL.5432"), 0o666); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the listener
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", fmt.Sprintf("%s/.s.PGSQL.%d", cluster.Socket, cluster.Port))
			if err != nil {
				near.Close()
				return
			}
			go func() { io.Copy(far, near); far.Close() }()
			go func() { io.Copy(near, far); near.Close() }()
		}
	}()
	return psql.Options{Socket: dir, Database: "postgres", User: "postgres", Term: "xterm"}
}

// seat opens a psql that remembers.
func seat(t *testing.T, past *psql.Past) *typist {
	t.Helper()
	o := private(t)
	o.Past = past
	p := sit(t, o)
	p.sees(prompt)
	return p
}

func (p *typist) leaves() {
	p.Helper()
	p.types("\\q\r")
	if status := p.s.Wait(); status != 0 {
		p.Errorf("status %d", status)
	}
	if err := p.s.Remembered(); err != nil {
		p.Error(err)
	}
}

func TestHistory(t *testing.T) {
	h, dir := openHistory(t)
	p := seat(t, h.Of(alice, "orders"))
	p.types("select 'first';\r", "\n first", prompt)
	p.types("select\r'in two lines';\r", "\n in two lines", prompt)
	p.leaves()

	p = seat(t, h.Of(alice, "orders"))
	p.types(up+up+"\r", "\n in two lines", prompt)
	p.types(up+up+up+up+"\r", "\n first", prompt)
	p.leaves()

	for _, past := range []*psql.Past{h.Of(bob, "orders"), h.Of(alice, "payments"), nil} {
		p = seat(t, past)
		p.types("\\s\r", "\\s\r\n", prompt)
		if p.skip("first") {
			t.Error("alice's line for orders was shown elsewhere")
		}
		p.types(up+up+up+"\r", prompt)
		if p.skip("first") {
			t.Error("alice's line for orders was found elsewhere")
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 { // the others did not end by themselves
		t.Fatalf("%v: %v", files, err)
	}
	if info, err := files[0].Info(); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file's mode is %v: %v", info.Mode(), err)
	}
}

// Two sessions of one person at once, and one that is killed.
func TestHistoryOfSeveral(t *testing.T) {
	h, _ := openHistory(t)
	past := h.Of(alice, "orders")
	one, two, killed := seat(t, past), seat(t, past), seat(t, past)
	one.types("select 'from one';\r", "\n from one", prompt)
	two.types("select 'from two';\r", "\n from two", prompt)
	killed.types("select 'killed';\r", "\n killed", prompt)
	killed.s.Kill()
	if err := killed.s.Remembered(); err != nil {
		t.Error(err)
	}
	one.leaves()
	two.leaves()
	p := seat(t, past)
	p.types("\\s\r", "select 'from one';", "select 'from two';")
}

// A psql may say anything: what is kept is text, bounded, without passwords.
func TestHistoryIsText(t *testing.T) {
	for _, c := range []struct{ said, kept string }{
		{"select 1;\nselect\x012;\n", "select 1;\nselect\x012;\n"},
		{"a\na\nb\na\n", "a\nb\na\n"},
		{"no end", "no end\n"},
		{"\x7fELF\x02\x01\x01\x00\x00\nselect 'grüße';\n\xff\xfe\n", "select 'grüße';\n"},
		{"\x1b]0;title\x07\n\u009b5n\n\n  \n\tselect 1;\n", "\tselect 1;\n"},
		{"alter role a PASSWORD 'x';\n\\password\ncreate user b passwd 'c';\nx\n", "x\n"},
		{strings.Repeat("x", 300<<10) + "\nshort\n", "short\n"},
		{strings.Repeat("1\n2\n", 1000), strings.Repeat("1\n2\n", 500)},
		{strings.Repeat(strings.Repeat("x", 99<<10)+"\n"+strings.Repeat("y", 99<<10)+"\n", 5), strings.Repeat("x", 99<<10) + "\n" + strings.Repeat("y", 99<<10) + "\n"},
	} {
		if got := string(psql.Tidy([]byte(c.said))); got != c.kept {
			t.Errorf("%.60q became %.60q, not %.60q", c.said, got, c.kept)
		}
	}
}

// What a psql can do with its history is read the lines before, and write new
// ones: it can not read what it wrote, nor change what it may read.
func TestHistoryIsNoWayOut(t *testing.T) {
	h, _ := openHistory(t)
	past := h.Of(alice, "orders")
	if err := past.Add([]byte("select 'before';\n")); err != nil {
		t.Fatal(err)
	}
	o := private(t)
	o.Past = past
	p := sit(t, o)
	p.sees(prompt)
	name := filepath.Join(o.Socket, "history")
	p.types("create temp table t (x text);\r", "CREATE TABLE", prompt)
	p.types("\\i "+name+"\r", "ermission denied", prompt)
	p.types("\\copy t from '"+name+"'\r", "ermission denied", prompt)
	for _, beside := range []string{name + "2", name + ".pipe", filepath.Join(o.Socket, ".s.PGSQL.5433")} {
		p.types("\\copy (select 1) to '"+beside+"'\r", beside+": ", prompt)
		if _, err := os.Lstat(beside); err == nil {
			t.Errorf("psql made %s", beside)
		}
	}
	p.types("\\copy (select chr(127) || 'ELF' || x from generate_series(1, 100000) x) to '"+name+"'\r", "COPY 100000", prompt) // more than a pipe holds
	p.types("\\copy (select 'forged') to '"+name+"'\r", "COPY 1", prompt)
	p.leaves()
	kept, err := past.Read()
	if err != nil || strings.Contains(string(kept), "ELF1") || !strings.Contains(string(kept), "forged\n") || !strings.HasPrefix(string(kept), "select 'before';\n") {
		t.Errorf("%v: %.300q", err, kept)
	}
}

// Whatever descriptor is the one too many: nothing is left of a start that fails.
func TestNothingIsLeftOfAFailedStart(t *testing.T) {
	h, _ := openHistory(t)
	c := newCage(t)
	o := private(t)
	o.Past, o.Size = h.Of(alice, "orders"), session.Size{Cols: 80, Rows: 24}
	var release func()
	var err error
	if o.UID, release, err = c.Reserve(); err != nil {
		t.Fatal(err)
	}
	defer release()
	descriptors := func() int {
		list, _ := os.ReadDir("/proc/self/fd")
		return len(list) - 1 // its own
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	before := descriptors()
	failed := 0
	for room := 0; room < 100; room++ {
		tight := unix.Rlimit{Cur: uint64(before + room), Max: limit.Max}
		unix.Setrlimit(unix.RLIMIT_NOFILE, &tight)
		s, err := c.Start(o)
		unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
		if err == nil {
			s.Kill()
			break
		}
		failed++
		files, _ := filepath.Glob(o.Socket + "/history*")
		if now := descriptors(); now != before || len(files) > 0 {
			t.Errorf("with room for %d (%v): %d descriptors more, and %q", room, err, now-before, files)
		}
	}
	if failed < 5 {
		t.Errorf("only %d starts failed", failed)
	}
}
