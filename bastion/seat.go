package bastion

import (
	"slices"
	"sync"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file keeps, for each live session, what its shadows need: the view of it
// that begins with it, and who they are.

// seating is a bench for each live session. The zero value is ready.
type seating struct {
	mu     sync.Mutex
	tables map[*session.Session]*bench
}

// bench is where the shadows of one session sit.
type bench struct {
	view *shadow.View       // nil when the mode asks for nobody
	sat  []session.Identity // everyone who ever did
}

// open makes the bench of a session that has not begun, so that a shadow who
// comes late sees everything from its start. done ends it when the session is over.
func (x *seating) open(s *session.Session) (done func()) {
	b := &bench{}
	if len(s.Request().Mode.Shadows) > 0 {
		b.view = shadow.Watch(s)
		go b.guard(s) // ends with the view, and that with the session
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.tables == nil {
		x.tables = map[*session.Session]*bench{}
	}
	x.tables[s] = b
	return func() {
		x.mu.Lock()
		delete(x.tables, s)
		x.mu.Unlock()
		if b.view != nil {
			b.view.Close()
		}
	}
}

// guard ends a session that nobody can watch any more: its view is gone, and
// a shadow who sat down now would see nothing. Of a session that is over
// the view is gone too, and then this changes nothing.
func (b *bench) guard(s *session.Session) {
	<-b.view.Done()
	why := "nobody could watch any more"
	if err := b.view.Err(); err != nil {
		why += ": " + err.Error()
	}
	s.Finish(session.Cause{Code: session.Broken, Text: why})
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
