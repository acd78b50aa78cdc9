package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func open(t *testing.T) *terminal {
	t.Helper()
	term, err := openTerminal("alice", t.TempDir(), "config", size{60, 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(term.close)
	return term
}

func TestTerminal(t *testing.T) {
	a := &person{play: &play{ctx: t.Context()}, name: "alice", terminal: open(t)}
	a.types("echo $((6*7))-$COLUMNS")
	if got := a.reads(`(?m)^(42-\d+)$`); got != "42-60" {
		t.Errorf("read %q: %v", got, a.err)
	}
	a.fails(a.resize(size{70, 12}))
	a.run("(exit 3)", 3)
	a.run("echo 70-$COLUMNS", 0)
	a.sees(`(?m)^70-70$`)
	if a.err != nil {
		t.Error(a.err)
	}
	a.run("true", 1)
	if a.err == nil || !strings.Contains(a.err.Error(), "the exit status is 0, not 1") {
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

func TestReadsEachTextOnce(t *testing.T) {
	term := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	term.press("echo o''ne; echo t''wo\r")
	for _, word := range []string{"one", "two"} {
		if _, err := term.reads(ctx, regexp.MustCompile("(?m)^"+word+"$")); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if _, err := term.reads(ctx, regexp.MustCompile("(?m)^one$")); err == nil {
		t.Error("read twice")
	}
}

func TestScene(t *testing.T) {
	a, b := open(t), open(t)
	for _, x := range []*terminal{a, b} {
		x.press("printf '\\303\\274ber\\n'\r")
		if _, err := x.reads(t.Context(), regexp.MustCompile("(?m)^über$")); err != nil {
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

func TestBrowser(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/login/AB", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/idp?x=1&y=2", http.StatusFound) })
	mux.HandleFunc("/idp", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `<form method="post" action="/in?a=1&amp;b=2"><input type="hidden" name="id" value="7&amp;8"><input name="username"><input name="password" type="password"></form>`)
	})
	mux.HandleFunc("/in", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("b") == "2" && r.PostFormValue("id") == "7&8" && r.PostFormValue("username") == "bob" && r.PostFormValue("password") == "bob" {
			fmt.Fprint(w, `<p class="x" id="code">123456</p>`)
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	if code, err := signIn(server.URL+"/login/AB", "bob"); code != "123456" || err != nil {
		t.Errorf("%q, %v", code, err)
	}
	if _, err := signIn(server.URL+"/login/AB", "alice"); err == nil {
		t.Error("a page without code or form is no error")
	}
}
