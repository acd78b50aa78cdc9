package session_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twokey/twokey/session"
)

// The simulation plays random stories and holds the session against a model
// written straight from the sentence "nothing an engineer does takes effect
// unless the people who must be watching are watching at that moment". A
// failing seed prints its story. TWOKEY_SIMULATE says how many stories.

// watcher is the model's view of a seat.
type watcher struct {
	seat                   *session.Seat
	who                    session.Identity
	small, silent, holding bool
}

// world is the model: what must be true, from what was done.
type world struct {
	*story
	seats  []*watcher
	behind bool
	broken bool
	dead   bool // somebody ended it
	told   []string
	passed int // statements the gateway may have sent
}

// open is the sentence: someone eligible, other than alice, is there and
// watches, nobody holds, the tape is fine, and it is not over.
func (w *world) open() bool {
	watched := false
	for _, x := range w.seats {
		if x.holding {
			return false
		}
		watched = watched || !x.small && !x.silent
	}
	return watched && !w.behind && !w.broken && !w.dead
}

func (w *world) step(r *rand.Rand) {
	people := []session.Identity{bob, person("eve", "engineering"), carol, alice}
	pick := func(f func(*watcher)) {
		if len(w.seats) > 0 {
			f(w.seats[r.IntN(len(w.seats))])
		}
	}
	acts := []func() string{
		func() string { return w.joins(people[r.IntN(len(people))]) },
		func() string { return w.joins(bob) },
		func() string { pick(w.leaves); return "leave" },
		func() string { pick(func(x *watcher) { x.seat.Hold(); x.holding = true }); return "hold" },
		func() string { pick(func(x *watcher) { x.seat.Release(); x.holding = false }); return "release" },
		func() string {
			pick(func(x *watcher) { x.silent = !x.silent; x.seat.Answering(!x.silent) })
			return "answering"
		},
		func() string { pick(w.resizes); return "resize" },
		func() string { pick(func(x *watcher) { x.seat.Say("hello\x1b[2J") }); return "say" },
		func() string { w.behind = !w.behind; w.tape.fault(func(t *tape) { t.behind = w.behind }); return "lag" },
		w.keystroke, w.keystroke, w.keystroke, w.message, w.message, w.message,
		func() string { time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond); return "time" },
		func() string { return w.rarely(r, 20, w.kills) },
		func() string { return w.rarely(r, 40, func() { w.hangup(nil); w.dead = true }) },
		func() string { return w.rarely(r, 40, w.breaks) },
	}
	w.told = append(w.told, acts[r.IntN(len(acts))]())
	synctest.Wait()
}

func (w *world) rarely(r *rand.Rand, n int, f func()) string {
	if r.IntN(n) > 0 {
		return ""
	}
	f()
	return "end"
}

func (w *world) joins(who session.Identity) string {
	seat, err := w.Sit(who, session.Size{Cols: 80, Rows: 24})
	allowed := who.Name == "bob" || who.Name == "eve"
	if err == nil && (!allowed || w.dead) {
		w.t.Errorf("%s sat down", who.Name)
	}
	if err == nil {
		w.seats = append(w.seats, &watcher{seat: seat, who: who})
	}
	return "join " + who.Name
}

func (w *world) leaves(x *watcher) {
	x.seat.Leave("")
	for i, y := range w.seats {
		if x == y {
			w.seats = append(w.seats[:i:i], w.seats[i+1:]...)
			break
		}
	}
}

func (w *world) resizes(x *watcher) {
	x.small = !x.small
	if x.small {
		x.seat.Resize(session.Size{Cols: 20, Rows: 5})
		return
	}
	x.seat.Resize(session.Size{Cols: 80, Rows: 24})
}

func (w *world) kills() {
	for _, x := range w.seats {
		x.seat.Kill("no")
		w.dead = true
		return
	}
}

func (w *world) breaks() {
	w.tape.fault(func(t *tape) { t.failAppend = true })
	w.broken = true
}

// keystroke types one byte: it must be in psql if and only if the model says so.
func (w *world) keystroke() string {
	may, before := w.open(), len(w.db.psql.typed())
	running := w.running()
	w.types("x")
	synctest.Wait()
	got := len(w.db.psql.typed()) - before
	if got > 0 && !may || got == 0 && may && running {
		w.t.Errorf("a keystroke passed: %v, the model says %v", got > 0, may)
	}
	return fmt.Sprintf("key(%v)", may)
}

// running reports whether psql is there to take keystrokes.
func (w *world) running() bool { return w.db.opened() != nil }

// message asks the gate for a statement, and gives up when it has to wait.
func (w *world) message() string {
	if !w.running() {
		return ""
	}
	may := w.open()
	ctx, cancel := context.WithCancel(w.t.Context())
	answer := make(chan error, 1)
	go func() {
		e := &session.Event{Type: session.Statement, Statement: &session.StatementInfo{Text: "select"}}
		answer <- w.db.opened().Pass(ctx, e)
	}()
	synctest.Wait()
	cancel()
	err := <-answer
	if (err == nil) != may {
		w.t.Errorf("a message passed: %v, the model says %v", err == nil, may)
	}
	if err == nil {
		w.passed++
		w.db.opened().Note(session.Event{Type: session.Result})
	}
	return fmt.Sprintf("message(%v)", may)
}

// judge compares what can be compared after each step.
func (w *world) judge() {
	if w.Gate().Open && !w.open() && !w.broken { // a broken tape shows at the next event, which then does not pass
		w.t.Error("the gate is open and the model says shut")
	}
	if _, n := w.tape.all(session.Statement); n != w.passed {
		w.t.Errorf("%d statements on the tape, %d passed", n, w.passed)
	}
	select {
	case <-w.Done():
		w.dead = true
	default:
	}
}

func simulate(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	w := &world{story: begin(t, pairs)}
	synctest.Wait()
	for range 40 {
		w.step(r)
		w.judge()
		if t.Failed() || w.dead {
			break
		}
	}
	w.hangup(nil)
	<-w.over
	if w.tape.sealed == nil || w.tape.afterSealed > 0 {
		t.Errorf("sealed %v, %d events after it", w.tape.sealed != nil, w.tape.afterSealed)
	}
	if w.running() && w.db.killed != 1 {
		t.Errorf("the backend was killed %d times", w.db.killed)
	}
	if t.Failed() {
		t.Fatalf("seed %d: %s", seed, strings.Join(w.told, ", "))
	}
}

func TestSimulation(t *testing.T) {
	stories := 2000
	if n, err := strconv.Atoi(os.Getenv("TWOKEY_SIMULATE")); err == nil {
		stories = n
	}
	for seed := range stories {
		synctest.Test(t, func(t *testing.T) { simulate(t, uint64(seed)) })
		if t.Failed() {
			return
		}
	}
}
