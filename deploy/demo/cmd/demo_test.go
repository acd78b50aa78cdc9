package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/twokey/twokey/deploy/demo/house"
)

func open(t *testing.T) *house.Terminal {
	t.Helper()
	term, err := house.OpenTerminal("alice", t.TempDir(), "config", house.Size{Cols: 60, Rows: 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(term.Close)
	return term
}

func TestTerminal(t *testing.T) {
	a := &person{play: &play{ctx: t.Context()}, name: "alice", Terminal: open(t)}
	a.reads(`\$ `)
	a.types("echo $((6*7))-$COLUMNS")
	if got := a.reads(`(?m)^(42-\d+)$`); got != "42-60" {
		t.Errorf("read %q: %v", got, a.err)
	}
	a.ends(0)
	a.fails(a.Resize(house.Size{Cols: 70, Rows: 12}))
	a.run("(exit 3)", 3)
	a.run("echo 70-$COLUMNS", 0)
	a.sees(`(?m)^70-70$`)
	if a.err != nil {
		t.Error(a.err)
	}
	a.run("true", 1)
	if a.err == nil || !strings.Contains(a.err.Error(), "the exit status is \"\", not 1") {
		t.Errorf("a wrong status: %v", a.err)
	}
}

func TestNothingIsDoneAfterTheFirstError(t *testing.T) {
	a := &person{play: &play{ctx: t.Context()}, name: "alice"} // no terminal: using it would panic
	first := fmt.Errorf("first")
	a.fails(first)
	a.fails(fmt.Errorf("second"))
	a.run("ls", 0)
	a.sees("x")
	a.signsIn()
	a.show("x", a)
	a.until("never", func() bool { panic("asked") })
	if a.err != first {
		t.Errorf("the error is %v", a.err)
	}
}

func TestScene(t *testing.T) {
	a, b := open(t), open(t)
	for _, x := range []*house.Terminal{a, b} {
		x.Press("printf '\\303\\274ber\\n'\r")
		if _, err := x.Reads(t.Context(), regexp.MustCompile("(?m)^über$")); err != nil {
			t.Fatal(err)
		}
	}
	for cols, beside := range map[int]bool{130: true, 80: false} {
		var out bytes.Buffer
		s := &stage{out: &out, cols: cols}
		s.scene(a, b)
		lines := strings.Split(out.String(), "\n")
		if got := strings.Count(lines[0], "┌─ alice"); (got == 2) != beside {
			t.Errorf("%d columns: %d boxes in\n%s", cols, got, out.String())
		}
		if strings.Count(out.String(), "│über") != 2 {
			t.Errorf("%d columns:\n%s", cols, out.String())
		}
	}
}
