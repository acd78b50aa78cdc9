package shadow

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twokey/twokey/session"
)

// This file draws one frame of the seat: the engineer's screen, panned so that
// the cursor is in it or with a border when it is smaller; two lines of status;
// the statements; a line for keys or what is being typed. Every row is made here
// from cells and cleaned text.

const (
	reset   = "\x1b[0m"
	dim     = "\x1b[2m"
	strong  = "\x1b[1m"
	red     = "\x1b[31m"
	bar     = "\x1b[7m"
	barShut = "\x1b[0;1;7;31m"
)

// The smallest window one can watch in, as the session has it.
const (
	minCols = 40
	minRows = 10
)

// roomy reports whether a terminal has room for a seat.
func roomy(size session.Size) bool { return size.Cols >= minCols && size.Rows >= minRows }

// frame is what the shadow's terminal should show.
type frame struct {
	size session.Size
	rows []string
	x, y int // of the cursor; y is -1 when there is none
}

// isNew reports whether most rows are others than before.
func (f frame) isNew(before frame) bool {
	changed := 0
	for i, row := range f.rows {
		if i >= len(before.rows) || before.rows[i] != row {
			changed++
		}
	}
	return changed > len(f.rows)/2
}

// status is what the seat itself adds.
type status struct {
	me     string
	with   string // what is said before the names of the others
	open   bool
	who    string   // engineer, target, time
	gate   string   // gate and recording
	time   string   // where we are in a recording; "" at a live session
	bottom string   // keys, or a prompt
	upto   int      // the line before which the pane ends, when it is scrolled back
	first  int      // the first row of the screen to be shown, when that is (see screen.backTo)
	over   []string // rows to be shown over the pane, or nil
}

// fewRows is the screen of a session without psql: only notices come.
const fewRows = 5

// paneRows is how many rows of a window the statements have: a quarter, and
// what the screen does not need.
func (v *View) paneRows(size session.Size) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.belowScreen(size)
}

func (v *View) belowScreen(size session.Size) int {
	return max(min(max(size.Rows/4, 3), 12), size.Rows-3-v.screen.rows-1) // one for the border
}

// draw makes a frame of the given size, which is at least minCols x minRows.
func (v *View) draw(size session.Size, st status) frame {
	v.mu.Lock()
	defer v.mu.Unlock()
	below := v.belowScreen(size)
	f := v.drawScreen(size.Rows-below-3, size.Cols, st.first)
	colour, gate := bar, st.gate
	if !st.open {
		colour = barShut
	}
	if slices.ContainsFunc(f.rows, turns) {
		gate += " · right-to-left text on the screen"
	}
	if others := v.company(st.me); others != "" {
		gate += " · " + st.with + others
	}
	f.rows = append(f.rows, bar+pad(st.who, size.Cols)+reset, colour+pad(gate, size.Cols)+reset)
	if st.time != "" {
		f.rows = append(f.rows, st.time)
	}
	if st.over != nil {
		f.rows = append(f.rows, st.over...)
	} else {
		f.rows = append(f.rows, v.pane.draw(size.Cols, below, st.upto)...)
	}
	f.rows = append(f.rows, bar+pad(st.bottom, size.Cols)+reset)
	return f
}

// aboveStatus is how many rows of a window the screen has.
func (v *View) aboveStatus(size session.Size) int { return size.Rows - v.belowScreen(size) - 3 }

// drawScreen draws the part of the screen where the cursor is, or what was there
// before, from a row on. The caller holds mu.
func (v *View) drawScreen(rows, cols, first int) frame {
	s := v.screen
	if first = s.backTo(first, 0, rows); first > 0 {
		f := frame{y: -1}
		for y := range rows {
			f.rows = append(f.rows, s.drawAt(first-1+y, 0, cols))
		}
		return f
	}
	left, top := pan(s.x, s.cols, cols), pan(s.y, s.rows, rows)
	f := frame{x: s.x - left, y: s.y - top}
	for y := range rows {
		f.rows = append(f.rows, s.draw(top+y, left, cols))
	}
	return f
}

// pan returns the first row (or column) to show so that the cursor is visible.
func pan(cursor, have, room int) int {
	if have <= room || cursor < room {
		return 0
	}
	return min(cursor-room+1, have-room)
}

// draw is one row of the screen as a viewer gets it. What is out of the screen
// has a border, so that nobody takes it for a part of it.
func (s *screen) draw(y, left, cols int) string {
	var b strings.Builder
	switch {
	case y == s.rows:
		b.WriteString(dim + strings.Repeat("─", min(s.cols-left, cols)) + reset)
	case y < s.rows:
		r := s.grid()[y]
		end := min(left+cols, s.cols)
		r.draw(&b, left, end)
		if s.cols-left < cols {
			fmt.Fprintf(&b, "\x1b[%dG%s│%s", s.cols-left+1, dim, reset)
		}
	}
	return b.String()
}

// draw writes the cells from x to before end.
func (r *row) draw(b *strings.Builder, x, end int) {
	left := x
	var pen style
	stop := end
	if r.fill == 0 {
		stop = min(end, max(r.used, x)) // the rest is as blank as the terminal's own
	}
	if x < stop && stop <= len(r.plain) && r.fill == 0 {
		b.Grow(stop - x)
		for _, c := range r.plain[x:stop] {
			b.WriteByte(max(c, ' ')) // 0 is blank, and nothing else is below
		}
		return
	}
	for ; x < stop; x++ {
		c := r.at(x)
		if look := c.style.legible(); look != pen {
			b.WriteString(look.sgr())
			pen = look
		}
		switch {
		case c.half == lead && x+1 >= end, c.half == tail && x == left: // cut in two by the edge
			b.WriteByte(' ')
		case c.half == tail:
		default:
			c.write(b)
		}
		if width := 1 + int(c.half&lead); c.disputed() && x+width < end {
			fmt.Fprintf(b, "\x1b[%dG", x+width-left+1)
		}
	}
	if pen != (style{}) {
		b.WriteString(reset)
	}
}

// disputed reports whether terminals differ on how wide a cell's character is.
// After one, the place of the next is said.
func (c cell) disputed() bool {
	switch r := c.r; {
	case c.marks != nil || c.half == lead:
		return true
	case r < 0x300, r >= 0x370 && r < 0x530, r >= 0x2500 && r < 0x2580:
		return false
	}
	return c.half != tail
}

// draw is the last rows of the pane, or earlier ones when scrolled back. The
// newest statement has all the rows it needs, and so has what runs; others one.
func (p *pane) draw(cols, rows, end int) []string {
	var list []string // from below
	newest := true
	for at := p.upto(end); at > 0 && len(list) < rows; at-- {
		l, room := p.lines[at-1], 1
		if !l.remark && (newest || l.running) {
			room, newest = rows-len(list), false
		}
		drawn := l.draw(cols, room)
		slices.Reverse(drawn)
		list = append(list, drawn...)
	}
	slices.Reverse(list)
	return append(list, make([]string, rows-len(list))...)
}

// draw is a line in at most so many rows.
func (l line) draw(cols, room int) []string {
	at := clock(l.at) + " "
	if l.remark {
		return []string{dim + fit(at+"· "+l.text, cols) + reset}
	}
	look, colour, state := "", "", fit(l.result, cols/2)
	if l.running {
		look, state = strong, "running"
	} else if l.failed {
		colour = red
	}
	width := cols - len(at)
	left := width - textWidth(state) - 2 // beside the state
	state = fmt.Sprintf("%s\x1b[%dG%s%s%s", reset, cols-textWidth(state)+1, colour, state, reset)
	if room == 1 || rowEnd(l.text, left) == len(l.text) {
		return []string{look + at + l.part(left) + state}
	}
	list, rest, shown := []string(nil), l.text, 0
	for rest != "" && len(list) < room-1 {
		end := rowEnd(rest, width)
		list = append(list, look+at+rest[:end]+reset)
		shown += utf8.RuneCountInString(rest[:end])
		at, rest = strings.Repeat(" ", len(at)), rest[end:]
	}
	more := ""
	if rest != "" {
		more = bar + fit(fmt.Sprintf("… %d more characters, f shows them", l.length-shown), left)
	}
	return append(list, at+more+state)
}

// part is the text in so many cells. What is left out is counted.
func (l line) part(cols int) string {
	if rowEnd(l.text, cols) == len(l.text) {
		return l.text
	}
	part := l.text[:rowEnd(l.text, max(cols-9, 1))]
	return fit(fmt.Sprintf("%s… +%d", part, l.length-utf8.RuneCountInString(part)), cols)
}

func clock(d time.Duration) string {
	d = d.Truncate(time.Second)
	return fmt.Sprintf("%02d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}

// fit cuts clean text to a width in cells.
func fit(text string, cols int) string {
	if len(text) <= cols {
		return text
	}
	width, at := 0, 0 // at is where the text ends with room for the ellipsis
	for i, r := range text {
		if width <= cols-1 {
			at = i
		}
		if width += runeWidth(r); width > cols {
			return text[:at] + "…"
		}
	}
	return text
}

// textWidth is the width of clean text in cells.
func textWidth(text string) (width int) {
	for _, r := range text {
		width += runeWidth(r)
	}
	return width
}

func pad(text string, cols int) string {
	text = fit(text, max(cols, 1))
	return text + strings.Repeat(" ", max(cols-textWidth(text), 0))
}

// update is what brings a terminal from one frame to the next: the rows that
// changed, and the cursor.
func update(from, to frame) string {
	if slices.Equal(from.rows, to.rows) && from.x == to.x && from.y == to.y {
		return ""
	}
	var b strings.Builder
	b.WriteString("\x1b[?25l")
	if len(from.rows) == 0 {
		b.WriteString("\x1b[0m\x1b[2J")
	}
	for i, row := range to.rows {
		if i >= len(from.rows) || from.rows[i] != row {
			fmt.Fprintf(&b, "\x1b[%d;1H\x1b[K%s", i+1, row)
		}
	}
	if to.y >= 0 {
		fmt.Fprintf(&b, "\x1b[%d;%dH\x1b[?25h", to.y+1, to.x+1)
	}
	return b.String()
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// colourless is a row without its colours: what they say is said by the rest.
func colourless(row string) string { return sgr.ReplaceAllStringFunc(row, monochrome) }

// monochrome is an SGR sequence without its colours.
func monochrome(sequence string) string {
	var kept []string
	for list := strings.Split(sequence[2:len(sequence)-1], ";"); len(list) > 0; list = list[1:] {
		switch p := list[0]; {
		case p == "38" || p == "48": // 5 and one more, or 2 and three
			skip := 2
			if len(list) > 1 && list[1] == "2" {
				skip = 4
			}
			list = list[min(skip, len(list)-1):]
		case len(p) < 2: // 0 to 9
			kept = append(kept, p)
		}
	}
	if len(kept) == 0 {
		return ""
	}
	return "\x1b[" + strings.Join(kept, ";") + "m"
}
