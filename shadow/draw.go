package shadow

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	uv "github.com/charmbracelet/ultraviolet"

	"github.com/twokey/twokey/session"
)

// This file draws one frame of the seat: the engineer's screen, panned so that
// the cursor is in it; a status line; the statements; a line for keys or what is
// being typed. Every line is made here from cells and cleaned text.

const (
	reset     = "\x1b[0m"
	highlight = "\x1b[7m"
)

// frame is what the shadow's terminal should show.
type frame struct {
	rows   []string
	cursor [2]int // column and row, from 0; row -1 hides it
}

// status is what the seat itself adds.
type status struct {
	open    bool
	words   string // gate, recording, company
	bottom  string // keys, or a prompt
	scroll  int    // statements scrolled back
	holding bool
	help    bool
}

// draw makes a frame of the given size.
func (v *View) draw(size session.Size, st status) frame {
	v.mu.Lock()
	defer v.mu.Unlock()
	pane := min(max(size.Rows/4, 3), 12)
	height := max(size.Rows-pane-2, 1)
	f := frame{cursor: [2]int{0, -1}}
	cur := v.screen.CursorPosition()
	left, top := pan(cur.X, v.screen.Width(), size.Cols), pan(cur.Y, v.screen.Height(), height)
	for y := range height {
		f.rows = append(f.rows, v.screenRow(top+y, left, size.Cols))
	}
	f.cursor = [2]int{cur.X - left, cur.Y - top}
	bar := highlight
	if !st.open {
		bar = "\x1b[1;37;41m"
	}
	f.rows = append(f.rows, bar+pad(st.words, size.Cols)+reset)
	if st.help {
		f.rows = append(f.rows, helpLines(size.Cols, pane)...)
	} else {
		f.rows = append(f.rows, v.paneRows(size.Cols, pane, st.scroll)...)
	}
	f.rows = append(f.rows, highlight+pad(st.bottom, size.Cols)+reset)
	return f
}

// pan returns the first line (or column) to show so that the cursor is visible.
func pan(cursor, have, room int) int {
	if have <= room || cursor < room {
		return 0
	}
	return min(cursor-room+1, have-room)
}

func (v *View) screenRow(y, left, cols int) string {
	var b strings.Builder
	var style uv.Style
	for x := left; x < min(left+cols, v.screen.Width()); {
		c := v.screen.CellAt(x, y)
		width := 1
		text := " "
		if c != nil && c.Content != "" {
			text, width = c.Content, max(c.Width, 1)
		}
		if c != nil && !c.Style.Equal(&style) {
			b.WriteString(reset)
			b.WriteString(visible(c.Style))
			style = c.Style
		}
		if x+width > left+cols {
			text = " "
		}
		b.WriteString(cellText(text))
		x += width
	}
	return b.String() + reset
}

// visible is a style's SGR sequence. It went in through the filter, so hidden
// text is not among it; what the model makes of it is filtered again all the same.
func visible(s uv.Style) string {
	if s.IsZero() {
		return ""
	}
	var b strings.Builder
	NewFilter(&b).Write([]byte(s.String()))
	return b.String()
}

// cellText is a cell's grapheme without anything that is no text.
func cellText(text string) string {
	if len(text) == 1 && text[0] >= 0x20 && text[0] < 0x7f {
		return text
	}
	if text = Clean(text); text == "" {
		return " "
	}
	return text
}

// paneRows are the last statements, or earlier ones when scrolled back.
func (v *View) paneRows(cols, rows, scroll int) []string {
	end := max(len(v.lines)-scroll, min(rows, len(v.lines)))
	shown := v.lines[max(end-rows, 0):end]
	var list []string
	for _, l := range shown {
		list = append(list, paneRow(l, cols))
	}
	for len(list) < rows {
		list = append(list, "")
	}
	return list
}

func paneRow(l Line, cols int) string {
	at := clock(l.At) + " "
	switch {
	case l.Remark:
		return "\x1b[2m" + pad(at+"· "+l.Text, cols) + reset
	case l.Running:
		return "\x1b[1m" + pad(at+fit(l.Text, cols-len(at)-10)+"  running", cols) + reset
	}
	colour := ""
	if l.Failed {
		colour = "\x1b[31m"
	}
	result := fit(l.Result, cols/2)
	room := max(cols-len(at)-2-utf8.RuneCountInString(result), 8)
	return pad(at+fit(l.Text, room), cols-utf8.RuneCountInString(result)-1) + colour + " " + result + reset
}

var help = []string{
	"Ctrl-K  kill: the gate shuts at once; type a reason, Enter ends the session, Esc leaves it held",
	"Ctrl-O  hold, and again to release: nothing goes on while you hold",
	"Ctrl-T  say a line to the engineer",
	"PgUp PgDn  earlier and later statements",
	"Ctrl-X  leave; without you the gate shuts",
	"?  this help",
}

func helpLines(cols, rows int) []string {
	var list []string
	for i := range rows {
		text := ""
		if i < len(help) {
			text = help[i]
		}
		list = append(list, fit(text, cols))
	}
	return list
}

func clock(d time.Duration) string {
	d = d.Truncate(time.Second)
	return fmt.Sprintf("%02d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}

// fit cuts text to a width, counting characters; the pane shows no wide ones
// exactly, and a terminal that wraps is told not to.
func fit(text string, cols int) string {
	r := []rune(text)
	if len(r) > max(cols, 1) {
		return string(r[:max(cols-1, 0)]) + "…"
	}
	return text
}

func pad(text string, cols int) string {
	text = fit(text, cols)
	return text + strings.Repeat(" ", max(cols-utf8.RuneCountInString(text), 0))
}

// update is what brings a terminal from one frame to the next: the rows that
// changed, and the cursor.
func update(from, to frame) string {
	var b strings.Builder
	b.WriteString("\x1b[?25l")
	for i, row := range to.rows {
		if i >= len(from.rows) || from.rows[i] != row {
			fmt.Fprintf(&b, "\x1b[%d;1H%s\x1b[K", i+1, row)
		}
	}
	if to.cursor[1] >= 0 {
		fmt.Fprintf(&b, "\x1b[%d;%dH\x1b[?25h", to.cursor[1]+1, to.cursor[0]+1)
	}
	return b.String()
}
