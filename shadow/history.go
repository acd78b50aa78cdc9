package shadow

import (
	"slices"
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
	historyRowCost = 24 // bytes that a row takes apart from its text
)

// history is rows that are no longer on a screen, as row.draw has them. Keeping
// one must cost hardly more than copying it: see screen.
type history struct {
	rows    [][]byte // from first on; never written again
	first   int
	bytes   int
	dropped int    // rows forgotten at the front
	chunk   []byte // what rows are cut from, so that few of them need memory of their own
}

// chunkBytes is how much memory for rows is taken at once.
const chunkBytes = 4 << 10

// all is the rows, the oldest first.
func (h *history) all() [][]byte { return h.rows[h.first:] }

// keep adds a row.
func (h *history) keep(r *row, cols int) {
	text := h.drawn(r, cols)
	h.rows = append(h.rows, text)
	h.bytes += len(text) + historyRowCost
	for h.bytes > maxHistory || len(h.all()) > maxHistoryRows {
		h.bytes -= len(h.rows[h.first]) + historyRowCost
		h.rows[h.first] = nil
		h.first++
		h.dropped++
	}
	if h.first >= maxHistoryRows {
		h.rows = slices.Delete(h.rows, 0, h.first)
		h.first = 0
	}
}

// drawn is a row in the chunk.
func (h *history) drawn(r *row, cols int) []byte {
	if len(r.plain) < r.used || r.fill != 0 {
		var b strings.Builder
		b.Grow(2 * r.used)
		r.draw(&b, 0, cols)
		return append(h.room(b.Len()), b.String()...)
	}
	text := append(h.room(r.used), r.plain...)
	for i, c := range text {
		if c == 0 {
			text[i] = ' '
		}
	}
	return text
}

// room is for a text of so many bytes, and no more.
func (h *history) room(n int) []byte {
	if n > cap(h.chunk)-len(h.chunk) {
		h.chunk = make([]byte, 0, max(n, chunkBytes))
	}
	end := len(h.chunk) + n
	h.chunk = h.chunk[:end]
	return h.chunk[end-n : end-n : end]
}

// clone is a history that goes on by itself.
func (h history) clone() history {
	h.rows, h.first, h.chunk = slices.Clone(h.all()), 0, nil
	return h
}

// leave keeps rows that are about to go from the main screen.
func (s *screen) leave(gone []*row) {
	if s.on != 0 {
		return
	}
	for _, r := range gone {
		s.past.keep(r, s.cols)
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
		if c := r.at(x); c.r != 0 && c.r != ' ' {
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
	case n < len(s.past.all()):
		r := newScreen(widest, 1)
		r.Write(s.past.all()[n])
		return r.draw(0, left, cols)
	}
	return s.draw(n-len(s.past.all()), left, cols)
}

// widest is the widest that a screen can be.
const widest = 500

// backTo is the first row to be shown in so many, after going some rows on or
// back from it; 0 is the newest, others are counted from 1 and from the first
// of the session, so that they stay where they are.
func (s *screen) backTo(first, by, rows int) int {
	newest := s.past.dropped + len(s.past.all()) + s.rows - min(rows, s.rows)
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
