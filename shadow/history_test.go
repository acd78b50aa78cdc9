package shadow_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file reads what was on the engineer's screen before bob came.

func appears(v *shadow.View, text string) {
	v.Apply(session.Event{Type: session.Output, Bytes: []byte(text)})
}

// Bob sits down late, sees what is there, and goes back to what was, while more comes.
func TestALateShadowReadsWhatWas(t *testing.T) {
	v := shadow.NewView(session.Size{Cols: 80, Rows: 24})
	for i := range 200 {
		appears(v, fmt.Sprintf("\x1b[3%dmline %03d\x1b[m\r\n", i%8, i))
	}
	b := sitDown(t, v, session.Size{Cols: 80, Rows: 40})
	b.sees("line 199")
	b.types("\t\x1b[5~\x1b[5~")
	b.sees("THE SCREEN AS IT WAS")
	b.sees("line 150")
	before := rowsWith(b.shows(), "line ")
	for i := range 100 {
		appears(v, fmt.Sprintf("more %03d\r\n", i))
	}
	v.Apply(runs(1, "select 17"))
	b.sees("select 17") // the list goes on
	if after := rowsWith(b.shows(), "line "); after != before {
		t.Errorf("it moved while more came, from\n%s\nto\n%s", before, after)
	}
	b.types("\x1b[H")
	b.sees("line 000")
	b.types("\x1b[F")
	b.sees("more 099")
	b.types("\x1b[A")
	b.sees("THE SCREEN AS IT WAS")
	b.types("\x1b")
	b.until("what is now", func(s string) bool { return !strings.Contains(s, "AS IT WAS") })
}

func rowsWith(screen, text string) string {
	var kept []string
	for _, row := range strings.Split(screen, "\n") {
		if strings.Contains(row, text) {
			kept = append(kept, row)
		}
	}
	return strings.Join(kept, "\n")
}

// What is cleared at once, or pushed off by another size, can still be read; what
// was on the alternate screen was never lines.
func TestClearingTakesNothingFromTheShadow(t *testing.T) {
	for name, clears := range map[string]string{
		"erase all": "\x1b[2J\x1b[H", "erase from the top": "\x1b[H\x1b[J", "line ends": strings.Repeat("\n", 50), "deleted lines": "\x1b[H\x1b[99M", "scrolled": "\x1b[99S",
	} {
		t.Run(name, func(t *testing.T) {
			v := shadow.NewView(session.Size{Cols: 80, Rows: 24})
			appears(v, "\x1b[?1049hnever\x1b[2J\x1b[?1049l")
			appears(v, "drop table paid; -- \x1b[32m世界\r\n")
			appears(v, clears+"orders=> ")
			b := sitDown(t, v, session.Size{Cols: 80, Rows: 40})
			b.sees("orders=>")
			b.types("\t\x1b[H")
			b.sees("drop table paid; -- 世界")
			if strings.Contains(b.shows(), "never") {
				t.Error("the alternate screen is among the lines")
			}
		})
	}
	v := shadow.NewView(session.Size{Cols: 80, Rows: 24})
	appears(v, "the first\r\n"+strings.Repeat("\r\n", 22))
	v.Apply(session.Event{Type: session.Resize, Size: session.Size{Cols: 60, Rows: 10}})
	b := sitDown(t, v, session.Size{Cols: 80, Rows: 24})
	b.types("\t\x1b[H")
	b.sees("the first")
}

// What a view remembers is bounded, however it is filled.
func TestWhatWasIsBounded(t *testing.T) {
	oneGoroutine(t)
	for name, output := range hostile() {
		m := shadow.NewModel(500, 200)
		m.Print([]byte(output.all() + strings.Repeat("\x1b[999Gx\x1b[2J", 3000)))
		if rows, bytes := m.Past(); rows > 2000 || bytes > 256<<10 {
			t.Errorf("%s: %d rows of %d bytes", name, rows, bytes)
		}
	}
}
