package session_test

import (
	"slices"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
)

// A roll call waits for no session whose disk hangs, longer than its patience for all of
// them together; it says of that one what is known, asks it once, and again when it
// has answered.
func TestRollCall(t *testing.T) {
	hangs, works := begin(t, session.Mode{Name: "read"}), begin(t, session.Mode{Name: "read"})
	hung := make(chan struct{})
	hangs.tape.fault(func(t *tape) { t.hung = hung })
	all := []*session.Session{hangs.Session, works.Session}
	var call session.RollCall
	for range 2 {
		present := call.Of(all, 200*time.Millisecond)
		if len(present) != 2 || present[0].Session != hangs.Session || present[1].Session != works.Session {
			t.Fatalf("present: %+v", present)
		}
		silent := present[0]
		if silent.Silent == 0 || silent.Summary.State != session.Shut || !slices.Equal(silent.Summary.Flags, []string{session.Stuck}) || silent.Summary.ID != hangs.Request().ID {
			t.Errorf("the one that hangs: %+v", silent)
		}
	}
	close(hung)
	hangs.tape.fault(func(t *tape) { t.hung = nil })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		present := call.Of(all, time.Second)
		if present[0].Silent == 0 && present[1].Silent == 0 && !slices.Contains(present[0].Summary.Flags, session.Stuck) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("they answer, and it says %+v", present)
		}
	}
}
