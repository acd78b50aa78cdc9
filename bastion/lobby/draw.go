package lobby

import (
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/twokey/twokey/session"
)

// This file makes rows of what the lobby knows.

// wide is how many columns it takes for a session to have one row instead of two.
const wide = 120

// styles are how things look. Without colours they differ by weight and reversal.
type styles struct{ bar, title, cursor, fresh, alarm, quiet lipgloss.Style }

func looks(colours bool) styles {
	plain := lipgloss.NewStyle().Inline(true)
	s := styles{bar: plain.Reverse(true), title: plain.Bold(true), cursor: plain.Reverse(true), fresh: plain.Bold(true), alarm: plain.Bold(true), quiet: plain.Faint(true)}
	if colours { // both the letters and what is behind them: read on light and on dark
		s.fresh = s.fresh.Foreground(lipgloss.Black).Background(lipgloss.Yellow)
		s.alarm = s.alarm.Foreground(lipgloss.White).Background(lipgloss.Red)
	}
	return s
}

// draw is the screen: a bar, the list, what is said of the item under the
// cursor, and a bar with the keys. It is exactly as high as the terminal.
func (m model) draw() []string {
	cols, rows := m.size.Cols, m.size.Rows
	about := m.about(min(rows/6, 4))
	body := max(rows-2-len(about), 1)
	list, from := m.list(cols)
	if m.helps {
		list, from = m.helpText(), 0
	}
	screen := []string{m.look.bar.Render(pad(m.head(), cols))}
	for _, l := range window(list, from, body) {
		screen = append(screen, l.draw())
	}
	screen = append(screen, about...)
	screen = append(screen, m.look.bar.Render(pad(m.foot(), cols)))
	if len(screen) > rows { // not even room for one of each: the list is what counts
		screen = screen[min(1, len(screen)-1):]
	}
	return screen[:min(len(screen), rows)]
}

// line is drawn only when it is seen. A nil one is empty.
type line func() string

func (l line) draw() string {
	if l == nil {
		return ""
	}
	return l()
}

// window is as many lines as there is room for, so that one is among them.
func window(list []line, must, room int) []line {
	top := min(max(must-room*2/3, 0), max(len(list)-room, 0))
	list = list[top:min(top+room, len(list))]
	return append(list[:len(list):len(list)], make([]line, room-len(list))...)
}

func (m model) head() string {
	text := fmt.Sprintf(" twokey · %s · %d waiting, %d live", m.me, len(m.board.Waiting), len(m.board.Live))
	if m.filter != "" && !m.filters {
		text += fmt.Sprintf(" · shown: /%s (Esc shows all)", m.filter)
	}
	return text
}

func (m model) foot() string {
	items := m.items()
	at := m.index(items)
	does := ""
	switch {
	case m.helps:
		return " any key goes back"
	case m.filters:
		return " /" + m.filter + "▏ Enter keeps it, Esc shows all"
	case m.says != "":
		return " " + m.says
	case at < 0:
	case items[at].target != nil:
		does = "Enter opens " + items[at].target.Name + "  "
	case items[at].session.Barred == "":
		does = "Enter sits down at " + items[at].session.Code + "  "
	}
	return " " + does + "/ filter  ? help  q leave"
}

// about is the item under the cursor in whole sentences, in at most so many rows.
func (m model) about(rows int) []string {
	items := m.items()
	at := m.index(items)
	if rows < 2 || at < 0 || m.helps {
		return nil
	}
	text := ""
	if t := items[at].target; t != nil {
		text = t.Name + ": " + t.Watched + "."
	} else {
		s := items[at].session
		text = fmt.Sprintf("%s asked for %s at %s.", s.Engineer, s.Wants, s.Since.UTC().Format("15:04:05 UTC"))
		for _, more := range []string{s.Alarm, s.Reason, s.State} {
			if more != "" {
				text += " " + strings.TrimSuffix(more, ".") + "."
			}
		}
		if s.Needs != "" {
			text += " It takes " + s.Needs + "."
		}
		if s.Barred != "" {
			text += " You may not sit down: " + s.Barred + "."
		}
	}
	list := wrap(text, max(m.size.Cols-2, 1), rows-1)
	for i := range list {
		list[i] = fit(" "+list[i], m.size.Cols)
	}
	return append([]string{m.look.quiet.Render(strings.Repeat("─", m.size.Cols))}, list...)
}

// list is the three lists as lines, and the line of the cursor.
func (m model) list(cols int) (lines []line, at int) {
	waiting := m.sessions("Waiting for a shadow", "nobody", m.board.Waiting, cols, &at)
	at0 := at
	live := m.sessions("Live", "nothing", m.board.Live, cols, &at)
	if at != at0 {
		at += len(waiting)
	}
	lines = append(waiting, live...)
	lines = append(lines, m.title("You may open", cols))
	name := 0
	for _, t := range m.board.Targets {
		name = max(name, lipgloss.Width(t.Name))
	}
	shown := 0
	for i := range m.board.Targets {
		t := &m.board.Targets[i]
		it := item{"target " + t.Name, nil, t}
		if !m.lets(it) {
			continue
		}
		shown++
		if it.name == m.at {
			at = len(lines)
		}
		lines = append(lines, func() string {
			return m.paint(it, m.mark(it)+pad(t.Name, min(name, cols/2))+"  "+t.Watched, cols)
		})
	}
	if shown == 0 {
		lines = append(lines, m.none("nothing: you are in no engineers' group", len(m.board.Targets), cols))
	}
	return lines, at
}

func (m model) title(text string, cols int) line {
	return func() string { return m.look.title.Render(fit(" "+text, cols)) }
}

func (m model) none(none string, hidden, cols int) line {
	if hidden > 0 {
		none = fmt.Sprintf("none of %d: the filter is /%s", hidden, m.filter)
	}
	return func() string { return m.look.quiet.Render(fit("   "+none, cols)) }
}

// sessions is a list of sessions under its title. at is set to the cursor's line
// when it is in it.
func (m model) sessions(title, none string, list []Session, cols int, at *int) []line {
	lines := []line{m.title(title, cols)}
	who, wants := 0, 0
	for _, s := range list {
		who, wants = max(who, lipgloss.Width(s.Engineer)), max(wants, lipgloss.Width(s.Wants))
	}
	who, wants = min(who, max(cols/3, 8)), min(wants, max(cols/4, 8))
	for i := range list {
		s := &list[i]
		it := item{s.ID, s, nil}
		if !m.lets(it) {
			continue
		}
		if it.name == m.at {
			*at = len(lines)
		}
		first := func() string {
			return m.mark(it) + fmt.Sprintf("%-5s  %s  %s  %-5s", s.Code, pad(s.Engineer, who), pad(s.Wants, wants), m.ago(s.Since))
		}
		if cols >= wide {
			lines = append(lines, func() string { return m.paint(it, first()+"  "+s.rest(), cols) })
			continue
		}
		lines = append(lines,
			func() string { return m.paint(it, first(), cols) },
			func() string { return m.paint(it, "          "+s.rest(), cols) })
	}
	if len(lines) == 1 {
		lines = append(lines, m.none(none, len(list), cols))
	}
	return append(lines, nil)
}

// rest is what of a session has no column.
func (s *Session) rest() string {
	var parts []string
	if s.Alarm != "" {
		parts = append(parts, s.Alarm)
	}
	if s.Needs != "" {
		parts = append(parts, "needs "+s.Needs)
	}
	for _, text := range []string{s.State, s.Reason} {
		if text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, " · ")
}

// mark says in letters what colours say, too.
func (m model) mark(it item) string {
	_, fresh := m.fresh[it.name]
	switch {
	case it.name == m.at:
		return " > "
	case fresh:
		return " ! "
	}
	return "   "
}

func (m model) paint(it item, line string, cols int) string {
	line = pad(line, cols)
	_, fresh := m.fresh[it.name]
	switch {
	case it.name == m.at && fresh:
		return m.look.fresh.Reverse(true).Render(line)
	case it.name == m.at:
		return m.look.cursor.Render(line)
	case fresh:
		return m.look.fresh.Render(line)
	case it.session != nil && it.session.Alarm != "":
		return m.look.alarm.Render(line)
	}
	return strings.TrimRight(line, " ")
}

// ago is how long it has been, briefly.
func (m model) ago(t time.Time) string {
	d := max(m.now.Sub(t), 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return fmt.Sprintf("%dh", int(d.Hours()))
}

func (m model) helpText() (lines []line) {
	for text := range strings.Lines(keysHelp + m.help) {
		lines = append(lines, func() string { return fit(" "+strings.TrimRight(text, "\n"), m.size.Cols) })
	}
	return lines
}

const keysHelp = `
Enter        sit down at a session, to watch it; or open a target
up down      or k j, PgUp PgDn Home End: to another line
/            show only what has these words in it; Esc shows all again
q  Ctrl-C    leave

The bell rings when somebody begins to wait whom you may shadow. They are
marked with ! for a while.
At a session you came to watch: Ctrl-K kills it, Ctrl-O holds it, Ctrl-X leads
back here, ? says more. A target that you open ends your stay here.
`

// fit cuts clean text to a width in cells.
func fit(text string, cols int) string {
	if lipgloss.Width(text) <= cols {
		return text
	}
	letters, width := []rune(text), 0
	for i, r := range letters {
		if width += lipgloss.Width(string(r)); width > cols-1 {
			return string(letters[:i]) + "…"
		}
	}
	return text
}

func pad(text string, cols int) string {
	text = fit(text, cols)
	return text + strings.Repeat(" ", max(cols-lipgloss.Width(text), 0))
}

// wrap breaks text between words into at most so many rows.
func wrap(text string, cols, rows int) (list []string) {
	row := ""
	words := strings.Fields(text)
	for i, word := range words {
		switch {
		case len(list) == rows-1: // the rest, as far as it goes
			return append(list, fit(strings.TrimSpace(row+" "+strings.Join(words[i:], " ")), cols))
		case row == "":
			row = word
		case lipgloss.Width(row)+1+lipgloss.Width(word) <= cols:
			row += " " + word
		default:
			list, row = append(list, fit(row, cols)), word
		}
	}
	return append(list, fit(row, cols))
}

// Draw is the screen of a lobby in which nobody has pressed a key, for pictures.
func Draw(me string, board Board, size session.Size, now time.Time) []string {
	m := newModel(Terminal{Me: me, Size: size, Colours: true})
	m, _ = m.saw(seen{board.clean(), now})
	return m.draw()
}
