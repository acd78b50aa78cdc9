package shadow

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// This file is the model of the engineer's screen: what a terminal (xterm, as
// far as the filter lets it be driven) shows after what the filter let through.
//
// It is ours because the engineer's output waits for it. Whatever she prints, a
// byte must cost little: rows are moved as a whole and erased by forgetting, so
// that neither a flood of line ends nor of erasures is slow, not even on 500 x 200.
// The libraries at hand move each cell (x/vt: 0.4 ms a line end at that size, and
// 4.6 MiB a session); tests hold the model against one of them.

const (
	maxMarks = 8       // combining characters on one cell
	maxPiece = 4 << 10 // bytes of a line handed out at once to those who read lines

	// spaces are at most what is handed out for cells that were jumped over.
	spaces = "                                "
)

// place is the cursor and what belongs to it.
type place struct {
	x, y    int
	full    bool // the last column was written: the next character wraps first
	drawing bool // line drawing instead of lower case letters
	pen     style
}

// screen is the model. It takes the filter's output, whole sequences per Write.
type screen struct {
	cols, rows int
	grids      [2][]*row // main and alternate; the alternate one is made when it is first used
	on         int       // which of them is shown
	place
	saved       [2]place
	top, bottom int // the rows that scroll, from top to before bottom
	nowrap      bool
	insert      bool
	newline     bool // LF also returns: without a terminal nobody has added the CR
	past        history

	// ended is called with the text of each line that is ended by a line
	// end, however many rows it had, in pieces of about maxPiece; nil when
	// nobody reads lines. Every cell is handed out once: what that costs is
	// bounded by what was printed, however often a line is ended.
	ended func(text string)
	carry strings.Builder // of such a line, what has scrolled away
}

func newScreen(cols, rows int) *screen {
	s := &screen{cols: cols, rows: rows, bottom: rows}
	s.grids[0] = blankRows(rows)
	return s
}

// blankRows is so many rows.
func blankRows(n int) []*row {
	list := make([]*row, n)
	for i := range list {
		list[i] = &row{}
	}
	return list
}

func (s *screen) grid() []*row { return s.grids[s.on] }
func (s *screen) row() *row    { return s.grids[s.on][s.y] }

// Write implements io.Writer and never fails.
func (s *screen) Write(p []byte) (int, error) {
	for i := 0; i < len(p); {
		if n := printable(p[i:]); n > 0 {
			s.ascii(p[i : i+n])
			i += n
			continue
		}
		switch b := p[i]; {
		case b == 0x1b:
			i += s.sequence(p[i:])
		case b < 0x20:
			s.c0(b)
			i++
		default:
			r, n := utf8.DecodeRune(p[i:])
			s.print(r)
			i += n
		}
	}
	return len(p), nil
}

// printable is the length of the run of ASCII at the beginning.
func printable(p []byte) int {
	for i, b := range p {
		if b < 0x20 || b > 0x7e {
			return i
		}
	}
	return len(p)
}

func (s *screen) c0(b byte) {
	switch b {
	case '\b':
		s.x, s.full = max(s.x-1, 0), false
	case '\t':
		s.x = min(s.x&^7+8, s.cols-1)
	case '\r':
		s.x, s.full = 0, false
	case '\n':
		s.lineEnd()
		if s.newline {
			s.x = 0
		}
	}
}

// ascii prints a run of ASCII, a row at a time.
func (s *screen) ascii(run []byte) {
	if s.drawing || s.insert || s.nowrap {
		for _, b := range run {
			s.print(rune(b))
		}
		return
	}
	for len(run) > 0 {
		if s.full {
			s.wrap()
		}
		n := min(len(run), s.cols-s.x)
		if s.pen != (style{}) || !s.row().put(s.x, run[:n], s.cols) {
			cells := s.row().open(s.x, s.x+n, s.cols)
			for i := range cells {
				cells[i] = cell{r: rune(run[i]), style: s.pen}
			}
		}
		run = run[n:]
		s.forward(n)
	}
}

// forward moves the cursor behind what was printed.
func (s *screen) forward(n int) {
	if s.x += n; s.x >= s.cols {
		s.x, s.full = s.cols-1, !s.nowrap
	}
}

// print prints one character at the cursor.
func (s *screen) print(r rune) {
	if s.drawing && r >= '`' && r <= '~' {
		r = lineDrawing[r-'`']
	}
	width := runeWidth(r)
	if width == 0 {
		s.mark(r)
		return
	}
	if s.full {
		s.wrap()
	}
	if s.x+width > s.cols {
		if s.nowrap {
			s.x = s.cols - width
		} else {
			s.row().erase(s.x, s.cols, s.cols, s.pen.bg)
			s.wrap()
		}
	}
	if s.insert {
		s.row().insert(s.x, width, s.cols, s.pen.bg)
	}
	cells := s.row().open(s.x, s.x+width, s.cols)
	cells[0] = cell{r: r, style: s.pen}
	if width == 2 {
		cells[0].half, cells[1] = lead, cell{half: tail, style: s.pen}
	}
	s.forward(width)
}

// mark adds a character without width to the one before it.
func (s *screen) mark(r rune) {
	x := s.x - 1
	if s.full {
		x = s.x
	}
	row := s.row()
	row.spell(s.cols)
	if x >= 0 && x < row.used && row.cells[x].half == tail {
		x--
	}
	if x < 0 || x >= row.used {
		return
	}
	c, marks := &row.cells[x], ""
	if c.marks != nil {
		marks = *c.marks
	}
	if utf8.RuneCountInString(marks) < maxMarks {
		marks += string(r)
		c.marks = &marks
	}
}

func (s *screen) wrap() {
	s.row().wrapped = true
	s.index()
	s.x = 0
}

// lineEnd is what LF does.
func (s *screen) lineEnd() {
	if s.ended != nil && (s.collect() || s.row().used == 0) {
		s.handOut()
	}
	s.index()
}

// finish hands out the line the cursor is in, which no line end follows.
func (s *screen) finish() {
	if s.ended != nil && s.collect() {
		s.handOut()
	}
}

// collect puts into carry what was not yet handed out of the line the cursor is
// in, and reports whether there is anything. What it takes is a line no more.
func (s *screen) collect() bool {
	from, g := s.y, s.grid()
	for from > 0 && g[from-1].wrapped {
		from--
	}
	if (from > 0 || s.on == 1) && s.carry.Len() > 0 { // the beginning of another line
		s.handOut()
	}
	for y := from; y <= s.y; y++ {
		s.take(g[y])
		g[y].wrapped = false
	}
	return s.carry.Len() > 0
}

// take puts a row's cells into carry that were written since they were handed
// out, if ever.
func (s *screen) take(r *row) {
	gap := 0
	r.spell(s.cols)
	for x := range r.used {
		c := &r.cells[x]
		if c.told || c.r == 0 {
			if c.half != tail {
				gap++
			}
			continue
		}
		s.carry.WriteString(spaces[:min(gap, len(spaces))])
		gap, c.told = 0, true
		if c.write(&s.carry); s.carry.Len() >= maxPiece {
			s.handOut()
		}
	}
}

func (s *screen) handOut() {
	text := s.carry.String()
	s.carry.Reset()
	s.ended(strings.TrimRight(text, " "))
}

// index moves down a row, scrolling at the bottom (IND).
func (s *screen) index() {
	s.full = false
	switch {
	case s.y == s.bottom-1:
		s.scrollUp(s.top, 1)
	case s.y < s.rows-1:
		s.y++
	}
}

// reverseIndex moves up a row, scrolling at the top (RI).
func (s *screen) reverseIndex() {
	s.full = false
	switch {
	case s.y == s.top:
		s.scrollDown(s.top, 1)
	case s.y > 0:
		s.y--
	}
}

// scrollUp takes n rows out at y and puts blank ones in at the bottom.
func (s *screen) scrollUp(y, n int) {
	g := s.grid()[y:s.bottom]
	n = min(n, len(g))
	if s.ended != nil && y == 0 && s.on == 0 {
		s.carryAway(g[:n])
	}
	if y == 0 {
		s.leave(g[:n])
	}
	turn(g, n)
	for i := len(g) - n; i < len(g); i++ {
		g[i].forget(s.pen.bg)
	}
}

// scrollDown puts n blank rows in at y.
func (s *screen) scrollDown(y, n int) {
	g := s.grid()[y:s.bottom]
	n = min(n, len(g))
	turn(g, len(g)-n)
	for i := range n {
		g[i].forget(s.pen.bg)
	}
}

// turn rotates rows up by n.
func turn(g []*row, n int) {
	if n == 1 { // the usual case
		first := g[0]
		copy(g, g[1:])
		g[len(g)-1] = first
		return
	}
	slices.Reverse(g[:n])
	slices.Reverse(g[n:])
	slices.Reverse(g)
}

// carryAway keeps the text of rows whose line is not yet at its end. A line
// that never had one ends with its last row.
func (s *screen) carryAway(gone []*row) {
	for _, r := range gone {
		if r.wrapped {
			s.take(r)
		} else if s.carry.Len() > 0 {
			s.take(r)
			s.handOut()
		}
	}
}

// resize changes the size. When rows must go, those below the cursor go first.
func (s *screen) resize(cols, rows int) {
	if cols == s.cols && rows == s.rows {
		return
	}
	above := max(s.y-rows+1, 0)
	s.leave(s.grid()[:above])
	for i, g := range s.grids {
		if g == nil {
			continue
		}
		g = slices.Clone(g[min(above, len(g)):])
		g = append(g[:min(rows, len(g))], blankRows(max(rows-len(g), 0))...)
		for y := range g {
			g[y].resize(s.cols, cols)
		}
		s.grids[i] = g
	}
	s.cols, s.rows, s.top, s.bottom = cols, rows, 0, rows
	s.place = s.within(s.place, above)
	for i := range s.saved {
		s.saved[i] = s.within(s.saved[i], above)
	}
}

// within moves a cursor into the screen, after rows above it went.
func (s *screen) within(p place, above int) place {
	p.x, p.y = min(p.x, s.cols-1), max(min(p.y-above, s.rows-1), 0)
	p.full = p.full && p.x == s.cols-1
	return p
}

// runeWidth is how many cells a character takes, by the rule that psql and
// most terminals use (wcwidth); it does not ask this process's locale.
func runeWidth(r rune) int {
	if r < 0x300 {
		return 1
	}
	c := runewidth.Condition{StrictEmojiNeutral: true}
	return c.RuneWidth(r)
}

// lineDrawing is DEC's special graphics set, from ` to ~.
var lineDrawing = [...]rune{
	'◆', '▒', '␉', '␌', '␍', '␊', '°', '±', '␤', '␋', '┘', '┐', '┌', '└', '┼', '⎺',
	'⎻', '─', '⎼', '⎽', '├', '┤', '┴', '┬', '│', '≤', '≥', 'π', '≠', '£', '·',
}
