package shadow

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/twokey/twokey/session"
)

// This file reads a recording ahead of whoever watches it: for the marks on the
// timeline, for scenes that are put aside so that going back is quick, and to find
// a text. What is remembered of it is bounded.

const (
	maxTimeline = 200_000  // marks, and hits of a search
	maxScenes   = 32 << 20 // bytes of all scenes that are put aside
	// sceneEvery is how much of the tape, in bytes, lies between two of them at
	// first, and eventCost what an event counts for besides its bytes.
	sceneEvery = 128 << 10
	eventCost  = 256
)

// mark is something on the timeline.
type mark struct {
	moment
	kind markKind
}

// markKind is its character there.
type markKind rune

const (
	markStatement markKind = '│'
	markFailed    markKind = 'x'
	markJoin      markKind = 'J'
	markLeave     markKind = 'L'
	markAsk       markKind = '?'
	markHold      markKind = 'H'
	markAlarm     markKind = '!'
	markKill      markKind = 'K'
	markFound     markKind = '*'
)

// markOf says which events have one; statements and results are told apart by
// what they do.
var markOf = map[session.EventType]markKind{
	session.Join: markJoin, session.Leave: markLeave, session.Lost: markLeave, session.Asked: markAsk, session.Denied: markAsk,
	session.Hold: markHold, session.Alarm: markAlarm, session.Kill: markKill,
}

// aside is a scene, as it was before anything happened at a time.
type aside struct {
	at time.Duration
	scene
}

// index is what is known of a tape.
type index struct {
	mu      sync.Mutex
	marks   []mark
	beyond  stretch // of statements for which there was no room in marks
	scenes  []aside // in order; the first is the blank beginning
	weight  int     // of all of them
	every   int     // how much lies between two of them
	reached time.Duration
	done    bool // all of it has been read
}

func newIndex() *index {
	return &index{every: sceneEvery, scenes: []aside{{scene: newView(session.Size{}).scene}}}
}

// read reads the whole tape. An error ends it: whoever plays the tape meets the
// same one, at its place.
func (x *index) read(ctx context.Context, t Tape) {
	v, passed := newView(session.Size{}), 0
	for p, err := range t.pieces(ctx, 0) {
		if err != nil {
			return
		}
		if p.n == 1 && passed >= x.every {
			x.putAside(p.at, v.scene)
			passed = 0
		}
		passed += len(p.Bytes) + eventCost
		lines := v.pane.count()
		if v.apply(p.Event) != nil {
			return
		}
		x.note(p, v.pane.count() > lines)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.done = ctx.Err() == nil
}

// count is how many lines there have been.
func (p *pane) count() int { return p.dropped + len(p.lines) }

// note takes note of what happened; listed when it is a new line of the pane.
func (x *index) note(p piece, listed bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reached = p.at
	kind := markOf[p.Type]
	switch {
	case p.Type == session.Statement && listed:
		kind = markStatement
	case p.Type == session.Result && p.Result != nil && p.Result.SQLState != "":
		kind = markFailed
	}
	switch {
	case kind == 0:
	case len(x.marks) < maxTimeline:
		x.marks = append(x.marks, mark{p.moment, kind})
	case kind == markStatement:
		if x.beyond == (stretch{}) {
			x.beyond.from = p.moment
		}
		x.beyond.to = p.moment
	}
}

// putAside keeps a scene. When all of them take too much, every other is
// dropped, and they are made half as often.
func (x *index) putAside(at time.Duration, s scene) {
	kept := aside{at, s.clone()}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.scenes = append(x.scenes, kept)
	x.weight += kept.weight()
	for x.weight > maxScenes && len(x.scenes) > 2 {
		few := x.scenes[:0:0]
		x.weight, x.every = 0, x.every*2
		for i := 0; i < len(x.scenes); i += 2 {
			few = append(few, x.scenes[i])
			x.weight += x.scenes[i].weight()
		}
		x.scenes = few
	}
}

// latest is which scene is the last that has nothing in it that comes after a
// moment. The caller holds mu.
func (x *index) latest(m moment) int {
	i, found := slices.BinarySearchFunc(x.scenes, m.at, func(a aside, at time.Duration) int { return cmp.Compare(a.at, at) })
	if found {
		return i
	}
	return max(i-1, 0)
}

// nearest is where to begin in order to come to a moment.
func (x *index) nearest(m moment) aside {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.scenes[x.latest(m)]
}

// nearer reports whether the way to a moment is much shorter from a scene than
// from where one is.
func (x *index) nearer(at, want moment) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.latest(want) > x.latest(at)+1
}

// length is the end of the tape as far as it is known, and whether it is.
func (x *index) length() (time.Duration, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.reached, x.done
}

// step is the next mark behind a moment, or the last before it, of those that are
// statements, or that are not.
func (x *index) step(from moment, back, statements bool) (moment, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	wanted := func(m mark) bool {
		return (m.kind == markStatement) == statements && (m.before(from) && back || from.before(m.moment) && !back)
	}
	if back {
		for _, m := range slices.Backward(x.marks) {
			if wanted(m) {
				return m.moment, true
			}
		}
		return moment{}, false
	}
	i := slices.IndexFunc(x.marks, wanted)
	if i < 0 {
		return moment{}, false
	}
	return x.marks[i].moment, true
}

// nth is where the nth statement behind a moment is, if there is one more before
// another moment.
func (x *index) nth(n int, from, to moment) (m moment, sooner bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	i, _ := slices.BinarySearchFunc(x.marks, from, func(o mark, m moment) int { return o.compare(m) })
	for ; i < len(x.marks) && !to.before(x.marks[i].moment); i++ {
		if o := x.marks[i]; o.kind != markStatement || !from.before(o.moment) {
			continue
		}
		if n--; n < 0 {
			return m, true
		}
		m = x.marks[i].moment
	}
	return moment{}, false
}

// stretch is what lies between two moments of a tape, both included.
type stretch struct{ from, to moment }

// stretches are some of a tape, in order, with something between any two.
type stretches []stretch

// maxStretches bounds what one viewer can make by jumping about.
const maxStretches = 10_000

// add adds a stretch. When there are too many it is left out.
func (l *stretches) add(s stretch) {
	first, _ := slices.BinarySearchFunc(*l, s.from, func(o stretch, m moment) int { return o.to.compare(m) })
	end := first
	for ; end < len(*l) && !s.to.before((*l)[end].from); end++ {
		if o := (*l)[end]; o.from.before(s.from) {
			s.from = o.from
		}
		if o := (*l)[end]; s.to.before(o.to) {
			s.to = o.to
		}
	}
	if end > first || len(*l) < maxStretches {
		*l = slices.Replace(*l, first, end, s)
	}
}

// holds reports whether all between two moments is there.
func (l stretches) holds(from, to moment) bool {
	i, _ := slices.BinarySearchFunc(l, from, func(o stretch, m moment) int { return o.to.compare(m) })
	return i < len(l) && !from.before(l[i].from) && !l[i].to.before(to)
}

// unseen counts the statements that are not in what was seen; sure when no other
// can be missing.
func (x *index) unseen(seen stretches) (left, all int, sure bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.done {
		return 0, 0, false
	}
	for _, m := range x.marks {
		if m.kind != markStatement {
			continue
		}
		all++
		if !seen.holds(m.moment, m.moment) {
			left++
		}
	}
	if x.beyond != (stretch{}) && !seen.holds(x.beyond.from, x.beyond.to) {
		left++
	}
	return left, all, true
}

// search looks for a text on a whole tape: in statements, and in the lines on
// the screen.
type search struct {
	text   string // in lower case
	spaced string // the same with one space for each run of white space

	mu      sync.Mutex
	hits    []moment
	reached time.Duration
	done    bool
}

// sameHit is how far the echo of a statement on the screen is from the statement: it
// is no hit of its own.
const sameHit = 300 * time.Millisecond

func newSearch(text string) *search {
	text = strings.ToLower(text)
	return &search{text: text, spaced: strings.Join(strings.Fields(text), " ")}
}

// read reads the whole tape.
func (s *search) read(ctx context.Context, t Tape) {
	v, found, rest := newView(session.Size{}), false, ""
	v.screen.ended = func(line string) {
		line = rest + strings.ToLower(line)
		found = found || strings.Contains(line, s.text)
		if rest = ""; len(line) >= maxPiece { // a piece of one that goes on
			rest = tailOf(line, len(s.text)-1)
		}
	}
	echoed := -sameHit
	for p, err := range t.pieces(ctx, 0) {
		if found = false; err != nil || v.apply(p.Event) != nil {
			break
		}
		said := s.says(p.Statement)
		s.note(p.moment, found || said, said && p.at-echoed < sameHit)
		switch {
		case said:
			echoed = -sameHit
		case found:
			echoed = p.at
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = ctx.Err() == nil
}

// says reports whether a statement that runs has the text.
func (s *search) says(i *session.StatementInfo) bool {
	if i == nil || i.Protocol == "parse" {
		return false
	}
	return strings.Contains(strings.ToLower(strings.ReplaceAll(statementText(i), string(lineBreak), " ")), s.spaced)
}

// tailOf is at most so many bytes of the end of a text, whole characters.
func tailOf(text string, n int) string {
	at := max(len(text)-n, 0)
	for at < len(text) && !utf8.RuneStart(text[at]) {
		at++
	}
	return text[at:]
}

// note takes note of how far it is, and of a hit; again when it is the one before.
func (s *search) note(m moment, hit, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reached = m.at
	switch {
	case hit && again && len(s.hits) > 0:
		s.hits[len(s.hits)-1] = m
	case hit && len(s.hits) < maxTimeline:
		s.hits = append(s.hits, m)
	}
}

// step is the next hit behind a moment, or the last before it; sure when there
// is no other to come that would be nearer.
func (s *search) step(from moment, back bool) (hit moment, found, sure bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, exactly := slices.BinarySearchFunc(s.hits, from, moment.compare)
	if back {
		if i > 0 {
			hit, found = s.hits[i-1], true
		}
		return hit, found, s.done || s.reached > from.at
	}
	if exactly {
		i++
	}
	if i < len(s.hits) {
		return s.hits[i], true, true
	}
	return moment{}, false, s.done
}

// known is how many hits there are so far, and whether that is all.
func (s *search) known() (hits int, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.hits), s.done
}
