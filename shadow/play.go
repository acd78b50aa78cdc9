package shadow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/twokey/twokey/session"
)

// This file plays a recording on a terminal, through the same filter that the
// engineer's terminal had in front of it.

// PlayTerminal is where a recording is played. In may be nil.
type PlayTerminal struct {
	In   io.Reader
	Out  io.Writer
	Size session.Size // zero: no terminal, and then only lines of text are written
}

// PlayOptions say how.
type PlayOptions struct {
	Speed   float64       // 1 when zero
	At      time.Duration // begin here, with the screen as it was then
	MaxIdle time.Duration // longer pauses are cut to it; none when zero
}

// Play shows the output of a recording in its time, and its cause at the end.
// On a terminal, q and Ctrl-C end it, and a space stops and goes on. The error
// is that of the events, of In or of Out, or ctx's cause.
func Play(ctx context.Context, events iter.Seq2[session.Event, error], t PlayTerminal, o PlayOptions) error {
	if o.Speed <= 0 {
		o.Speed = 1
	}
	p := newPlayer(t, o)
	done := make(chan struct{})
	defer close(done)
	if t.In != nil && p.terminal() {
		go func() { p.deaf <- readKeys(t.In, p.keys, done) }() // ends with done, or when the channel that In reads is closed
	}
	err := p.play(ctx, events)
	if failed := p.restore(); err == nil {
		err = failed
	}
	if errors.Is(err, ErrLeft) {
		return nil
	}
	return err
}

func (p *player) play(ctx context.Context, events iter.Seq2[session.Event, error]) error {
	for e, err := range events {
		if err != nil {
			return err
		}
		if err := p.pause(ctx, e.At); err != nil {
			return err
		}
		if err := p.show(e); err != nil {
			return err
		}
	}
	return nil
}

type player struct {
	t        PlayTerminal
	o        PlayOptions
	keys     chan key
	deaf     chan error    // why no keys come any more; nil at the end of In
	last     time.Duration // of the recording
	came     bool          // to where it begins
	restored bool          // the terminal
	cr       bool          // the last byte was a CR
	filter   *Filter
	model    *screen // of the terminal, for where to begin, and for putting things back
	text     bytes.Buffer
	failed   error // of writing text
}

// maxPlayed is how many bytes of text are gathered before they are written.
const maxPlayed = 64 << 10

func newPlayer(t PlayTerminal, o PlayOptions) *player {
	p := &player{t: t, o: o, keys: make(chan key), deaf: make(chan error, 1), came: o.At <= 0}
	size := t.Size
	if !p.terminal() {
		size = session.Size{Cols: 80, Rows: 24}
	}
	size = size.Clamp()
	p.model = newScreen(size.Cols, size.Rows)
	p.filter = NewFilter(p)
	if !p.terminal() {
		p.model.ended = p.line
	}
	return p
}

func (p *player) terminal() bool { return p.t.Size != session.Size{} }

// line keeps a line of text to be written, once playing has begun.
func (p *player) line(text string) {
	if !p.came {
		return
	}
	p.text.WriteString(text)
	p.text.WriteByte('\n')
	if p.text.Len() >= maxPlayed {
		p.flush()
	}
}

func (p *player) flush() {
	if _, err := p.text.WriteTo(p.t.Out); p.failed == nil {
		p.failed = err
	}
}

// Write takes the filter's output.
func (p *player) Write(b []byte) (n int, err error) {
	p.model.Write(b)
	switch {
	case !p.came:
	case p.terminal():
		_, err = p.t.Out.Write(b)
	default:
		p.flush()
		err = p.failed
	}
	return len(b), err
}

func (p *player) show(e session.Event) error {
	switch e.Type {
	case session.Output, session.Errors:
		_, err := p.filter.Write(p.returned(e.Bytes))
		return err
	case session.End:
		if err := p.begin(); err != nil {
			return err
		}
		return p.ended(e)
	}
	return nil
}

// returned adds the CR before each LF that has none, as a terminal's driver
// does: what was recorded without a terminal has them bare.
func (p *player) returned(b []byte) []byte {
	out := make([]byte, 0, len(b)+len(b)/32)
	for _, c := range b {
		if c == '\n' && !p.cr {
			out = append(out, '\r')
		}
		p.cr = c == '\r'
		out = append(out, c)
	}
	return out
}

// begin draws the screen as it is by now, the first time.
func (p *player) begin() error {
	if p.came {
		return nil
	}
	p.came = true
	if p.terminal() {
		_, err := io.WriteString(p.t.Out, p.model.picture())
		return err
	}
	for y := range p.model.y {
		p.line(p.model.grid()[y].text())
	}
	_, err := p.Write(nil)
	return err
}

// ended writes the last line: why the session ended.
func (p *player) ended(e session.Event) error {
	cause := "ended"
	if e.Cause != nil {
		cause = Clean(e.Cause.Error())
	}
	if !p.terminal() {
		p.model.finish()
		p.line(fmt.Sprintf("[%s: %s]", clock(e.At), cause))
		_, err := p.Write(nil)
		return err
	}
	if err := p.restore(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.t.Out, "\r\n[%s: %s]\r\n", clock(e.At), cause)
	return err
}

// restore leaves the terminal as it was found, once.
func (p *player) restore() error {
	if !p.terminal() || !p.came || p.restored {
		return nil
	}
	p.restored = true
	_, err := io.WriteString(p.t.Out, reset+p.filter.Restore())
	return err
}

// pause waits until it is time for what happens at a time of the recording.
func (p *player) pause(ctx context.Context, at time.Duration) error {
	wait := at - max(p.last, p.o.At)
	p.last = at
	if p.o.MaxIdle > 0 {
		wait = min(wait, p.o.MaxIdle)
	}
	if at >= p.o.At {
		if err := p.begin(); err != nil {
			return err
		}
	}
	timer := time.NewTimer(time.Duration(float64(max(wait, 0)) / p.o.Speed))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case k := <-p.keys:
			if err := p.press(ctx, k); err != nil {
				return err
			}
		case err := <-p.deaf:
			if err != nil {
				return err
			}
		case <-timer.C:
			return nil
		}
	}
}

// press is a key while it plays: to end, or to stop until the next one.
func (p *player) press(ctx context.Context, k key) error {
	for k == ' ' {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-p.deaf:
			return err // nobody can press a key any more: without an error it goes on
		case k = <-p.keys:
			if k == ' ' {
				return nil
			}
		}
	}
	if k == 'q' || k == keyStop || k == keyEnd {
		return ErrLeft
	}
	return nil
}

// readKeys reads keys until the end of in, which is no error.
func readKeys(in io.Reader, keys chan<- key, done <-chan struct{}) (err error) {
	defer caught(&err, "the keys could not be read")
	var reader keyReader
	buf := make([]byte, 64)
	for {
		n, err := in.Read(buf)
		for _, b := range buf[:n] {
			k := reader.take(b)
			if k == keyNone {
				continue
			}
			select {
			case keys <- k:
			case <-done:
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// picture is what makes another terminal show and do what this one would.
func (s *screen) picture() string {
	var b strings.Builder
	if s.on == 1 {
		b.WriteString("\x1b[?1049h")
	}
	b.WriteString(reset + "\x1b[2J")
	for y := range s.rows {
		fmt.Fprintf(&b, "\x1b[%d;1H%s", y+1, s.draw(y, 0, s.cols))
	}
	if s.top > 0 || s.bottom < s.rows {
		fmt.Fprintf(&b, "\x1b[%d;%dr", s.top+1, s.bottom)
	}
	if s.nowrap {
		b.WriteString("\x1b[?7l")
	}
	if s.insert {
		b.WriteString("\x1b[4h")
	}
	if s.drawing {
		b.WriteString("\x1b(0")
	}
	fmt.Fprintf(&b, "\x1b[%d;%dH%s", s.y+1, s.x+1, s.pen.sgr())
	return b.String()
}
