package shadow

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/twokey/twokey/session"
)

// This file plays a recording on a terminal, through the same filter that the
// engineer's terminal had in front of it.

// PlayTerminal is where a recording is played. In may be nil.
type PlayTerminal struct {
	In   io.Reader
	Out  io.Writer
	Size session.Size // zero: no terminal, so no control sequences of ours
}

// PlayOptions say how.
type PlayOptions struct {
	Speed   float64       // 1 when zero
	At      time.Duration // everything before is shown at once
	MaxIdle time.Duration // longer pauses are cut to it; none when zero
}

// Play shows the output of a recording in its time. On a terminal, q and
// Ctrl-C end it, and a space stops and goes on.
func Play(ctx context.Context, events iter.Seq2[session.Event, error], t PlayTerminal, o PlayOptions) error {
	if o.Speed <= 0 {
		o.Speed = 1
	}
	p := &player{t: t, o: o, out: NewFilter(t.Out), keys: make(chan byte)}
	done := make(chan struct{})
	defer close(done)
	if t.In != nil && t.Size != (session.Size{}) {
		go readKeys(t.In, p.keys, done) // ends with done, or when the channel that In reads is closed
	}
	for e, err := range events {
		if err != nil {
			return err
		}
		if err := p.show(ctx, e); err != nil {
			if err == ErrLeft {
				return nil
			}
			return err
		}
	}
	return nil
}

type player struct {
	t    PlayTerminal
	o    PlayOptions
	out  *Filter
	keys chan byte
	last time.Duration // of the recording
}

func (p *player) show(ctx context.Context, e session.Event) error {
	if err := p.pause(ctx, e.At); err != nil {
		return err
	}
	switch e.Type {
	case session.Output, session.Errors:
		_, err := p.out.Write(e.Bytes)
		return err
	case session.End:
		if p.t.Size != (session.Size{}) && e.Cause != nil {
			fmt.Fprintf(p.t.Out, "\x1b[0m\r\n[%s: %s]\r\n", clock(e.At), Clean(e.Cause.Error()))
		}
	}
	return nil
}

// pause waits until it is time for an event.
func (p *player) pause(ctx context.Context, at time.Duration) error {
	wait := at - max(p.last, p.o.At)
	p.last = at
	if p.o.MaxIdle > 0 {
		wait = min(wait, p.o.MaxIdle)
	}
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(float64(wait) / p.o.Speed))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return nil
		case k := <-p.keys:
			switch k {
			case 'q', 0x03, 0x04:
				return ErrLeft
			case ' ':
				if err := p.stopped(ctx); err != nil {
					return err
				}
			}
		}
	}
}

// stopped waits for a key to go on.
func (p *player) stopped(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case k := <-p.keys:
		if k == 'q' || k == 0x03 || k == 0x04 {
			return ErrLeft
		}
		return nil
	}
}

func readKeys(in io.Reader, keys chan<- byte, done <-chan struct{}) {
	var reader keyReader
	buf := make([]byte, 64)
	for {
		n, err := in.Read(buf)
		for _, b := range buf[:n] {
			k := reader.take(b)
			if k <= keyNone || k > 0x7f {
				continue
			}
			select {
			case keys <- byte(k):
			case <-done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}
