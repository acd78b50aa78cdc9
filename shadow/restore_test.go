package shadow_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file leaves terminals behind in all states that the filter lets others
// put them into, and gives them back.

// states are sequences that change what a terminal does from then on.
var states = []string{
	"\x1b[?1049h", "\x1b[?47h", "\x1b[?1047h", "\x1b[?1049l", "\x1b[?1;1049;25h", "\x1b[?25l", "\x1b[?7l", "\x1b[?1h", "\x1b[?2004h", "\x1b[4h", "\x1b[7;31m",
	"\x1b(0", "\x1b)0", "\x1b=", "\x1b[2;5r", "\x1b[r", "\x1b[1;1r", "\x1b7", "\x1b8", "\x1b[3;3H", "text\r\n", "\x1b[?1049", "\x1b]0;never ending",
}

// usable is what a picture of a usable terminal has none of.
func usable(m *shadow.Model) bool {
	picture := m.Picture()
	for _, mode := range []string{"\x1b[?1049h", "\x1b[?7l", "\x1b[4h", "\x1b(0"} {
		if strings.Contains(picture, mode) {
			return false
		}
	}
	m.Print([]byte("\x1b[H" + strings.Repeat("\n", 9) + "last"))
	return m.Lines()[9] == "last"
}

func TestRestore(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 3))
		terminal, again := shadow.NewModel(30, 10), shadow.NewModel(30, 10)
		f := shadow.NewFilter(writer(func(p []byte) { terminal.Raw(p); again.Print(p) }))
		var told strings.Builder
		for range 1 + r.IntN(12) {
			told.WriteString(states[r.IntN(len(states))])
		}
		f.Write([]byte(told.String()))
		restore := f.Restore()
		terminal.Raw([]byte(restore))
		again.Print([]byte("\x18" + restore)) // as when it goes through the filter that it is asked of
		if !usable(terminal) || !usable(again) {
			t.Fatalf("seed %d: after %q, %q does not make it usable", seed, told.String(), restore)
		}
	}
}

// Whoever dies on the alternate screen leaves the words behind it to be seen,
// on the screen that was there before.
func TestRestoreShowsTheLastWords(t *testing.T) {
	m := shadow.NewModel(30, 10)
	f := shadow.NewFilter(writer(m.Raw))
	f.Write([]byte("orders=> \\e\r\n\x1b[?1049h\x1b[?25l\x1b[2;4r\x1b(0\x1b[Hqqqq\x1b]0;cut"))
	f.Write([]byte("\x18" + f.Restore() + "\r\ntwokey: killed by bob\r\n"))
	if got := strings.TrimSpace(strings.Join(m.Lines(), "|")); !strings.HasPrefix(got, "orders=> \\e||twokey: killed by bob|") {
		t.Errorf("the terminal shows %q", got)
	}
	if again := f.Restore(); strings.Contains(again, "1049") || strings.Contains(again, "[r") {
		t.Errorf("what is restored is restored again: %q", again)
	}
}

func TestRestoreAfterTextIsNothing(t *testing.T) {
	f := shadow.NewFilter(nowhere{})
	f.Write([]byte("text, ö, \x1b]0;title\x07\x1b[6n\x1b[?1000h\r\n"))
	if got := f.Restore(); got != "" {
		t.Errorf("after text only: %q", got)
	}
}

// A replay gives the terminal back once, and not one that it never took.
func TestReplayGivesTheTerminalBack(t *testing.T) {
	var out bytes.Buffer
	terminal := func() shadow.PlayTerminal {
		return shadow.PlayTerminal{In: strings.NewReader(""), Out: &out, Size: session.Size{Cols: 80, Rows: 24}}
	}
	r, leaves := io.Pipe()
	in := terminal()
	in.In = r
	go func() { // ends with the replay, which reads the key
		time.Sleep(100 * time.Millisecond)
		io.WriteString(leaves, "q")
	}()
	driven := shadow.Recording{Tape: tape(session.Event{Type: session.Output, Bytes: []byte("\x1b[?1049h\x1b[?25l\x1b(0")})}
	if err := shadow.Replay(context.Background(), driven, in, shadow.PlayOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Count(got, "\x1b[?1049l") != 1 || strings.Count(got, "\x1b[?1049h") != 1 || strings.Contains(got, "\x1b(0") {
		t.Errorf("played %q", got)
	}
	out.Reset()
	sealed := errors.New("it is encrypted")
	broken := func(context.Context, time.Duration) iter.Seq2[session.Event, error] {
		return func(yield func(session.Event, error) bool) { yield(session.Event{}, sealed) }
	}
	if err := shadow.Replay(context.Background(), shadow.Recording{Tape: broken}, terminal(), shadow.PlayOptions{}); !errors.Is(err, sealed) && err != nil {
		t.Errorf("what cannot be read ends with %v", err)
	}
	if out.Len() > 0 {
		t.Errorf("before it began: %q", out.String())
	}
}
