package pgwire

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"time"
)

// This file reads a client's messages: bounded, with a deadline once a message
// has begun, and with memory that grows only as bytes arrive.

const (
	smallBuffer      = 8 << 10
	maxClientMessage = 16 << 20         // bytes of one message from a client
	messageTime      = 30 * time.Second // without a byte, in the middle of a message
)

// clientKinds are the messages that a client may send once a session has begun.
const clientKinds = "BCDEFHPQSXcdf"

// reader hands out one message at a time. Its slices are valid until the next
// call. It is for one goroutine.
type reader struct {
	conn  net.Conn
	buf   []byte
	r, w  int // unread bytes are buf[r:w]
	timed bool
	fixed bool // whoever greets has set one deadline for all of it
}

func newReader(conn net.Conn) *reader {
	return &reader{conn: conn, buf: make([]byte, smallBuffer)}
}

func (in *reader) buffered() int { return in.w - in.r }

// whole reports whether the next message needs no read.
func (in *reader) whole() bool {
	return in.buffered() >= 5 && in.buffered() > int(binary.BigEndian.Uint32(in.buf[in.r+1:]))
}

// startup reads a packet without a type byte.
func (in *reader) startup() (code uint32, body []byte, err error) {
	if err := in.need(8); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(in.buf[in.r:])
	if n < 8 || n > maxStartup {
		return 0, nil, violation("a start-up packet of %d bytes", n)
	}
	if err := in.need(int(n)); err != nil {
		return 0, nil, err
	}
	packet := in.buf[in.r : in.r+int(n)]
	in.r += int(n)
	return binary.BigEndian.Uint32(packet[4:]), packet[8:], nil
}

// next reads one message. io.EOF means that the client left between two.
func (in *reader) next() (kind byte, body []byte, err error) {
	in.shrink()
	if err := in.need(5); err != nil {
		return 0, nil, err
	}
	kind = in.buf[in.r]
	if strings.IndexByte(clientKinds, kind) < 0 { // whatever it is, it is not waited for
		return 0, nil, violation("message %q is not taken here", string(rune(kind)))
	}
	n := binary.BigEndian.Uint32(in.buf[in.r+1:])
	if n < 4 || n > maxClientMessage {
		return 0, nil, violation("a message of %d bytes; at most %d are taken", n, maxClientMessage)
	}
	if err := in.need(1 + int(n)); err != nil {
		return 0, nil, err
	}
	body = in.buf[in.r+5 : in.r+1+int(n)]
	in.r += 1 + int(n)
	return kind, body, nil
}

// need makes n bytes available at r. The first byte may take for ever, the
// others may not.
func (in *reader) need(n int) error {
	for in.buffered() < n {
		in.room(n)
		if !in.timed && in.buffered() > 0 {
			in.timed = true
		}
		if in.timed && !in.fixed {
			in.conn.SetReadDeadline(time.Now().Add(messageTime))
		}
		got, err := in.conn.Read(in.buf[in.w:])
		in.w += got
		if err != nil && in.buffered() < n {
			if err == io.EOF && in.buffered() > 0 {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	if in.timed && !in.fixed {
		in.timed = false
		in.conn.SetReadDeadline(time.Time{})
	}
	return nil
}

// room makes the buffer fit for more of a message of n bytes: it at most
// doubles, and only when what is there is full.
func (in *reader) room(n int) {
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.w < len(in.buf) {
		return
	}
	bigger := make([]byte, min(max(2*len(in.buf), smallBuffer), max(n, 8*smallBuffer)))
	copy(bigger, in.buf[:in.w])
	in.buf = bigger
}

// shrink lets a large buffer go once it is empty.
func (in *reader) shrink() {
	if in.r == in.w {
		in.r, in.w = 0, 0
		if len(in.buf) > 8*smallBuffer {
			in.buf = make([]byte, smallBuffer)
		}
	}
}
