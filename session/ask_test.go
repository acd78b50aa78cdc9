package session_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twokey/twokey/session"
)

var asking = func() session.Mode {
	m := pairs
	m.Approve, m.Limits.Approval = session.ApproveEach, 2*time.Minute
	return m
}()

// answer is what came of a question.
type answer struct {
	session.Answer
	err error
}

// asks asks a shadow, as the gateway does.
func (st *story) asks(ctx context.Context, what session.AskInfo) chan answer {
	got := make(chan answer, 1)
	go func() {
		a, err := st.Ask(ctx, what)
		got <- answer{a, err}
	}()
	synctest.Wait()
	return got
}

func (st *story) reads(t *testing.T, text string) {
	t.Helper()
	synctest.Wait()
	if !strings.Contains(st.screen.String(), text) {
		t.Errorf("she does not read %q in %q", text, st.screen)
	}
}

func TestAShadowDecides(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, asking)
		seat := st.sit(bob)
		synctest.Wait()

		got := st.asks(t.Context(), session.AskInfo{Text: "drop table orders"})
		st.reads(t, "bob is asked to say yes: drop table orders")
		seat.Approve(2, false) // there is none of this number
		seat.Approve(1, true)
		if a := <-got; !a.Yes || a.All || a.By != "bob" || a.err != nil {
			t.Errorf("yes became %+v", a) // and "all" was not to be had
		}
		st.reads(t, "bob says yes")
		seat.Deny(1, "too late")

		got = st.asks(t.Context(), session.AskInfo{Text: "x", All: true})
		seat.Approve(2, true)
		if a := <-got; !a.Yes || !a.All {
			t.Errorf("yes to all became %+v", a)
		}
		got = st.asks(t.Context(), session.AskInfo{Text: "x"})
		seat.Deny(3, "wrong\ntable")
		if a := <-got; a.Yes || a.Why != "wrong table" {
			t.Errorf("no became %+v", a)
		}
		began := time.Now()
		got = st.asks(t.Context(), session.AskInfo{Text: "x"})
		if a := <-got; a.Yes || a.By != "" || !strings.Contains(a.Why, "nobody decided within 2m") || time.Since(began) != 2*time.Minute {
			t.Errorf("nothing became %+v after %v", a, time.Since(began))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		got = st.asks(ctx, session.AskInfo{Text: "x"})
		gone := errors.New("ctrl-c")
		cancel(gone)
		if a := <-got; a.err != gone {
			t.Errorf("taken back it became %+v", a)
		}
		for typ, want := range map[session.EventType]int{session.Asked: 5, session.Approved: 2, session.Denied: 2, session.Withdrawn: 1} {
			if _, n := st.tape.all(typ); n != want {
				t.Errorf("%d of %s on the tape, want %d", n, typ, want)
			}
		}
		st.hangup(nil)
		<-st.over
	})
}

// Who does not count does not decide.
func TestAnAbsentShadowDecidesNothing(t *testing.T) {
	tell(t, func(t *testing.T) {
		mode := asking
		mode.Limits.Presence = time.Minute
		st := begin(t, mode)
		eve := st.sit(person("eve", "engineering"))
		bobs := st.sit(bob)
		synctest.Wait()
		got := st.asks(t.Context(), session.AskInfo{Text: "x"})
		bobs.Answering(false)
		bobs.Approve(1, false)
		bobs.Answering(true)
		bobs.Resize(session.Size{Cols: 20, Rows: 5})
		bobs.Approve(1, false)
		bobs.Resize(session.Size{Cols: 80, Rows: 24})
		time.Sleep(61 * time.Second)
		eve.Present()
		bobs.Approve(1, false)
		synctest.Wait()
		select {
		case a := <-got:
			t.Fatalf("it was decided: %+v", a)
		default:
		}
		bobs.Present()
		bobs.Leave("")
		bobs.Approve(1, false)
		eve.Approve(1, false)
		if a := <-got; a.By != "eve" {
			t.Errorf("%+v", a)
		}
		st.hangup(nil)
		<-st.over
	})
}

// A question at a shut gate waits for the gate before it is put to anyone, and
// its time begins then. An end takes it along.
func TestAQuestionAtAShutGate(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, asking)
		seat := st.sit(bob)
		synctest.Wait()
		seat.Hold()
		got := st.asks(t.Context(), session.AskInfo{Text: "x"})
		time.Sleep(5 * time.Minute)
		seat.Approve(1, false)
		if _, n := st.tape.all(session.Asked); n != 0 {
			t.Error("it was asked at a shut gate")
		}
		seat.Release()
		synctest.Wait()
		if _, n := st.tape.all(session.Asked); n != 1 {
			t.Error("it was not asked at the open gate")
		}
		seat.Kill("enough")
		if a := <-got; a.err == nil || a.Yes {
			t.Errorf("%+v", a)
		}
		<-st.over
	})
}

func TestRowsBeyondTheLimitWait(t *testing.T) {
	tell(t, func(t *testing.T) {
		mode := pairs
		mode.Limits.Rows = 100
		st := begin(t, mode)
		seat := st.sit(bob)
		synctest.Wait()
		got := make(chan int)
		go func() {
			for {
				n, err := st.Rows(t.Context())
				if err != nil {
					close(got)
					return
				}
				got <- n
			}
		}()
		for _, want := range []int{64, 36} {
			if n := <-got; n != want {
				t.Errorf("%d rows, want %d", n, want)
			}
		}
		st.reads(t, "the limit of rows is reached")
		if g := st.Gate(); g.Open || g.Because != session.Rows {
			t.Errorf("the gate: %v", g)
		}
		seat.Resize(session.Size{Cols: 10, Rows: 5})
		seat.Release() // by somebody who does not see what it would let out
		seat.Resize(session.Size{Cols: 80, Rows: 24})
		synctest.Wait()
		if st.Gate().Open {
			t.Error("released from a window too small")
		}
		seat.Release()
		if n := <-got; n != 64 {
			t.Errorf("%d rows after the release", n)
		}
		if !st.Gate().Open {
			t.Error("shut after the release")
		}
		<-got
		st.hangup(nil)
		<-got
		<-st.over
	})
}

func TestBrokenGlass(t *testing.T) {
	tell(t, func(t *testing.T) {
		mode := asking
		st := begin(t, mode, func(r *session.Request, _ *story) { r.BreakGlass = true })
		synctest.Wait()
		if !st.Gate().Open || st.db.opened() == nil {
			t.Error("the gate is shut")
		}
		seat := st.sit(bob) // may come, and then has all the keys
		seat.Hold()
		if st.Gate().Open {
			t.Error("bob holds nothing")
		}
		seat.Leave("")
		if !st.Gate().Open {
			t.Error("shut without bob")
		}
		if flags := st.Summary().Flags; len(flags) != 1 || flags[0] != "break-glass" {
			t.Errorf("flags %q", flags)
		}
		st.hangup(nil)
		<-st.over
	})
}

func TestTheEndIsAnnounced(t *testing.T) {
	tell(t, func(t *testing.T) {
		mode := pairs
		mode.Limits.Duration = time.Hour
		st := begin(t, mode)
		st.sit(bob)
		time.Sleep(54 * time.Minute)
		if strings.Contains(st.screen.String(), "ends in") {
			t.Error("too early")
		}
		time.Sleep(61 * time.Second)
		st.reads(t, "this session ends in 5m: that is the limit of 1h")
		<-st.over
		if n := strings.Count(st.screen.String(), "ends in"); n != 1 {
			t.Errorf("announced %d times", n)
		}
	})
}

func TestAbsenceOpensAndShuts(t *testing.T) {
	tell(t, func(t *testing.T) {
		mode := pairs
		mode.Limits.Presence, mode.Limits.Grace = 2*time.Minute, time.Hour
		st := begin(t, mode)
		seat := st.sit(bob)
		time.Sleep(119 * time.Second)
		if !st.Gate().Open {
			t.Error("shut too early")
		}
		time.Sleep(1300 * time.Millisecond)
		if st.Gate().Open {
			t.Error("open though bob sleeps")
		}
		st.reads(t, "bob has pressed no key for 2m")
		seat.Present()
		if !st.Gate().Open {
			t.Error("shut though bob is awake")
		}
		st.hangup(nil)
		<-st.over
	})
}
