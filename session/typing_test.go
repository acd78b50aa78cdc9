package session_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twokey/twokey/session"
)

// psql is busy and has not even taken the last line. What is typed while the
// gate is shut is dropped all the same.
func TestNothingTypedWhileHeldIsDelivered(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		seat := st.sit(bob)
		synctest.Wait()
		st.db.psql.fill()
		st.types("select 1;\r")
		st.types("select 2;\r")
		synctest.Wait()
		seat.Hold()
		st.types("drop table orders;\r")
		time.Sleep(time.Second)
		seat.Release()
		st.types("select 3;\r")
		synctest.Wait()
		st.db.psql.drain()
		synctest.Wait()
		if got := st.db.psql.typed(); got != "select 1;\rselect 2;\rselect 3;\r" {
			t.Errorf("psql got %q", got)
		}
		if _, n := st.tape.all(session.Dropped); n != 1 || !strings.Contains(st.screen.String(), "goes nowhere: held by bob") {
			t.Errorf("%d times on the tape that something was dropped; alice reads %q", n, st.screen.String())
		}
		st.db.psql.exit(0)
		st.mustEnd(session.Quit)
	})
}

// What waits for psql when the gate shuts, and psql reads on meanwhile, is
// dropped with the rest.
func TestWhatWaitsAtAShutGateIsDropped(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		seat := st.sit(bob)
		synctest.Wait()
		st.db.psql.fill()
		st.types("select 1;\r")
		synctest.Wait()
		seat.Hold()
		st.db.psql.drain()
		synctest.Wait()
		seat.Release()
		st.types("select 2;\r")
		synctest.Wait()
		if got := st.db.psql.typed(); got != "select 2;\r" {
			t.Errorf("psql got %q", got)
		}
		st.db.psql.exit(0)
		st.mustEnd(session.Quit)
	})
}

// A paste larger than what may be typed ahead arrives whole.
func TestAPasteWaitsForPsql(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		st.sit(bob)
		synctest.Wait()
		st.db.psql.fill()
		paste := strings.Repeat("select 1;\r", 50_000)
		go st.types(paste)
		synctest.Wait()
		st.db.psql.drain()
		synctest.Wait()
		if got := st.db.psql.typed(); got != paste {
			t.Errorf("psql got %d bytes of %d", len(got), len(paste))
		}
		st.db.psql.exit(0)
		st.mustEnd(session.Quit)
	})
}

func TestPasswordsAreNotRecorded(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		st.sit(bob)
		synctest.Wait()
		st.db.psql.secret = true
		st.types("hunter2")
		st.types("hunter3")
		synctest.Wait()
		text, n := st.tape.all(session.Input)
		if text != "" || n != 1 || st.db.psql.typed() != "hunter2hunter3" {
			t.Errorf("tape %q in %d events, psql %q", text, n, st.db.psql.typed())
		}
		st.db.psql.exit(0)
		st.mustEnd(session.Quit)
	})
}

// What comes behind a password in the same packet is judged anew: psql may read
// commands by then.
func TestBehindAPassword(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs)
		st.sit(bob)
		synctest.Wait()
		st.db.psql.asks(1)
		st.types("hunter2\rselect 1;\r")
		synctest.Wait()
		text, _ := st.tape.all(session.Input)
		if text != "select 1;\r" || st.db.psql.typed() != "hunter2\rselect 1;\r" {
			t.Errorf("tape %q, psql %q", text, st.db.psql.typed())
		}
		st.db.psql.exit(0)
		st.mustEnd(session.Quit)
	})
}
