package session_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/twokey/twokey/session"
)

// TestGate is all that the gate says, by the facts.
func TestGate(t *testing.T) {
	one := session.Need{Count: 1, Groups: []string{"engineering"}}
	two := session.Need{Count: 2, Groups: []string{"engineering"}}
	cto := session.Need{Count: 1, Groups: []string{"cto"}}
	killed, lag := session.Cause{Code: session.Killed, By: "bob", Text: "no"}, errors.New("nothing stored for 1m0s")
	quorum := func(needs ...session.Need) session.Quorum { return needs }
	there := func(who ...session.Identity) []session.Identity { return who }
	held := []string{"bob", "eve"}

	type facts = session.Facts
	tests := []struct {
		name    string
		facts   facts
		because session.Because
		why     string
		missing []session.Need
	}{
		{"bob watches", facts{Engineer: alice, Quorum: quorum(one), There: there(bob)}, session.AllThere, "", nil},
		{"more than enough watch", facts{Engineer: alice, Quorum: quorum(one), There: there(carol, bob, person("eve", "engineering"))}, session.AllThere, "", nil},
		{"nobody has to", facts{Engineer: alice}, session.AllThere, "", nil},
		{"nobody has to, and somebody does", facts{Engineer: alice, There: there(carol)}, session.AllThere, "", nil},

		{"no facts at all", facts{}, session.Nobody, "nobody knows who the engineer is", nil},
		{"an engineer without an account", facts{Engineer: session.Identity{Name: "alice"}, Quorum: quorum(one), There: there(bob)}, session.Nobody, "nobody knows who the engineer is", nil},

		{"nobody watches", facts{Engineer: alice, Quorum: quorum(one)}, session.Watching, "it takes 1 person from engineering to watch", quorum(one)},
		{"alice watches herself", facts{Engineer: alice, Quorum: quorum(one), There: there(alice)}, session.Watching, "it takes 1 person from engineering to watch", quorum(one)},
		{"carol watches", facts{Engineer: alice, Quorum: quorum(one), There: there(carol)}, session.Watching, "it takes 1 person from engineering to watch", quorum(one)},
		{"somebody without an account watches", facts{Engineer: alice, Quorum: quorum(one), There: there(session.Identity{Groups: []string{"engineering"}})}, session.Watching, "it takes 1 person from engineering to watch", quorum(one)},
		{"bob is away", facts{Engineer: alice, Quorum: quorum(one), Away: []string{"bob does not answer"}}, session.Watching, "it takes 1 person from engineering to watch (bob does not answer)", quorum(one)},
		{"bob and eve are away", facts{Engineer: alice, Quorum: quorum(two), Away: []string{"bob does not answer", "eve has too small a window"}}, session.Watching, "it takes 2 people from engineering to watch (bob does not answer, eve has too small a window)", quorum(two)},
		{"one of two watches", facts{Engineer: alice, Quorum: quorum(two), There: there(bob)}, session.Watching, "it takes 1 person from engineering to watch", quorum(one)},
		{"bob watches twice", facts{Engineer: alice, Quorum: quorum(two), There: there(bob, bob)}, session.Watching, "it takes 1 person from engineering to watch", quorum(one)},
		{"the cto is missing", facts{Engineer: alice, Quorum: quorum(one, cto), There: there(bob)}, session.Watching, "it takes 1 person from cto to watch", quorum(cto)},

		{"the rows are out", facts{Engineer: alice, Quorum: quorum(one), There: there(bob), Rows: true}, session.Rows, "the limit of rows is reached; a shadow can release more", nil},
		{"bob and eve hold", facts{Engineer: alice, Quorum: quorum(one), There: there(bob), Holds: held}, session.Held, "held by bob and eve", nil},
		{"a hold where nobody has to watch", facts{Engineer: alice, Holds: held}, session.Held, "held by bob and eve", nil},
		{"the tape lags", facts{Engineer: alice, Quorum: quorum(one), There: there(bob), Recorder: lag}, session.Recorder, "the recording is in trouble: nothing stored for 1m0s", nil},
		{"the tape lags, and nobody has to watch", facts{Engineer: alice, Recorder: lag}, session.Recorder, "the recording is in trouble: nothing stored for 1m0s", nil},
		{"killed", facts{Engineer: alice, Quorum: quorum(one), There: there(bob), Ending: killed}, session.Ending, "the session is ending: killed by bob: no", nil},

		{"killed comes before all else", facts{Ending: killed, Recorder: lag, Rows: true, Holds: held}, session.Ending, "the session is ending: killed by bob: no", nil},
		{"nobody known comes before the tape", facts{Recorder: lag, Quorum: quorum(one)}, session.Nobody, "nobody knows who the engineer is", nil},
		{"the tape comes before the people, who are missed all the same", facts{Engineer: alice, Quorum: quorum(one), Recorder: lag, Rows: true}, session.Recorder, "the recording is in trouble: nothing stored for 1m0s", quorum(one)},
		{"the people come before rows", facts{Engineer: alice, Quorum: quorum(one), Rows: true, Holds: held}, session.Watching, "it takes 1 person from engineering to watch", quorum(one)},
		{"rows come before a hold", facts{Engineer: alice, Quorum: quorum(one), There: there(bob), Rows: true, Holds: held}, session.Rows, "the limit of rows is reached; a shadow can release more", nil},
	}
	for _, tt := range tests {
		want := session.Gate{Open: tt.because == session.AllThere, Because: tt.because, Why: tt.why, Missing: tt.missing}
		if got := tt.facts.Gate(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, want)
		}
	}
	if (session.Gate{}).Open {
		t.Error("the zero gate is open")
	}
}

func BenchmarkGate(b *testing.B) {
	f := session.Facts{Engineer: alice, Quorum: pairs.Shadows, There: []session.Identity{bob}}
	for b.Loop() {
		if !f.Gate().Open {
			b.Fatal("shut")
		}
	}
}
