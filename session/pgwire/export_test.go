package pgwire

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"

	"github.com/twokey/twokey/session"
)

// Relay runs the two halves of a link between any client and any server, and
// returns why it ended.
func Relay(client, server net.Conn, door session.Door) error {
	ctx, end := context.WithCancelCause(context.Background())
	g := &Gateway{db: &Database{}, door: door, log: slog.New(slog.DiscardHandler), ctx: ctx, numbering: make(chan struct{}, 1)}
	l := &link{g: g, c: &Client{}, client: client, in: newReader(client), up: server, ctx: ctx, end: end, talk: newDialogue('I', map[string]string{"client_encoding": "UTF8", "standard_conforming_strings": "on"})}
	defer context.AfterFunc(ctx, l.interrupt)()
	var half sync.WaitGroup
	half.Go(func() { l.half(l.fromServer) })
	l.half(l.fromClient)
	half.Wait()
	return context.Cause(ctx)
}

// Hello is the greeting, for fuzzing.
func Hello(conn net.Conn) (user, database string, err error) {
	s, _, err := hello(newReader(conn), io.Discard)
	if s == nil {
		return "", "", err
	}
	return s.user, s.name, err
}

// WithoutPasswords is exported for its test table.
var WithoutPasswords = withoutPasswords

// Class names what a text seems to be, for its test table.
func Class(sql string) string {
	w := wordsOf(sql)
	if w.first == "" && !w.several {
		return "nothing"
	}
	name := []string{"other", "reading", "setting", "marking", "ending", "undoing"}[w.class()]
	if w.mayEnd() {
		name += ", may end"
	}
	return name
}
