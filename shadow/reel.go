package shadow

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twokey/twokey/session"
)

// This file is a recording in a player's hands: a view of it that can be brought
// to any moment. A screen cannot be played backwards. So the view is put aside
// now and then (index.go), and going back is going on from what was put aside last
// before that moment: the same screen as if it had been played up to there.

// Tape is a recording. It may be read any number of times, and by several at
// once: it yields what happened, in order, beginning with the first event that is
// not before a time. Bytes are valid until the next event. An error ends the sequence, and
// so does ctx. The tape of a session that runs may wait for what comes.
type Tape func(ctx context.Context, from time.Duration) iter.Seq2[session.Event, error]

// moment is a place on a tape: behind the first n pieces of what happened at a
// time. Two events may have the same.
type moment struct {
	at time.Duration
	n  int
}

// by is the moment when everything has happened that did until a time.
func by(at time.Duration) moment { return moment{at, math.MaxInt} }

// forever is behind the end of every tape.
var forever = by(math.MaxInt64)

func (m moment) compare(o moment) int { return cmp.Or(cmp.Compare(m.at, o.at), cmp.Compare(m.n, o.n)) }
func (m moment) before(o moment) bool { return m.compare(o) < 0 }

// piece is as much of an event as is shown at once, and the moment behind it.
type piece struct {
	moment
	session.Event
}

// Bounds of the output in a piece: so little that what it prints is still on the
// screen behind it.
const (
	pieceLines = 4
	pieceBytes = 4 << 10
)

// pieces yields a tape in pieces.
func (t Tape) pieces(ctx context.Context, from time.Duration) iter.Seq2[piece, error] {
	return func(yield func(piece, error) bool) {
		var last moment
		for e, err := range t(ctx, from) {
			if err != nil {
				yield(piece{}, err)
				return
			}
			if e.At != last.at {
				last = moment{at: e.At}
			}
			for rest := e.Bytes; ; {
				p := piece{Event: e}
				last.n++
				p.moment = last
				if e.Type == session.Output || e.Type == session.Errors {
					p.Bytes, rest = cutPiece(rest)
				} else {
					rest = nil
				}
				if !yield(p, nil) {
					return
				}
				if len(rest) == 0 {
					break
				}
			}
		}
	}
}

// cutPiece cuts as much output off as a piece has.
func cutPiece(output []byte) (head, rest []byte) {
	end := min(len(output), pieceBytes)
	for at, lines := 0, 0; at < end; {
		i := bytes.IndexByte(output[at:end], '\n')
		if i < 0 {
			break
		}
		at += i + 1
		if lines++; lines == pieceLines {
			end = at
		}
	}
	return output[:end], output[end:]
}

// reel brings a view to the moment that is wanted.
type reel struct {
	tape  Tape
	index *index
	view  *View

	mu    sync.Mutex
	want  moment
	at    moment // all that was until then is in the view
	next  moment // of what comes then, when that is known
	known bool
	over  bool          // nothing comes then
	err   error         // why, when that is not the end of the tape
	cut   func()        // ends the reading that is under way
	moved chan struct{} // holds a token when want has changed
	came  chan struct{} // holds a token when the view has come somewhere
}

func newReel(t Tape, x *index, want moment) *reel {
	return &reel{tape: t, index: x, view: newView(session.Size{}), want: want, cut: func() {}, moved: make(chan struct{}, 1), came: make(chan struct{}, 1)}
}

// seek says which moment is wanted.
func (r *reel) seek(m moment) {
	r.mu.Lock()
	r.want = m
	if m.before(r.at) {
		r.cut() // it may wait for what is not there yet
	}
	r.mu.Unlock()
	poke(r.moved)
}

// whereabouts is where a reel is.
type whereabouts struct {
	at      moment
	next    time.Duration // of what comes then; negative when that is not known
	arrived bool          // the view shows the moment that is wanted
	over    bool          // and nothing comes behind it
	err     error
}

func (r *reel) where() whereabouts {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := whereabouts{at: r.at, next: -1, err: r.err}
	ahead := !r.want.before(r.at)
	w.over = r.over && ahead
	w.arrived = ahead && (r.over || r.known && r.want.before(r.next))
	if r.known {
		w.next = r.next.at
	}
	return w
}

// errElsewhere is why a reel stops reading: another place on the tape is nearer to the
// moment that is wanted.
var errElsewhere = errors.New("another moment is wanted")

// run goes where it is told to until ctx ends.
func (r *reel) run(ctx context.Context) {
	for ctx.Err() == nil {
		r.roll(ctx)
	}
}

// roll begins where it is nearest to the moment that is wanted, and goes on
// from there for as long as that is the way.
func (r *reel) roll(ctx context.Context) {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	var failed error
	for p, err := range r.tape.pieces(ctx, r.begin(cut)) {
		if err == nil {
			if r.await(ctx, p.moment) != nil {
				return
			}
			err = r.view.apply(p.Event)
		}
		if err != nil {
			failed = err
			break
		}
		r.passed(p.moment)
	}
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	r.over, r.err, r.known = true, failed, false
	r.mu.Unlock()
	poke(r.came)
	r.await(ctx, forever)
}

// begin brings the view to the last moment before the one that is wanted which
// was put aside, and returns from when on it must be read.
func (r *reel) begin(cut func()) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.index.nearest(r.want)
	r.view.set(s.scene)
	r.at, r.known, r.over, r.err, r.cut = moment{at: s.at}, false, false, nil, cut
	return s.at
}

func (r *reel) passed(m moment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.known = m, false
}

// await waits until a moment is wanted that has the next piece in it. The error
// is that it can be had from elsewhere, or that ctx ended.
func (r *reel) await(ctx context.Context, next moment) error {
	for {
		r.mu.Lock()
		want, at, over := r.want, r.at, r.over
		r.next, r.known = next, !over
		r.mu.Unlock()
		switch {
		case want.before(at), r.index.nearer(at, want):
			return errElsewhere
		case !want.before(next) && !over:
			return nil
		}
		poke(r.came)
		select {
		case <-r.moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// clone is a scene that does not change when the other does. What cannot change is
// shared: texts.
func (s scene) clone() scene {
	s.screen = s.screen.clone()
	s.filter = s.filter.before(s.screen)
	s.pane.lines, s.pane.running = slices.Clone(s.pane.lines), maps.Clone(s.pane.running)
	s.here, s.lost, s.questions = slices.Clone(s.here), slices.Clone(s.lost), slices.Clone(s.questions)
	return s
}

// clone is a screen that shows the same. Nobody reads its lines.
func (s *screen) clone() *screen {
	c := *s
	c.ended, c.carry, c.past = nil, strings.Builder{}, s.past.clone()
	for i, g := range s.grids {
		c.grids[i] = slices.Clone(g)
		for y := range g {
			r := *g[y]
			c.grids[i][y] = &r
			r.plain = slices.Clone(r.plain)
			r.cells = slices.Clone(r.cells[:r.used-len(r.plain)]) // none when it is a text
		}
	}
	return &c
}

// What things take, in bytes, with some room for what the allocator adds.
const (
	sceneCost    = 1 << 10
	rowCost      = 64
	cellCost     = 32
	paneLineCost = 96
)

// weight is about how many bytes a scene takes.
func (s scene) weight() int {
	n := sceneCost + s.pane.bytes + len(s.pane.lines)*paneLineCost
	for _, g := range s.screen.grids {
		n += len(g) * rowCost
		for y := range g {
			n += g[y].used * cellCost
		}
	}
	n += s.screen.past.bytes
	for _, q := range s.questions {
		n += len(q.text)
	}
	return n
}

// set shows another scene.
func (v *View) set(s scene) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.scene = s.clone()
	v.wake()
}
