package bastion

import (
	"sync"

	"github.com/twokey/twokey/session"
)

// engaged is what runs on one connection: a shell, or a session without one, and the
// clients on forwarded ports that share it.
type engaged struct {
	mu       sync.Mutex
	busy     bool             // a session channel is open, or a session without one runs
	live     *session.Session // theirs, for what they forward
	had      bool             // there has been one
	forwards int              // channels of forwarded ports
	changed  chan struct{}    // closed and replaced when one of these has
}

func newEngaged() *engaged { return &engaged{changed: make(chan struct{})} }

// claim is true for one at a time, until it yields.
func (e *engaged) claim() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.busy {
		return false
	}
	e.busy = true
	return true
}

func (e *engaged) yield() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.busy = false
	e.turn()
}

// serves notes the session that runs; nil when it has ended.
func (e *engaged) serves(s *session.Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.live, e.had = s, true
	e.turn()
}

func (e *engaged) takeForward() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.forwards >= maxForwards {
		return false
	}
	e.forwards++
	return true
}

func (e *engaged) giveForward() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forwards--
	e.turn()
}

// look is how it stands, and what is closed when that has changed. When nothing runs and
// nothing has, first is true, and whoever asked has claimed it.
func (e *engaged) look(mayBegin bool) (s *session.Session, over, first bool, changed <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if mayBegin && e.live == nil && !e.busy && !e.had {
		e.busy, first = true, true
	}
	return e.live, e.had && !e.busy, first, e.changed
}

// clients is how many there are.
func (e *engaged) clients() (n int, changed <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.forwards, e.changed
}

// turn lets whoever waits look again. The caller holds mu.
func (e *engaged) turn() {
	close(e.changed)
	e.changed = make(chan struct{})
}
