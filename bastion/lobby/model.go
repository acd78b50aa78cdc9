package lobby

import (
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file is what the lobby knows and what a key does to it.

const (
	maxText   = 500 // characters of anything that is shown
	maxFilter = 60

	bellInterval = 2 * time.Second
	freshFor     = 15 * time.Second // somebody who has begun to wait is marked so long
	idleFor      = 5 * time.Second  // without a key for so long, the cursor goes to them
	// settle is how long the list must have stood still under the cursor before
	// Enter means it: a key at once was meant for something else.
	settle = 700 * time.Millisecond
)

// key is a key that was pressed, as shadow.Typed names it.
type key string

// item is something that the cursor can be on.
type item struct {
	name    string // tells it apart from all others, however the list changes
	session *Session
	target  *Target
}

type model struct {
	me, help string
	size     session.Size
	look     styles
	board    Board
	looked   bool // there has been a board
	now      time.Time

	at      string    // the name of the item the cursor is on
	moved   time.Time // when it was last moved, but by a key
	pressed time.Time // the last key
	rang    time.Time // the bell, last
	fresh   map[string]time.Time
	filter  string
	filters bool // it is being typed
	helps   bool
	says    string
	choice  Choice
}

func newModel(t Terminal) model {
	return model{me: clean(t.Me), help: t.HelpLines, says: clean(t.Says), size: t.Size, look: looks(t.Colours), fresh: map[string]time.Time{}, now: time.Now()}
}

func clean(text string) string {
	if len(text) <= maxText && plain(text) {
		return text
	}
	return session.OneLine(shadow.Clean(text), maxText)
}

// plain reports whether text is nothing but ASCII that can be seen, as most is.
func plain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// clean makes all texts fit for a terminal.
func (b Board) clean() Board {
	sessions := func(list []Session) []Session {
		list = slices.Clone(list)
		for i := range list {
			s := &list[i]
			for _, text := range []*string{&s.Code, &s.Engineer, &s.Wants, &s.Reason, &s.Needs, &s.State, &s.Alarm, &s.Barred} {
				*text = clean(*text)
			}
		}
		return list
	}
	targets := slices.Clone(b.Targets)
	for i := range targets {
		targets[i].Watched = clean(targets[i].Watched)
	}
	return Board{Waiting: sessions(b.Waiting), Live: sessions(b.Live), Targets: targets}
}

// update is a message's effect; rings when somebody should look up.
func (m model) update(msg tea.Msg) (_ model, cmd tea.Cmd, rings bool) {
	switch msg := msg.(type) {
	case seen:
		m, rings = m.saw(msg)
	case session.Size:
		m.size = msg
	case key:
		m = m.press(string(msg))
		if m.choice != (Choice{}) || m.at == gone {
			cmd = tea.Quit
		}
	}
	return m, cmd, rings
}

// gone is where the cursor of somebody is who has left.
const gone = "gone"

// saw takes what there is now. Somebody who has begun to wait and whom one may
// shadow is marked, and the cursor goes to them when nobody was using it.
func (m model) saw(now seen) (_ model, rings bool) {
	before := m.board
	m.board, m.now = now.board, now.now
	for name, until := range m.fresh {
		if m.now.After(until) {
			delete(m.fresh, name)
		}
	}
	for _, s := range m.board.Waiting {
		if s.Barred != "" || !m.looked || slices.ContainsFunc(before.Waiting, func(o Session) bool { return o.ID == s.ID }) {
			continue
		}
		m.fresh[s.ID] = m.now.Add(freshFor)
		if m.now.Sub(m.rang) >= bellInterval { // nobody rings it all the time
			m.rang, rings = m.now, true
		}
		if m.now.Sub(m.pressed) > idleFor && !m.filters && m.filter == "" {
			m.at, m.moved = s.ID, m.now
		}
	}
	m.looked = true
	return m.found(before), rings
}

// found keeps the cursor on something: when what it was on has gone, on what
// has taken its place.
func (m model) found(before Board) model {
	items := m.items()
	if len(items) == 0 || m.index(items) >= 0 {
		return m
	}
	place := 0
	if m.at != "" {
		old := m
		old.board = before
		place = min(max(old.index(old.items()), 0), len(items)-1)
		m.moved = m.now
	}
	m.at = items[place].name
	return m
}

func (m model) index(items []item) int {
	return slices.IndexFunc(items, func(i item) bool { return i.name == m.at })
}

// items are what the filter lets through, in the order of the screen.
func (m model) items() (list []item) {
	for i := range m.board.Waiting {
		list = append(list, item{m.board.Waiting[i].ID, &m.board.Waiting[i], nil})
	}
	for i := range m.board.Live {
		list = append(list, item{m.board.Live[i].ID, &m.board.Live[i], nil})
	}
	for i := range m.board.Targets {
		list = append(list, item{"target " + m.board.Targets[i].Name, nil, &m.board.Targets[i]})
	}
	return slices.DeleteFunc(list, func(i item) bool { return !m.lets(i) })
}

// lets reports whether all words of the filter are in an item.
func (m model) lets(i item) bool {
	if m.filter == "" {
		return true
	}
	var text string
	if s := i.session; s != nil {
		text = strings.Join([]string{s.Code, s.Engineer, s.Wants, s.Reason, s.Needs, s.State, s.Alarm}, " ")
	} else {
		text = i.target.Name + " " + i.target.Watched
	}
	text = strings.ToLower(text)
	for word := range strings.FieldsSeq(strings.ToLower(m.filter)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

func (m model) press(k string) model {
	m.now = time.Now()
	m.pressed, m.says = m.now, ""
	switch {
	case k == "ctrl+c" || k == "ctrl+d":
		m.at = gone
	case m.helps:
		m.helps = false
	case m.filters:
		m = m.typed(k)
	default:
		m = m.command(k)
	}
	return m
}

// typed is a key while the filter is being typed.
func (m model) typed(k string) model {
	letters := []rune(m.filter)
	switch {
	case k == "enter":
		m.filters = false
	case k == "esc":
		m.filters, m.filter = false, ""
	case k == "backspace" && len(letters) > 0:
		m.filter = string(letters[:len(letters)-1])
	case k == "backspace":
		m.filters = false
	case k == "up" || k == "down":
		return m.command(k)
	case len([]rune(k)) == 1 && len(letters) < maxFilter:
		m.filter += k
	}
	return m.landed()
}

// landed puts the cursor on something that the filter lets through.
func (m model) landed() model {
	if items := m.items(); len(items) > 0 && m.index(items) < 0 {
		m.at = items[0].name
	}
	return m
}

func (m model) command(k string) model {
	page := max(m.size.Rows/4, 1)
	switch k {
	case "q":
		m.at = gone
	case "?":
		m.helps = true
	case "/":
		m.filters = true
	case "esc":
		m.filter = ""
	case "enter":
		m = m.choose()
	case "up", "k":
		m = m.move(-1)
	case "down", "j":
		m = m.move(1)
	case "pgup":
		m = m.move(-page)
	case "pgdown":
		m = m.move(page)
	case "home":
		m = m.move(-1 << 20)
	case "end":
		m = m.move(1 << 20)
	}
	return m
}

// move moves the cursor by some items.
func (m model) move(by int) model {
	if items := m.items(); len(items) > 0 {
		m.at = items[min(max(m.index(items)+by, 0), len(items)-1)].name
	}
	return m
}

// choose is Enter.
func (m model) choose() model {
	items := m.items()
	at := m.index(items)
	switch {
	case at < 0:
	case m.now.Sub(m.moved) < settle:
		m.says = "the list has just changed; look, and press Enter again"
	case items[at].target != nil:
		m.choice = Choice{Open: items[at].target.Name}
	case items[at].session.Barred != "":
		m.says = "you may not sit down there: " + items[at].session.Barred
	default:
		m.choice = Choice{Sit: items[at].session.ID}
	}
	return m
}
