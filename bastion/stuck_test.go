package bastion_test

import (
	"strings"
	"testing"
)

// A session whose recording hangs is listed as what it is, and hides no other.
func TestListingsOfASessionThatHangs(t *testing.T) {
	h := open(t)
	x, s := waiting(t, h)
	h.terminal(bob, "lobby", "shadow 7kq01")
	x.sees("psql is here")
	h.terminal(alice, "orders+write", "--reason other")
	h.live(2)

	hang := h.tape(s)
	hang.mu.Lock()
	x.types("x") // waits for the tape
	eventually(t, "a session that hangs", func() bool {
		out, _, _ := h.run(dave, "lobby", "sessions --json")
		return strings.Count(out, "\n") == 2 && strings.Count(out, `"stuck"`) == 1
	})
	if out, _, _ := h.run(dave, "lobby", "sessions --json --flag stuck"); strings.Count(out, "\n") != 1 || !strings.Contains(out, s.Request().ID) {
		t.Errorf("those with the flag: %s", out)
	}
	out, _, status := h.run(dave, "lobby", "")
	if status != 0 || !strings.Contains(out, "does not answer") {
		t.Errorf("%d: %s", status, out)
	}
	hang.mu.Unlock()
	eventually(t, "that it answers again", func() bool {
		out, _, _ := h.run(dave, "lobby", "sessions --json")
		return strings.Count(out, "\n") == 2 && !strings.Contains(out, `"stuck"`)
	})
}
