package pgwire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/twokey/twokey/session"
)

// This file is the database's half of a link. It walks the boundaries of
// messages in large reads, looks only at those that matter, and writes whole
// runs of the others at once, so that a million rows cost little more than
// the copying.

const (
	restBuffer  = 16 << 10  // while nothing comes
	largeBuffer = 128 << 10 // while much does
)

// flow is the bytes between the database and the client:
//
//	buf[sent:held]   looked at, and held back until the transaction's state is known
//	buf[sent:walked] looked at, to be written
//	buf[walked:end]  read
type flow struct {
	rest, buf         []byte
	sent, walked, end int
	held              int // -1, or where what is held back begins
	skip              int // bytes of a row or COPY data yet to come
	copied            bool
	ready             int // ReadyForQuery looked at, not yet written
}

// kinds the database may send once a session has begun. An authentication
// request would make psql ask for a password.
const serverKinds = "123ACDEGHINSTZcdnst"

// fromServer moves messages until the database closes or speaks nonsense.
func (l *link) fromServer() error {
	rest := make([]byte, restBuffer)
	f := &flow{rest: rest, buf: rest, held: -1}
	for {
		n, err := l.up.Read(f.buf[f.end:])
		f.end += n
		if n > 0 {
			if err := l.walk(f); err != nil {
				return err
			}
			if err := l.forward(f, false); err != nil {
				return err
			}
			f.fit(n)
		}
		if err != nil {
			return l.serverGone(f, err)
		}
	}
}

func (l *link) serverGone(f *flow, err error) error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	text := "the database closed the connection"
	if !errors.Is(err, io.EOF) {
		text = "the connection to the database broke: " + innermost(err)
	}
	if l.note(l.talk.lost("08006", text)) == nil {
		l.forward(f, true)
	}
	return lost{text}
}

// walk looks at every message that is there.
func (l *link) walk(f *flow) error {
	for f.walked < f.end {
		here := f.buf[f.walked:f.end]
		if f.skip > 0 {
			n := min(f.skip, len(here))
			if f.copied {
				if err := l.talk.copied(here[:n]); err != nil {
					return lost{err.Error()}
				}
			}
			f.skip -= n
			f.walked += n
			continue
		}
		if len(here) < 5 {
			return nil
		}
		kind, size := here[0], int(binary.BigEndian.Uint32(here[1:]))
		if size < 4 || size > maxServerMessage || strings.IndexByte(serverKinds, kind) < 0 {
			return lost{fmt.Sprintf("the database sent a message %q of %d bytes, which is none", string(rune(kind)), size)}
		}
		if kind == 'D' || kind == 'd' {
			if err := l.data(f, kind, size-4); err != nil {
				return err
			}
			continue
		}
		if len(here) < 1+size {
			return nil
		}
		if err := l.look(f, kind, here[5:1+size]); err != nil {
			return err
		}
		f.walked += 1 + size
	}
	return nil
}

// data begins a row or a piece of COPY data, whose body may come in parts.
func (l *link) data(f *flow, kind byte, size int) error {
	if err := l.settle(f, kind); err != nil {
		return err
	}
	if err := l.mayShow(f); err != nil {
		return err
	}
	f.copied = kind == 'd'
	if kind == 'D' {
		large, err := l.talk.row(size)
		if err != nil {
			return lost{err.Error()}
		}
		if large && !l.c.forwarded {
			l.adviseOnMemory()
		}
	}
	f.walked += 5
	f.skip = size
	return nil
}

// adviseOnMemory tells psql, which keeps a result whole, what to do before it
// says no more than that memory is gone.
func (l *link) adviseOnMemory() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.untold = append(l.untold, notice("this result is larger than 128 MiB, and psql may use 512 MiB here. If it says \"out of memory\", "+
		"let it read in parts: \\set FETCH_COUNT 1000")...)
}

// mayShow counts one row, waiting until somebody lets the engineer have more. What
// came before is shown by then.
func (l *link) mayShow(f *flow) (err error) {
	if l.rows == 0 {
		if err := l.forward(f, false); err != nil {
			return err
		}
		if l.rows, err = l.g.door.Rows(l.ctx); err != nil {
			return err
		}
	}
	l.rows--
	return nil
}

// settle notes a result that was waiting to be the last of its batch, and was not.
func (l *link) settle(f *flow, kind byte) error {
	if f.held < 0 {
		return nil
	}
	f.held = -1
	r, _ := l.talk.reply(kind, nil)
	return l.note(r.note)
}

// look takes a message that matters, or may.
func (l *link) look(f *flow, kind byte, body []byte) error {
	r, err := l.talk.reply(kind, body)
	if err != nil {
		if r := (refused{}); errors.As(err, &r) {
			return err
		}
		return lost{err.Error()}
	}
	if err := l.note(r.note); err != nil {
		return err
	}
	if r.hide {
		return l.hide(f, kind, len(body), r)
	}
	switch {
	case r.hold:
		f.held = f.walked
	case kind != 'N' && kind != 'S' && kind != 'A':
		f.held = -1
	}
	if kind == 'Z' {
		f.ready++
	}
	if r.tell != nil {
		r.tell()
	}
	return nil
}

// hide passes over a message that is not for the client, once all that came
// before it has been shown.
func (l *link) hide(f *flow, kind byte, size int, r replied) error {
	if err := l.forward(f, true); err != nil {
		return err
	}
	f.held, f.sent = -1, f.walked+5+size
	if len(r.show) > 0 {
		if err := l.tellClient(r.show); err != nil {
			return err
		}
	}
	if kind == 'Z' {
		l.talk.passed(1)
	}
	if r.tell != nil {
		r.tell()
	}
	return nil
}

// tellClient writes a message of the gateway's own making.
func (l *link) tellClient(message []byte) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if n, err := l.client.Write(message); err != nil {
		l.partial = l.partial || n > 0
		return l.clientGone(err)
	}
	return nil
}

func (l *link) note(events []session.Event) error {
	for _, e := range events {
		if err := l.g.door.Note(e); err != nil {
			return err
		}
	}
	return nil
}

// forward writes what was looked at and is not held back.
func (l *link) forward(f *flow, all bool) error {
	until := f.walked
	if f.held >= 0 && !all {
		until = f.held
	}
	if until > f.sent { // less, behind what was hidden
		l.writing.Lock()
		n, err := l.client.Write(f.buf[f.sent:until])
		if err == nil {
			l.partial = f.skip > 0
		}
		l.partial = l.partial || err != nil && n > 0 // where it was cut, nobody knows
		l.sayNow()
		l.writing.Unlock()
		if err != nil {
			return l.clientGone(err)
		}
		f.sent = until
	}
	if f.ready > 0 {
		l.talk.passed(f.ready)
		f.ready = 0
	}
	return nil
}

func (l *link) clientGone(err error) error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	return errVanished
}

// fit makes room for the next read: it drops what was written, and changes the
// size of the buffer to what comes. read is how much came last.
func (f *flow) fit(read int) {
	left := f.buf[f.sent:f.end]
	size := len(f.buf)
	switch {
	case len(left) == 0 && f.skip == 0 && read < restBuffer/2:
		size = restBuffer
	case f.end == len(f.buf) && size < largeBuffer:
		size = largeBuffer
	}
	size = max(size, len(left)+restBuffer)
	if len(left) > largeBuffer/2 {
		size = max(size, 2*len(left)) // one long message
	}
	if f.held >= 0 {
		f.held -= f.sent
	}
	f.walked -= f.sent
	f.end -= f.sent
	f.sent = 0
	switch {
	case size == len(f.buf):
		copy(f.buf, left)
	case size == restBuffer:
		f.buf = f.rest
		copy(f.buf, left)
	default:
		bigger := make([]byte, size)
		copy(bigger, left)
		f.buf = bigger
	}
}
