package shadow_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// A question that something else covers has not been shown, however long it waits.
func TestAQuestionThatIsCoveredIsNotShown(t *testing.T) {
	large := session.Size{Cols: 80, Rows: 24}
	for name, c := range map[string]struct{ cover, sees, uncover func(*bob) }{
		"help": {
			func(b *bob) { b.types("?") }, func(b *bob) { b.sees("ASKS TO RUN") }, func(b *bob) { b.types("?\x19") },
		},
		"too small": {
			func(b *bob) { b.resize(session.Size{Cols: 20, Rows: 5}) }, func(b *bob) { b.sees("Too small") },
			func(b *bob) { b.resize(large); b.types("\x19") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := shadow.NewView(large)
			b := sitDown(t, v, large)
			b.sees("^K kill")
			c.cover(b)
			asks(v, session.AskInfo{N: 1, Kind: session.AskRun, Text: "drop table paid"})
			c.sees(b)
			time.Sleep(700 * time.Millisecond)
			c.uncover(b)
			b.sees("drop table paid")
			if did := b.seat.did(); len(did) > 0 {
				t.Errorf("the seat did %q", did)
			}
		})
	}
}

// far is a terminal behind a network that is slow for a while. It says where
// its cursor is, as terminals do.
type far struct {
	*bob
	mu    sync.Mutex
	slow  bool
	later strings.Builder
}

func sitFarAway(t *testing.T, v *shadow.View, size session.Size) (*bob, *far) {
	t.Helper()
	f := &far{}
	f.bob = newBob(t, size)
	f.bob.sit(v, f, 0)
	return f.bob, f
}

func (f *far) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.slow {
		f.later.Write(p)
		return len(p), nil
	}
	f.arrives(string(p))
	return len(p), nil
}

var where = regexp.MustCompile(`\x1b\[(\d+);(\d+)H\x1b\[6n`)

func (f *far) arrives(p string) {
	f.bob.Write([]byte(p))
	for _, at := range where.FindAllStringSubmatch(p, -1) {
		go fmt.Fprintf(f.keys, "\x1b[%s;%sR", at[1], at[2])
	}
}

func (f *far) set(slow bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow = slow
	if !slow {
		f.arrives(f.later.String())
		f.later.Reset()
	}
}

// What the network holds back has not been shown: a key pressed meanwhile was
// meant for something else.
func TestAQuestionThatIsOnItsWayIsNotShown(t *testing.T) {
	v := shadow.NewView(session.Size{Cols: 80, Rows: 24})
	b, f := sitFarAway(t, v, session.Size{Cols: 80, Rows: 24})
	asks(v, session.AskInfo{N: 1, Kind: session.AskRun, Text: "select 1"})
	b.sees("asks to run")
	time.Sleep(600 * time.Millisecond)
	f.set(true)
	answered(v, session.Withdrawn, 1)
	asks(v, session.AskInfo{N: 2, Kind: session.AskRun, Text: "drop table paid"})
	time.Sleep(900 * time.Millisecond)
	b.types("\x19") // bob sees select 1
	time.Sleep(100 * time.Millisecond)
	f.set(false)
	b.sees("drop table paid")
	if did := b.seat.did(); len(did) > 0 {
		t.Fatalf("the seat did %q", did)
	}
	if !b.presses("\x19", "approve 2 false") {
		t.Error("it was not approved")
	}
}

// What a question says takes one row of the list of statements, whatever the
// transaction did, and one line for those who have no terminal.
func TestAQuestionInTheListIsOneRow(t *testing.T) {
	v := shadow.NewView(session.Size{Cols: 80, Rows: 24})
	b := sitDown(t, v, session.Size{Cols: 120, Rows: 24})
	asks(v, session.AskInfo{N: 1, Kind: session.AskCommit, Text: "commit", Did: []string{"UPDATE 7: forged"}})
	b.sees("asks to COMMIT")
	answered(v, session.Approved, 1)
	b.sees("eve says yes to #1")
	b.sees("^K kill  ^O hold")
	for _, row := range strings.Split(b.shows(), "\n") {
		if strings.Contains(row, "forged") && !strings.Contains(row, "#1 asks to COMMIT") {
			t.Errorf("a row of its own:\n%s", b.shows())
		}
	}
	for _, line := range v.Take(v.Read()) {
		if strings.Contains(line, "\n") {
			t.Errorf("more than a line: %q", line)
		}
	}
}
