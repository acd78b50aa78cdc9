package shadow

import (
	"strconv"
	"strings"
)

// This file is what a screen is made of: rows of cells. A row knows how far it
// was written; behind that it is blank, so that erasing it costs nothing. While
// nothing but ASCII without any look is in it, as in most of a flood, it is a text,
// a byte a cell; whoever needs its cells has them made first (see spell).

// colour is 0 for the terminal's own, or one of 256, or red, green and blue.
type colour uint32

const (
	indexed colour = 1 << 24
	direct  colour = 2 << 24
)

// style is how a cell looks. Hidden text cannot be said.
type style struct {
	fg, bg colour
	attr   attributes
	under  uint8 // kind of underline, 0 to 5
}

type attributes uint8

const (
	bold attributes = 1 << iota
	faint
	italic
	blink
	reverse
	strike
)

// half says which part of a wide character a cell holds.
type half uint8

const (
	whole half = iota
	lead
	tail
)

type cell struct {
	r     rune // 0 is blank
	half  half
	told  bool // was handed out with its line, see screen.collect
	style style
	marks *string // combining characters, rarely any
}

type row struct {
	cells   []cell // as wide as the screen once there are any
	plain   []byte // what is written, instead of cells, or empty; 0 is blank
	used    int    // cells that were written; what follows is blank
	fill    colour // its background
	wrapped bool   // the line goes on in the next row
}

// at returns a cell.
func (r *row) at(x int) cell {
	switch {
	case x < len(r.plain):
		return cell{r: rune(r.plain[x])}
	case x < r.used:
		return r.cells[x]
	}
	return cell{style: style{bg: r.fill}}
}

// put writes ASCII without any look at x, if the row can stay a text with it.
func (r *row) put(x int, text []byte, cols int) bool {
	if len(r.plain) != r.used || x > r.used && r.fill != 0 {
		return false
	}
	if cap(r.plain) < cols {
		r.plain = append(make([]byte, 0, cols), r.plain...)
	}
	blank := r.used
	r.used = max(r.used, x+len(text))
	r.plain = r.plain[:r.used]
	clear(r.plain[blank:max(x, blank)])
	copy(r.plain[x:], text)
	return true
}

// spell makes cells of a row that is a text.
func (r *row) spell(cols int) {
	if len(r.plain) == 0 {
		return
	}
	if len(r.cells) < cols {
		r.cells = make([]cell, cols)
	}
	for x, b := range r.plain {
		r.cells[x] = cell{r: rune(b)}
	}
	r.plain = r.plain[:0]
}

// cut makes what is behind x blank.
func (r *row) cut(x int) {
	r.used = min(r.used, x)
	r.plain = r.plain[:min(len(r.plain), r.used)]
}

// forget makes the whole row blank.
func (r *row) forget(bg colour) {
	r.cut(0)
	r.fill, r.wrapped = bg, false
}

// need makes cells up to x real.
func (r *row) need(x, cols int) {
	r.spell(cols)
	if len(r.cells) < cols {
		cells := make([]cell, cols)
		copy(cells, r.cells[:r.used])
		r.cells = cells
	}
	for ; r.used < x; r.used++ {
		r.cells[r.used] = cell{style: style{bg: r.fill}}
	}
}

// open returns the cells from x to before end, to be overwritten.
func (r *row) open(x, end, cols int) []cell {
	r.need(x, cols)
	r.part(x)
	r.part(end)
	r.used = max(r.used, end)
	return r.cells[x:end]
}

// part blanks a wide character that a cut before x would halve.
func (r *row) part(x int) {
	if x > 0 && x < r.used && r.at(x).half == tail {
		r.cells[x-1] = cell{style: style{bg: r.cells[x-1].style.bg}}
		r.cells[x] = cell{style: style{bg: r.cells[x].style.bg}}
	}
}

// erase blanks the cells from x to before end.
func (r *row) erase(x, end, cols int, bg colour) {
	r.part(x)
	r.part(end)
	if end >= cols {
		if x > r.used && r.fill != bg {
			r.need(x, cols)
		}
		r.cut(x)
		r.fill, r.wrapped = bg, false
		return
	}
	r.spell(cols)
	if r.fill != bg {
		r.need(end, cols)
	}
	for ; x < min(end, r.used); x++ {
		r.cells[x] = cell{style: style{bg: bg}}
	}
}

// insert moves what is at x to the right by n blanks.
func (r *row) insert(x, n, cols int, bg colour) {
	n = min(n, cols-x)
	r.need(cols, cols)
	r.part(x)
	r.part(cols - n)
	copy(r.cells[x+n:cols], r.cells[x:])
	r.blank(x, x+n, bg)
}

// remove takes n cells out at x; blanks come in from the right.
func (r *row) remove(x, n, cols int, bg colour) {
	n = min(n, cols-x)
	r.need(cols, cols)
	r.part(x)
	r.part(x + n)
	copy(r.cells[x:], r.cells[x+n:cols])
	r.blank(cols-n, cols, bg)
	r.wrapped = false
}

func (r *row) blank(x, end int, bg colour) {
	for ; x < end; x++ {
		r.cells[x] = cell{style: style{bg: bg}}
	}
}

// resize makes the row as wide as cols; it was as wide as old. What is new is blank
// in the terminal's own colour.
func (r *row) resize(old, cols int) {
	if cols > old && r.fill != 0 {
		r.need(old, old)
		r.fill = 0
	}
	r.part(cols)
	r.cut(cols)
	if len(r.cells) > cols {
		r.cells = r.cells[:cols]
	}
	r.wrapped = false
}

// text is the row without styles, as wide as it was written.
func (r *row) text() string {
	var b strings.Builder
	for x := range r.used {
		r.at(x).write(&b)
	}
	return b.String()
}

// write writes the cell's characters.
func (c cell) write(b *strings.Builder) {
	switch {
	case c.half == tail:
	case c.r == 0:
		b.WriteByte(' ')
	default:
		b.WriteRune(c.r)
		if c.marks != nil {
			b.WriteString(*c.marks)
		}
	}
}

// sgr is the sequence that makes a terminal use a style, whatever it used before.
func (s style) sgr() string {
	if s == (style{}) {
		return reset
	}
	b := []byte("\x1b[0")
	for i, code := range [...]string{";1", ";2", ";3", ";5", ";7", ";9"} {
		if s.attr&(1<<i) != 0 {
			b = append(b, code...)
		}
	}
	if s.under > 0 {
		b = append(b, ";4"...)
	}
	b = s.fg.append(b, 30)
	b = s.bg.append(b, 40)
	return string(append(b, 'm'))
}

func (c colour) append(b []byte, base int) []byte {
	n := int(c & 0xff)
	switch {
	case c&direct != 0:
		b = append(strconv.AppendInt(append(b, ';'), int64(base+8), 10), ";2"...)
		for shift := 16; shift >= 0; shift -= 8 {
			b = strconv.AppendInt(append(b, ';'), int64(c>>shift&0xff), 10)
		}
	case c&indexed == 0:
	case n < 8:
		b = strconv.AppendInt(append(b, ';'), int64(base+n), 10)
	case n < 16:
		b = strconv.AppendInt(append(b, ';'), int64(base+60+n-8), 10)
	default:
		b = append(strconv.AppendInt(append(b, ';'), int64(base+8), 10), ";5;"...)
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return b
}
