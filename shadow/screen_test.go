package shadow_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file holds the screen model against what was written down by hand.

func TestScreen(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"text", "one\r\ntwo", "one|two"},
		{"wrap", "0123456789abcdefghijKLM", "0123456789abcdefghij|KLM"},
		{"the last column waits", "0123456789abcdefghij\rX", "X123456789abcdefghij"},
		{"line end at the last column", "0123456789abcdefghij\r\nX", "0123456789abcdefghij|X"},
		{"no wrap", "\x1b[?7l0123456789abcdefghijKLM", "0123456789abcdefghiM"},
		{"scroll", "1\r\n2\r\n3\r\n4\r\n5\r\n6", "2|3|4|5|6"},
		{"tab and backspace", "a\tb\bc", "a       c"},
		{"tabs stop at the edge", "\t\t\t\t\tx", "                   x"},
		{"up and over", "one\r\ntwo\x1b[A!", "one!|two"},
		{"address", "\x1b[3;4Hx\x1b[Hy", "y||   x"},
		{"address beyond", "\x1b[99;99Hx", "||||                   x"},
		{"erase to the right", "hello\x1b[3D\x1b[K", "he"},
		{"erase to the left", "hello\x1b[3D\x1b[1K", "   lo"},
		{"erase the line", "a\r\nhello\x1b[2Kx", "a|     x"},
		{"erase below", "a\r\nb\r\nc\x1b[2;1H\x1b[J", "a"},
		{"erase above", "a\r\nb\r\nc\x1b[2;1H\x1b[1J", "||c"},
		{"erase all", "a\r\nb\x1b[2Jx", "| x"},
		{"erase characters", "hello\r\x1b[2X", "  llo"},
		{"insert characters", "hello\r\x1b[2@", "  hello"},
		{"delete characters", "hello\r\x1b[2P", "llo"},
		{"insert mode", "hello\r\x1b[4hxy\x1b[4lz", "xyzello"},
		{"insert lines", "a\r\nb\r\nc\x1b[2;1H\x1b[2Lx", "a|x||b|c"},
		{"delete lines", "a\r\nb\r\nc\r\nd\x1b[2;1H\x1b[2Mx", "a|x"},
		{"region", "a\r\nb\r\nc\r\nd\r\ne\x1b[2;4r\x1b[4;1H\nX", "a|c|d|X|e"},
		{"region back", "a\r\nb\r\nc\r\nd\r\ne\x1b[2;4r\x1b[2;1H\x1bMX", "a|X|b|c|e"},
		{"insert in a region", "a\r\nb\r\nc\r\nd\r\ne\x1b[2;4r\x1b[3;1H\x1b[Lx", "a|b|x|c|e"},
		{"delete in a region", "a\r\nb\r\nc\r\nd\r\ne\x1b[2;4r\x1b[3;1H\x1b[M", "a|b|d||e"},
		{"insert above a region", "a\r\nb\r\nc\x1b[2;4r\x1b[1;1H\x1b[Lx", "x|b|c"},
		{"down to the edge of a region", "\x1b[2;4r\x1b[9Bx", "|||x"},
		{"down from below it", "\x1b[2;3r\x1b[4;1H\x1b[9Bx", "||||x"},
		{"region reset", "a\x1b[2;4r\x1b[r\x1b[5;1Hx\n", "|||x"},
		{"scroll up and down", "a\r\nb\r\nc\x1b[2S", "c"},
		{"scroll down", "a\r\nb\x1b[2T", "||a|b"},
		{"save and restore", "ab\x1b7\x1b[5;5Hx\x1b8c", "abc||||    x"},
		{"alternate screen and back", "main\x1b[?1049h\x1b[Hother\x1b[?1049l!", "main!"},
		{"on the alternate screen", "main\x1b[?1049h\x1b[Hother", "other"},
		{"line drawing", "\x1b(0lqk\x1b(Blqk", "┌─┐lqk"},
		{"wide", "世界x", "世界x"},
		{"wide does not fit", "0123456789abcdefghi世", "0123456789abcdefghi|世"},
		{"wide at the edge", "0123456789abcdefgh世x", "0123456789abcdefgh世|x"},
		{"half of a wide one overwritten", "世\bx", " x"},
		{"other half overwritten", "世\rx", "x"},
		{"half of a wide one deleted", "世界\r\x1b[P", " 界"},
		{"combining", "e\u0301x", "e\u0301x"},
		{"combining at the edge", "0123456789abcdefghie\u0301x", "0123456789abcdefghie\u0301|x"},
		{"combining alone", "\u0301x", "x"},
		{"many combining", "e" + strings.Repeat("\u0301", 99) + "x", "e" + strings.Repeat("\u0301", 8) + "x"},
		{"next line", "a\x1bEb", "a|b"},
		{"forward tabs and back", "\x1b[2Ix\x1b[Zy", "                yx"[:16] + "y"},
		{"column and row", "\x1b[3dx\x1b[5Gy\x1b[2ez\x1b[3`w", "||x   y||  w  z"},
		{"relative", "a\x1b[2ab", "a  b"},
		{"next and previous line", "ab\x1b[2Ec\x1b[Fd", "ab|d|c"},
		{"a string in the middle", "a\x1b]52;c;eA==\x07b", "ab"},
		{"giant counts", "a\x1b[9999B\x1b[9999C\x1b[9999Ab\x1b[9999@\x1b[9999L\x1b[9999Mx", "x"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := shadow.NewModel(20, 5)
			m.Print([]byte(test.in))
			if got := strings.TrimRight(strings.Join(m.Lines(), "|"), "|"); got != strings.TrimRight(test.want, "|") {
				t.Errorf("%q shows\n%q, want\n%q", test.in, got, test.want)
			}
		})
	}
}

func TestResize(t *testing.T) {
	m := shadow.NewModel(20, 5)
	m.Print([]byte("one\r\ntwo\r\nthree\r\nfour\r\nprompt"))
	m.Resize(30, 3)
	if got := m.Lines(); !slices.Equal(got, []string{"three", "four", "prompt"}) {
		t.Errorf("smaller: %q", got)
	}
	m.Resize(25, 6)
	m.Print([]byte("!"))
	if got := m.Lines(); !slices.Equal(got, []string{"three", "four", "prompt!", "", "", ""}) {
		t.Errorf("larger: %q", got)
	}
	m = shadow.NewModel(20, 5)
	m.Print([]byte("one\r\ntwo"))
	m.Resize(20, 3)
	if got := m.Lines(); !slices.Equal(got, []string{"one", "two", ""}) {
		t.Errorf("blank rows go first: %q", got)
	}
}

func TestLinesAreReadWhole(t *testing.T) {
	m := shadow.NewModel(20, 5)
	var got []string
	m.OnLine(func(text string) { got = append(got, text) })
	long := strings.Repeat("0123456789", 30) // 15 rows on a screen of 5
	m.Print([]byte("orders=> selct\b\b\x1b[Kect 1;\r\n" + long + "\r\n\r\nend\r\n"))
	if want := []string{"orders=> select 1;", long, "", "end"}; !slices.Equal(got, want) {
		t.Errorf("read\n%q, want\n%q", got, want)
	}
}

// randomOutput makes output out of what both emulators must agree on. Left
// out are the known differences: x/vt knows neither NEL, ANSI insert mode, mode 47 nor the
// cursor that 1049 saves; it keeps the pending wrap over ED, ICH, DCH, IL and DL, which
// xterm drops; its ED 1 erases the cursor's whole row; its wide and combining characters at an edge do not wrap.
func randomOutput(r *rand.Rand) string {
	n := func(most int) int { return r.IntN(most) }
	home := func() string { return fmt.Sprintf("\x1b[%d;%dH", 1+n(12), 1+n(34)) }
	words := []string{"select", " ", "x", "│ grün │", "┼──┼", "0123456789012345678901234567890123456789", "\t", "ö", "(1 row)"}
	switch n(22) {
	case 0, 1, 2, 3:
		return words[n(len(words))]
	case 4, 5, 6:
		return "\r\n"
	case 7:
		return "\b"
	case 8:
		return home()
	case 9: // x/vt takes 0 for none, and moves out of a region from above or below it
		return "\x1b[r" + home() + fmt.Sprintf("\x1b[%d%c", 1+n(9), "ABCDEFG"[n(7)])
	case 10:
		return home() + []string{"\x1b[J", "\x1b[2J", "\x1b[K", "\x1b[1K", "\x1b[2K"}[n(5)]
	case 11: // x/vt does the first three not outside a region, and the others move its cursor within one
		return "\x1b[r" + home() + fmt.Sprintf("\x1b[%d%c", 1+n(5), "@PXLM"[n(5)])
	case 12:
		return fmt.Sprintf("\x1b[%d%c", 1+n(4), "ST"[n(2)])
	case 13:
		top := 1 + n(9)
		return fmt.Sprintf("\x1b[%d;%dr", top, min(top+1+n(5), 10)) // x/vt takes rows that are not there
	case 14:
		return "\x1b[r"
	case 15:
		return home() + "\x1b7" + words[n(3)]
	case 16:
		return "\r\x1b8\r"
	case 17:
		return home() + "\x1bM"
	case 18:
		return home() + "\x1bD"
	case 19:
		return "\x1b[?7" + string("hl"[n(2)]) + "\r"
	case 20:
		return "\x1b(0qx\x1b(B"
	}
	return fmt.Sprintf("\x1b[%d;%d;%dm", []int{0, 1, 3, 4, 7, 22, 24, 27}[n(8)], 30+n(8), 40+n(8))
}

// TestPicture: a picture on a fresh screen makes it show and go on as the other.
func TestPicture(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		a, b := shadow.NewModel(30, 10), shadow.NewModel(30, 10)
		var told strings.Builder
		for range 60 {
			told.WriteString(randomOutput(r))
		}
		a.Print([]byte(told.String()))
		a.Print([]byte("\r"))
		b.Raw([]byte(a.Picture()))
		after := "ab\x1b[31mcd\r\n\r\n\r\nef"
		a.Print([]byte(after))
		b.Print([]byte(after))
		if !slices.Equal(a.Lines(), b.Lines()) {
			t.Fatalf("seed %d: %q\nbecame %q\nafter %q", seed, a.Lines(), b.Lines(), told.String())
		}
	}
}

// FuzzScreen: nothing that anyone prints breaks the model, at any size.
func FuzzScreen(f *testing.F) {
	f.Add([]byte("世\x1b[2;3r\x1b[?1049h\x1b7\x1b[4h界"), []byte("\x1b8\u0301\x1b[9P"), 20, 5)
	f.Add([]byte("\x1b[9;9r\x1b[99S\x1bM"), []byte("\x1b[?1049l\x1b[T"), 500, 200)
	f.Fuzz(func(t *testing.T, before, after []byte, cols, rows int) {
		m := shadow.NewModel(80, 24)
		m.OnLine(func(string) {})
		m.Print(before)
		m.Resize(min(max(cols, 20), 500), min(max(rows, 5), 200))
		m.Print(after)
		m.Raw(after) // not even what the filter would have dropped
		cols, rows = m.Size()
		if x, y := m.Cursor(); x < 0 || y < 0 || x >= cols || y >= rows {
			t.Fatalf("the cursor is at %d,%d", x, y)
		}
		m.Picture()
	})
}

// Whether a row is a text or cells, nobody can tell.
func TestPlainRowsAreLikeOthers(t *testing.T) {
	for seed := range uint64(1000) {
		show := random(seed, true, func(r *rand.Rand) part { return part{Data: narrow(r)} })
		if seed%2 == 0 {
			show = random(seed, true, resized(int(seed%4)-1))
		}
		m, spelled := shadow.NewModel(show.Cols, show.Rows), shadow.NewModel(show.Cols, show.Rows)
		for _, p := range show.Parts {
			for _, to := range []*shadow.Model{m, spelled} {
				to.Print([]byte(p.Data))
				if p.Cols > 0 {
					to.Resize(p.Cols, p.Rows)
				}
			}
			spelled.Spell()
			if m.Picture() != spelled.Picture() || m.Was() != spelled.Was() {
				t.Fatalf("seed %d: it is told apart after %q:\n%q\n%q", seed, p.Data, m.Was(), spelled.Was())
			}
		}
	}
}

func BenchmarkScreen(b *testing.B) {
	for name, line := range map[string]string{
		"table":   " 123456 | some text of a customer        | 2026-11-23 12:00:00+00 | 17.50\r\n",
		"unicode": "│ 123456 │ some text of a customer        │ 2026-11-23 12:00:00+00 │\r\n",
		"colours": "\x1b[mx\r\n",
		"erasing": "\x1b[J\x1b[H\x1b[2J\x1b[K",
		"lines":   "\n",
	} {
		for _, size := range [][2]int{{80, 24}, {500, 200}} {
			b.Run(fmt.Sprintf("%s/%dx%d", name, size[0], size[1]), func(b *testing.B) {
				m := shadow.NewModel(size[0], size[1])
				text := []byte(strings.Repeat(line, 32<<10/len(line)))
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					m.Print(text)
				}
			})
		}
	}
}

// BenchmarkIndex is how fast a replay reads a tape ahead, of which it then knows every
// statement and can go anywhere: an hour and eight at a prompt, and 100 MB of tables.
func BenchmarkIndex(b *testing.B) {
	row := " 123456 | some text of a customer        | 2026-11-23 12:00:00+00 | 17.50\r\n"
	for _, of := range []struct {
		name          string
		statements    int
		pause         time.Duration
		rows, printed int // of each statement
	}{
		{"an hour", 60, time.Minute, 30, 70},
		{"eight hours", 480, time.Minute, 30, 70},
		{"100 MB", 100, time.Second, 1 << 20 / len(row), 16},
	} {
		b.Run(of.name, func(b *testing.B) {
			at, output, tape := time.Duration(0), int64(0), []session.Event{{Type: session.Resize, Size: session.Size{Cols: 100, Rows: 30}}}
			add := func(e session.Event) {
				e.At = at
				at += time.Millisecond
				output += int64(len(e.Bytes))
				tape = append(tape, e)
			}
			for n := range of.statements {
				for range of.printed { // typed, and echoed
					add(session.Event{Type: session.Input, Bytes: []byte("x")})
					add(session.Event{Type: session.Output, Bytes: []byte("x")})
				}
				add(session.Event{Type: session.Statement, Statement: &session.StatementInfo{N: n + 1, Text: "select * from orders limit 30"}})
				table := []byte(strings.Repeat(row, of.rows))
				for ; len(table) > 0; table = table[min(len(table), 4095):] {
					add(session.Event{Type: session.Output, Bytes: table[:min(len(table), 4095)]})
				}
				add(session.Event{Type: session.Result, Result: &session.ResultInfo{N: n + 1, Tag: "SELECT 30"}})
				at = max(at, time.Duration(n+1)*of.pause)
			}
			add(session.Event{Type: session.End, Cause: &session.Cause{Code: session.Quit}})
			b.SetBytes(output)
			for b.Loop() {
				if _, all := shadow.IndexAll(b.Context(), func(_ context.Context, from time.Duration) iter.Seq2[session.Event, error] {
					return func(yield func(session.Event, error) bool) {
						for _, e := range tape {
							if e.At >= from && !yield(e, nil) {
								return
							}
						}
					}
				}); !all {
					b.Fatal("it was not read to its end")
				}
			}
		})
	}
}
