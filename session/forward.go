package session

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
)

// This file is the engineer's own clients, on a forwarded port. They stand behind
// the same gate and are on the same tape as psql, or in its place.

// maxClients is how many a session serves at once.
const maxClients = 16

// Forward serves one client until it leaves or the session ends. It closes
// conn. It fails when there are too many.
func (s *Session) Forward(conn net.Conn) error {
	defer conn.Close()
	c, err := s.opener.Greet(conn)
	if err != nil {
		return nil // it has been told
	}
	if err := s.meet(c); err != nil {
		return err
	}
	defer s.part(c)
	if c.Wait(s.ctx, s.ready) {
		s.behind.Load().gateway.Serve(c)
	}
	return nil
}

// clients are those who are there. They have a lock of their own, so that an end
// reaches them though the tape hangs.
type clients struct {
	mu   sync.Mutex
	list []Client
}

// meet takes a client in, and tells it what the session waits for.
func (s *Session) meet(c Client) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients.mu.Lock()
	defer s.clients.mu.Unlock()
	if len(s.clients.list) >= maxClients {
		return errors.New("too many clients at once")
	}
	s.clients.list = append(s.clients.list, c)
	if line := s.waitLine(s.want.Join); line != "" {
		c.Tell(line)
	}
	return nil
}

func (s *Session) part(c Client) {
	s.clients.mu.Lock()
	defer s.clients.mu.Unlock()
	s.clients.list = slices.DeleteFunc(s.clients.list, func(d Client) bool { return c == d })
}

func (cs *clients) each(do func(Client)) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.list {
		do(c)
	}
}

// stops takes what is typed where there is no psql: Ctrl-C and Ctrl-D end the
// session, and all else means nothing.
func (s *Session) stops(p []byte) error {
	if !bytes.ContainsAny(p, "\x03\x04") {
		return nil
	}
	s.mu.Lock()
	opened := !s.opened.IsZero()
	s.mu.Unlock()
	if opened {
		s.end(Cause{Code: Quit})
	} else {
		s.end(Cause{Code: Abandoned, Text: "the wait was given up"})
	}
	return context.Cause(s.ctx)
}
