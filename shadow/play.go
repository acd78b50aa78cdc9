package shadow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/twokey/twokey/session"
)

// This file plays a recording as lines of text: for pipes, for terminals that
// can do no more, and for being read aloud.

// PlayTerminal is where a recording is played.
type PlayTerminal struct {
	In     io.Reader // keys; nil for none
	Out    io.Writer
	Size   session.Size // of the terminal; Play knows none
	Resize <-chan session.Size
	// Colourless: what is shown has no colours (no-color.org).
	Colourless bool
}

// PlayOptions say how.
type PlayOptions struct {
	Speed   float64       // 1 when zero
	At      time.Duration // begin here, with the screen as it was then
	MaxIdle time.Duration // longer pauses are cut to it; none when zero
}

// Play prints the statements of a recording and the lines on its screen in their time, and
// its cause at the end; whole when it was all of it. With In, q and Ctrl-C end it, and a space
// stops and goes on. The error is that of the events, of In or of Out, or ctx's
// cause.
func Play(ctx context.Context, events iter.Seq2[session.Event, error], t PlayTerminal, o PlayOptions) (whole bool, err error) {
	if o.Speed <= 0 {
		o.Speed = 1
	}
	p := newPlayer(t, o)
	done := make(chan struct{})
	defer close(done)
	if t.In != nil {
		go func() { p.deaf <- readKeys(t.In, p.keys, done) }() // ends with done, or when the channel that In reads is closed
	}
	if err = p.play(ctx, events); errors.Is(err, ErrLeft) {
		return false, nil
	}
	return err == nil && p.over && o.At <= 0, err
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
	t      PlayTerminal
	o      PlayOptions
	keys   chan key
	deaf   chan error    // why no keys come any more; nil at the end of In
	last   time.Duration // of the recording
	came   bool          // to where it begins
	over   bool          // the session had ended
	cr     bool          // the last byte was a CR
	filter *Filter
	model  *screen // what makes lines of it
	pane   pane    // of the statements
	text   bytes.Buffer
	failed error // of writing text
}

// maxPlayed is how many bytes of text are gathered before they are written.
const maxPlayed = 64 << 10

func newPlayer(t PlayTerminal, o PlayOptions) *player {
	p := &player{t: t, o: o, keys: make(chan key), deaf: make(chan error, 1), came: o.At <= 0, model: newScreen(80, 24)}
	p.filter = NewFilter(p)
	p.model.ended = p.line
	return p
}

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
func (p *player) Write(b []byte) (int, error) {
	p.model.Write(b)
	if p.came {
		p.flush()
	}
	return len(b), p.failed
}

func (p *player) show(e session.Event) error {
	switch e.Type {
	case session.Output, session.Errors:
		_, err := p.filter.Write(p.returned(e.Bytes))
		return err
	case session.Resize:
		size := e.Size.Clamp()
		p.model.resize(size.Cols, size.Rows)
	case session.Statement:
		return p.statement(e)
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

// begin prints what is on the screen by now, the first time.
func (p *player) begin() error {
	if p.came {
		return nil
	}
	p.came = true
	for y := range p.model.y {
		p.line(p.model.grid()[y].text())
	}
	p.flush()
	return p.failed
}

// statement writes one as the database got it: what a client on a forwarded port asks
// is on no screen. Reads of the catalogue in a row are one line.
func (p *player) statement(e session.Event) error {
	if l := p.pane.statement(e); l != nil && l.folded <= 1 {
		p.line(fmt.Sprintf("[%s > %s]", clock(l.at), l.text))
		p.flush()
	}
	return p.failed
}

// ended writes the last line: why the session ended.
func (p *player) ended(e session.Event) error {
	cause := "ended"
	if e.Cause != nil {
		cause = Clean(e.Cause.Error())
	}
	p.over = true
	p.model.finish()
	p.line(fmt.Sprintf("[%s: %s]", clock(e.At), cause))
	p.flush()
	return p.failed
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
