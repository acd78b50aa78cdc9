package shadow_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file tries to reach the terminals of all who look: the engineer, a shadow at
// the seat, one without a terminal, and whoever replays it. What may reach them is
// written here apart from the code.

// attacks are sequences that would do something to a terminal, or to its reader's eyes.
func attacks() (list []string) {
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for b := 0x40; b < 0x7f; b++ { // every control sequence, with all that may stand in it
		for _, in := range []string{"", "1", "2;3", "0;0;0;0", "?", "?1", ">", ">1", "=1", "<1", "1 ", "1!", "1$", "1'", "1\"", "1*", "99999999999999999999", "?1049;1", "8", "38;5;8", "1:2"} {
			add("\x1b[%s%c", in, b)
		}
	}
	for b := 0x20; b < 0x7f; b++ { // every escape sequence
		add("\x1b%c", b)
		add("\x1b(%c", b)
		add("\x1b#%c", b)
	}
	for b := range 0x20 { // controls, in 7 bits, in 8, and in UTF-8
		add("%c", b)
		add("\x1b[3%c1m", b)
		add("%s31mx", string([]byte{byte(0x80 + b)}))
		add("%c31mx", 0x80+b)
	}
	for _, opens := range []string{"\x1b]0;", "\x1b]2;", "\x1b]4;1;?", "\x1b]7;file://", "\x1b]8;;http://x", "\x1b]9;", "\x1b]10;?", "\x1b]52;c;", "\x1b]52;c;?", "\x1b]104", "\x1b]133;A", "\x1b]777;notify;", "\x1b]1337;File=", "\x1bP", "\x1bP1$q", "\x1bP+q", "\x1bPq", "\x1b_G", "\x1b^", "\x1bX", "\x1bk"} {
		for _, ends := range []string{"\x07", "\x1b\\", "\u009c", "\x9c", "\x18", "\x1a", "\x1b[2J", "\x1b]", "\n", ""} {
			add("%sZXZpbA==%s", opens, ends)
		}
	}
	for _, mode := range []int{2, 3, 6, 9, 8, 20, 69, 80, 1000, 1003, 1004, 1006, 1015, 1034, 1070, 2026, 2027, 2031, 2048, 9001} {
		add("\x1b[?%dh", mode)
		add("\x1b[%dh", mode)
		add("\x1b[?%d$p", mode)
	}
	for _, r := range []rune{0xad, 0x61c, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2060, 0x2066, 0x2067, 0x2068, 0x2069, 0x3164, 0xfe0f, 0xfeff, 0xffa0, 0xfff9, 0xe0001, 0xe0041, 0xe0100} {
		add("a%cb", r)
		add("%c", r)
	}
	for _, bad := range []string{"\xff", "\xfe\xff", "\xc0\x9b31m", "\xe0\x80\x9b31m", "\xf0\x80\x80\x9b31m", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xc2", "\xe2\x80", "\xc2\x1b[31m", "\xe2\x1b]0;x\x07"} {
		add("%s", bad)
	}
	for _, turns := range rtlTexts {
		add("%s", turns)
	}
	add("%s", strings.Repeat("e\u0301", 200))
	add("e%s", strings.Repeat("\u0301", 2000))
	add("\x1b[%sm", strings.Repeat("1;", 500))
	add("\x1b]0;%s", strings.Repeat("x", 10_000))
	add("\x1b[31;41msame\x1b[8mhidden\x1b[2J\x1b[3J\x1b[H\x1b[1;1r\x1b[?1049h\x1b[?25l\x1b[?7l")
	return list
}

// What each of them may get. No pattern knows more than it must.
var (
	plainText = regexp.MustCompile(`\A[\n\x20-\x7e\x{a0}-\x{10ffff}]*\z`)
	drawn     = regexp.MustCompile(`\A(?:[\x20-\x7e\x{a0}-\x{10ffff}]|\x1b\[(?:[0-9;]*m|[0-9]+;[0-9]+H|[0-9]+G|K|2J|\?25[hl]))*\z`)
	unseen    = regexp.MustCompile(`[\x{ad}\x{61c}\x{200b}-\x{200f}\x{2028}-\x{202e}\x{2060}-\x{206f}\x{3164}\x{fe00}-\x{fe0f}\x{feff}\x{ffa0}\x{fff9}-\x{fffb}\x{e0000}-\x{e0fff}]`)
	// seated is what the seat itself does once: its screen, its modes, left to right, and asking the terminal whether it is there.
	seated = regexp.MustCompile(`\x1b\[\?(?:1049|7|2004)[hl]|\x1b\[8[hl]|\x1b\[[01] k|\x1b7\x1b\[[0-9]+;[0-9]+H\x1b\[6n\x1b8`)
)

func harmless(t *testing.T, who, attack, got string, may *regexp.Regexp) {
	t.Helper()
	switch {
	case !utf8.ValidString(got) || !may.MatchString(got):
		t.Errorf("%q reaches %s: %q", attack, who, got)
	case hidden.MatchString(colour.ReplaceAllString(got, "0")):
		t.Errorf("%q hides text from %s: %q", attack, who, got)
	case unseen.MatchString(got):
		t.Errorf("%q comes to %s unseen: %q", attack, who, got)
	}
}

// everywhere is a session in which an attack is printed, run, said, answered and is a name.
func everywhere(a string) []session.Event {
	return []session.Event{
		{Type: session.Join, Who: a},
		{Type: session.Output, Bytes: []byte("before " + a + " after\r\n")},
		{Type: session.Statement, Statement: &session.StatementInfo{N: 1, Protocol: "simple", Text: "select '" + a + "'", Params: []string{a}}},
		{Type: session.Result, Result: &session.ResultInfo{N: 1, SQLState: "XX000", Message: a}},
		{Type: session.Result, Result: &session.ResultInfo{N: 2, Tag: a}},
		{Type: session.Say, Who: a, Text: a},
		{Type: session.Hold, Who: a},
		{Type: session.Asked, Ask: &session.AskInfo{N: 1, Kind: session.AskCommit, Text: a, Params: []string{a}, Did: []string{a}}},
		{Type: session.GateShut, Text: a},
		{Type: session.Alarm, Text: a},
		{Type: session.Kill, Who: a, Text: a},
	}
}

// oneGoroutine leaves out, with -short, a test that has nothing for the race
// detector to find; `make test` runs it without.
func oneGoroutine(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("one goroutine, and much to do")
	}
}

// some is a corpus, or with -short a twentieth of it, for the race detector.
func some[T any](corpus []T) (few []T) {
	if !testing.Short() {
		return corpus
	}
	for i := 0; i < len(corpus); i += 20 {
		few = append(few, corpus[i])
	}
	return few
}

func TestNothingReachesATerminal(t *testing.T) {
	list := attacks()
	if len(list) < 300 {
		t.Fatalf("only %d attacks", len(list))
	}
	size := session.Size{Cols: 80, Rows: 24}
	for _, a := range some(list) {
		harmless(t, "the engineer", a, filtered("before "+a+" after\r\n"), allowed)
		v := shadow.NewView(size)
		r := v.Read()
		var pipe bytes.Buffer
		for _, e := range everywhere(a) {
			v.Apply(e)
			harmless(t, "the seat", a, v.Frame(size), drawn)
		}
		harmless(t, "a plain shadow", a, strings.Join(v.Take(r), "\n"), plainText)
		tape := func(yield func(session.Event, error) bool) {
			for _, e := range everywhere(a) {
				if !yield(e, nil) {
					return
				}
			}
		}
		if _, err := shadow.Play(context.Background(), tape, shadow.PlayTerminal{Out: &pipe}, shadow.PlayOptions{}); err != nil {
			t.Fatal(err)
		}
		harmless(t, "a replay into a pipe", a, pipe.String(), plainText)
	}
}

// The same through the seats themselves, one attack behind the other, as they
// write to a terminal.
func TestNothingReachesATerminalThroughASeat(t *testing.T) {
	size := session.Size{Cols: 80, Rows: 24}
	var events []session.Event
	for _, a := range attacks() {
		events = append(events, everywhere(a+"\x18\x1b[m")...)
	}
	v := shadow.NewView(size)
	b := newBob(t, size)
	var got bytes.Buffer
	b.sit(v, writer(func(p []byte) { b.Write(p); got.Write(p) }), 0)
	for _, e := range events {
		v.Apply(e)
	}
	v.Apply(runs(99, "select 'the last'"))
	b.until("the end", func(s string) bool { return strings.Contains(s, "the last") || strings.Contains(s, "asks") })
	b.keys.Close()
	b.ends <- <-b.ends
	harmless(t, "the seat", "all", seated.ReplaceAllString(got.String(), ""), drawn)

	var replayed bytes.Buffer
	in, quits := io.Pipe()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	go func() { // ends with the replay, which reads the keys
		time.Sleep(300 * time.Millisecond)
		io.WriteString(quits, "\x1b[F") // to the end
		time.Sleep(300 * time.Millisecond)
		io.WriteString(quits, "q")
	}()
	if err := shadow.Replay(ctx, shadow.Recording{Tape: tape(events...)}, shadow.PlayTerminal{In: in, Out: &replayed, Size: size}, shadow.PlayOptions{}); err != nil {
		t.Fatal(err)
	}
	harmless(t, "a replay", "all", seated.ReplaceAllString(replayed.String(), ""), drawn)
}
