package session

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The smallest window that one can watch in, and the most seats at a session.
const (
	minCols  = 40
	minRows  = 10
	maxSeats = 32
)

// mostSat is how many bytes the identities of all who sit down may have, as JSON. The manifest
// names each stay of each shadow, and one too long to be read would prove nothing: it is room for
// thousands of stays, or for eighty of people in five hundred groups.
const mostSat = 4 << 20

// Seat is a shadow's place at a session. Its methods may be called from any
// goroutine; none of them waits for anything but the tape.
type Seat struct {
	session   *Session
	who       Identity
	size      Size // zero: lines instead of a screen
	answering bool
	awake     time.Time // when they last pressed a key
	holding   bool
	gone      bool
	why       string // they left; set before left is closed
	left      chan struct{}
}

// Sit seats a shadow, or says why not in words for them. The person is judged
// by the verified identity given here, each time they sit down. A zero size
// is a shadow who reads lines instead of a screen.
func (s *Session) Sit(who Identity, size Size) (*Seat, error) {
	if err := s.want.Mode.Shadows.Eligible(s.want.Engineer, who); err != nil {
		return nil, err
	}
	x := &Seat{session: s, who: who, size: size, answering: true, awake: time.Now(), left: make(chan struct{})}
	text, err := json.Marshal(who)
	if err != nil {
		return nil, err
	}
	s.change(func() {
		switch {
		case s.ctx.Err() != nil:
			err = fmt.Errorf("the session has ended")
		case s.sat+len(text) > mostSat:
			err = fmt.Errorf("shadows have sat down here so often that the recording has no room for one more; the engineer must begin another session")
		case len(s.seats) >= maxSeats:
			err = fmt.Errorf("all %d seats of this session are taken", maxSeats)
		default:
			err = s.put(Event{Type: Join, Who: who.Name, Identity: &who})
		}
		if err != nil {
			return
		}
		s.seats, s.sat = append(s.seats, x), s.sat+len(text)
		if !slices.Contains(s.shadows, who.Name) {
			s.shadows = append(s.shadows, who.Name)
		}
		s.say(who.Name + " sat down as shadow.")
	})
	if err != nil {
		return nil, err
	}
	return x, nil
}

// watching reports whether this seat counts. The caller holds the session's mu.
func (x *Seat) watching() bool { return x.away() == "" }

// away says why a seated shadow does not count, or "". The caller holds the
// session's mu.
func (x *Seat) away() string {
	expires, presence := x.who.Credential.Expires, x.session.want.Mode.Limits.Presence
	switch {
	case !x.answering:
		return "does not answer"
	case !x.large():
		return "has too small a window"
	case !expires.IsZero() && !time.Now().Before(expires):
		return "has a certificate that ended"
	case presence > 0 && time.Since(x.awake) >= presence:
		return "has pressed no key for " + Brief(presence)
	}
	return ""
}

func (x *Seat) large() bool {
	return x.size == Size{} || x.size.Cols >= minCols && x.size.Rows >= minRows
}

// Session returns the session this seat is at.
func (x *Seat) Session() *Session { return x.session }

// Who returns the shadow.
func (x *Seat) Who() Identity { return x.who }

// Left is closed when the seat is given up or the session has ended.
func (x *Seat) Left() <-chan struct{} { return x.left }

// Why is what was said when the seat was left or taken away, and empty when the
// session has ended. It may be called once Left is closed.
func (x *Seat) Why() string { return x.why }

// Counts reports whether the seat counts for the quorum now.
func (x *Seat) Counts() bool {
	x.session.mu.Lock()
	defer x.session.mu.Unlock()
	return !x.gone && x.watching()
}

// Answering tells the session whether the shadow is alive on the network.
func (x *Seat) Answering(yes bool) {
	x.act(func(s *Session) {
		if x.answering == yes {
			return
		}
		x.answering = yes
		if yes {
			s.put(Event{Type: Back, Who: x.who.Name})
			s.say(x.who.Name + " answers again.")
			return
		}
		s.put(Event{Type: Lost, Who: x.who.Name})
		s.say(x.who.Name + "'s connection does not answer.")
	})
}

// Present tells the session that the shadow has pressed a key. Where the mode
// asks for it, a seat counts only for so long after the last one.
func (x *Seat) Present() { x.act(func(*Session) { x.awake = time.Now() }) }

// Awake is how long the seat counts without another key; 0 when the mode does
// not ask for any.
func (x *Seat) Awake() time.Duration {
	presence := x.session.want.Mode.Limits.Presence
	if presence == 0 {
		return 0
	}
	x.session.mu.Lock()
	defer x.session.mu.Unlock()
	return max(time.Until(x.awake.Add(presence)), time.Nanosecond)
}

// Resize tells the session the size of the shadow's terminal. One that is too
// small to watch in (under 40 x 10) does not count.
func (x *Seat) Resize(size Size) {
	x.act(func(s *Session) {
		before := x.large()
		x.size = size
		if before && !x.large() {
			s.say(x.who.Name + "'s window is too small to watch in.")
		}
	})
}

// Hold closes the gate until Release.
func (x *Seat) Hold() { x.holds(true, Hold) }

// Release takes this seat's hold back, and lets the engineer have as many rows
// again as the mode allows at once, if they have had those.
func (x *Seat) Release() {
	x.holds(false, Release)
	x.act(func(s *Session) {
		if s.rowsOut && x.watching() {
			s.rows, s.rowsOut = 0, false
			s.put(Event{Type: Release, Who: x.who.Name, Text: "more rows"})
		}
	})
}

func (x *Seat) holds(yes bool, t EventType) {
	x.act(func(s *Session) {
		if x.holding != yes {
			x.holding = yes
			s.put(Event{Type: t, Who: x.who.Name})
		}
	})
}

// Holding reports whether this seat holds the gate.
func (x *Seat) Holding() bool {
	x.session.mu.Lock()
	defer x.session.mu.Unlock()
	return x.holding
}

// Say shows a line to the engineer and every shadow. It is made one line
// without control characters, of at most 500 characters.
func (x *Seat) Say(text string) {
	text = OneLine(text, 500)
	x.act(func(s *Session) {
		if s.put(Event{Type: Say, Who: x.who.Name, Text: text}) == nil {
			s.say(x.who.Name + " says: " + text)
		}
	})
}

// Approve says yes to what waits under a number, and with all to everything
// else in its transaction. It does nothing when that does not wait any more, or
// when the seat does not count.
func (x *Seat) Approve(n int, all bool) {
	x.answer(n, Answer{Yes: true, All: all, By: x.who.Name})
}

// Deny says no, and why. It does nothing when that does not wait any more, or
// when the seat does not count.
func (x *Seat) Deny(n int, why string) {
	x.answer(n, Answer{By: x.who.Name, Why: OneLine(why, 500)})
}

func (x *Seat) answer(n int, a Answer) {
	x.act(func(s *Session) {
		if x.watching() {
			s.answer(n, a)
		}
	})
}

// Kill ends the session at once.
func (x *Seat) Kill(reason string) { x.session.Kill(x.who, reason) }

// Leave gets up. The seat counts no more when Leave returns. Calling it twice
// is fine. A hold of a shadow who leaves goes with them; the gate then asks
// for the quorum alone.
func (x *Seat) Leave(why string) {
	x.act(func(s *Session) {
		s.seats = slices.DeleteFunc(s.seats, func(y *Seat) bool { return y == x })
		x.stands(why)
	})
}

// stands ends the time of a seat that is no longer among the seats. The caller
// holds the session's mu.
func (x *Seat) stands(why string) {
	x.gone, x.why = true, why
	close(x.left)
	x.session.put(Event{Type: Leave, Who: x.who.Name, Identity: &x.who, Text: why})
	x.session.say(strings.TrimSpace(x.who.Name + " left. " + why))
}

// act changes something about a seat that is still taken.
func (x *Seat) act(do func(*Session)) {
	x.session.change(func() {
		if !x.gone {
			do(x.session)
		}
	})
}

// unseat takes the seats of some people, all at once: the hold of one must not
// go while another still counts. It returns how many there were.
func (s *Session) unseat(who func(Identity) bool, why string) (n int) {
	s.change(func() {
		var gone, stay []*Seat
		for _, x := range s.seats {
			if who(x.who) {
				gone = append(gone, x)
			} else {
				stay = append(stay, x)
			}
		}
		s.seats, n = stay, len(gone)
		for _, x := range gone {
			x.stands(why)
		}
	})
	return n
}

// watchers names the people who count, for a sentence. The caller holds mu.
func (s *Session) watchers() string {
	var names []string
	for _, x := range s.seats {
		if x.watching() && !slices.Contains(names, x.who.Name) {
			names = append(names, x.who.Name)
		}
	}
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names, " and ") + " are"
}
