package session

import (
	"context"
	"time"
)

// This file holds the two doors: everything an engineer does goes through one
// of them, and both ask the gate each time. Pass is the gateway's, for messages to the
// database; typed (typing.go) and piped are psql's, for keystrokes and scripts.

// Pass waits until the gate is open, puts the event on the tape and returns
// nil: the message may go to the database now. See Door.
func (s *Session) Pass(ctx context.Context, e *Event) error {
	var feeds []*Feed
	err := s.whenOpen(ctx, func() error {
		if e == nil {
			return nil
		}
		feeds = append(feeds, s.feeds...)
		if err := s.put(*e); err != nil {
			return err
		}
		if e.Statement != nil && e.Statement.Protocol != "parse" {
			s.statements++
			s.running[e.Statement.N] = struct{}{}
		}
		return nil
	})
	if err == nil {
		s.pace(feeds)
	}
	return err
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
	if s.turn().Open {
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
			n, err := s.psql().Write(p)
			p = p[n:]
			return err
		})
		if err != nil {
			return err
		}
		if len(p) > 0 {
			if err := s.psql().Writable(); err != nil {
				return err
			}
		}
	}
	return nil
}
