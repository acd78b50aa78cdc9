package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// notices is where a drama's bastion tells what happens: a webhook that keeps
// what it hears.
type notices struct {
	*httptest.Server
	mu    sync.Mutex
	heard string // a line for each
}

func hearNotices() *notices {
	n := &notices{}
	n.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.heard += string(body) + "\n"
	}))
	return n
}

// noticed PATTERN: what was told, a JSON object a line.
func noticedCmd(ts *testscript.TestScript, neg bool, args []string) {
	n := world(ts).notices
	waitFor(ts, func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		return match(n.heard, args[0], neg, "what was told")
	})
}
