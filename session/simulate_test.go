package session_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twokey/twokey/session"
)

// The simulation plays random stories and holds the session against a model
// that is written from the sentence "nothing an engineer does takes effect
// unless the people who must be watching are watching at that moment", and
// shares nothing with what it judges. What fails is told as the shortest story
// that still fails.

// cast is who may turn up.
var cast = func() []session.Identity {
	of := func(name, team string, groups ...string) session.Identity {
		i := person(name, groups...)
		i.Claims = map[string]string{"team": team}
		return i
	}
	again := func(i session.Identity, number string) session.Identity {
		i.Issuer, i.Subject, i.Name, i.SamePerson = "https://other", "x-"+i.Name, i.Name+"2", number
		return i
	}
	alice, bob := of("alice", "payments", "engineering"), of("bob", "payments", "engineering")
	eve, dan := of("eve", "search", "engineering"), of("dan", "search", "engineering", "dba")
	kim, zoe := of("kim", "data", "dba", "cto"), of("zoe", "board", "cto")
	alice.SamePerson, eve.SamePerson = "1", "7"
	return []session.Identity{alice, bob, eve, dan, kim, zoe, again(alice, "1"), again(eve, "7"), of("carol", "", "marketing")}
}()

// rule is one way to configure a mode, and the same in the model's words.
type rule struct {
	name   string
	quorum session.Quorum
	glass  bool                               // opened by breaking it
	may    string                             // who may sit down
	met    func(there func(string) bool) bool // whether these are enough
}

var rules = []rule{
	{"one", session.Quorum{{Count: 1, Groups: []string{"engineering"}}}, false, "bob eve dan eve2",
		func(there func(string) bool) bool {
			return there("bob") || there("eve") || there("dan") || there("eve2")
		}},
	{"two", session.Quorum{{Count: 2, Groups: []string{"engineering"}}}, false, "bob eve dan eve2",
		func(there func(string) bool) bool {
			eve := there("eve") || there("eve2")
			return there("bob") && eve || there("bob") && there("dan") || eve && there("dan")
		}},
	{"a dba and the cto", session.Quorum{{Count: 1, Groups: []string{"dba"}}, {Count: 1, Groups: []string{"cto"}}}, false, "dan kim zoe",
		func(there func(string) bool) bool {
			return there("dan") && there("kim") || there("dan") && there("zoe") || there("kim") && there("zoe")
		}},
	{"another team", session.Quorum{{Count: 1, Groups: []string{"engineering", "dba", "cto"}, Other: "team"}}, false, "eve dan kim zoe eve2",
		func(there func(string) bool) bool {
			return there("eve") || there("dan") || there("kim") || there("zoe") || there("eve2")
		}},
	{"alone", nil, false, "", func(func(string) bool) bool { return true }},
	{"broken glass", session.Quorum{{Count: 1, Groups: []string{"dba"}}}, true, "dan kim",
		func(func(string) bool) bool { return true }},
}

// Short enough that a story meets them all; whole seconds, as are all its times.
var simulated = session.Limits{
	Wait: 15 * time.Second, Duration: 40 * time.Second, Idle: 10 * time.Second, Grace: 6 * time.Second,
	Presence: 9 * time.Second, Approval: 7 * time.Second, Rows: 100,
}

// slack is how late a session may notice what the clock brought about.
const slack = 600 * time.Millisecond

// deed is something that happens in a story: a and b say to whom and how much.
type deed struct {
	name string
	do   func(w *world, a, b int)
	odds int // how often, among all
}

// act is one deed, done.
type act struct{ deed, a, b int }

func (a act) String() string { return fmt.Sprintf("%s(%d,%d)", deeds[a.deed].name, a.a, a.b) }

// chair is the model's view of a seat.
type chair struct {
	seat                   *session.Seat
	who                    session.Identity
	small, silent, holding bool
	awake                  time.Time
}

func (c *chair) watching() bool {
	ends := c.who.Credential.Expires
	return !c.small && !c.silent && time.Since(c.awake) < simulated.Presence && (ends.IsZero() || time.Now().Before(ends))
}

// question is the model's view of an ask.
type question struct {
	n       int // 0: not put to anyone yet
	all     bool
	put     time.Time
	want    *session.Answer // what it must come to, once it is known
	refused bool            // it must come to an error
	got     chan answer
	take    context.CancelFunc
}

// world is the model: what must be true, from what was done.
type world struct {
	*story
	rule     rule
	registry session.Registry
	wrong    string // what was first found to be so

	chairs       []*chair
	behind       bool
	broken       bool
	rows         int64
	rowsOut      bool
	running      []int // statements that are not answered
	questions    []*question
	asked        int
	opened       time.Time
	shortSince   time.Time // people missing, after it opened
	active       time.Time
	quiet        time.Time // since when nothing runs
	drains       time.Time
	overBy       []session.Code // one of these ended it
	passed       int
	keys, prints int
}

func (w *world) fails(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
	}
}

// met reports whether enough people watch.
func (w *world) met() bool {
	return w.rule.met(func(name string) bool {
		return slices.ContainsFunc(w.chairs, func(c *chair) bool { return c.who.Name == name && c.watching() })
	})
}

// open is the sentence.
func (w *world) open() bool {
	held := slices.ContainsFunc(w.chairs, func(c *chair) bool { return c.holding })
	return w.met() && !held && !w.rowsOut && !w.behind && !w.broken && w.overBy == nil
}

// ends says what has just ended the session.
func (w *world) ends(codes ...session.Code) {
	if w.overBy == nil {
		w.overBy = codes
	}
}

// settle brings the model up to the moment, after something was done.
func (w *world) settle() {
	synctest.Wait()
	now := time.Now()
	if w.overBy == nil && w.open() && w.opened.IsZero() {
		w.opened, w.active, w.quiet = now, now, now
	}
	switch {
	case w.opened.IsZero() || w.met():
		w.shortSince = time.Time{}
	case w.shortSince.IsZero():
		w.shortSince = now
	}
	asked := slices.ContainsFunc(w.questions, func(q *question) bool { return q.n > 0 })
	if asked || len(w.running) > 0 {
		w.quiet = time.Time{}
	} else if w.quiet.IsZero() {
		w.quiet = now
	}
	w.overdue(now)
	w.answers(now)
	w.compare()
}

// overdue ends the session by the clock. At the very moment of a limit it may
// have noticed or not.
func (w *world) overdue(now time.Time) {
	var may []session.Code
	must := false
	limit := func(since time.Time, d time.Duration, code session.Code) {
		if late := now.Sub(since.Add(d)); !since.IsZero() && late >= 0 {
			may, must = append(may, code), must || late >= slack
		}
	}
	if w.opened.IsZero() {
		limit(w.Request().Started, simulated.Wait, session.NobodyCame)
	}
	limit(w.shortSince, simulated.Grace, session.ShadowGone)
	limit(w.opened, simulated.Duration, session.TooLong)
	limit(w.Request().Engineer.Credential.Expires, 0, session.Expired)
	limit(w.drains, 0, session.Drained)
	if !w.quiet.IsZero() && !w.opened.IsZero() {
		idle := w.active.Add(simulated.Idle)
		if idle.Before(w.quiet) {
			idle = w.quiet
		}
		limit(idle, 0, session.Idle)
	}
	if w.broken {
		may = append(may, session.NoRecorder) // at whatever is next to be recorded
	}
	if must || len(may) > 0 && w.ended() {
		w.ends(may...)
	}
}

func (w *world) ended() bool {
	select {
	case <-w.Done():
		return true
	default:
		return false
	}
}

// answers looks at what became of the questions.
func (w *world) answers(now time.Time) {
	w.questions = slices.DeleteFunc(w.questions, func(q *question) bool {
		if q.n == 0 && w.open() {
			w.asked++
			q.n, q.put = w.asked, now
		}
		waits := now.Sub(q.put)
		due := q.n > 0 && q.want == nil && waits >= simulated.Approval
		q.refused = q.refused || !due && q.want == nil && w.overBy != nil
		select {
		case a := <-q.got:
			if q.take(); due && a.err != nil && w.overBy != nil && waits == simulated.Approval {
				return true // the end came first
			}
			if due && !q.refused {
				q.want = &session.Answer{}
				w.active = q.put.Add(simulated.Approval)
			}
			w.judge(q, a)
			return true
		default:
		}
		if q.refused || q.want != nil || due && waits > simulated.Approval {
			w.fails("question %d is not answered", q.n)
		}
		return false
	})
}

func (w *world) judge(q *question, a answer) {
	switch {
	case a.err != nil && w.broken:
	case q.refused && a.err == nil, !q.refused && a.err != nil:
		w.fails("question %d came to %+v, %v", q.n, a.Answer, a.err)
	case q.refused:
	case q.want == nil:
		w.fails("question %d was answered by nobody: %+v", q.n, a.Answer)
	case a.Yes != q.want.Yes || a.All != q.want.All || a.By != q.want.By:
		w.fails("question %d came to %+v, the model says %+v", q.n, a.Answer, *q.want)
	}
}

// compare holds the session against the model.
func (w *world) compare() {
	gone := w.overBy != nil
	if w.ended() != gone {
		w.fails("it has ended: %v; the model says %v by %v", !gone, gone, w.overBy)
		return
	}
	if gone || w.broken {
		return // a broken tape shows at the next event, which then does not pass
	}
	if g := w.Gate(); g.Open != w.open() {
		w.fails("the gate is %v, the model says open: %v", g, w.open())
	}
	if missing := len(w.Summary().Needs) > 0; missing == w.met() {
		w.fails("people are missing: %v, the model says %v", missing, !w.met())
	}
}

// tried is what the session let pass of something that takes effect.
func (w *world) tried(what string, may, did bool) {
	if may != did {
		w.fails("%s passed: %v, the model says %v", what, did, may)
	}
}

// chair picks one that is taken.
func (w *world) chair(n int, do func(*chair)) {
	if len(w.chairs) > 0 {
		do(w.chairs[n%len(w.chairs)])
	}
}

func (w *world) question(n int, do func(*question)) {
	if len(w.questions) > 0 {
		do(w.questions[n%len(w.questions)])
	}
}

var large, tiny = session.Size{Cols: 80, Rows: 24}, session.Size{Cols: 39, Rows: 24}

// deeds is all that people, programs and the world do to a session.
var deeds = []deed{
	{"join", (*world).joins, 12},
	{"leave", func(w *world, a, _ int) {
		w.chair(a, func(c *chair) { c.seat.Leave(""); w.stands(c.seat) })
	}, 2},
	{"hold", func(w *world, a, _ int) { w.chair(a, func(c *chair) { c.seat.Hold(); c.holding = true }) }, 1},
	{"release", func(w *world, a, _ int) {
		w.chair(a, func(c *chair) {
			c.seat.Release()
			if c.holding = false; c.watching() && w.rowsOut {
				w.rows, w.rowsOut = 0, false
			}
		})
	}, 6},
	{"silence", func(w *world, a, b int) {
		w.chair(a, func(c *chair) { c.silent = b%2 == 0; c.seat.Answering(!c.silent) })
	}, 3},
	{"window", func(w *world, a, b int) {
		w.chair(a, func(c *chair) {
			if c.small = b%3 == 0; c.small {
				c.seat.Resize(tiny)
			} else {
				c.seat.Resize(large)
			}
		})
	}, 3},
	{"press", func(w *world, a, _ int) { w.chair(a, func(c *chair) { c.seat.Present(); c.awake = time.Now() }) }, 12},
	{"say", func(w *world, a, _ int) { w.chair(a, func(c *chair) { c.seat.Say("hello\x1b[2J") }) }, 1},
	{"key", (*world).keystroke, 6},
	{"ctrl-c", func(w *world, _, b int) {
		if w.opened.IsZero() && b%4 > 0 {
			return
		}
		w.types("\x03")
		if w.opened.IsZero() {
			w.ends(session.Abandoned)
		} else if w.open() {
			w.keys++
			w.active = time.Now()
		}
	}, 1},
	{"print", (*world).prints1, 3},
	{"message", (*world).message, 6},
	{"result", func(w *world, a, _ int) {
		if len(w.running) > 0 && w.overBy == nil {
			i := a % len(w.running)
			w.Note(session.Event{Type: session.Result, Result: &session.ResultInfo{N: w.running[i]}})
			w.running, w.active = slices.Delete(w.running, i, i+1), time.Now()
		}
	}, 4},
	{"ask", (*world).asks1, 4},
	{"yes", func(w *world, a, b int) { w.decides(a, b, true, false) }, 8},
	{"yes to all", func(w *world, a, b int) { w.decides(a, b, true, true) }, 4},
	{"no", func(w *world, a, b int) { w.decides(a, b, false, false) }, 3},
	{"withdraw", func(w *world, a, _ int) {
		w.question(a, func(q *question) { q.take(); q.refused = q.refused || q.want == nil })
		w.settle()
		w.sleeps(1) // it may have been all that kept her from being idle
	}, 1},
	{"rows", (*world).takesRows, 4},
	{"seconds", func(w *world, a, _ int) { w.sleeps(1 + a%4) }, 12},
	{"lag", func(w *world, _, b int) {
		w.behind = b%2 == 0
		w.tape.fault(func(t *tape) { t.behind = w.behind })
		w.settle()
		w.sleeps(1) // it is the clock that notices
	}, 2},
	{"shadow kills", func(w *world, a, b int) {
		if b%4 == 0 {
			w.chair(a, func(c *chair) { c.seat.Kill("no"); w.ends(session.Killed) })
		}
	}, 1},
	{"admin kills", func(w *world, _, b int) {
		if b%4 == 0 {
			w.Kill(carol, "no")
			w.ends(session.Killed)
		}
	}, 1},
	{"revoke", (*world).revokes, 1},
	{"drain", func(w *world, _, b int) {
		if w.drains.IsZero() && b%3 == 0 {
			w.drains = time.Now().Add(3 * time.Second)
			ctx, cancel := context.WithDeadline(context.Background(), w.drains)
			go func() { w.registry.Drain(ctx); cancel() }()
		}
	}, 1},
	{"quit", func(w *world, _, b int) {
		if b%4 == 0 && !w.opened.IsZero() && w.shown() == w.prints { // what it printed it must get rid of first
			w.db.psql.exit(0)
			w.ends(session.Quit)
		}
	}, 1},
	{"hang up", func(w *world, _, b int) {
		if b%4 == 0 {
			w.hangup(nil)
			w.ends(session.Disconnected)
		}
	}, 1},
	{"break the tape", func(w *world, _, b int) {
		if b%4 == 0 {
			w.tape.fault(func(t *tape) { t.failAppend = true })
			w.broken = true
		}
	}, 1},
}

func (w *world) sleeps(seconds int) {
	for range seconds {
		time.Sleep(time.Second)
		w.settle()
	}
}

func (w *world) joins(a, b int) {
	who := cast[a%len(cast)]
	if b%3 == 0 { // with a certificate that ends soon
		who.Credential.Expires = time.Now().Add(time.Duration(2+b%9) * time.Second)
	}
	seat, err := w.Sit(who, large)
	may := slices.Contains(strings.Fields(w.rule.may), who.Name) && w.overBy == nil && len(w.chairs) < 32
	if w.broken {
		may = false
	}
	w.tried(who.Name+"'s sitting down", may, err == nil)
	if err == nil {
		w.chairs = append(w.chairs, &chair{seat: seat, who: who, awake: time.Now()})
	}
}

// stands takes somebody's chairs away.
func (w *world) stands(seat *session.Seat) {
	w.chairs = slices.DeleteFunc(w.chairs, func(c *chair) bool { return c.seat == seat })
}

func (w *world) revokes(a, b int) {
	who := cast[a%len(cast)]
	if who.Name == "alice" && b%3 > 0 {
		return
	}
	w.registry.Revoke(func(i session.Identity) bool { return i.Name == who.Name }, session.Cause{Code: session.Revoked, Text: "revoked"})
	if who.Name == "alice" {
		w.ends(session.Revoked)
	}
	w.chairs = slices.DeleteFunc(w.chairs, func(c *chair) bool { return w.overBy == nil && c.who.Name == who.Name })
}

// keystroke types one byte: it is in psql if and only if the model says so.
func (w *world) keystroke(_, _ int) {
	may, before := w.open(), len(w.db.psql.typed())
	w.types("x")
	synctest.Wait()
	w.tried("a keystroke", may, len(w.db.psql.typed()) > before)
	if may {
		w.keys++
		w.active = time.Now()
	}
}

// prints1 makes psql print something: the engineer sees it at once, or when
// the gate is open next.
func (w *world) prints1(_, _ int) {
	if w.opened.IsZero() || w.overBy != nil || w.shown() < w.prints {
		return // a pipe takes one thing at a time
	}
	w.prints++
	go w.db.psql.print.Write([]byte("§"))
	may := w.open()
	synctest.Wait()
	w.tried("output", may, w.shown() == w.prints)
}

func (w *world) shown() int { return strings.Count(w.screen.String(), "§") }

// message asks the gate for a statement, and gives up when it has to wait.
func (w *world) message(_, _ int) {
	if w.opened.IsZero() {
		return
	}
	may := w.open()
	ctx, cancel := context.WithCancel(context.Background())
	n := w.passed + 1
	err := make(chan error, 1)
	go func() {
		err <- w.Pass(ctx, &session.Event{Type: session.Statement, Statement: &session.StatementInfo{N: n, Text: "select"}})
	}()
	synctest.Wait()
	cancel()
	did := <-err == nil
	w.tried("a statement", may, did)
	if did {
		w.passed++
		w.running = append(w.running, n)
	}
}

func (w *world) asks1(_, b int) {
	if w.opened.IsZero() || slices.ContainsFunc(w.questions, func(q *question) bool { return q.n == 0 }) {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	q := &question{all: b%2 == 0, got: make(chan answer, 1), take: cancel}
	go func() {
		a, err := w.Ask(ctx, session.AskInfo{Text: "delete", All: q.all})
		q.got <- answer{a, err}
	}()
	w.questions = append(w.questions, q)
}

// decides answers something: who does not count decides nothing.
func (w *world) decides(a, b int, yes, all bool) {
	w.chair(a, func(c *chair) {
		w.question(b, func(q *question) {
			if yes {
				c.seat.Approve(q.n, all)
			} else {
				c.seat.Deny(q.n, "")
			}
			if q.n > 0 && c.watching() && !w.broken && w.overBy == nil && q.want == nil {
				q.want = &session.Answer{Yes: yes, All: all && q.all, By: c.who.Name}
				w.active = time.Now()
			}
		})
	})
}

func (w *world) takesRows(_, _ int) {
	if w.opened.IsZero() || w.overBy != nil {
		return
	}
	want := min(64, simulated.Rows-w.rows)
	if w.rowsOut {
		want = 0
	}
	ctx, cancel := context.WithCancel(context.Background())
	rows := make(chan int, 1)
	go func() { n, _ := w.Rows(ctx); rows <- n }()
	synctest.Wait()
	cancel()
	if got := <-rows; int64(got) != want {
		w.fails("%d rows may be shown, the model says %d", got, want)
	}
	if w.rows += want; want > 0 {
		return
	}
	if w.rule.quorum == nil {
		w.ends(session.TooManyRows)
	}
	w.rowsOut = true
}

// play tells one story, and returns what was wrong in it.
func play(t *testing.T, r rule, expires bool, acts []act) (wrong string) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{rule: r}
		mode := session.Mode{Name: "write", Shadows: r.quorum, Approve: session.ApproveEach, Limits: simulated}
		w.story = begin(t, mode, func(want *session.Request, _ *story) {
			want.Engineer, want.BreakGlass = cast[0], r.glass
			if expires {
				want.Engineer.Credential.Expires = want.Started.Add(30 * time.Second)
			}
		})
		w.registry.Add(w.Session)
		w.settle()
		for _, a := range acts {
			deeds[a.deed].do(w, a.a, a.b)
			w.settle()
			if w.wrong != "" || w.overBy != nil {
				break
			}
		}
		w.finish()
		wrong = w.wrong
	})
	return wrong
}

// finish ends a story, and looks at what is left of it.
func (w *world) finish() {
	if w.overBy == nil {
		w.hangup(nil)
		w.ends(session.Disconnected)
		if w.broken {
			w.overBy = append(w.overBy, session.NoRecorder)
		}
		w.settle()
	}
	for _, q := range w.questions {
		q.take()
	}
	<-w.over
	if !slices.Contains(w.overBy, w.cause.Code) {
		w.fails("it ended by %v, the model says %v", w.cause, w.overBy)
	}
	if w.cause.Code != session.Quit && w.status != w.cause.ExitStatus() {
		w.fails("ssh returns %d after %v", w.status, w.cause)
	}
	if w.tape.sealed == nil || w.tape.afterSealed > 0 {
		w.fails("sealed: %v, %d events after it", w.tape.sealed != nil, w.tape.afterSealed)
	}
	if opens, killed := w.db.counts(); opens != killed || opens > 1 {
		w.fails("opened %d times, the backend killed %d times", opens, killed)
	}
	if typed := w.db.psql.typed(); len(typed) != w.keys {
		w.fails("psql got %d keystrokes, the model says %d", len(typed), w.keys)
	}
	if w.shown() > w.prints {
		w.fails("%d shown, %d printed", w.shown(), w.prints)
	}
	w.proves()
}

// proves reads the tape alone: what took effect is on it, and each time behind
// the open gate and the people that it took.
func (w *world) proves() {
	seated, open, ends := map[string]int{}, false, 0
	var typed, shown strings.Builder
	statements := 0
	for _, e := range w.tape.events {
		effect := true
		switch e.Type {
		case session.Statement:
			statements++
		case session.Input:
			typed.Write(e.Bytes)
		case session.Output:
			if effect = e.Bytes[0] != 0x18; effect { // or twokey's own words
				shown.Write(e.Bytes)
			}
		case session.Asked, session.Opened:
		default:
			effect = false
		}
		if effect && (!open || !w.rule.met(func(name string) bool { return seated[name] > 0 })) {
			w.fails("the tape has %s while the gate is open: %v, and there are %v", e.Type, open, seated)
		}
		switch e.Type {
		case session.Join:
			seated[e.Who]++
		case session.Leave:
			seated[e.Who]--
		case session.GateOpen, session.GateShut:
			open = e.Type == session.GateOpen
		case session.End:
			ends++
		}
	}
	if ends != 1 && !w.broken {
		w.fails("the tape has %d ends", ends)
	}
	if typed.String() != w.db.psql.typed() || statements != w.passed || strings.Count(shown.String(), "§") != w.shown() {
		w.fails("the tape has %q typed, %d statements, %q shown; psql got %q, the database %d, she saw %d",
			typed.String(), statements, shown.String(), w.db.psql.typed(), w.passed, w.shown())
	}
}

// made makes up what happens.
func made(r *rand.Rand) (_ rule, expires bool, _ []act) {
	var lots []int
	for i, d := range deeds {
		lots = append(lots, slices.Repeat([]int{i}, d.odds)...)
	}
	acts := make([]act, 10+r.IntN(90))
	for i := range acts {
		acts[i] = act{lots[r.IntN(len(lots))], r.IntN(72), r.IntN(72)}
	}
	return rules[r.IntN(len(rules))], r.IntN(2) == 0, acts
}

// shortest leaves out of a story whatever can be while it still fails.
func shortest(t *testing.T, r rule, expires bool, acts []act) []act {
	for n := len(acts) / 2; n > 0; n /= 2 {
		for from := 0; from+n <= len(acts); {
			if less := slices.Delete(slices.Clone(acts), from, from+n); play(t, r, expires, less) != "" {
				acts = less
			} else {
				from += n
			}
		}
	}
	return acts
}

// many is how often to do something: TWOKEY_SIMULATE times n.
func many(n int) int {
	if times, err := strconv.Atoi(os.Getenv("TWOKEY_SIMULATE")); err == nil {
		return n * times
	}
	return n
}

func TestSimulation(t *testing.T) {
	const tellers = 4
	for teller := range tellers {
		t.Run(strconv.Itoa(teller), func(t *testing.T) {
			t.Parallel()
			for i := range many(2000 / tellers) {
				rule, expires, acts := made(rand.New(rand.NewPCG(uint64(teller), uint64(i))))
				if play(t, rule, expires, acts) != "" {
					acts = shortest(t, rule, expires, acts)
					t.Fatalf("%s, her certificate ends: %v; %v: %s", rule.name, expires, acts, play(t, rule, expires, acts))
				}
			}
		})
	}
}

// In a storm the same happens from many goroutines at once, by the real clock.
// Nobody can say then what must pass; but what did is on the tape in an order
// in which it might.
func storm(t *testing.T, r *rand.Rand) (wrong string) {
	w := &world{rule: rules[r.IntN(len(rules))]}
	mode := session.Mode{Name: "write", Shadows: w.rule.quorum, Approve: session.ApproveEach, Limits: simulated}
	w.story = begin(t, mode, func(want *session.Request, _ *story) {
		want.Engineer, want.BreakGlass = cast[0], w.rule.glass
	})
	w.registry.Add(w.Session)
	var passed, number atomic.Int64
	var people, all sync.WaitGroup
	for range 3 {
		seed := r.Uint64()
		people.Go(func() { w.visits(rand.New(rand.NewPCG(seed, 1))) })
	}
	for range 2 {
		seed := r.Uint64()
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, 2))
			for range 10 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(1000))*time.Microsecond)
				switch n := int(number.Add(1)); r.IntN(4) {
				case 0:
					w.Ask(ctx, session.AskInfo{Text: "delete", All: true})
				case 1:
					w.Rows(ctx)
				default:
					if w.Pass(ctx, &session.Event{Type: session.Statement, Statement: &session.StatementInfo{N: n, Text: "select"}}) == nil {
						passed.Add(1)
						w.Note(session.Event{Type: session.Result, Result: &session.ResultInfo{N: n}})
					}
				}
				cancel()
			}
		})
	}
	all.Go(func() {
		for range 20 {
			w.types("x")
		}
	})
	all.Go(func() {
		for range 5 {
			w.db.psql.print.Write([]byte("§"))
		}
	})
	people.Wait()
	if r.IntN(2) == 0 {
		w.Kill(cast[8], "no")
	} else {
		w.hangup(nil)
	}
	<-w.over
	w.db.psql.exit(0) // it may never have been opened
	all.Wait()
	w.passed = int(passed.Load())
	if w.proves(); w.cause.Code != session.Killed && w.cause.Code != session.Disconnected && w.cause.Code != session.TooManyRows {
		w.fails("it ended by %v", w.cause)
	}
	return w.wrong
}

// visits sits down, does what shadows do, and leaves or is revoked.
func (w *world) visits(r *rand.Rand) {
	for range 4 {
		who := cast[r.IntN(len(cast))]
		seat, err := w.Sit(who, large)
		if err != nil {
			continue
		}
		for range 6 {
			n := 1 + r.IntN(5)
			switch r.IntN(10) {
			case 0:
				seat.Hold()
			case 1, 2:
				seat.Release()
			case 3:
				seat.Answering(r.IntN(2) == 0)
			case 4:
				seat.Resize([]session.Size{tiny, large}[r.IntN(2)])
			case 5:
				seat.Present()
			case 6:
				seat.Deny(n, "")
			case 7, 8:
				seat.Approve(n, r.IntN(2) == 0)
			default:
				time.Sleep(time.Duration(r.IntN(200)) * time.Microsecond)
			}
		}
		if r.IntN(2) == 0 {
			seat.Leave("")
		} else {
			w.registry.Revoke(func(i session.Identity) bool { return i.Name == who.Name }, session.Cause{Code: session.Revoked})
		}
		if seat.Counts() {
			w.fails("%s counts after leaving", who.Name)
		}
	}
}

func TestStorm(t *testing.T) {
	const tellers = 4
	for teller := range tellers {
		t.Run(strconv.Itoa(teller), func(t *testing.T) {
			t.Parallel()
			for i := range many(200 / tellers) {
				if wrong := storm(t, rand.New(rand.NewPCG(uint64(teller), uint64(i)))); wrong != "" {
					t.Fatalf("storm %d: %s", i, wrong)
				}
			}
		})
	}
}
