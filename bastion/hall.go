package bastion

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twokey/twokey/bastion/lobby"
	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file is what all lobbies look at: each live session as it was when it was
// last looked at, and word that something has changed. A session is looked at by
// one goroutine of its own, however many lobbies there are, and no lobby waits for
// a session whose tape hangs.

// lookInterval is how old what is known of a session gets while somebody looks:
// up to when its tape is stored changes without a word.
const lookInterval = time.Second

// hall is the live sessions, for lobbies. newHall makes one.
type hall struct {
	watched atomic.Int32 // lobbies that are open

	mu      sync.Mutex
	here    []*guest
	changed chan struct{} // closed and replaced when something has changed
	closed  chan struct{} // closed when the bastion has no more to offer
}

// guest is one live session.
type guest struct {
	session *session.Session
	sight   atomic.Pointer[sight]
}

// sight is a session as it was seen.
type sight struct {
	session.Summary
	state string
	seats []string // who sits there
}

func newHall() *hall { return &hall{changed: make(chan struct{}), closed: make(chan struct{})} }

// news is closed at the next change.
func (h *hall) news() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

// change applies a change and lets all lobbies look again.
func (h *hall) change(apply func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	apply()
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *hall) guests() []*guest {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.here)
}

// close sends everybody home who is in a lobby.
func (h *hall) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.closed:
	default:
		close(h.closed)
	}
}

// follow shows a session that has not begun until it has ended. wait returns
// when it is shown no more.
func (h *hall) follow(s *session.Session) (wait func()) {
	feed := s.Follow(session.Join, session.Leave, session.Lost, session.Back, session.Hold, session.Release,
		session.GateOpen, session.GateShut, session.End)
	g := &guest{session: s}
	g.look(nil)
	h.change(func() { h.here = append(h.here, g) })
	done := make(chan struct{})
	go func() { // ends with the session
		defer close(done)
		defer feed.Close()
		h.watch(g, feed)
		h.change(func() { h.here = slices.DeleteFunc(h.here, func(o *guest) bool { return o == g }) })
	}()
	return func() { <-done }
}

func (h *hall) watch(g *guest, feed *session.Feed) {
	var seats []string
	for {
		ctx, stop := context.WithTimeout(context.Background(), lookInterval)
		events, err := feed.Next(ctx)
		late := ctx.Err() != nil
		stop()
		if err != nil && !late {
			return
		}
		for _, e := range events {
			switch i := slices.Index(seats, e.Who); {
			case e.Type == session.Join:
				seats = append(slices.Clone(seats), e.Who)
			case e.Type == session.Leave && i >= 0:
				seats = slices.Delete(slices.Clone(seats), i, i+1)
			}
		}
		switch {
		case len(events) > 0:
			g.look(seats)
			h.change(func() {})
		case h.watched.Load() > 0:
			g.look(seats)
		}
	}
}

// look sees how a session is.
func (g *guest) look(seats []string) {
	g.sight.Store(&sight{Summary: g.session.Summary(), state: "gate " + g.session.Gate().String() + " · " + shadow.Stored(g.session.Health()), seats: seats})
}

// outlook is the hall as one visitor sees it.
type outlook struct {
	v      *visit
	offers []lobby.Target
}

func (v *visit) outlook() outlook {
	o := outlook{v: v}
	for _, f := range v.offers() {
		o.offers = append(o.offers, lobby.Target{Name: f.user, Watched: f.watched()})
	}
	return o
}

// News implements lobby.Hall.
func (o outlook) News() <-chan struct{} { return o.v.server.hall.news() }

// Look implements lobby.Hall.
func (o outlook) Look() lobby.Board {
	b := lobby.Board{Targets: o.offers}
	for _, g := range o.v.server.hall.guests() {
		seen := g.sight.Load()
		if seen.State == session.Ended || !o.v.mayList(g.session) {
			continue
		}
		s := o.v.listed(g.session, seen)
		if s.Needs != "" {
			b.Waiting = append(b.Waiting, s)
		} else {
			b.Live = append(b.Live, s)
		}
	}
	slices.SortStableFunc(b.Waiting, func(x, y lobby.Session) int { // those one may watch first
		return strings.Compare(min(x.Barred, "x"), min(y.Barred, "x"))
	})
	return b
}

// listed is a session as a visitor sees it.
func (v *visit) listed(s *session.Session, seen *sight) lobby.Session {
	r := s.Request()
	x := lobby.Session{
		ID: r.ID, Code: r.Code, Engineer: r.Engineer.Name, Wants: r.Target.Name + "+" + r.Mode.Name, Reason: r.Reason,
		Since: r.Started, Needs: session.Quorum(seen.Needs).String(), State: seen.state,
	}
	if seen.State == session.Waiting {
		x.State = ""
	}
	if len(seen.seats) > 0 {
		x.State = strings.TrimPrefix(x.State+" · watched by "+strings.Join(seen.seats, ", "), " · ")
	}
	if r.BreakGlass {
		x.Alarm = "GLASS BROKEN: opened alone"
	}
	if err := r.Mode.Shadows.Eligible(r.Engineer, v.who); err != nil {
		x.Barred = err.Error()
	} else if len(r.Mode.Shadows) == 0 {
		x.Barred = "nobody has to watch there"
	}
	return x
}
