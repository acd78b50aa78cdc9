package session_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twokey/twokey/session"
)

// tell runs a story in a bubble of its own time.
func tell(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

func (st *story) mustEnd(code session.Code) {
	st.t.Helper()
	<-st.over
	time.Sleep(time.Second) // whoever still prints finds out
	if st.cause.Code != code {
		st.t.Fatalf("ended with %v, want %s", st.cause, code)
	}
	last := st.tape.events[len(st.tape.events)-1]
	if last.Type != session.End || last.Cause.Code != code {
		st.t.Errorf("the tape ends with %+v, want the cause %s", last, code)
	}
	if st.tape.sealed == nil || st.tape.sealed.Cause.Code != code || st.tape.sealed.State != session.Ended {
		st.t.Errorf("sealed with %+v", st.tape.sealed)
	}
	if st.tape.afterSealed > 0 {
		st.t.Errorf("%d events after the seal", st.tape.afterSealed)
	}
}

func TestNothingHappensBeforeAShadowSits(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		synctest.Wait()
		st.types("drop table orders;\r")
		synctest.Wait()
		if st.db.opens != 0 {
			t.Error("psql started without a shadow")
		}
		if !strings.Contains(st.screen.String(), "1 person from engineering") {
			t.Errorf("alice does not read what she waits for: %q", st.screen.String())
		}
		st.sit(bob)
		synctest.Wait()
		if st.db.opens != 1 {
			t.Error("psql did not start when bob sat down")
		}
		st.types("select 1;\r")
		synctest.Wait()
		if got := st.db.psql.typed(); got != "select 1;\r" {
			t.Errorf("psql got %q", got)
		}
		if in, _ := st.tape.all(session.Input); in != "select 1;\r" {
			t.Errorf("the tape holds input %q", in)
		}
		st.db.psql.exit(3)
		st.mustEnd(session.Quit)
		if st.status != 3 {
			t.Errorf("status %d", st.status)
		}
	})
}

func TestWhoMaySit(t *testing.T) {
	twin := person("alice-admin", "engineering")
	twin.SamePerson = "e-1"
	tell(t, func(t *testing.T) {
		st := begin(t, pairs, func(r *session.Request, _ *story) { r.Engineer.SamePerson = "e-1" })
		for _, who := range []session.Identity{alice, carol, twin, {}, {Name: "bob", Groups: []string{"engineering"}}} {
			if _, err := st.Sit(who, session.Size{Cols: 80, Rows: 24}); err == nil {
				t.Errorf("%+v sat down", who)
			}
		}
		synctest.Wait()
		if st.Gate().Open {
			t.Error("the gate is open")
		}
		st.hangup(nil)
		st.mustEnd(session.Disconnected)
	})
}

// Somebody revoked leaves all their seats at once: the hold of one does not go
// while another still counts.
func TestARevokedPersonIsGoneAtOnce(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		var r session.Registry
		r.Add(st.Session)
		st.sit(bob).Hold()
		st.sit(bob)
		synctest.Wait()
		_, seats := r.Revoke(bob.SamePersonAs, session.Cause{Code: session.Revoked, Text: "lost laptop"})
		synctest.Wait()
		if _, opened := st.tape.all(session.GateOpen); seats != 2 || opened != 1 {
			t.Errorf("%d seats were taken away, and the gate opened %d times", seats, opened)
		}
		st.hangup(nil)
		<-st.over
	})
}

// Each stay is in the manifest. A shadow who sits down and gets up for hours must not make it
// longer than one can be: the recording would prove nothing.
func TestNobodySitsDownForEver(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		many := person("dave", "engineering")
		for i := range 500 {
			many.Groups = append(many.Groups, fmt.Sprint("group ", i, strings.Repeat("x", 90)))
		}
		for range 1000 {
			st.sit(bob).Leave("")
		}
		sat := 0
		for ; ; sat++ {
			seat, err := st.Sit(many, session.Size{Cols: 80, Rows: 24})
			if err != nil {
				if !strings.Contains(err.Error(), "sat down here so often") {
					t.Error(err)
				}
				break
			}
			seat.Leave("")
		}
		if sat < 50 || sat > 100 {
			t.Errorf("somebody of many groups sat down %d times", sat)
		}
		st.sit(bob).Leave("") // for whom there is room still
		st.hangup(nil)
		<-st.over
	})
}

func TestNobodySitsDownWhenItEnds(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		seat := st.sit(bob)
		synctest.Wait()
		st.db.mu.Lock()
		st.db.hung = true // so that the end takes its time
		st.db.mu.Unlock()
		seat.Kill("no")
		synctest.Wait()
		if _, err := st.Sit(bob, session.Size{}); err == nil || !strings.Contains(err.Error(), "has ended") {
			t.Errorf("sitting down at the end: %v", err)
		}
		<-st.over
	})
}

func TestLeavingShutsAtOnceAndGraceEnds(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		seat := st.sit(bob)
		synctest.Wait()
		seat.Leave("")
		st.types("x")
		synctest.Wait()
		if st.db.psql.typed() != "" {
			t.Error("a keystroke passed a shut gate")
		}
		time.Sleep(29 * time.Second)
		again := st.sit(bob)
		synctest.Wait()
		st.types("y")
		synctest.Wait()
		if got := st.db.psql.typed(); got != "y" {
			t.Errorf("psql got %q, want only what was typed after bob came back", got)
		}
		again.Leave("")
		st.mustEnd(session.ShadowGone)
		if st.db.killed != 1 || !st.db.psql.killed {
			t.Error("the backend and psql were not killed")
		}
		if _, n := st.tape.all(session.Dropped); n != 1 {
			t.Errorf("%d dropped events", n)
		}
	})
}

func TestNobodyCame(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		st.mustEnd(session.NobodyCame)
		if st.status != 75 || st.db.opens != 0 {
			t.Errorf("status %d, opens %d", st.status, st.db.opens)
		}
	})
}

func TestKill(t *testing.T) {
	faults := map[string]func(*story){
		"plain":            func(*story) {},
		"hung database":    func(st *story) { st.db.hung = true },
		"stuck terminal":   (*story).stick,
		"psql reads not":   func(st *story) { st.db.psql.fill(); st.types("select") },
		"flood of output":  func(st *story) { go flood(st) },
		"stuck and floods": func(st *story) { st.stick(); go flood(st) },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			tell(t, func(t *testing.T) {
				st := begin(t, pairs)
				seat := st.sit(bob)
				time.Sleep(time.Second)
				fault(st)
				time.Sleep(time.Second)
				seat.Kill("that is the wrong table")
				if st.Gate().Open {
					t.Error("the gate is open after the kill")
				}
				if err := st.db.opened().Pass(t.Context(), nil); err == nil {
					t.Error("a message passed after the kill")
				}
				start := time.Now()
				st.mustEnd(session.Killed)
				if took := time.Since(start); took > 6*time.Second {
					t.Errorf("took %v", took)
				}
				if st.status != 137 || st.cause.By != "bob" {
					t.Errorf("status %d, cause %v", st.status, st.cause)
				}
				if st.db.hung != (len(st.tape.sealed.Flags) == 2) {
					t.Errorf("flags %v", st.tape.sealed.Flags)
				}
			})
		})
	}
}

// The window may change at any moment, also while psql is being started.
func TestResizes(t *testing.T) {
	tell(t, func(t *testing.T) {
		late, later := session.Size{Cols: 133, Rows: 33}, session.Size{Cols: 90, Rows: 40}
		st := begin(t, pairs)
		st.db.during = func() { st.sizes <- late; time.Sleep(time.Second) }
		st.sit(bob)
		time.Sleep(time.Minute)
		if got := st.db.psql.window(); got != late {
			t.Errorf("changed while psql started: it has %v", got)
		}
		st.sizes <- later
		synctest.Wait()
		if got := st.db.psql.window(); got != later {
			t.Errorf("changed later: it has %v", got)
		}
		st.db.psql.exit(0)
		st.mustEnd(session.Quit)
	})
}

// A disk that hangs holds the lock that orders the tape. The kill needs it not.
// Not in a bubble, where time stands still for whoever waits for a lock.
func TestKillDoesNotWaitForTheTape(t *testing.T) {
	st := begin(t, pairs)
	seat := st.sit(bob)
	eventually(t, "psql runs", func() bool { opens, _ := st.db.counts(); return opens == 1 })
	disk := make(chan struct{})
	st.tape.fault(func(t *tape) { t.hung = disk })
	go st.types("x") // ends with the session
	seat.Kill("stop")
	eventually(t, "all is dead behind the gate", func() bool { _, killed := st.db.counts(); return killed == 1 && st.db.psql.dead() })
	st.tape.fault(func(t *tape) { t.hung = nil })
	close(disk)
	<-st.over
	if st.cause.Code != session.Killed {
		t.Errorf("ended with %v", st.cause)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func flood(st *story) {
	for {
		time.Sleep(time.Millisecond) // or the bubble never comes to rest
		if _, err := st.db.psql.print.Write(make([]byte, 8<<10)); err != nil {
			return
		}
	}
}

func TestHoldStopsStatementsAndOutput(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		seat := st.sit(bob)
		synctest.Wait()
		seat.Hold()
		passed := make(chan error, 1)
		go func() {
			passed <- st.db.opened().Pass(t.Context(), &session.Event{Type: session.Statement, Statement: &session.StatementInfo{N: 1, Text: "select 1"}})
		}()
		go st.db.psql.print.Write([]byte("secret"))
		time.Sleep(time.Hour / 4)
		if _, n := st.tape.all(session.Statement); n != 0 || strings.Contains(st.screen.String(), "secret") {
			t.Error("something passed while held")
		}
		seat.Release()
		if err := <-passed; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if !strings.Contains(st.screen.String(), "secret") {
			t.Error("output lost")
		}
		st.db.psql.exit(0)
		st.mustEnd(session.Quit)
		if st.tape.sealed.Statements != 1 {
			t.Errorf("%d statements", st.tape.sealed.Statements)
		}
	})
}

func TestTheTapeComesFirst(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		st.sit(bob)
		synctest.Wait()
		st.tape.fault(func(t *tape) { t.failAppend = true })
		st.types("x")
		<-st.over
		if st.db.psql.typed() != "" || st.cause.Code != session.NoRecorder {
			t.Errorf("psql got %q, cause %v", st.db.psql.typed(), st.cause)
		}
		if !strings.Contains(st.screen.String(), "no space left") {
			t.Errorf("alice reads %q", st.screen.String())
		}
	})
}

func TestLagShutsAndOpensAgain(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		st.sit(bob)
		synctest.Wait()
		st.tape.fault(func(t *tape) { t.behind = true })
		st.types("x")
		time.Sleep(time.Hour)
		st.tape.fault(func(t *tape) { t.behind = false })
		time.Sleep(time.Second)
		st.types("y")
		synctest.Wait()
		if got := st.db.psql.typed(); got != "y" {
			t.Errorf("psql got %q", got)
		}
		st.types("\x04")
		st.db.psql.exit(0)
		st.mustEnd(session.Quit)
	})
}

func TestLimits(t *testing.T) {
	limits := map[session.Code]func(*session.Request){
		session.TooLong: func(r *session.Request) { r.Mode.Limits.Duration = time.Hour },
		session.Idle:    func(r *session.Request) { r.Mode.Limits.Idle = time.Minute },
		session.Expired: func(r *session.Request) { r.Engineer.Credential.Expires = time.Now().Add(time.Hour) },
	}
	for code, set := range limits {
		tell(t, func(t *testing.T) {
			st := begin(t, pairs, func(r *session.Request, _ *story) { set(r) })
			st.sit(bob)
			st.mustEnd(code)
		})
		tell(t, func(t *testing.T) {
			st := begin(t, alone, func(r *session.Request, _ *story) { set(r) })
			st.mustEnd(code)
		})
	}
}

// Where nobody has to watch, nobody is waited for either.
func TestAlone(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, alone)
		time.Sleep(2 * alone.Limits.Wait)
		st.tape.fault(func(t *tape) { t.behind = true })
		time.Sleep(time.Second)
		st.tape.fault(func(t *tape) { t.behind = false })
		time.Sleep(time.Second)
		if got := st.screen.String(); !strings.Contains(got, "the gate is open again") || strings.Contains(got, "Waiting") {
			t.Errorf("alice reads %q", got)
		}
		st.types("\x03")
		synctest.Wait()
		if got := st.db.psql.typed(); got != "\x03" {
			t.Errorf("psql got %q", got)
		}
		st.db.psql.exit(0)
		st.mustEnd(session.Quit)
	})
}

func TestASeatThatDoesNotWatchDoesNotCount(t *testing.T) {
	ways := map[string][2]func(*session.Seat){
		"lost":  {func(x *session.Seat) { x.Answering(false) }, func(x *session.Seat) { x.Answering(true) }},
		"small": {func(x *session.Seat) { x.Resize(session.Size{Cols: 39, Rows: 24}) }, func(x *session.Seat) { x.Resize(session.Size{Cols: 40, Rows: 10}) }},
		"hold":  {(*session.Seat).Hold, (*session.Seat).Release},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			tell(t, func(t *testing.T) {
				st := begin(t, pairs)
				seat := st.sit(bob)
				if !st.Gate().Open {
					t.Error("shut at first")
				}
				way[0](seat)
				if st.Gate().Open {
					t.Error("open")
				}
				way[1](seat)
				if !st.Gate().Open {
					t.Error("shut for ever")
				}
				st.hangup(nil)
				st.mustEnd(session.Disconnected)
			})
		})
	}
}

// Statements wait for those who watch as output does.
func TestNobodyOutrunsTheWatchers(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, alone)
		behind := st.Follow()
		synctest.Wait()
		passed := 0
		go func() {
			for range 100 {
				st.db.opened().Pass(t.Context(), &session.Event{Type: session.Statement, Statement: &session.StatementInfo{N: 1, Text: strings.Repeat("x", 64<<10)}})
				passed++
			}
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		if passed == 0 || passed > 4 {
			t.Errorf("%d statements of 64 KiB passed while a watcher took nothing", passed)
		}
		if _, err := behind.Next(t.Context()); err != nil {
			t.Error(err)
		}
		behind.Close()
		st.db.psql.exit(0)
		st.mustEnd(session.Quit)
	})
}

// Who is never at rest and never behind is not waited for.
func TestABusyWatcherIsNotBehind(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, alone)
		busy := st.Follow()
		synctest.Wait()
		var passed atomic.Int64
		go func() {
			for n := range 1000 {
				st.db.opened().Pass(t.Context(), &session.Event{Type: session.Statement, Statement: &session.StatementInfo{N: n + 1, Text: "select 1"}})
				passed.Add(1)
				time.Sleep(10 * time.Millisecond)
			}
		}()
		for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(50 * time.Millisecond) {
			if _, err := busy.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := passed.Load(); n < 490 {
			t.Errorf("%d statements passed in five seconds, one each 10 ms was typed", n)
		}
		busy.Close()
		time.Sleep(10 * time.Second)
		st.db.psql.exit(0)
		st.mustEnd(session.Quit)
	})
}

func TestScriptsWaitInsteadOfBeingDropped(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs, func(r *session.Request, _ *story) { r.Size = session.Size{}; r.Args = []string{} })
		go func() { st.types("select 1;\n"); st.screen.keys.Close() }()
		time.Sleep(time.Minute)
		st.sit(bob)
		synctest.Wait()
		if st.db.psql.typed() != "select 1;\n" || !st.db.psql.closed {
			t.Errorf("psql got %q, closed %v", st.db.psql.typed(), st.db.psql.closed)
		}
		st.db.psql.exit(0)
		st.mustEnd(session.Quit)
	})
}

func TestRefusedByTheDatabase(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs, func(_ *session.Request, st *story) {
			st.db.refuse = session.Cause{Code: session.NoDatabase, Text: "the database refused"}
		})
		st.sit(bob)
		st.mustEnd(session.NoDatabase)
	})
	tell(t, func(t *testing.T) {
		st := begin(t, pairs, func(_ *session.Request, st *story) { st.db.refuse = errors.New("no cage") })
		st.sit(bob)
		st.mustEnd(session.NoShell)
	})
}

func TestGivingUp(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		st.types("\x03")
		st.mustEnd(session.Abandoned)
	})
}

func TestFeedYieldsTheWholeSession(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		feed := st.Follow()
		st.sit(bob)
		synctest.Wait()
		go flood(st)
		time.Sleep(time.Second)
		if out, _ := st.tape.all(session.Output); len(out) > 1<<20 {
			t.Errorf("the engineer saw %d bytes while nobody followed", len(out))
		}
		n := 0
		for n < 4<<20 {
			events, err := feed.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				n += len(e.Bytes)
			}
		}
		feed.Next(t.Context())
		time.Sleep(10 * time.Second)
		feed.Next(t.Context())
		if _, err := feed.Next(t.Context()); err != session.ErrTooSlow {
			t.Errorf("a feed that takes nothing: %v", err)
		}
		st.hangup(nil)
		st.mustEnd(session.Disconnected)
	})
}

func TestRegistryDrains(t *testing.T) {
	tell(t, func(t *testing.T) {
		var r session.Registry
		st := begin(t, pairs)
		if err := r.Add(st.Session); err != nil {
			t.Fatal(err)
		}
		if _, ok := r.Find("abcde"); !ok {
			t.Error("not found by its code")
		}
		ctx, cancel := contextWithTimeout(t, time.Minute)
		defer cancel()
		r.Drain(ctx)
		st.mustEnd(session.Drained)
		if err := r.Add(st.Session); err == nil {
			t.Error("a session was added while draining")
		}
		if len(r.Live()) != 0 {
			t.Error("still live")
		}
	})
}
