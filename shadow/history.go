package shadow

import (
	"strings"

	"github.com/twokey/twokey/session"
)

// This file is what was on a screen before: what has scrolled off its top, and what
// was cleared from it at once. Whoever sits down late reads there what has been,
// and whoever prints cannot take it from them but by printing more.

// Bounds of a history. A row is kept as it is drawn, which is little for most.
const (
	maxHistory     = 256 << 10 // bytes
	maxHistoryRows = 2000
	historyRowCost = 16 // bytes that a row takes apart from its text
)

// history is rows that are no longer on a screen. It is a value: what it holds
// is only added to, and a copy with its own end (see clone) shares the rest.
type history struct {
	rows    []string // as row.draw has them
	bytes   int
	dropped int // rows forgotten at the front
}

// keep adds a row.
func (h *history) keep(r *row, cols int) {
	text, plain := r.plain()
	if !plain {
		var b strings.Builder
		r.draw(&b, 0, cols)
		text = b.String()
	}
	h.rows = append(h.rows, text)
	h.bytes += len(text) + historyRowCost
	for h.bytes > maxHistory || len(h.rows) > maxHistoryRows {
		h.bytes -= len(h.rows[0]) + historyRowCost
		h.rows = h.rows[1:]
		h.dropped++
	}
}

// plain is what draw makes of a row of ASCII without any look, as most are in a
// flood; false for another row.
func (r *row) plain() (text string, ok bool) {
	var buf [widest]byte
	if r.fill != 0 || r.used > len(buf) {
		return "", false
	}
	for x := range r.used {
		c := &r.cells[x]
		if c.r >= 0x7f || c.half != whole || c.marks != nil || c.style != (style{}) {
			return "", false
		}
		if buf[x] = byte(c.r); c.r == 0 {
			buf[x] = ' '
		}
	}
	return string(buf[:r.used]), true
}

// clone is a history that goes on by itself.
func (h history) clone() history {
	h.rows = h.rows[:len(h.rows):len(h.rows)]
	return h
}

// leave keeps rows that are about to go from the main screen.
func (s *screen) leave(gone []row) {
	if s.on != 0 {
		return
	}
	for i := range gone {
		s.past.keep(&gone[i], s.cols)
	}
}

// cleared keeps what is on the main screen before all of it is erased at once.
func (s *screen) cleared() {
	g := s.grid()
	end := len(g)
	for end > 0 && g[end-1].empty() {
		end--
	}
	s.leave(g[:end])
}

// empty reports whether a row has nothing to read.
func (r *row) empty() bool {
	for x := range r.used {
		if c := &r.cells[x]; c.r != 0 && c.r != ' ' {
			return false
		}
	}
	return true
}

// drawAt draws a row that is counted from the first of the session, in so many columns.
func (s *screen) drawAt(n, left, cols int) string {
	switch n -= s.past.dropped; {
	case n < 0:
		return ""
	case n < len(s.past.rows):
		r := newScreen(widest, 1)
		r.Write([]byte(s.past.rows[n]))
		return r.draw(0, left, cols)
	}
	return s.draw(n-len(s.past.rows), left, cols)
}

// widest is the widest that a screen can be.
const widest = 500

// backTo is the first row to be shown in so many, after going some rows on or
// back from it; 0 is the newest, others are counted from 1 and from the first
// of the session, so that they stay where they are.
func (s *screen) backTo(first, by, rows int) int {
	newest := s.past.dropped + len(s.past.rows) + s.rows - min(rows, s.rows)
	at := newest
	if first > 0 {
		at = first - 1
	}
	if at = max(at+by, s.past.dropped); at >= newest {
		return 0
	}
	return at + 1
}

// back is where a seat is that went some rows on in what was on the screen, or back.
func (v *View) back(first, by int, size session.Size) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.screen.backTo(first, by, v.aboveStatus(size))
}
