package shadow

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
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
func (m *Model) OnLine(f func(string))  { m.ended = f }

// Picture is what makes another terminal show and do what this one would.
func (m *Model) Picture() string {
	var b strings.Builder
	if m.on == 1 {
		b.WriteString("\x1b[?1049h")
	}
	b.WriteString(reset + "\x1b[2J")
	for y := range m.rows {
		fmt.Fprintf(&b, "\x1b[%d;1H%s", y+1, m.draw(y, 0, m.cols))
	}
	if m.top > 0 || m.bottom < m.rows {
		fmt.Fprintf(&b, "\x1b[%d;%dr", m.top+1, m.bottom)
	}
	if m.nowrap {
		b.WriteString("\x1b[?7l")
	}
	if m.insert {
		b.WriteString("\x1b[4h")
	}
	if m.drawing {
		b.WriteString("\x1b(0")
	}
	fmt.Fprintf(&b, "\x1b[%d;%dH%s", m.y+1, m.x+1, m.pen.sgr())
	return b.String()
}

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
func (v *View) End()                          { v.finished(io.EOF); close(v.over) }
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

// Reel is a recording that is brought to moments, with scenes put aside every
// so many bytes.
type Reel struct {
	*reel
	stop  context.CancelFunc
	works sync.WaitGroup
}

func NewReel(t Tape, every int) *Reel {
	ctx, stop := context.WithCancel(context.Background())
	x := newIndex()
	x.every = every
	r := &Reel{reel: newReel(t, x, moment{}), stop: stop}
	r.works.Go(func() { r.run(ctx) })
	r.works.Go(func() { x.read(ctx, t) })
	return r
}

func (r *Reel) Close() {
	r.stop()
	r.works.Wait()
}

// Indexed waits until the whole tape is known.
func (r *Reel) Indexed() (scenes, weight, marks int) {
	for {
		if _, all := r.index.length(); all {
			r.index.mu.Lock()
			defer r.index.mu.Unlock()
			return len(r.index.scenes), r.index.weight, len(r.index.marks)
		}
		time.Sleep(time.Millisecond)
	}
}

// To goes to a moment and returns all there is to be seen.
func (r *Reel) To(at time.Duration, n int) string {
	r.seek(moment{at, n})
	for !r.where().arrived {
		select {
		case <-r.came:
		case <-time.After(10 * time.Millisecond):
		}
	}
	return r.view.everything()
}

// PlayedTo is the same, of a view that was played up to there.
func PlayedTo(t Tape, at time.Duration, n int) string {
	v := newView(session.Size{})
	for p, err := range t.pieces(context.Background(), 0) {
		if err != nil || (moment{at, n}).before(p.moment) {
			break
		}
		v.apply(p.Event)
	}
	return v.everything()
}

// everything is all of a view that can be seen, and what will come to be.
func (v *View) everything() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b strings.Builder
	s := v.screen
	for i, g := range s.grids {
		for y := range g {
			fmt.Fprintf(&b, "%d %d %v %v ", i, y, g[y].wrapped, g[y].fill)
			g[y].draw(&b, 0, s.cols)
			b.WriteByte('\n')
		}
	}
	fmt.Fprintln(&b, s.cols, s.rows, s.on, s.place, s.saved, s.top, s.bottom, s.nowrap, s.insert, s.newline)
	fmt.Fprintf(&b, "%v %q %q %v %v\n", v.filter.state, v.filter.seq, v.filter.rune, v.filter.long, v.filter.marks)
	fmt.Fprintln(&b, v.pane.lines, v.pane.bytes, v.pane.dropped, v.pane.statements, v.pane.running, v.here, v.lost, v.questions, v.gateOpen, v.shut, v.ended, v.cause)
	return b.String()
}

// Pieces are the bytes of output as they are played.
func Pieces(t Tape) (list [][]byte) {
	for p := range t.pieces(context.Background(), 0) {
		list = append(list, bytes.Clone(p.Bytes))
	}
	return list
}

// ParseTime is what is typed behind g.
func ParseTime(text string, length time.Duration) (time.Duration, error) {
	return parseTime(text, length)
}

// Colourless is a row as a terminal without colours gets it.
func Colourless(row string) string { return colourless(row) }

// Stretches are what has been seen of a tape.
type Stretches = stretches

func (l *stretches) Add(from, to time.Duration) { l.add(stretch{moment{at: from}, moment{at: to}}) }
func (l stretches) Holds(from, to time.Duration) bool {
	return l.holds(moment{at: from}, moment{at: to})
}

// Past is how much of what was on the screen before is kept.
func (m *Model) Past() (rows, bytes int) { return len(m.past.all()), m.past.bytes }

// Was is what was on the screen before, as it is kept.
func (m *Model) Was() string { return string(bytes.Join(m.past.all(), []byte("\n"))) }

// Spell makes cells of all rows that are a text.
func (m *Model) Spell() {
	for _, g := range m.grids {
		for _, r := range g {
			r.spell(m.cols)
		}
	}
}

// Seen is the look of a cell for whoever watches, which is the same when it is taken twice.
func (m *Model) Seen(x, y int) string {
	once := m.grid()[y].at(x).style.legible()
	if once != once.legible() {
		return "not the same twice"
	}
	return once.sgr()
}

// Frame is what a seat sends to a terminal that shows nothing yet.
func (v *View) Frame(size session.Size) string {
	return update(frame{}, v.draw(size, status{who: " alice", gate: " gate open", bottom: " ^K kill"}))
}

// ReadSQL is a page of SQL as it is drawn, nil behind the last.
func ReadSQL(text string, cols, page int) []string {
	r := readSQL(text, cols, 3)
	if r.page = page; page >= len(r.pages) {
		return nil
	}
	return slices.DeleteFunc(r.draw(), func(row string) bool { return row == "" })
}

// OneLine is a statement as one line of clean text.
func OneLine(sql string) string { return oneLine(sql) }

// Turns reports whether terminals may turn a part of a text around.
func Turns(text string) bool { return turns(text) }

// IndexAll reads a whole tape ahead, as a replay does in the background, and returns its length.
func IndexAll(ctx context.Context, t Tape) (length time.Duration, all bool) {
	x := newIndex()
	x.read(ctx, t)
	return x.length()
}
