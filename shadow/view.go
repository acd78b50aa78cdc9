package shadow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/twokey/twokey/session"
)

// This file is what all who watch one session see: a model of the engineer's
// screen and the list of statements. There is one View for a session, made
// before it runs, so that a late shadow sees what is there at once.

// Bounds of what a view remembers.
const (
	maxLines   = 10_000  // statements and remarks
	maxAllText = 8 << 20 // bytes of all of them; of one, see maxText
)

// View follows one session. Its methods may be called from any goroutine.
type View struct {
	stop context.CancelFunc
	over chan struct{} // closed when nothing follows any more

	mu sync.Mutex
	scene
	few     bool // of the screen's rows are needed: no psql prints anything
	readers []*lineReader
	err     error
	changed chan struct{} // closed at the next change; nil when nobody waits for it
}

// scene is what there is to be seen at one moment.
type scene struct {
	screen    *screen
	filter    *Filter
	pane      pane
	here      []string   // names of the seated, as often as they sit
	lost      []string   // of those, who does not answer
	questions []question // that wait for an answer
	gateOpen  bool       // as the events tell it
	shut      string     // why it is not
	ended     bool
	cause     *session.Cause
}

// Watch follows a session that has not begun. The view ends with the session;
// Close ends it before.
func Watch(s *session.Session) *View {
	ctx, stop := context.WithCancel(context.Background())
	size := s.Request().Size
	v := newView(size)
	if v.few = s.Request().NoShell; v.few {
		v.screen.resize(v.screen.cols, fewRows)
	}
	v.stop = stop
	feed := s.Follow()
	go func() { // Close waits for it
		defer close(v.over)
		defer feed.Close()
		v.follow(ctx, feed)
	}()
	return v
}

// newView makes a view of a screen; the zero size is no terminal.
func newView(size session.Size) *View {
	newline := size == session.Size{}
	if newline {
		size = session.Size{Cols: 80, Rows: 24}
	}
	size = size.Clamp()
	v := &View{over: make(chan struct{}), stop: func() {}}
	v.screen = newScreen(size.Cols, size.Rows)
	v.screen.newline = newline
	v.filter = NewFilter(v.screen)
	return v
}

// Close stops following and waits until that is so.
func (v *View) Close() {
	v.stop()
	<-v.over
}

// Done is closed when the view follows no more.
func (v *View) Done() <-chan struct{} { return v.over }

// Err is not nil when the view could not follow: then nobody who looks at it
// sees the session, and their seats must be given up.
func (v *View) Err() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

// Changed is closed at the next change.
func (v *View) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.next()
}

// next is closed at the next change. The caller holds mu.
func (v *View) next() <-chan struct{} {
	if v.changed == nil {
		v.changed = make(chan struct{})
	}
	return v.changed
}

func (v *View) follow(ctx context.Context, feed *session.Feed) {
	for {
		events, err := feed.Next(ctx)
		for i := 0; i < len(events) && err == nil; i++ {
			err = v.apply(events[i])
		}
		if err != nil {
			v.finished(err)
			return
		}
	}
}

func (v *View) finished(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
		v.err = fmt.Errorf("the screen could not be followed: %w", err)
	}
	v.wake()
}

func (v *View) wake() {
	if v.changed != nil {
		close(v.changed)
		v.changed = nil
	}
}

// apply brings the view up to date. The lock is held for one event at a time,
// so that whoever draws gets in between. A mistake in the model is an error of
// this view, not the end of the bastion.
func (v *View) apply(e session.Event) (err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer v.wake()
	defer caught(&err, "the screen model broke")
	switch e.Type {
	case session.Output, session.Errors:
		v.filter.Write(e.Bytes)
	case session.Resize:
		size := e.Size.Clamp()
		if v.few {
			size.Rows = fewRows
		}
		v.screen.resize(size.Cols, size.Rows)
		v.screen.newline = false // it is a terminal's
	case session.Statement:
		switch l := v.pane.statement(e); {
		case l != nil && l.folded > 1:
			for _, r := range v.readers {
				r.folded++
			}
		case l != nil:
			v.tell(*l)
		}
	case session.Result:
		if l := v.pane.result(e.Result); l != nil && (l.folded <= 1 || l.failed) {
			for _, r := range v.readers {
				r.tellDone(*l)
			}
		}
	default:
		v.happened(e)
	}
	return nil
}

// happened takes note of what people did and of the gate.
func (v *View) happened(e session.Event) {
	switch e.Type {
	case session.Join:
		v.here = append(v.here, Clean(e.Who))
	case session.Leave:
		v.here, v.lost = without(v.here, e.Who), without(v.lost, e.Who)
	case session.Lost:
		v.lost = append(v.lost, Clean(e.Who))
	case session.Back:
		v.lost = without(v.lost, e.Who)
	case session.GateOpen:
		v.gateOpen, v.shut = true, ""
	case session.GateShut:
		v.gateOpen, v.shut = false, Clean(e.Text)
	case session.Asked:
		v.ask(e.Ask)
	case session.Approved, session.Denied, session.Withdrawn:
		v.answered(e.Ask.N)
	case session.End:
		v.ended, v.cause, v.questions = true, e.Cause, nil
		v.gateOpen, v.shut = false, "the session has ended"
		v.screen.finish()
	}
	if e.Type == session.Asked {
		q := v.questions[len(v.questions)-1]
		v.pane.add(line{at: e.At, remark: true, text: q.listed()})
		for _, r := range v.readers {
			r.add(clock(e.At) + " ? " + q.spoken())
		}
	}
	if text := remark(e); text != "" {
		v.tell(*v.pane.add(line{at: e.At, remark: true, text: marked(Clean(text))}))
	}
}

func (v *View) tell(l line) {
	for _, r := range v.readers {
		r.tell(l)
	}
}

// without takes one mention of a name out.
func without(names []string, who string) []string {
	if i := slices.Index(names, Clean(who)); i >= 0 {
		return slices.Delete(slices.Clone(names), i, i+1)
	}
	return names
}

// company is who else sits here, for the status line.
func (v *View) company(me string) string {
	var b bytes.Buffer
	for _, name := range without(v.here, me) {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name)
		if slices.Contains(v.lost, name) {
			b.WriteString(" (does not answer)")
		}
	}
	return b.String()
}

// gate is whether the gate is open, as the events tell it, and why not.
func (v *View) gate() (open bool, why string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.gateOpen, v.shut
}

// ending says why the session has ended; "" when it has not.
func (v *View) ending() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.ended {
		return ""
	}
	return Clean(remark(session.Event{Type: session.End, Cause: v.cause}))
}

// newest is when the last statement that is listed began.
func (v *View) newest() (at time.Duration, any bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, l := range slices.Backward(v.pane.lines) {
		if !l.remark {
			return l.at, true
		}
	}
	return 0, false
}

// remark says in words what happened; "" for what is not worth a line.
func remark(e session.Event) string {
	switch e.Type {
	case session.Join:
		return e.Who + " sat down"
	case session.Leave:
		return fmt.Sprintf("%s left %s", e.Who, e.Text)
	case session.Lost:
		return e.Who + " does not answer"
	case session.Back:
		return e.Who + " answers again"
	case session.Hold:
		return e.Who + " holds"
	case session.Release:
		return strings.TrimSpace(e.Who + " released " + e.Text)
	case session.Approved:
		if e.Ask.All {
			return fmt.Sprintf("%s says yes to #%d and all in that transaction", e.Who, e.Ask.N)
		}
		return fmt.Sprintf("%s says yes to #%d", e.Who, e.Ask.N)
	case session.Denied:
		if e.Who == "" {
			return fmt.Sprintf("#%d: %s", e.Ask.N, e.Text)
		}
		return fmt.Sprintf("%s says no to #%d: %s", e.Who, e.Ask.N, e.Text)
	case session.Withdrawn:
		return fmt.Sprintf("#%d was taken back", e.Ask.N)
	case session.Say:
		return e.Who + " says: " + e.Text
	case session.Kill:
		return e.Who + " killed the session: " + e.Text
	case session.GateShut:
		return "the gate is shut: " + e.Text
	case session.GateOpen:
		return "the gate is open"
	case session.Dropped:
		return fmt.Sprintf("%d bytes typed at the shut gate went nowhere", e.N)
	case session.Alarm:
		return "ALARM: " + e.Text
	case session.End:
		if e.Cause != nil {
			return "the session has ended: " + e.Cause.Error()
		}
		return "the session has ended"
	}
	return ""
}

// pane is the list of statements and remarks: append-only, but that the oldest
// are forgotten.
type pane struct {
	lines      []line
	bytes      int         // of their texts
	dropped    int         // lines forgotten at the front
	statements int         // how many there have been
	running    map[int]int // statement number to its line, counted with dropped
}

// line is a statement, or a remark such as a join.
type line struct {
	at      time.Duration
	text    string // clean, one line
	length  int    // of text, in characters
	remark  bool   // not a statement
	folded  int    // how many reads of the catalogue this line stands for; 0 when it is no such line
	running bool
	result  string // rows and time, or the error
	failed  bool
}

// statement adds one that begins; nil for what is none.
func (p *pane) statement(e session.Event) *line {
	if e.Statement == nil || e.Statement.Protocol == "parse" {
		return nil // a preparation runs nothing; its execution carries the text again
	}
	if p.running == nil {
		p.running = map[int]int{}
	}
	l := line{at: e.At, text: statementText(e.Statement), running: true}
	if slices.Equal(e.Statement.Touches, []string{session.Catalogue}) {
		l.folded = 1
	}
	shown := p.fold(l)
	if shown == nil {
		shown = p.add(l)
	}
	p.running[e.Statement.N] = p.dropped + len(p.lines) - 1
	p.statements++
	return shown
}

// fold lets the last line stand for one more read of the catalogue. It is nil
// when it cannot. On the tape each is there.
func (p *pane) fold(l line) *line {
	if l.folded == 0 || len(p.lines) == 0 || p.lines[len(p.lines)-1].folded == 0 {
		return nil
	}
	last := &p.lines[len(p.lines)-1]
	l.folded = last.folded + 1
	l.failed, l.result = last.failed, last.result
	l.text = fmt.Sprintf("(%d reads of the catalogue, the last:) %s", l.folded, l.text)
	l.length = utf8.RuneCountInString(l.text)
	p.bytes += len(l.text) - len(last.text)
	*last = l
	return last
}

func (p *pane) add(l line) *line {
	l.length = utf8.RuneCountInString(l.text)
	p.lines = append(p.lines, l)
	p.bytes += len(l.text)
	if len(p.lines) > maxLines || p.bytes > maxAllText {
		p.forget()
	}
	return &p.lines[len(p.lines)-1]
}

// forget drops the oldest lines, so many that it is rare, and says so in the
// place of the last of them.
func (p *pane) forget() {
	n := 0
	for ; n < len(p.lines)-2 && (len(p.lines)-n > maxLines*3/4 || p.bytes > maxAllText*3/4); n++ {
		p.bytes -= len(p.lines[n].text)
	}
	p.lines = slices.Clone(p.lines[n:])
	p.dropped += n
	first := &p.lines[0]
	p.bytes -= len(first.text)
	first.remark, first.text = true, fmt.Sprintf("%d earlier lines are forgotten here, they are on the tape", p.dropped+1)
	p.bytes += len(first.text)
	for number, at := range p.running {
		if at <= p.dropped {
			delete(p.running, number)
		}
	}
}

// upto is how many of the lines are shown to a seat that has scrolled back to
// before a line, counted with dropped; 0 is not scrolled back.
func (p *pane) upto(end int) int {
	if end == 0 {
		return len(p.lines)
	}
	return min(max(end-p.dropped, 1), len(p.lines))
}

// scrolled is where a seat is after it went some lines on, or back.
func (v *View) scrolled(end, by int) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := v.pane.upto(end) + by
	if at >= len(v.pane.lines) {
		return 0
	}
	return max(at, 1) + v.pane.dropped
}

// statement is the last one that a seat is shown, whole, with what became of
// it; and how many there have been in all.
func (v *View) statement(end int) (text string, count int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for at := v.pane.upto(end); at > 0; at-- {
		if l := v.pane.lines[at-1]; !l.remark {
			return l.whole(), v.pane.statements
		}
	}
	return "there is no statement yet", v.pane.statements
}

// since is how many statements came after so many.
func (v *View) since(count int) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.pane.statements - count
}

// result completes the line of a statement and returns it; nil when it is not known.
func (p *pane) result(r *session.ResultInfo) *line {
	if r == nil {
		return nil
	}
	at, known := p.running[r.N]
	if !known {
		return nil
	}
	delete(p.running, r.N)
	l := &p.lines[at-p.dropped]
	l.running = false
	if l.folded > 1 && l.failed {
		return nil // what failed first is still to be read
	}
	took := r.Took.Round(100 * time.Microsecond)
	if r.SQLState != "" {
		l.failed, l.result = true, marked(Clean(fmt.Sprintf("%s %s (%s)", r.SQLState, cut(r.Message, 1000), took)))
	} else {
		l.result = Clean(fmt.Sprintf("%s%s, %s", cut(r.Tag, 1000), rows(r.Rows), took))
	}
	return l
}

// rows is how many rows were sent; what was changed, the tag tells.
func rows(n int64) string {
	switch n {
	case 0:
		return ""
	case 1:
		return ", 1 row"
	}
	return fmt.Sprintf(", %d rows", n)
}

func statementText(s *session.StatementInfo) string {
	text := oneLine(s.Text)
	if len(s.Params) > 0 {
		text += string(lineBreak) + "-- " + oneLine(fmt.Sprintf("%q", s.Params))
	}
	return marked(text)
}

// whole is the line as it is read page by page.
func (l line) whole() string {
	state := l.result
	if l.running {
		state = "running"
	}
	return clock(l.at) + " " + l.text + "\n" + state
}

// cut shortens text to so many bytes.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
