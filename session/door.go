package session

import (
	"bytes"
	"context"
	"time"
)

// This file holds the two doors: everything an engineer does goes through one
// of them, and both ask the gate each time. Pass is the gateway's, for messages to the
// database; typed and piped are psql's, for keystrokes and scripts.

// Pass waits until the gate is open, puts the event on the tape and returns
// nil: the message may go to the database now. See Door.
func (s *Session) Pass(ctx context.Context, e *Event) error {
	return s.whenOpen(ctx, func() error {
		if e == nil {
			return nil
		}
		if err := s.put(*e); err != nil {
			return err
		}
		if e.Statement != nil && e.Statement.Protocol != "parse" {
			s.statements++
			s.running[e.Statement.N] = struct{}{}
		}
		return nil
	})
}

// Note puts something that already happened on the tape. See Door.
func (s *Session) Note(e Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Type == Result {
		if e.Result != nil {
			delete(s.running, e.Result.N)
		}
		s.active = time.Now()
	}
	if e.Type == Alarm {
		s.alarm = true
	}
	return s.put(e)
}

// whenOpen runs do under the lock at a moment when the gate is open, waiting
// for one. It returns the session's cause when that moment will never come.
func (s *Session) whenOpen(ctx context.Context, do func() error) error {
	for {
		changed, err := s.ifOpen(do)
		if changed == nil {
			return err
		}
		if err := s.wait(ctx, changed); err != nil {
			return err
		}
	}
}

// ifOpen runs do under the lock if the gate is open. If not, it returns a
// channel that is closed when it is worth asking again.
func (s *Session) ifOpen(do func() error) (changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.facts().Gate().Open {
		return nil, do()
	}
	return s.changed, nil
}

func (s *Session) wait(ctx context.Context, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// typed takes keystrokes from a terminal. At a shut gate they are dropped,
// never queued, and the engineer is told.
func (s *Session) typed(p []byte) error {
	recorded := false
	for len(p) > 0 {
		n, err := s.keystrokes(p, !recorded)
		if err != nil {
			return err
		}
		recorded = true
		if p = p[n:]; len(p) > 0 {
			if err := s.shell.Writable(); err != nil {
				return err
			}
		}
	}
	return nil
}

// keystrokes asks the gate, records and hands over what psql takes at once.
// It returns len(p) when they were dropped.
func (s *Session) keystrokes(p []byte, record bool) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.facts().Gate().Open || s.shell == nil {
		return len(p), s.drop(p)
	}
	if record {
		if err := s.recordInput(p); err != nil {
			return 0, err
		}
	}
	s.active = time.Now()
	return s.shell.Write(p)
}

// recordInput puts what was typed on the tape, except while psql reads a
// password: then only that something was typed, once, not even how much.
func (s *Session) recordInput(p []byte) error {
	secret := s.shell.Secret()
	again := secret && s.secret
	s.secret = secret
	if again {
		return nil
	}
	if secret {
		return s.put(Event{Type: Input, Hidden: true})
	}
	return s.put(Event{Type: Input, Bytes: p})
}

// drop forgets what was typed at a shut gate. While waiting for the first
// shadow, Ctrl-C and Ctrl-D mean giving up. The caller holds mu.
func (s *Session) drop(p []byte) error {
	if s.opened.IsZero() && bytes.ContainsAny(p, "\x03\x04") {
		s.end(Cause{Code: Abandoned, Text: "the engineer gave up waiting"})
		return context.Cause(s.ctx)
	}
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	first := s.dropped == 0
	s.dropped += len(p)
	if first {
		s.say("what you type now goes nowhere: " + s.facts().Gate().Why + ".")
	}
	return nil
}

// recordDropped puts what was dropped since the last time on the tape, as a
// number. The caller holds mu.
func (s *Session) recordDropped() {
	if s.dropped > 0 {
		s.put(Event{Type: Dropped, N: s.dropped})
		s.dropped = 0
	}
}

// piped takes a script from standard input. Unlike a person, a script can
// wait: at a shut gate it is held back, and nothing is lost.
func (s *Session) piped(p []byte) error {
	recorded := false
	for len(p) > 0 {
		err := s.whenOpen(s.ctx, func() error {
			if !recorded {
				if err := s.put(Event{Type: Input, Bytes: p}); err != nil {
					return err
				}
				recorded = true
			}
			s.active = time.Now()
			n, err := s.shell.Write(p)
			p = p[n:]
			return err
		})
		if err != nil {
			return err
		}
		if len(p) > 0 {
			if err := s.shell.Writable(); err != nil {
				return err
			}
		}
	}
	return nil
}
