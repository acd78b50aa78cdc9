package shadow_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twokey/twokey/shadow"
)

// This file holds the screen model against another emulator, xterm.js, which
// shares nothing with it. It gets what the filter lets through: that is what
// terminals get.

// show is output for a screen of a size, which may change in between.
type show struct {
	Cols  int    `json:"cols"`
	Rows  int    `json:"rows"`
	Looks bool   `json:"looks"` // compare colours and attributes, too
	Parts []part `json:"parts"`
}

// part is output, and then perhaps another size.
type part struct {
	Data string `json:"data,omitempty"`
	Cols int    `json:"cols,omitempty"`
	Rows int    `json:"rows,omitempty"`
}

// grid is what an emulator shows.
type grid struct {
	Rows  []string        `json:"rows"`
	Looks [][]shadow.Look `json:"looks"`
	X     int             `json:"x"`
	Y     int             `json:"y"`
}

// filtered is the same output as terminals get it.
func (s show) filtered() show {
	var b bytes.Buffer
	f := shadow.NewFilter(&b)
	s.Parts = slices.Clone(s.Parts)
	for i := range s.Parts {
		b.Reset()
		f.Write([]byte(s.Parts[i].Data))
		s.Parts[i].Data = b.String()
	}
	return s
}

// ours is what the model shows.
func (s show) ours() grid {
	m := shadow.NewModel(s.Cols, s.Rows)
	for _, p := range s.Parts {
		m.Print([]byte(p.Data))
		if p.Cols > 0 {
			m.Resize(p.Cols, p.Rows)
		}
	}
	g := grid{Rows: m.Lines()}
	g.X, g.Y = m.Cursor()
	if s.Looks {
		g.Looks = m.Looks()
	}
	return g
}

// installed is the folder of a program from npm, which must be there in CI.
func installed(t *testing.T, name string) (dir string) {
	t.Helper()
	dir = filepath.Join("testdata", name)
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed: %v", name, err)
		}
		t.Skipf("make deps installs %s", name)
	}
	return dir
}

// theirs are what xterm.js shows, in the order of the shows.
func theirs(t *testing.T, shows []show) (grids []grid) {
	t.Helper()
	dir := installed(t, "xterm")
	var in bytes.Buffer
	to := json.NewEncoder(&in)
	for _, s := range shows {
		if err := to.Encode(s.filtered()); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("node", "grid.mjs")
	cmd.Dir, cmd.Stdin, cmd.Stderr = dir, &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for from := json.NewDecoder(bytes.NewReader(out)); from.More(); {
		var g grid
		if err := from.Decode(&g); err != nil {
			t.Fatal(err)
		}
		grids = append(grids, g)
	}
	if len(grids) != len(shows) {
		t.Fatalf("of %d shows came %d screens", len(shows), len(grids))
	}
	return grids
}

// differs says where two screens do; "" when nowhere.
func (g grid) differs(other grid) string {
	for y := range g.Rows {
		if y >= len(other.Rows) || g.Rows[y] != other.Rows[y] {
			return fmt.Sprintf("row %d is %q, there %q", y, g.Rows[y], slices.Concat(other.Rows, make([]string, y+1))[y])
		}
	}
	for y := range g.Looks {
		for x := range g.Looks[y] {
			if g.Looks[y][x] != other.Looks[y][x] {
				return fmt.Sprintf("cell %d,%d looks %v, there %v", x, y, g.Looks[y][x], other.Looks[y][x])
			}
		}
	}
	if g.X != other.X || g.Y != other.Y {
		return fmt.Sprintf("the cursor is at %d,%d, there at %d,%d", g.X, g.Y, other.X, other.Y)
	}
	return ""
}

// random makes a show of so many pieces by a maker of them.
func random(seed uint64, looks bool, piece func(*rand.Rand) part) show {
	r := rand.New(rand.NewPCG(seed, 1))
	s := show{Cols: 30, Rows: 10, Looks: looks}
	for range 1 + r.IntN(60) {
		s.Parts = append(s.Parts, piece(r))
	}
	return s
}

func TestScreenLikeAnotherEmulator(t *testing.T) {
	var shows []show
	for seed := range uint64(300) {
		shows = append(shows,
			random(seed, true, func(r *rand.Rand) part { return part{Data: narrow(r)} }),
			random(seed, false, func(r *rand.Rand) part { return part{Data: wide(r)} }),
			random(seed, false, resized(int(seed%2)*2-1)))
	}
	wrong := 0
	for i, g := range theirs(t, shows) {
		if diff := shows[i].ours().differs(g); diff != "" {
			if wrong++; wrong < 4 {
				t.Errorf("%d: %s: %s", i, diff, first(t, shows[i]))
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d differ", wrong, len(shows))
	}
}

// first is where two emulators begin to differ.
func first(t *testing.T, s show) string {
	var beginnings []show
	for i := range s.Parts {
		b := s
		b.Parts = s.Parts[:i+1]
		beginnings = append(beginnings, b)
	}
	for i, g := range theirs(t, beginnings) {
		if diff := beginnings[i].ours().differs(g); diff != "" {
			return fmt.Sprintf("%s, at the end of %s\nours\n%s\ntheirs\n%s", diff, told(beginnings[i].Parts),
				strings.Join(beginnings[i].ours().Rows, "\n"), strings.Join(g.Rows, "\n"))
		}
	}
	return "in another way when it is shown piece by piece"
}

// What follows prints a little of what programs do, and attackers. Left out is
// where the two are known to differ, and ours is as xterm or as it is safer:
//
//   - erasing, inserting and deleting while a wrap is pending: xterm.js is
//     then behind the last column and spares it, xterm is in it;
//   - CSI T with a background: xterm.js scrolls in blanks of the terminal's own;
//   - mode 47 with a background or twice: xterm.js always begins with a clean screen,
//     in that colour;
//   - rows that scroll: xterm.js has them for each of the two screens, xterm once;
//   - restoring a cursor that was saved without line drawing: xterm.js goes on drawing;
//   - what is left of half a wide character: xterm.js gives it the look of what
//     took the other half, ours keeps its background;
//   - a wide character at the edge without wrapping: xterm.js drops it; and turning
//     wrapping on at the edge: xterm.js then wraps;
//   - combining characters behind nothing, or behind a cell that was jumped over:
//     ours drops them;
//   - another size while a wrap is pending, or with a cursor that was saved; and
//     narrower and wide again: xterm.js shows what was cut off.

func of(r *rand.Rand, list ...string) string { return list[r.IntN(len(list))] }

func spot(r *rand.Rand) string { return fmt.Sprintf("\x1b[%d;%dH", r.IntN(12), r.IntN(34)) }

// narrow prints no wide characters, in all colours and modes.
func narrow(r *rand.Rand) string {
	n := r.IntN
	if n(10) == 0 {
		return of(r, "\x1b[?7h\r", "\x1b[?7l\r")
	}
	if n(3) > 0 {
		return moving(r)
	}
	switch n(6) {
	case 0:
		return of(r, "\x1b(0", "\x1b(B", "\x1b(0lqqk\x1b(B")
	case 1, 2:
		return fmt.Sprintf("\x1b[%d;%d;%dm", []int{0, 1, 2, 3, 4, 5, 7, 9, 22, 23, 24, 25, 27, 29}[n(14)], []int{30, 90}[n(2)]+n(8), []int{40, 100}[n(2)]+n(8))
	case 3:
		return of(r, "\x1b[m", "\x1b[39;49m", fmt.Sprintf("\x1b[38;5;%dm", n(256)), fmt.Sprintf("\x1b[48;2;%d;%d;%dm", n(256), n(256), n(256)), "\x1b[38:2::1:2:3m", "\x1b[4:3m", "\x1b[8m")
	case 4:
		return of(r, "\x1b]0;title\x07", "\x1b]52;c;eA==\x1b\\", "\x1bP+q\x1b\\", "\x1b[6n", "\x1b[c", "\x9b2J", "\u009b2J", "\xff", "\u202e", "\u200b", "\x1bc", "\x1b#8", "\x0e", "\x1b[!p", "\x1b[3J", "\x1b[?69h")
	}
	return of(r, "select", " ", "x", "│ grün │", "┼──┼", "0123456789012345678901234567890123456789", "ö", "(1 row)", strings.Repeat("=", n(40)))
}

// wide prints wide characters and such as combine.
func wide(r *rand.Rand) string {
	if r.IntN(2) == 0 {
		return moving(r)
	}
	return of(r, "世界", "e\u0301", "한글", "（", strings.Repeat("世", r.IntN(20)), "x\u0300\u0301\u0302", "🎉", "x", "select", "0123456789")
}

// resized prints lines and changes the size: the width in one direction, as
// xterm.js remembers what it has cut off.
func resized(direction int) func(*rand.Rand) part {
	cols := 30
	return func(r *rand.Rand) part {
		switch r.IntN(6) {
		case 0:
			cols = min(max(cols+direction*r.IntN(5), 20), 60)
			return part{Data: "\r", Cols: cols, Rows: 5 + r.IntN(12)}
		case 1:
			return part{Data: spot(r) + of(r, "\x1b[K", "\x1b[J", "x", "\x1b[L", "\x1b[M")}
		}
		return part{Data: of(r, "select", "\r\n", "世界", "0123456789012345678901234567890123456789", "\x1b[A", "\x1b[42mx\x1b[m", "\r\n\n\n")}
	}
}

// moving moves, erases, inserts, deletes and scrolls.
func moving(r *rand.Rand) string {
	n := r.IntN
	number := func() string { return of(r, "", "0", "1", "2", "3", "5", "9", "9999") }
	switch n(14) {
	case 0, 1:
		return of(r, "\r\n", "\r\n", "\n", "\r", "\t", "\b", "\v")
	case 2, 3:
		return spot(r)
	case 4, 5:
		return "\x1b[" + number() + string("ABCDEFG`ade"[n(11)])
	case 6:
		return "\x1b[" + number() + string("IZ"[n(2)])
	case 7:
		return spot(r) + "\x1b[" + of(r, "", "0", "1", "2") + of(r, "J", "K")
	case 8:
		return spot(r) + "\x1b[" + number() + string("@PXLM"[n(5)])
	case 9:
		return "\x1b[m\x1b[" + of(r, "", "1", "2", "3") + string("ST"[n(2)])
	case 10:
		return of(r, "\x1b[r", fmt.Sprintf("\x1b[%d;%dr", n(11), n(12)))
	case 11:
		return of(r, "\r\x1b7", "\x1b(B\x1b8", "\r\x1b[s", "\x1b(B\x1b[u", "\r\x1b7\x1b[5;5H", "\x1b(B\x1b8x")
	case 12:
		return of(r, "\x1bM", "\x1bD", "\x1bE", "\x1b[4h", "\x1b[4l", "\x1b[?25l", "\x1b[?2004h", "\x1b[?1h")
	}
	return "\x1b[m\x1b(B\x1b[r\x1b[?" + of(r, "1049h", "1049l", "47h\x1b[2J", "47l", "1047h", "1047l", "1048h", "1048l")
}

// told is what was shown, as one can read it.
func told(parts []part) string {
	var b strings.Builder
	for _, p := range parts {
		if fmt.Fprintf(&b, "%q ", p.Data); p.Cols > 0 {
			fmt.Fprintf(&b, "%dx%d ", p.Cols, p.Rows)
		}
	}
	return b.String()
}
