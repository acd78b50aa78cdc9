package shadow_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

func asks(v *shadow.View, a session.AskInfo) { v.Apply(session.Event{Type: session.Asked, Ask: &a}) }

func answered(v *shadow.View, t session.EventType, n int) {
	v.Apply(session.Event{Type: t, Who: "eve", Text: "no", Ask: &session.AskInfo{N: n}})
}

// presses types a key until the seat has done something, or not within so long.
func (b *bob) presses(key, want string) bool {
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		b.types(key)
		if slices.Contains(b.seat.did(), want) {
			return true
		}
	}
	return false
}

func TestAQuestionIsAnswered(t *testing.T) {
	v := shadow.NewView(session.Size{Cols: 80, Rows: 24})
	b := sitDown(t, v, session.Size{Cols: 100, Rows: 30})
	asks(v, session.AskInfo{N: 3, Kind: session.AskCommit, Text: "commit", Did: []string{"UPDATE 7: update paid set state = 'x'"}})
	b.sees("asks to COMMIT")
	b.sees("UPDATE 7: update paid set state = 'x'")
	if !b.presses("\x19", "approve 3 false") {
		t.Error("it was not approved")
	}
	answered(v, session.Approved, 3)
	b.sees("eve says yes to #3")
	asks(v, session.AskInfo{N: 4, Kind: session.AskRun, Text: "drop table paid", All: true})
	b.sees("^A all in this transaction")
	if !b.presses("\x01", "approve 4 true") {
		t.Error("it was not approved with all")
	}
	b.types("\x0ewrong table\r")
	if !b.presses("", "deny 4 wrong table") {
		t.Error("it was not denied")
	}
}

// A key that was meant for the question before, or comes before the text was
// seen to its end, answers nothing.
func TestAQuestionThatWasNotRead(t *testing.T) {
	v := shadow.NewView(session.Size{Cols: 80, Rows: 24})
	b := sitDown(t, v, session.Size{Cols: 80, Rows: 24})
	asks(v, session.AskInfo{N: 1, Kind: session.AskRun, Text: "select 1"})
	b.sees("asks to run")
	b.types("\x19")
	b.sees("just come")
	answered(v, session.Withdrawn, 1)
	asks(v, session.AskInfo{N: 2, Kind: session.AskRun, Text: strings.Repeat("select 1, ", 200) + "drop table paid"})
	b.sees("page 1 of")
	time.Sleep(600 * time.Millisecond)
	b.types("\x01\x19")
	b.sees("to its end")
	if did := b.seat.did(); len(did) > 0 {
		t.Errorf("the seat did %q", did)
	}
	for range 20 {
		b.types("\x1b[6~")
	}
	b.sees("drop table paid")
	if !b.presses("\x19", "approve 2 false") {
		t.Error("it was not approved")
	}
}

// No answer of a terminal, and nothing that is pasted, says yes.
func TestOnlyAKeySaysYes(t *testing.T) {
	v := shadow.NewView(session.Size{Cols: 80, Rows: 24})
	b := sitDown(t, v, session.Size{Cols: 80, Rows: 24})
	asks(v, session.AskInfo{N: 1, Kind: session.AskRun, Text: "select 1", All: true})
	b.sees("asks to run")
	time.Sleep(600 * time.Millisecond)
	b.types("\x1b[200~\x19\x01y\x1b[201~\x1b]11;\x19\x01\x07\x1bP\x19\x1b\\\x1b[\x19n")
	b.types("?")
	b.sees("Ctrl-Y")
	if did := b.seat.did(); len(did) > 0 {
		t.Errorf("the seat did %q", did)
	}
}

// Whatever the seat shows and however narrow it is, its last row says how to kill.
func TestTheKillKeyIsInSight(t *testing.T) {
	long := strings.Repeat("select 1, ", 900) + "2"
	question := func(text, sees string) func(*shadow.View, *bob) {
		return func(v *shadow.View, b *bob) {
			asks(v, session.AskInfo{N: 1234, Kind: session.AskCommit, Text: text, All: true})
			b.sees(sees)
		}
	}
	keys := func(keys, sees string) func(*shadow.View, *bob) {
		return func(_ *shadow.View, b *bob) { b.types(keys); b.sees(sees) }
	}
	states := map[string][]func(*shadow.View, *bob){
		"watching": {}, "held": {keys("\x0f", "RELEASE")}, "reads": {keys("?", "page 1")},
		"asked":                {question("commit", "^Y yes")},
		"asked with a hint":    {question("commit", "^Y yes"), keys("\x19", " this")},
		"asked for pages":      {question(long, "PgDn")},
		"asked, pages, hint":   {question(long, "PgDn"), keys("\x19", " read it")},
		"asked, pages, read":   {question(long, "PgDn"), keys("\x1b[F", "^Y yes")},
		"asked behind a help":  {keys("?", "page 1"), question("commit", "ASKS TO COMMIT")},
		"scrolled back screen": {keys("\t\x1b[5~", "")},
	}
	for name, steps := range states {
		for _, cols := range []int{40, 47, 60, 80, 132} {
			v := shadow.NewView(session.Size{Cols: 80, Rows: 24})
			v.Apply(prints(0, strings.Repeat("a line\r\n", 100)))
			b := sitDown(t, v, session.Size{Cols: cols, Rows: 10})
			b.sees("^K kill")
			for _, step := range steps {
				step(v, b)
			}
			rows := strings.Split(b.shows(), "\n")
			if last := rows[len(rows)-1]; !strings.Contains(last, "^K kill") {
				t.Errorf("%s, %d columns: %q", name, cols, last)
			}
		}
	}
}

// In a window that is too small keys act all the same, and show what they do.
func TestKillInAWindowThatIsTooSmall(t *testing.T) {
	v := shadow.NewView(session.Size{Cols: 80, Rows: 24})
	b := sitDown(t, v, session.Size{Cols: 20, Rows: 5})
	b.sees("^K kill")
	b.types("\x0b")
	b.sees("KILL (gate shut)")
	b.types("\x03\x03") // Ctrl-C goes back from the reason, then asks whether to leave
	b.sees("Leave? y leaves")
	b.types("n")
	b.sees("^K kill")
	b.types("\x0bnow\r")
	if !b.presses("", "kill now") {
		t.Errorf("the seat did %q", b.seat.did())
	}
}

func TestAQuestionInLines(t *testing.T) {
	v := shadow.NewView(session.Size{})
	asks(v, session.AskInfo{N: 1, Kind: session.AskRun, Text: "select 1;\n\x1b[2J", Params: []string{"x"}})
	in, commands := io.Pipe()
	seat := &chair{}
	out := make(chan string, 100)
	ends := make(chan error)
	go func() { ends <- shadow.StreamOn(t.Context(), seat, v, in, lines(out)) }()
	if line := <-out; !strings.Contains(line, "approve 1") || strings.Contains(line, "\x1b") {
		t.Errorf("%q", line)
	}
	fmt.Fprint(commands, "approve 2\napprove 1\ndeny #1 not now\nleave\n")
	if err := <-ends; err != shadow.ErrLeft {
		t.Error(err)
	}
	if did := seat.did(); !slices.Equal(did, []string{"approve 1 false", "deny 1 not now"}) {
		t.Errorf("the seat did %q", did)
	}
}

// lines hands on what is written.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestPresenceIsAskedFor(t *testing.T) {
	v := shadow.NewView(session.Size{Cols: 80, Rows: 24})
	b := sitDownAwake(t, v, 7*time.Second)
	b.sees("ARE YOU THERE? Press any key: without one you count for 8 s more")
}
