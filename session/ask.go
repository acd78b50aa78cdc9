package session

import (
	"context"
	"slices"
	"time"
)

// This file is where the database's side waits for people: a statement for a
// shadow's yes, and a row for somebody to release more of them.

// ask is what waits for a shadow's answer.
type ask struct {
	AskInfo
	answer chan Answer // takes one
}

// Ask waits for a shadow's yes or no. See Door. The wait begins when the gate
// is open, and takes at most as long as the mode allows: what waits may hold locks.
func (s *Session) Ask(ctx context.Context, what AskInfo) (Answer, error) {
	a := &ask{AskInfo: what, answer: make(chan Answer, 1)}
	err := s.whenOpen(ctx, func() error {
		s.asked++
		a.N = s.asked
		s.asks = append(s.asks, a)
		s.say(s.watchers() + " asked to say yes: " + OneLine(a.Text, 200))
		return s.put(Event{Type: Asked, Ask: &a.AskInfo})
	})
	if err != nil {
		return Answer{}, err
	}
	patience := s.want.Mode.Limits.Approval
	late := time.AfterFunc(patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.answer(a.N, Answer{Why: "nobody decided within " + Brief(patience)})
	})
	defer late.Stop()
	select {
	case answer := <-a.answer:
		return answer, nil
	case <-s.ctx.Done():
		return Answer{}, context.Cause(s.ctx)
	case <-ctx.Done():
		return s.withdraw(a, context.Cause(ctx))
	}
}

// answer decides what waits under a number, once. The caller holds mu.
func (s *Session) answer(n int, with Answer) {
	i := slices.IndexFunc(s.asks, func(a *ask) bool { return a.N == n })
	if i < 0 || s.ctx.Err() != nil {
		return
	}
	a := s.asks[i]
	with.All = with.All && a.All
	e := Event{Type: Denied, Who: with.By, Text: with.Why, Ask: &AskInfo{N: n, All: with.All}}
	said := "no"
	if with.Yes {
		e.Type, said = Approved, "yes"
	}
	if s.put(e) != nil {
		return
	}
	s.asks = slices.Delete(s.asks, i, i+1)
	s.active = time.Now()
	if with.By != "" {
		s.say(with.By + " says " + said + ".")
	}
	a.answer <- with
}

// withdraw takes back what nobody waits for any more, unless it was answered
// at the same moment.
func (s *Session) withdraw(a *ask, cause error) (Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case answer := <-a.answer:
		return answer, nil
	default:
	}
	s.asks = slices.DeleteFunc(s.asks, func(b *ask) bool { return a == b })
	s.put(Event{Type: Withdrawn, Ask: &AskInfo{N: a.N}})
	return Answer{}, cause
}

// How many rows are given out to a connection at once: where there is a limit,
// and where there is none.
const (
	rowsAtOnce = 64
	allRows    = 1 << 30
)

// Rows returns how many more rows may be shown. See Door. Beyond the mode's
// limit the gate is shut until a shadow releases it; where no shadow can come,
// that is the end.
func (s *Session) Rows(ctx context.Context) (n int, err error) {
	limit := s.want.Mode.Limits.Rows
	if limit == 0 {
		return allRows, nil
	}
	for {
		n, changed, err := s.takeRows(limit)
		if n > 0 || err != nil {
			return n, err
		}
		if err := s.wait(ctx, changed); err != nil {
			return 0, err
		}
	}
}

func (s *Session) takeRows(limit int64) (n int, changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.rowsOut && s.rows >= limit {
		if len(s.want.Mode.Shadows) == 0 {
			s.end(Cause{Code: TooManyRows, Text: "this mode shows at most " + count(limit, "row") + " in a session"})
			return 0, nil, context.Cause(s.ctx)
		}
		s.rowsOut = true
		s.turn()
	}
	if s.rowsOut {
		return 0, s.changed, nil
	}
	n = int(min(rowsAtOnce, limit-s.rows))
	s.rows += int64(n)
	return n, nil, nil
}
