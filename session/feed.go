package session

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

// How far a feed may be behind before the engineer's output waits for it, and
// how long that wait lasts before the feed is given up: nobody outruns the
// people who watch, and nobody who sleeps stops the session for ever.
const (
	feedBytes   = 256 << 10
	feedAge     = 250 * time.Millisecond
	feedPatient = 5 * time.Second
)

// ErrTooSlow is what a feed ends with that took nothing for five seconds.
var ErrTooSlow = errors.New("the viewer took nothing for five seconds")

// Feed is one reader of a live session's events.
type Feed struct {
	session *Session
	only    []EventType // nil: all

	mu     sync.Mutex
	queue  []Event
	queued int       // bytes in queue
	since  time.Time // when the first in queue came
	taken  int       // bytes handed out by the last Next and not yet known to be digested
	oldest time.Time // when the first of those came
	err    error
	ready  chan struct{} // holds one token when queue or err changed
	room   chan struct{} // holds one token when the reader came back
}

func newFeed(s *Session) *Feed {
	return &Feed{session: s, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// Next returns the events since the last call, at least one, waiting for
// them; their Bytes may be kept. The error is io.EOF after the End event, or
// ctx's. The session's output waits for a feed that is more than 256 KiB
// or 250 ms behind, and drops one that takes nothing for five seconds: Next
// then returns ErrTooSlow.
func (f *Feed) Next(ctx context.Context) ([]Event, error) {
	f.mu.Lock()
	f.taken = 0
	f.mu.Unlock()
	poke(f.room)
	for {
		if events, err := f.take(); events != nil || err != nil {
			return events, err
		}
		select {
		case <-f.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (f *Feed) take() ([]Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return nil, f.err
	}
	events := f.queue
	f.taken, f.oldest, f.queue, f.queued = f.queued, f.since, nil, 0
	return events, nil
}

// Close stops following.
func (f *Feed) Close() {
	f.session.unfollow(f)
	f.finish(io.EOF)
}

func (f *Feed) finish(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.mu.Unlock()
	poke(f.ready)
	poke(f.room)
}

// put adds an event. The caller keeps e.Bytes, so the feed copies them.
func (f *Feed) put(e Event) {
	if f.only != nil && !slices.Contains(f.only, e.Type) {
		return
	}
	e.Bytes = slices.Clone(e.Bytes)
	f.mu.Lock()
	if f.queued == 0 {
		f.since = time.Now()
	}
	f.queue = append(f.queue, e)
	f.queued += weight(e)
	f.mu.Unlock()
	poke(f.ready)
}

// weight is about how many bytes an event takes.
func weight(e Event) int {
	n := 64 + len(e.Bytes) + len(e.Text)
	if e.Statement != nil {
		n += len(e.Statement.Text)
		for _, p := range e.Statement.Params {
			n += len(p)
		}
	}
	return n
}

// wait blocks while the reader is too far behind. It reports false when the
// reader took nothing for so long that it was given up.
func (f *Feed) wait(ctx context.Context) bool {
	var patience <-chan time.Time
	for f.behind() {
		if patience == nil {
			patience = time.After(feedPatient)
		}
		select {
		case <-f.room:
			patience = nil
		case <-ctx.Done():
			return true
		case <-patience:
			f.finish(ErrTooSlow)
			return false
		}
	}
	return true
}

func (f *Feed) behind() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldest := f.since
	if f.taken > 0 {
		oldest = f.oldest
	}
	waiting := f.queued + f.taken
	return f.only == nil && f.err == nil && (waiting > feedBytes || waiting > 0 && time.Since(oldest) > feedAge)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
