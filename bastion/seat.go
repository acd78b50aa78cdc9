package bastion

import (
	"slices"
	"sync"

	"github.com/twokey/twokey/session"
)

// This file is where shadows sit: what the bastion keeps for each live
// session, and a seat's wiring to the shadow's SSH connection.

// seating keeps, for each live session, what its shadows need. The zero value
// is ready.
type seating struct {
	mu     sync.Mutex
	tables map[*session.Session]*bench
}

// bench is where the shadows of one session sit.
type bench struct {
	sat []session.Identity // everyone who ever did
}

// open makes the bench of a session that has not begun, so that a shadow who
// comes late sees everything from its start. The session's output waits for
// nobody who does not sit there: done ends it when the session is over.
func (x *seating) open(s *session.Session) (done func()) {
	b := &bench{}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tables == nil {
		x.tables = map[*session.Session]*bench{}
	}
	x.tables[s] = b
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.tables, s)
	}
}

// at returns the bench of a live session.
func (x *seating) at(s *session.Session) (*bench, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	b, ok := x.tables[s]
	return b, ok
}

// sits remembers that somebody sat down.
func (x *seating) sits(b *bench, who session.Identity) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !slices.ContainsFunc(b.sat, who.SamePersonAs) {
		b.sat = append(b.sat, who)
	}
}

// satAt reports whether this person is or was a shadow of the session.
func (x *seating) satAt(s *session.Session, who session.Identity) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	b, ok := x.tables[s]
	return ok && who.Valid() && slices.ContainsFunc(b.sat, who.SamePersonAs)
}
