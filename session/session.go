// Package session is the heart of twokey: one engineer's time on one target
// and mode, the gate that everything they do must pass, and the words in which
// all other packages speak about it. It uses the standard library only.
//
// Its one idea: what happens is put in order under one lock. Whoever wants
// something to take effect asks under that lock whether the gate is open, and
// the event is on the tape before the lock is let go. The gate is computed
// from facts each time (Facts.Gate); a session ends by one cancel with a Cause.
//
// It knows nothing of SSH, Postgres, terminals, files or S3: those are the
// parts (parts.go), handed in.
package session

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Session is one engineer's time on one target and mode.
type Session struct {
	want   Request
	tape   Tape
	opener Opener
	log    *slog.Logger

	ctx  context.Context // the session lives exactly as long
	end  context.CancelCauseFunc
	done chan struct{} // closed when the tape is sealed

	screen  sync.Mutex    // orders what is written to the engineer's terminal; never held together with mu
	notices chan string   // what speak is to say to the engineer
	out     Terminal      // set by Run before anything uses it
	ready   chan struct{} // closed when psql runs
	room    chan struct{} // holds a token when psql took something that was typed ahead
	behind  atomic.Pointer[behind]
	size    window
	clients clients // on a forwarded port

	mu         sync.Mutex // the order of the tape is the order of this lock
	seats      []*Seat
	sat        int // bytes of the identities of all who ever sat
	feeds      []*Feed
	changed    chan struct{}    // closed and replaced when a fact changed
	gate       Gate             // as last announced, to notice when it turns
	opened     time.Time        // when the gate first opened
	missing    time.Time        // since when shadows have been missing, after it opened
	active     time.Time        // last keystroke or result
	running    map[int]struct{} // numbers of the statements the database has not answered yet
	statements int
	ahead      []byte // typed at the open gate, not yet taken by psql
	dropped    int    // bytes typed at a shut gate since it was last said
	asks       []*ask // that wait for an answer
	asked      int    // how many there have been
	rows       int64  // shown since the beginning or the last release
	rowsOut    bool   // as many as the mode allows, and more are wanted
	warned     bool   // of the end that is near
	secret     bool   // psql is reading a password
	alarm      bool
	sealed     bool
	cause      *Cause
	finished   time.Time
	shadows    []string // names of all who ever sat
}

// behind is what lies behind the gate. It has no lock: a kill reaches it though
// the tape hangs, and with it whoever holds mu.
type behind struct {
	gateway Gateway
	shell   Shell
}

// psql returns the shell; nil until the gate has opened, and without one.
func (s *Session) psql() Shell {
	if b := s.behind.Load(); b != nil {
		return b.shell
	}
	return nil
}

// New makes a session that has not begun. Run runs it.
func New(want Request, tape Tape, opener Opener, log *slog.Logger) *Session {
	ctx, end := context.WithCancelCause(context.Background())
	s := &Session{
		want: want, tape: tape, opener: opener, log: log.With("session", want.ID),
		ctx: ctx, end: end, done: make(chan struct{}), ready: make(chan struct{}), room: make(chan struct{}, 1), size: window{size: want.Size},
		notices: make(chan string, 64), changed: make(chan struct{}), running: map[int]struct{}{},
	}
	if now := s.facts().Gate(); !now.Open {
		s.gate = now // otherwise it has yet to open, as a turn like any other
	}
	return s
}

// Request returns what was asked for. It never changes.
func (s *Session) Request() Request { return s.want }

// Health is the tape's.
func (s *Session) Health() Health { return s.tape.Health() }

// Done is closed when the session has ended and its tape is sealed.
func (s *Session) Done() <-chan struct{} { return s.done }

// terminal reports whether the engineer sits at a terminal.
func (s *Session) terminal() bool { return s.want.Size != Size{} }

// Gate answers whether the gate is open now, and if not why.
func (s *Session) Gate() Gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.facts().Gate()
}

// facts collects what the gate depends on. The caller holds mu (New apart).
func (s *Session) facts() Facts {
	f := Facts{
		Ending: context.Cause(s.ctx), Recorder: s.tape.Health().Err,
		Engineer: s.want.Engineer, Quorum: s.want.Quorum(), Rows: s.rowsOut,
	}
	for _, x := range s.seats {
		if why := x.away(); why == "" {
			f.There = append(f.There, x.who)
		} else {
			f.Away = append(f.Away, x.who.Name+" "+why)
		}
		if x.holding {
			f.Holds = append(f.Holds, x.who.Name)
		}
	}
	return f
}

// change applies a change of the facts and lets everyone who waits look again.
func (s *Session) change(apply func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	apply()
	s.turn()
	s.wake()
}

// wake lets everyone who waits at the gate ask again. The caller holds mu.
func (s *Session) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// turn looks at the gate, and announces it when it opened or shut since the
// last look: whatever passes is on the tape behind the opening it passed. The
// caller holds mu.
func (s *Session) turn() Gate {
	now, before := s.facts().Gate(), s.gate
	s.gate = now
	switch {
	case s.opened.IsZero() || now.Open || len(now.Missing) == 0:
		s.missing = time.Time{}
	case s.missing.IsZero():
		s.missing = time.Now()
	}
	switch {
	case s.ctx.Err() != nil: // an end that came meanwhile shuts it too
		return s.facts().Gate()
	case now.Because == before.Because:
		return now
	}
	defer s.wake()
	if !now.Open {
		s.put(Event{Type: GateShut, Text: now.Why})
		s.say("the gate is shut: " + now.Why + "." + s.graceNotice())
		return now
	}
	s.put(Event{Type: GateOpen})
	first := s.opened.IsZero()
	if first {
		s.opened, s.active = time.Now(), time.Now()
	}
	switch {
	case len(s.want.Quorum()) > 0:
		s.say("the gate is open: " + s.watchers() + " watching.")
	case !first:
		s.say("the gate is open again.")
	}
	return now
}

func (s *Session) graceNotice() string {
	if s.missing.IsZero() {
		return ""
	}
	return " Without them the session ends in " + Brief(s.want.Mode.Limits.Grace) + "."
}

// put writes the event to the tape and then to the feeds: the tape comes
// first, and nothing may take effect when put fails. The caller holds mu.
func (s *Session) put(e Event) error {
	if s.sealed {
		return io.ErrClosedPipe
	}
	e.At = max(time.Since(s.want.Started), 0)
	if err := s.tape.Append(e); err != nil {
		cause := Cause{Code: NoRecorder, Text: "the recording could not be written: " + err.Error()}
		s.end(cause)
		return cause
	}
	for _, f := range s.feeds {
		f.put(e)
	}
	return nil
}

// Kill ends the session at once. It waits for nothing, not even for the lock:
// cancelling shuts the gate. The caller has checked that this person may.
func (s *Session) Kill(by Identity, reason string) {
	s.end(Cause{Code: Killed, By: by.Name, Text: reason})
}

// Finish ends the session with a cause that is not a kill, such as Drained.
func (s *Session) Finish(c Cause) { s.end(c) }

// Tell says a line of twokey's own to the engineer.
func (s *Session) Tell(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say(line)
}

// Summary returns the session as it is now.
func (s *Session) Summary() Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.summary()
}

func (s *Session) summary() Summary {
	gate := s.facts().Gate()
	return Summary{
		ID: s.want.ID, Code: s.want.Code, Engineer: s.want.Engineer.Name,
		Target: s.want.Target.Name, Mode: s.want.Mode.Name, Reason: s.want.Reason,
		State: s.state(gate), Needs: gate.Missing, Shadows: slices.Clone(s.shadows),
		Started: s.want.Started, Opened: s.opened, Ended: s.finished, Cause: s.cause,
		Statements: s.statements, Flags: s.flags(), Stored: s.tape.Health().Stored.Seconds(),
	}
}

func (s *Session) state(g Gate) State {
	switch {
	case s.ctx.Err() != nil || s.sealed:
		return Ended
	case g.Open:
		return Open
	case s.opened.IsZero():
		return Waiting
	}
	return Shut
}

func (s *Session) flags() []string {
	var flags []string
	switch {
	case s.want.BreakGlass:
		flags = append(flags, "break-glass")
	case len(s.want.Mode.Shadows) == 0:
		flags = append(flags, "alone")
	}
	if s.cause != nil && s.cause.Code == Killed {
		flags = append(flags, "killed")
	}
	if s.alarm {
		flags = append(flags, "alarm")
	}
	return flags
}

// Follow returns the feed of events from the one after those already on the
// tape. Called before Run it yields the whole session. A feed of only some types
// of events slows nothing.
func (s *Session) Follow(only ...EventType) *Feed {
	f := newFeed(s)
	f.only = only
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed {
		f.finish(io.EOF)
		return f
	}
	s.feeds = append(s.feeds, f)
	return f
}

func (s *Session) unfollow(f *Feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feeds = slices.DeleteFunc(s.feeds, func(g *Feed) bool { return g == f })
}
