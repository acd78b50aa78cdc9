package shadow

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/twokey/twokey/session"
)

// This file lets words onto the engineer's terminal while she types. They take
// the place of the line that her cursor is in, and that line stands behind them
// as it stood: prompt, what is typed so far, cursor. psql is told nothing, so
// that nothing reaches it that she did not type.
//
// What the line looks like is known from the bytes that made it: those since
// the last line end or, while readline edits, since its prompt. They are kept,
// and only when there are words, a screen model is made of them. So it costs a
// flood of output nothing.

// maxLine is how many bytes of a line are kept. Of a longer one nothing is known:
// words then come behind it.
const maxLine = 16 << 10

// readline says when it begins and ends to edit: pastes are marked in between.
var (
	editingOn  = []byte("\x1b[?2004h")
	editingOff = []byte("\x1b[?2004l")
)

// Line is a Filter that knows the line the cursor is in. Like a Filter it is not
// safe for concurrent use.
type Line struct {
	*Filter
	w       io.Writer
	size    func() session.Size
	made    []byte // what made the line, filtered
	long    bool   // it is not all of it
	editing bool
}

// NewLine returns a Line before w, a terminal of that size.
func NewLine(w io.Writer, size func() session.Size) *Line {
	l := &Line{w: w, size: size}
	l.Filter = NewFilter(behind(l.pass))
	return l
}

// behind is what a Filter writes to.
type behind func([]byte) (int, error)

func (f behind) Write(p []byte) (int, error) { return f(p) }

// pass takes what the filter let through.
func (l *Line) pass(p []byte) (int, error) {
	l.keep(p)
	return l.w.Write(p)
}

// keep remembers what made the line. The filter writes sequences whole.
func (l *Line) keep(p []byte) {
	for len(p) > 0 {
		edge := editingOn
		if l.editing {
			edge = editingOff
		}
		at := bytes.Index(p, edge)
		if at < 0 {
			l.add(p)
			return
		}
		l.add(p[:at])
		if l.editing = !l.editing; !l.editing {
			made := l.made
			l.made = nil
			l.add(made)
		}
		p = p[at+len(edge):]
	}
}

// add forgets the lines before the last, unless they are being edited.
func (l *Line) add(p []byte) {
	if end := bytes.LastIndexByte(p, '\n'); end >= 0 && !l.editing {
		l.made, l.long, p = l.made[:0], false, p[end+1:]
	}
	if l.long = l.long || len(l.made)+len(p) > maxLine; l.long {
		l.made = l.made[:0]
		return
	}
	l.made = append(l.made, p...)
}

// Aside returns what goes before a line of words, and what goes behind it, so
// that it stands above the line that the cursor is in.
func (l *Line) Aside() (before, after string) {
	plain := "" // whatever mode the terminal was left in, the words can be read
	if l.driven.Load() {
		plain = "\x1b[0m\x1b(B\x1b[4l"
	}
	if l.long || l.alternate.Load() || l.region.Load() {
		return plain + "\r\n", ""
	}
	size := l.size().Clamp()
	s := newScreen(size.Cols, size.Rows)
	s.Write(l.made)
	last := s.lastUsed()
	if last == 0 && s.x == 0 && s.grid()[0].used == 0 && !l.editing {
		return plain, s.pen.sgrOr("")
	}
	before, after = plain+"\r"+up(s.y)+"\x1b[J", s.again(last)
	if l.editing {
		before, after = string(editingOff)+before, string(editingOn)+after
	}
	return before, after
}

// lastUsed is the last row with anything in it, or the cursor.
func (s *screen) lastUsed() int {
	for y := s.rows - 1; y > s.y; y-- {
		if s.grid()[y].used > 0 {
			return y
		}
	}
	return s.y
}

// again draws the rows down to the last one, and puts the cursor and the pen
// where they were.
func (s *screen) again(last int) string {
	var b strings.Builder
	for y := 0; y <= last; y++ {
		r := s.grid()[y]
		r.draw(&b, 0, s.cols)
		if y < last && !(r.wrapped && r.used == s.cols) {
			b.WriteString("\r\n")
		}
	}
	b.WriteString(up(last - s.y))
	r, x := s.row(), s.x
	if s.full && x > 0 && r.at(x).half == tail {
		x--
	}
	fmt.Fprintf(&b, "\x1b[%dG", x+1)
	if s.full { // the next character goes into the next row: the last one is written anew
		r.draw(&b, x, s.cols)
	}
	return b.String() + s.pen.sgrOr("")
}

// up moves the cursor up.
func up(rows int) string {
	if rows <= 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA", rows)
}

// sgrOr is the sequence that makes a terminal use a style, and something else
// for the terminal's own.
func (s style) sgrOr(none string) string {
	if s == (style{}) {
		return none
	}
	return s.sgr()
}
