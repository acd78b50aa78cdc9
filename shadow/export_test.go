package shadow

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/twokey/twokey/session"
)

// Model is the screen for tests: filtered input in, text out.
type Model struct {
	*screen
	filter *Filter
}

func NewModel(cols, rows int) *Model {
	m := &Model{screen: newScreen(cols, rows)}
	m.filter = NewFilter(m.screen)
	return m
}

func (m *Model) Print(p []byte)         { m.filter.Write(p) }
func (m *Model) Raw(p []byte)           { m.screen.Write(p) }
func (m *Model) Resize(cols, rows int)  { m.screen.resize(cols, rows) }
func (m *Model) Cursor() (x, y int)     { return m.x, m.y }
func (m *Model) Size() (cols, rows int) { return m.cols, m.rows }
func (m *Model) Picture() string        { return m.picture() }
func (m *Model) OnLine(f func(string))  { m.ended = f }

// Lines are the rows as text.
func (m *Model) Lines() []string {
	var list []string
	for y := range m.rows {
		list = append(list, strings.TrimRight(m.grid()[y].text(), " "))
	}
	return list
}

// Cell is a cell's character, and its look as SGR.
func (m *Model) Cell(x, y int) (text, look string) {
	c := m.grid()[y].at(x)
	var b strings.Builder
	c.write(&b)
	return b.String(), c.style.sgr()
}

// Look is foreground, background and attributes of a cell; bit 6 is an underline.
type Look [3]int

// Looks are those of all cells.
func (m *Model) Looks() [][]Look {
	list := make([][]Look, m.rows)
	for y := range list {
		for x := range m.cols {
			s := m.grid()[y].at(x).style
			bits := int(s.attr)
			if s.under > 0 {
				bits |= 1 << 6
			}
			list[y] = append(list[y], Look{int(s.fg), int(s.bg), bits})
		}
	}
	return list
}

// Key reading.
type KeyReader = keyReader
type Key = key

const (
	KeyNone, KeyEsc, KeyKill, KeyPageUp = keyNone, keyEsc, keyKill, keyPageUp
)

func (k *keyReader) Take(b byte) Key         { return k.take(b) }
func (k *keyReader) GiveUp() Key             { return k.giveUp() }
func (k *keyReader) Patience() time.Duration { return k.patience() }

// A view without a session.
func NewView(size session.Size) *View         { return newView(size) }
func (v *View) Apply(e session.Event) error   { return v.apply(e) }
func (v *View) End()                          { v.ended(io.EOF); close(v.over) }
func (v *View) Break()                        { v.mu.Lock(); v.screen.grids[0] = nil; v.mu.Unlock() }
func (v *View) Remembers() (lines, bytes int) { return len(v.pane.lines), v.pane.bytes }

func (v *View) Few()                        { v.few = true; v.screen.resize(v.screen.cols, fewRows) }
func (v *View) PaneRows(w session.Size) int { return v.paneRows(w) }

// Seats without one.
type Chair = chair

func SitOn(ctx context.Context, c Chair, v *View, t SeatTerminal, want session.Request, awake time.Duration, gate func() session.Gate) error {
	return sit(ctx, c, v, t, func() facts {
		return facts{me: "bob", want: want, gate: gate(), awake: awake}
	})
}

func StreamOn(ctx context.Context, c Chair, v *View, in io.Reader, out io.Writer) error {
	return stream(ctx, c, v, in, out)
}

// A reader of lines.
type LineReader = lineReader

func (v *View) Read() *LineReader { return v.read() }
func (v *View) Take(r *LineReader) []string {
	lines, _ := v.take(r)
	return lines
}
func (v *View) Waiting(r *LineReader) (bytes int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, l := range r.waiting {
		bytes += len(l)
	}
	return bytes
}
