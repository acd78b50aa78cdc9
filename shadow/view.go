package shadow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/charmbracelet/x/vt"

	"github.com/twokey/twokey/session"
)

// This file is what all who watch one session see: a model of the engineer's
// screen and the list of statements. There is one View for a session, made
// before it runs, so that a late shadow sees what is there at once.

// Bounds of what a view remembers.
const (
	maxLines = 10_000   // statements and remarks
	maxText  = 64 << 10 // bytes of one of them
)

// View follows one session. Its methods may be called from any goroutine.
type View struct {
	session *session.Session
	stop    context.CancelFunc
	over    chan struct{} // closed when nothing follows any more

	mu      sync.Mutex
	screen  *vt.Emulator
	filter  *Filter
	whole   bool // the scroll region is the whole screen, as far as is known
	lines   []Line
	byN     map[int]int // statement number to its place in lines
	dropped int         // lines forgotten at the front
	cause   *session.Cause
	err     error
	changed chan struct{} // closed and replaced when something changed
}

// Line is a statement, or a remark such as a join, in the pane.
type Line struct {
	At      time.Duration
	Text    string // clean, one line
	Remark  bool   // not a statement
	Running bool
	Result  string // rows and time, or the error
	Failed  bool
}

// Watch follows a session that has not begun. The view ends with the session;
// Close ends it before.
func Watch(s *session.Session) *View {
	ctx, stop := context.WithCancel(context.Background())
	v := newView(s.Request().Size)
	v.session, v.stop = s, stop
	feed := s.Follow()
	go func() { // Close waits for it
		defer close(v.over)
		defer feed.Close()
		v.follow(ctx, feed)
	}()
	return v
}

func newView(size session.Size) *View {
	if size == (session.Size{}) {
		size = session.Size{Cols: 80, Rows: 24}
	}
	size = size.Clamp()
	v := &View{
		screen: vt.NewEmulator(size.Cols, size.Rows), whole: true, byN: map[int]int{},
		over: make(chan struct{}), changed: make(chan struct{}), stop: func() {},
	}
	v.filter = NewFilter(emulated{v})
	// The emulator answers queries into a pipe that must not fill. The filter
	// lets none through; this ends with the emulator's Close.
	go io.Copy(io.Discard, v.screen)
	return v
}

// Close stops following and waits until that is so.
func (v *View) Close() {
	v.stop()
	<-v.over
}

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
	return v.changed
}

func (v *View) follow(ctx context.Context, feed *session.Feed) {
	for {
		events, err := feed.Next(ctx)
		if err == nil {
			err = v.apply(events)
		}
		if err != nil {
			v.ended(err)
			return
		}
	}
}

func (v *View) ended(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
		v.err = fmt.Errorf("the screen could not be followed: %w", err)
	}
	v.screen.Close()
	v.wake()
}

func (v *View) wake() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// apply brings the view up to date. The emulator is a library that eats what
// an engineer chose: its panic is an error of this view, not the end of the bastion.
func (v *View) apply(events []session.Event) (err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer v.wake()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the screen model broke: %v", p)
		}
	}()
	for i := 0; i < len(events); i++ {
		e := events[i]
		if e.Type != session.Output && e.Type != session.Errors {
			v.happened(e)
			continue
		}
		out := e.Bytes
		for i+1 < len(events) && (events[i+1].Type == session.Output || events[i+1].Type == session.Errors) {
			i++ // long output comes in pieces; together they can be skipped
			out = append(out, events[i].Bytes...)
		}
		v.print(out)
	}
	return nil
}

// emulated is where the filter's output goes.
type emulated struct{ v *View }

func (e emulated) Write(p []byte) (int, error) {
	e.v.noteRegion(p)
	return e.v.screen.Write(p)
}

// print feeds the model. A long stretch of plain lines is skipped but for its end.
func (v *View) print(p []byte) {
	if v.session == nil || v.session.Request().Size == (session.Size{}) {
		p = bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n")) // without a terminal nobody has added the return
	}
	for len(p) > 0 {
		n := plain(p)
		if n == 0 || v.filter.state != ground || len(v.filter.rune) > 0 {
			v.filter.Write(p[:1])
			p = p[1:]
			continue
		}
		v.filter.Write(v.skip(p[:n]))
		p = p[n:]
	}
}

// skip drops the beginning of a stretch of plain text that scrolls away within
// the stretch. The screen ends the same: the rest begins at the left margin, as
// what is dropped ends with CR LF; it has at least as many line ends as the
// screen has rows, so each row that was there before has scrolled off or been
// left above; and plain text changes nothing but cells and the cursor. That
// holds only while the whole screen scrolls and no sequence is under way.
func (v *View) skip(p []byte) []byte {
	rows := v.screen.Height()
	if !v.whole || len(p) < 4*rows*v.screen.Width() {
		return p
	}
	at := len(p)
	for range 2*rows + 1 {
		at = bytes.LastIndexByte(p[:at], '\n')
		if at <= 0 {
			return p
		}
	}
	if p[at-1] != '\r' {
		return p
	}
	return p[at+1:]
}

// noteRegion looks for DECSTBM in filtered output.
func (v *View) noteRegion(p []byte) {
	for {
		i := bytes.IndexByte(p, 0x1b)
		if i < 0 || i+1 >= len(p) {
			return
		}
		p = p[i+1:]
		if p[0] != '[' {
			continue
		}
		end := bytes.IndexFunc(p[1:], func(r rune) bool { return r >= 0x40 && r <= 0x7e })
		if end < 0 {
			return
		}
		if p[1+end] == 'r' {
			v.whole = end == 0
		}
	}
}

// happened takes note of everything that is not output.
func (v *View) happened(e session.Event) {
	switch e.Type {
	case session.Resize:
		v.resize(e.Size.Clamp())
	case session.Statement:
		if e.Statement.Protocol != "parse" {
			v.byN[e.Statement.N] = v.dropped + len(v.lines)
			v.add(Line{At: e.At, Text: statementText(e.Statement), Running: true})
		}
	case session.Result:
		v.result(e.Result)
	case session.Join:
		v.remark(e, "%s sat down", e.Who)
	case session.Leave:
		v.remark(e, "%s left %s", e.Who, e.Text)
	case session.Lost:
		v.remark(e, "%s does not answer", e.Who)
	case session.Back:
		v.remark(e, "%s answers again", e.Who)
	case session.Hold:
		v.remark(e, "%s holds", e.Who)
	case session.Release:
		v.remark(e, "%s released", e.Who)
	case session.Say:
		v.remark(e, "%s says: %s", e.Who, e.Text)
	case session.Kill:
		v.remark(e, "%s killed the session: %s", e.Who, e.Text)
	case session.GateShut:
		v.remark(e, "the gate is shut: %s", e.Text)
	case session.GateOpen:
		v.remark(e, "the gate is open")
	case session.Dropped:
		v.remark(e, "%d bytes typed at the shut gate went nowhere", e.N)
	case session.Alarm:
		v.remark(e, "ALARM: %s", e.Text)
	case session.End:
		v.cause = e.Cause
		v.remark(e, "the session has ended: %s", e.Cause.Error())
	}
}

func (v *View) resize(size session.Size) { v.screen.Resize(size.Cols, size.Rows) }

func (v *View) remark(e session.Event, format string, args ...any) {
	v.add(Line{At: e.At, Remark: true, Text: Clean(fmt.Sprintf(format, args...))})
}

func (v *View) add(l Line) {
	if len(l.Text) > maxText {
		l.Text = l.Text[:maxText] + "…"
	}
	v.lines = append(v.lines, l)
	if len(v.lines) > maxLines {
		n := len(v.lines) / 4
		v.lines = append([]Line(nil), v.lines[n:]...)
		v.dropped += n
	}
}

func (v *View) result(r *session.ResultInfo) {
	at, known := v.byN[r.N]
	delete(v.byN, r.N)
	if at -= v.dropped; !known || at < 0 {
		return
	}
	l := &v.lines[at]
	l.Running = false
	took := r.Took.Round(100 * time.Microsecond)
	if r.SQLState != "" {
		l.Failed, l.Result = true, Clean(fmt.Sprintf("%s %s (%s)", r.SQLState, r.Message, took))
		return
	}
	l.Result = Clean(fmt.Sprintf("%s, %d rows, %s", r.Tag, r.Rows, took))
}

func statementText(s *session.StatementInfo) string {
	text := s.Text
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	if len(s.Params) > 0 {
		text += fmt.Sprintf("  -- %q", s.Params)
	}
	return Clean(text)
}

// linesFrom returns the lines from a number on, and the number behind the last.
func (v *View) linesFrom(n int) ([]Line, int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	from := min(max(n-v.dropped, 0), len(v.lines))
	return append([]Line(nil), v.lines[from:]...), v.dropped + len(v.lines)
}
