package shadow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file reads lines, as a shadow without a terminal and a replay into a
// pipe do, from engineers who would like that to be expensive.

// output is a long text, and then something again and again.
type output struct{ text, again string }

func (o output) all() string { return o.text + o.again }

// most is how many bytes of lines it may become.
func (o output) most() int { return len(o.text) + 20*len(o.again) }

// hostile are outputs that end the same lines again and again.
func hostile() map[string]output {
	long := strings.Repeat("x", 200_000)
	again := func(what string) string { return strings.Repeat(what, 16<<10/len(what)) }
	return map[string]output{
		"the same line ended again":         {long, again("\x1b[A\n")},
		"and touched":                       {long, again("\x1b[Ay\n")},
		"and touched at its beginning":      {long, again("\x1b[A\ry\n")},
		"and at its end":                    {long, again("\x1b[A\x1b[999Gy\n")},
		"and wrapped anew":                  {long, again("\x1b[A\x1b[999Gyy\x1b[2A\n")},
		"and moved":                         {long, again("\x1b[A\r\x1b[@\n")},
		"from another place":                {long, again("\x1b[H\n\x1b[99;1H\n")},
		"by index":                          {long, again("\x1b[A\x1bD")},
		"scrolled by a region":              {long, again("\x1b[2;3r\x1b[3;1H\n\x1b[r\x1b[99;999Hxx\n")},
		"jumps":                             {"", again("\x1b[999Cx\r\n")},
		"stairs":                            {"", again("x\n")},
		"erased on the left":                {"", again("\x1b[999G\x1b[1Kx\r\n\x1b[A")},
		"on the alternate screen and back":  {long, again("\x1b[?1049hx\n\x1b[?1049l\n")},
		"combining characters, ended again": {strings.Repeat("e"+strings.Repeat("\u0301", 8), 10_000), again("\x1b[A\n")},
		"wide characters, ended again":      {strings.Repeat("世", 60_000), again("\x1b[A\x1b[999G\n")},
	}
}

// apply shows output in the pieces in which a session does.
func apply(t *testing.T, v *shadow.View, output string) {
	t.Helper()
	for p := range slices.Chunk([]byte(output), 32<<10) {
		if err := v.Apply(session.Event{Type: session.Output, Bytes: p}); err != nil {
			t.Fatal(err)
		}
	}
}

// What is handed out is bounded by what was printed, whoever prints it.
func TestLinesCostWhatWasPrinted(t *testing.T) {
	oneGoroutine(t)
	for name, output := range hostile() {
		for _, size := range [][2]int{{80, 24}, {500, 200}} {
			m := shadow.NewModel(size[0], size[1])
			sum, longest := 0, 0
			m.OnLine(func(text string) {
				sum += len(text) + 1
				longest = max(longest, len(text))
			})
			m.Print([]byte(output.all()))
			if sum > output.most() || longest > 5<<10 {
				t.Errorf("%s at %v: of %d bytes became %d, and a line of %d", name, size, len(output.all()), sum, longest)
			}
		}
	}
}

// Nothing that was printed is lost for being handed out in pieces, nor said twice.
func TestALongLineIsHandedOutOnce(t *testing.T) {
	m := shadow.NewModel(80, 24)
	var got strings.Builder
	m.OnLine(func(text string) { got.WriteString(text) })
	var want strings.Builder
	for i := range 40_000 {
		fmt.Fprintf(&want, "%d,", i)
	}
	m.Print([]byte(want.String() + "\r\n" + strings.Repeat("\x1b[3A\n\n\n", 100) + "the end\r\n"))
	if got.String() != want.String()+"the end" {
		t.Errorf("of %d bytes became %d", want.Len()+7, got.Len())
	}
}

// A line that is ended again after a change says what is new in it.
func TestALineEndedAgain(t *testing.T) {
	m := shadow.NewModel(20, 5)
	var got []string
	m.OnLine(func(text string) { got = append(got, text) })
	m.Print([]byte("1: waits\r\n2: waits\r\n\x1b[2A\x1b[3C" + "done \x1b[2B\r3\r\n\x1b[3A\n\n\n"))
	if want := []string{"1: waits", "2: waits", "3", "   done"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

// What waits for a reader who does not read is bounded in bytes. Text is
// counted, statements are kept, and what had to go is said.
func TestWhatWaitsForAReader(t *testing.T) {
	oneGoroutine(t)
	for name, output := range hostile() {
		v := shadow.NewView(session.Size{Cols: 500, Rows: 200})
		r := v.Read()
		apply(t, v, output.all())
		if n := v.Waiting(r); n > 300<<10 {
			t.Errorf("%s: %d bytes wait", name, n)
		}
	}
	v := shadow.NewView(session.Size{Cols: 500, Rows: 200})
	r := v.Read()
	apply(t, v, strings.Repeat(strings.Repeat("x", 400)+"\r\n", 2000))
	v.Apply(runs(1, "delete from orders"))
	lines := v.Take(r)
	if n := len(lines); n < 2 || !strings.HasPrefix(lines[n-2], "| … ") || lines[n-1] != "00:00:00 > delete from orders" {
		t.Errorf("what waited ends in %q", lines[max(len(lines)-2, 0):])
	}
	for i := range 20 {
		v.Apply(runs(i+2, fmt.Sprintf("select %02d, '%s'", i, strings.Repeat("x", 1<<20-100))))
		if n := v.Waiting(r); n > 14<<20 {
			t.Fatalf("%d bytes of statements wait", n)
		}
	}
	lines = v.Take(r)
	if first, last := lines[0], lines[len(lines)-1]; !strings.Contains(first, "earlier lines are not shown") || !strings.Contains(last, "select 19") {
		t.Errorf("what waited begins with %.80q and ends with %.80q", first, last)
	}
}

// writes notes how what is played is written.
type writes struct{ all, largest int }

func (w *writes) Write(p []byte) (int, error) {
	w.all, w.largest = w.all+len(p), max(w.largest, len(p))
	return len(p), nil
}

func played(output string) func(yield func(session.Event, error) bool) {
	return func(yield func(session.Event, error) bool) {
		for p := range slices.Chunk([]byte(output), 32<<10) {
			if !yield(session.Event{Type: session.Output, Bytes: p}, nil) {
				return
			}
		}
	}
}

// A replay into a pipe writes little at a time, and not more than was printed.
func TestReplayIntoAPipe(t *testing.T) {
	oneGoroutine(t)
	for name, output := range hostile() {
		w := &writes{}
		if _, err := shadow.Play(context.Background(), played(output.all()), shadow.PlayTerminal{Out: w}, shadow.PlayOptions{}); err != nil {
			t.Fatal(err)
		}
		if w.all > output.most() || w.largest > 72<<10 {
			t.Errorf("%s: of %d bytes became %d, %d of them in one write", name, len(output.all()), w.all, w.largest)
		}
	}
}

// full is a disk that has no room.
type full struct{}

var errFull = errors.New("no space left on device")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestReplayIntoAFullDisk(t *testing.T) {
	output := strings.Repeat("line\r\n", 50_000)
	_, err := shadow.Play(context.Background(), played(output), shadow.PlayTerminal{Out: full{}}, shadow.PlayOptions{})
	if !errors.Is(err, errFull) {
		t.Errorf("played with %v", err)
	}
}
