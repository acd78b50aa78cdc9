package shadow

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/twokey/twokey/session"
)

// This file is how a statement is brought to whoever must judge it: nothing in
// it may push its end out of sight. White space takes one cell, however much of
// it there is, and what does not fit into the pane can be read page by page.

// lineBreak stands for white space with a line end in it. It is told apart
// from a space because a comment after -- ends there.
const lineBreak = '↵'

// maxText is how many bytes of one text a view keeps. Of a longer one it keeps
// the beginning and the end, and says so between them.
const maxText = 1 << 20

// oneLine is a statement as one line of clean text: a run of white space is a
// space, or lineBreak, which stands for nothing else in it. What is never seen is
// shown once in a run as a replacement character: a name with it is another name.
func oneLine(s string) string {
	var b strings.Builder
	var gap rune
	unseen := false
	for _, r := range shorten(s) {
		switch {
		case r == '\n' || r == '\r':
			gap = lineBreak
			continue
		case unicode.IsSpace(r):
			gap = max(gap, ' ')
			continue
		case r >= 0x7f && len(appendRune(nil, r)) == 0: // no end of a gap
			unseen = true
			continue
		case r == lineBreak:
			r = utf8.RuneError
		}
		if gap != 0 && b.Len() > 0 {
			b.WriteRune(gap)
		}
		if unseen {
			b.WriteRune(utf8.RuneError)
		}
		gap, unseen = 0, false
		b.WriteRune(r)
	}
	if unseen {
		b.WriteRune(utf8.RuneError)
	}
	return Clean(b.String())
}

// shorten takes the middle out of a text of more than maxText bytes.
func shorten(s string) string {
	if len(s) <= maxText {
		return s
	}
	head, tail := maxText/2, len(s)-maxText/2
	for head > 0 && !utf8.RuneStart(s[head]) {
		head--
	}
	for tail < len(s) && !utf8.RuneStart(s[tail]) {
		tail++
	}
	return fmt.Sprintf("%s … %d bytes are left out here, they are on the tape … %s", s[:head], tail-head, s[tail:])
}

// rowEnd is how many bytes of clean text go into a row of so many cells, at
// least one character. One that terminals differ on counts as wide: no row is
// longer on any terminal.
func rowEnd(text string, cols int) int {
	cells := 0
	for i, r := range text {
		if cells++; (cell{r: r}).disputed() {
			cells++
		}
		if cells > cols && i > 0 {
			return i
		}
	}
	return len(text)
}

// help is what the keys do.
const help = "Ctrl-K  kill: the gate shuts at once; say why, Enter ends it, Esc leaves it held\n" +
	"Ctrl-O  hold, and again to release: nothing new starts while you hold;\n" +
	"        what runs already runs on, and Ctrl-K ends it\n" +
	"Ctrl-Y  yes, Ctrl-N  no, Ctrl-A  yes to all in this transaction: to what asks, once it was shown to its end\n" +
	"Ctrl-T  say a line to the engineer  Ctrl-X  leave: without you the gate may shut\n" +
	"f  the whole text of the last statement shown; PgUp PgDn Home End turn its pages\n" +
	"u  the same with all but plain letters by their numbers: where [rtl] stands, some\n" +
	"        terminals turn right-to-left text around, and what is between\n" +
	"PgUp PgDn and arrows  earlier and later statements; after Tab: what was on the screen before\n" +
	"Esc  back to what is now    ?  this help"

// reading is a text shown over the pane, page by page.
type reading struct {
	text       string
	cols, rows int
	tints      []tint // of SQL
	pages      []int  // where in text each begins
	page       int    // the one that is shown
	seen       int    // statements there were when it was opened
}

// read opens a text at its beginning, for so many cells a page.
func read(text string, cols, rows int) *reading {
	r := &reading{text: text, cols: max(cols, 2), rows: max(rows, 1), pages: []int{0}}
	for at, row := 0, 1; at < len(text); row++ {
		at += r.rowEnd(at)
		if row%r.rows == 0 && at < len(text) {
			r.pages = append(r.pages, at)
		}
	}
	return r
}

// readSQL opens a text that is SQL, in colours.
func readSQL(text string, cols, rows int) *reading {
	r := read(text, cols, rows)
	r.tints = tints(text)
	return r
}

// rowEnd is the length of the row that begins at a byte of the text. A line
// end begins a new one.
func (r *reading) rowEnd(at int) int {
	end := rowEnd(r.text[at:], r.cols)
	row := r.text[at : at+end]
	if i := strings.IndexAny(row, "\n"+string(lineBreak)); i >= 0 {
		_, n := utf8.DecodeRuneInString(row[i:])
		return i + n
	}
	return end
}

// draw is the rows of the page that is shown.
func (r *reading) draw() []string {
	list := make([]string, r.rows)
	at := r.pages[r.page]
	for i := range list {
		end := at + r.rowEnd(at)
		list[i] = tinted(r.text, r.tints, at, at+len(strings.TrimSuffix(r.text[at:end], "\n")))
		at = end
	}
	return list
}

// turn goes to another page.
func (r *reading) turn(k key) {
	page := r.page
	switch k {
	case keyPageUp, keyUp:
		page--
	case keyPageDown, keyDown:
		page++
	case keyHome:
		page = 0
	case keyLast:
		page = len(r.pages) - 1
	}
	r.page = min(max(page, 0), len(r.pages)-1)
}

// resized is the same text at the same place for another size.
func (r *reading) resized(cols, rows int) *reading {
	n := read(r.text, cols, rows)
	n.seen, n.tints = r.seen, r.tints
	for n.page+1 < len(n.pages) && n.pages[n.page+1] <= r.pages[r.page] {
		n.page++
	}
	return n
}

// pages is where somebody is in the list of statements, and what they read over it.
type pages struct {
	upto int      // the line before which the list ends, when it is scrolled back
	over *reading // or nil

	onScreen bool // keys scroll the screen, not the list
	first    int  // the first row of it that is shown, when that is scrolled back
}

// open shows a text, or the last statement that is listed when it is "", over the
// list, and closes it again.
func (g *pages) open(text string, v *View, size session.Size) {
	statement, count := v.statement(g.upto)
	opens := read
	if text == "" {
		text, opens = statement, readSQL
	}
	if g.over != nil && g.over.text == text {
		g.over = nil
		return
	}
	g.over = opens(text, size.Cols, v.paneRows(size))
	g.over.seen = count
}

// back closes what is read, or goes back to the newest statement.
func (g *pages) back() {
	if g.over == nil {
		g.upto, g.first = 0, 0
	}
	g.over = nil
}

// scroll turns pages, or scrolls the list or the screen.
func (g *pages) scroll(k key, v *View, size session.Size) {
	by, known := map[key]int{
		keyPageUp: -5, keyPageDown: 5, keyUp: -1, keyDown: 1, keyHome: -maxLines, keyLast: maxLines,
	}[k]
	switch {
	case k == keyTab:
		g.onScreen = !g.onScreen
	case !known:
	case g.over != nil:
		g.over.turn(k)
	case g.onScreen:
		if k == keyPageUp || k == keyPageDown {
			by *= 3
		}
		g.first = v.back(g.first, by, size)
	default:
		g.upto = v.scrolled(g.upto, by)
	}
}
