package session

import (
	"bytes"
	"context"
	"time"
)

// This file takes what is typed at a terminal. It reads all the time: what
// arrives at a shut gate is dropped there and then, also while psql has not
// taken what was typed before, and nothing typed is kept for when it opens.

// aheadMost is how much may be typed ahead of a psql that does not read, before
// the engineer's terminal has to wait; in bytes.
const aheadMost = 64 << 10

// typed takes keystrokes. At a shut gate they are dropped, never queued, and
// the engineer is told.
func (s *Session) typed(p []byte) error {
	for len(p) > 0 {
		n, changed, err := s.keystrokes(p)
		if err != nil {
			return err
		}
		if p = p[n:]; n > 0 {
			continue
		}
		select {
		case <-s.room:
		case <-changed:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
	return nil
}

// keystrokes asks the gate, records and hands over. It returns how many bytes
// are dealt with; if none, it is worth trying again when there is room, or when
// changed is closed.
func (s *Session) keystrokes(p []byte) (n int, changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.turn().Open || s.psql() == nil {
		return len(p), nil, s.drop(p)
	}
	if len(s.ahead) >= aheadMost {
		return 0, s.changed, nil
	}
	p, err = s.recordInput(p)
	if err != nil {
		return 0, nil, err
	}
	s.active = time.Now()
	return len(p), nil, s.hand(p)
}

// recordInput puts what was typed on the tape, except while psql reads a
// password: then only that something was typed, once, not even how much, and
// no further than to the end of the line, as what is behind it is none. It
// returns what it dealt with. The caller holds mu.
func (s *Session) recordInput(p []byte) ([]byte, error) {
	secret := s.psql().Secret()
	again := secret && s.secret
	s.secret = secret
	if !secret {
		return p, s.put(Event{Type: Input, Bytes: p})
	}
	if end := bytes.IndexAny(p, "\r\n"); end >= 0 {
		p = p[:end+1]
	}
	if again {
		return p, nil
	}
	return p, s.put(Event{Type: Input, Hidden: true})
}

// hand gives psql what it takes at once and keeps the rest for it. The caller
// holds mu.
func (s *Session) hand(p []byte) error {
	if len(s.ahead) == 0 {
		n, err := s.psql().Write(p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	if len(p) == 0 {
		return nil
	}
	first := len(s.ahead) == 0
	s.ahead = append(s.ahead, p...)
	if first {
		go s.handRest() // ends when psql has taken it, or is gone
	}
	return nil
}

// handRest gives psql the rest as it takes it, or drops it at a shut gate.
func (s *Session) handRest() {
	defer s.caught()
	for more := true; more; {
		if s.psql().Writable() != nil {
			return
		}
		more = s.handMore()
		poke(s.room)
	}
}

func (s *Session) handMore() (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.turn().Open {
		s.drop(s.ahead)
		s.ahead = nil
		return false
	}
	n, err := s.psql().Write(s.ahead)
	if err != nil {
		return false
	}
	if s.ahead = s.ahead[n:]; len(s.ahead) == 0 {
		s.ahead = nil // the array was as large as the paste
	}
	return len(s.ahead) > 0
}

// drop forgets what was typed at a shut gate. While waiting for the first
// shadow, Ctrl-C and Ctrl-D mean giving up. The caller holds mu.
func (s *Session) drop(p []byte) error {
	if s.opened.IsZero() && bytes.ContainsAny(p, "\x03\x04") {
		s.end(Cause{Code: Abandoned, Text: "the wait was given up"})
		return context.Cause(s.ctx)
	}
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	first := s.dropped == 0
	s.dropped += len(p)
	if first {
		why := s.facts().Gate().Why
		if why == "" {
			why = "psql is starting"
		}
		s.say("what you type now goes nowhere: " + why + ".")
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
