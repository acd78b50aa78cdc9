package bastion

import (
	"context"
	"io"
)

// This file shares the keys of one channel among screens that follow one
// another: the lobby, a seat, the lobby again. A screen that is over may still
// wait in a Read; it must not get what was typed for the next.

// keyboard is the input of a channel.
type keyboard struct {
	chunks chan []byte
	gone   chan struct{} // closed when no more comes
	err    error         // why; to be read after gone
}

// readKeyboard reads a channel until it is closed, or ctx ends.
func readKeyboard(ctx context.Context, in io.Reader) *keyboard {
	k := &keyboard{chunks: make(chan []byte), gone: make(chan struct{})}
	go func() { // ends with the channel, which the visit closes
		defer close(k.gone)
		for {
			buf := make([]byte, 1<<10)
			n, err := in.Read(buf)
			if n > 0 {
				select {
				case k.chunks <- buf[:n]:
				case <-ctx.Done():
					k.err = context.Cause(ctx)
					return
				}
			}
			if err != nil {
				k.err = err
				return
			}
		}
	}()
	return k
}

// lend returns the keyboard for one screen, until it is given back: from then on
// its Read returns io.EOF. What was typed for it and not read is forgotten.
func (k *keyboard) lend() (in io.Reader, back func()) {
	l := &lent{keyboard: k, over: make(chan struct{})}
	return l, func() { close(l.over) }
}

type lent struct {
	*keyboard
	over chan struct{}
	rest []byte
}

func (l *lent) Read(p []byte) (int, error) {
	select {
	case <-l.over:
		return 0, io.EOF
	default:
	}
	if len(l.rest) == 0 {
		select {
		case <-l.over:
			return 0, io.EOF
		case l.rest = <-l.chunks:
		case <-l.gone:
			return 0, l.err
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
