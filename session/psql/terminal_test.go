package psql_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/psql"
)

// This file types at a caged psql as a person does.

// typist is at a terminal.
type typist struct {
	*testing.T
	s *psql.Shell

	mu   sync.Mutex
	seen bytes.Buffer // since the last match
}

func sit(t *testing.T, o psql.Options) *typist {
	t.Helper()
	o.Size = session.Size{Cols: 80, Rows: 24}
	p := &typist{T: t, s: open(t, newCage(t), o)}
	done := make(chan struct{})
	go func() { defer close(done); io.Copy(p, p.s) }()
	t.Cleanup(func() { p.s.Kill(); <-done })
	return p
}

// Write takes what the terminal shows.
func (p *typist) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen.Write(text)
}

// types something and reads on until each of the texts has been shown, in this order.
func (p *typist) types(keys string, texts ...string) {
	p.Helper()
	if _, err := io.WriteString(writer{p.s}, keys); err != nil {
		p.Fatal(err)
	}
	p.sees(texts...)
}

func (p *typist) sees(texts ...string) {
	p.Helper()
	for _, text := range texts {
		deadline := time.Now().Add(15 * time.Second)
		for !p.skip(text) {
			if time.Now().After(deadline) {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.Fatalf("no %q in %q", text, p.seen.String())
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
}

// skip drops what was seen up to the end of the text.
func (p *typist) skip(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, after, found := bytes.Cut(p.seen.Bytes(), []byte(text))
	if found {
		p.seen = *bytes.NewBuffer(bytes.Clone(after))
	}
	return found
}

const prompt = "postgres=# "

const (
	up   = "\x1b[A"
	left = "\x1b[D"
)

func TestEditing(t *testing.T) {
	p := sit(t, toCluster())
	p.sees(prompt)
	p.types("select 'wXrld';"+strings.Repeat(left, 5)+"\x7fo"+"\r", "\n world", prompt) // the X becomes an o
	p.types(up+"\r", "\n world", prompt)
	p.types("\\s\r", "select 'world';", prompt)
	p.types("\x12wor", "\x1b[7mwor") // search backwards; what is found is in reverse
	p.types("\r", "\n world", prompt)
	p.types("select count(*) > 0 as yes from pg_stat_acti\t;\r", "pg_stat_activity", " t\r", prompt)
	p.types("select 'grüße';\r", "\n grüße", prompt)
	p.types("\\q\r")
	if status := p.s.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestInterrupts(t *testing.T) {
	o := toCluster()
	p := sit(t, o)
	p.sees(prompt)
	p.types("select 'never", "never")
	p.types("\x03", prompt)
	p.types("select pg_sleep(600), 'interrupts';\r")
	eventually(t, "the statement runs", func() bool {
		n, err := cluster.Exec("select count(*) from pg_stat_activity where query like 'select pg_sleep(600), ''interrupts%' and state = 'active'")
		return err == nil && n == "1"
	})
	p.types("\x03", "canceling statement due to user request", prompt)
	p.types("select 'tick' || 'tock' \\watch 0.05\r", "ticktock", "ticktock", "ticktock")
	p.types("\x03", prompt)
	p.types("select 'still' || 'here';\r", "stillhere", prompt)
}

func TestSecrets(t *testing.T) {
	if _, err := cluster.Exec("drop role if exists person; create role person login"); err != nil {
		t.Fatal(err)
	}
	o := toCluster()
	o.User = "person"
	p := sit(t, o)
	p.sees("postgres=> ")
	if p.s.Secret() {
		t.Error("the prompt is said to be a secret")
	}
	p.types("\\prompt 'Say: ' x\r", "Say: ")
	if p.s.Secret() {
		t.Error("\\prompt is said to be a secret")
	}
	p.types("hel\x7flo there\r", "postgres=> ")
	p.types("\\echo :x\r", "\rhelo there", "postgres=> ")
	p.types("\\password\r", "Enter new password")
	eventually(t, "psql reads a password", p.s.Secret)
	p.types("swordfish\r", "Enter it again: ")
	eventually(t, "psql reads a password again", p.s.Secret)
	p.types("swordfish\r", "postgres=> ")
	eventually(t, "psql reads commands", func() bool { return !p.s.Secret() })
	if n, err := cluster.Exec("select count(rolpassword) from pg_authid where rolname = 'person'"); n != "1" {
		t.Errorf("%s passwords set: %v", n, err)
	}
	p.types("\\echo end\r", "\rend")
	if p.skip("swordfish") {
		t.Error("the password was shown")
	}
}

func TestResize(t *testing.T) {
	p := sit(t, toCluster())
	p.sees(prompt)
	p.types("\\x auto\r", prompt)
	p.types("select 1 as one, repeat('w', 90) as long;\r", "RECORD 1", prompt)
	if err := p.s.Resize(session.Size{Cols: 200, Rows: 50}); err != nil {
		t.Fatal(err)
	}
	p.types("select 1 as one, repeat('w', 90) as long;\r", "(1 row)", prompt)
	for _, odd := range []session.Size{{}, {Cols: 1 << 30, Rows: -1}} {
		if err := p.s.Resize(odd); err != nil {
			t.Errorf("%v: %v", odd, err)
		}
	}
	p.types("\\echo en''d\r", "end")
}

// What is pasted arrives whole, though psql reads it line by line.
func TestPaste(t *testing.T) {
	const lines = 1000
	p := sit(t, toCluster())
	p.sees(prompt)
	var paste strings.Builder
	for i := range lines {
		fmt.Fprintf(&paste, "select %d + 100000;\r", i)
	}
	go io.WriteString(writer{p.s}, paste.String()) // ends with psql at the latest
	for i := range lines {
		p.sees(fmt.Sprintf("   %d", i+100000)) // anything may stand around it: the terminal echoes while psql prints
	}
}

// A psql that does not read takes only so much, and at once says so.
func TestWriteDoesNotWait(t *testing.T) {
	for _, size := range []session.Size{{}, {Cols: 80, Rows: 24}} {
		o := toCluster()
		o.Size = size
		s := open(t, newCage(t), o)
		go io.Copy(io.Discard, s) // ends with psql
		io.WriteString(writer{s}, "select pg_sleep(600), 'busy';\n")
		eventually(t, "the statement runs", func() bool {
			n, err := cluster.Exec("select count(*) from pg_stat_activity where query like 'select pg_sleep(600), ''busy%' and state = 'active'")
			return err == nil && n == "1"
		})
		waited := fillUp(t, s)
		s.Kill()
		<-waited
		if n, err := s.Write([]byte("x")); n != 0 || err == nil {
			t.Errorf("a psql that is gone took %d bytes: %v", n, err)
		}
		eventually(t, "the statement is gone", func() bool {
			_, err := cluster.Exec("select pg_terminate_backend(pid) from pg_stat_activity where query like 'select pg_sleep(600), ''busy%'")
			n, _ := cluster.Exec("select count(*) from pg_stat_activity where query like 'select pg_sleep(600), ''busy%'")
			return err == nil && n == "0"
		})
	}
}

// fillUp writes until a psql takes no more, and returns what ends with the
// wait for it to take more. On a terminal there can be room again a moment
// after there was none, as the kernel moves bytes on; not for ever.
func fillUp(t *testing.T, s *psql.Shell) (waited chan struct{}) {
	t.Helper()
	for took := 0; took < 1<<20; {
		n, err := s.Write([]byte(strings.Repeat("select 1;\n", 400)))
		if err != nil {
			t.Fatalf("after %d bytes: %v", took, err)
		}
		if took += n; n > 0 {
			continue
		}
		took += 4000 // a turn for nothing counts too
		waited = make(chan struct{})
		go func() { defer close(waited); s.Writable() }()
		select {
		case <-waited:
		case <-time.After(50 * time.Millisecond):
			return waited
		}
	}
	t.Fatal("it always takes more, or says so")
	return nil
}

// A script arrives whole, and so does its output, whatever bytes are in it.
func TestPipes(t *testing.T) {
	const lines = 50_000
	var script, want strings.Builder
	for i := range lines {
		fmt.Fprintf(&script, "\\echo line %d of a script\n", i)
		fmt.Fprintf(&want, "line %d of a script\n", i)
	}
	if got := converse(t, newCage(t), toCluster(), script.String()); got != want.String() {
		t.Errorf("%d bytes of %d", len(got), want.Len())
	}
	o := toCluster()
	o.Args = []string{"-Atc", "\\echo <&>\xff\x01"}
	if got := converse(t, newCage(t), o, ""); got != "<&>\xff\x01\n" {
		t.Errorf("an argument became %q", got)
	}
	o.Args = []string{"-Atc", "select oops"}
	s := open(t, newCage(t), o)
	s.CloseInput()
	errs, _ := io.ReadAll(s.Errors())
	if status := s.Wait(); status != 1 || !strings.Contains(string(errs), `column "oops" does not exist`) {
		t.Errorf("status %d: %s", status, errs)
	}
}
