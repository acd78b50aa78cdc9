package shadow

import (
	"fmt"
	"slices"
	"strings"
	"time"

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
	barShut = "\x1b[0;1;37;41m"
)

// The smallest window one can watch in, as the session has it.
const (
	minCols = 40
	minRows = 10
)

// frame is what the shadow's terminal should show.
type frame struct {
	size session.Size
	rows []string
	x, y int // of the cursor; y is -1 when there is none
}

// status is what the seat itself adds.
type status struct {
	me     string
	open   bool
	who    string // engineer, target, time
	gate   string // gate and recording
	bottom string // keys, or a prompt
	scroll int    // lines of the pane scrolled back
	help   bool
}

// draw makes a frame of the given size, which is at least minCols x minRows.
func (v *View) draw(size session.Size, st status) frame {
	v.mu.Lock()
	defer v.mu.Unlock()
	below := min(max(size.Rows/4, 3), 12)
	height := size.Rows - below - 3
	s := v.screen
	left, top := pan(s.x, s.cols, size.Cols), pan(s.y, s.rows, height)
	f := frame{x: s.x - left, y: s.y - top}
	for y := range height {
		f.rows = append(f.rows, s.draw(top+y, left, size.Cols))
	}
	colour, gate := bar, st.gate
	if !st.open {
		colour = barShut
	}
	if others := v.company(st.me); others != "" {
		gate += " · also here: " + others
	}
	f.rows = append(f.rows, bar+pad(st.who, size.Cols)+reset, colour+pad(gate, size.Cols)+reset)
	if st.help {
		f.rows = append(f.rows, helpRows(size.Cols, below)...)
	} else {
		f.rows = append(f.rows, v.pane.draw(size.Cols, below, st.scroll)...)
	}
	f.rows = append(f.rows, bar+pad(st.bottom, size.Cols)+reset)
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
		r := &s.grid()[y]
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

// legible is a style in which text is seen: not in the colour of its background.
func (s style) legible() style {
	if s.fg == s.bg && s.fg != 0 {
		s.fg = 0
		s.attr |= reverse
	}
	return s
}

// draw is the last rows of the pane, or earlier ones when scrolled back.
func (p *pane) draw(cols, rows, scroll int) []string {
	end := max(len(p.lines)-scroll, min(rows, len(p.lines)))
	list := make([]string, rows)
	for i, l := range p.lines[max(end-rows, 0):end] {
		list[i] = l.draw(cols)
	}
	return list
}

func (l line) draw(cols int) string {
	at := clock(l.at) + " "
	switch {
	case l.remark:
		return dim + fit(at+"· "+l.text, cols) + reset
	case l.running:
		return strong + pad(at+l.text, cols-9) + " running" + reset
	}
	colour := ""
	if l.failed {
		colour = red
	}
	result := fit(l.result, cols/2)
	return pad(at+l.text, cols-textWidth(result)-2) + "  " + colour + result + reset
}

var help = []string{
	"Ctrl-K  kill: the gate shuts at once; type why, Enter ends it, Esc leaves it held",
	"Ctrl-O  hold, and again to release: nothing goes on while you hold",
	"Ctrl-T  say a line to the engineer      Ctrl-X  leave: without you the gate may shut",
	"PgUp PgDn  earlier and later statements      ?  this help",
}

func helpRows(cols, rows int) []string {
	list := make([]string, rows)
	for i := range min(rows, len(help)) {
		list[i] = fit(help[i], cols)
	}
	return list
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
