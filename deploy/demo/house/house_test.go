package house

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
)

func TestReadsEachTextOnce(t *testing.T) {
	term, err := OpenTerminal("alice", t.TempDir(), "config", Size{60, 10})
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	ctx, cancel := context.WithCancel(t.Context())
	term.Press("echo o''ne; echo t''wo\r")
	for _, word := range []string{"one", "two"} {
		if _, err := term.Reads(ctx, regexp.MustCompile("(?m)^"+word+"$")); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if _, err := term.Reads(ctx, regexp.MustCompile("(?m)^one$")); err == nil {
		t.Error("read twice")
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
	if code, err := SignIn(server.URL+"/login/AB", "bob"); code != "123456" || err != nil {
		t.Errorf("%q, %v", code, err)
	}
	if _, err := SignIn(server.URL+"/login/AB", "alice"); err == nil {
		t.Error("a page without code or form is no error")
	}
}
