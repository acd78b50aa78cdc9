package pgwire

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/twokey/twokey/session"
)

// This file serves the engineer's own clients, on a forwarded port. They are told
// at once that they may come in, so that notices reach them while they wait for
// the gate, and as long as they stay: there is no screen to write them on.

// maxLines is how many lines may wait for a client that takes nothing.
const maxLines = 16

// Client is a program that has said what it wants. It is a session.Client when
// it came over a forwarded port.
type Client struct {
	conn      net.Conn
	in        *reader
	start     *start         // nil when it only came to cancel
	cancels   *cancelRequest // nil otherwise
	forwarded bool
	told      bool // that it may come in

	lines chan string // twokey's own, to be shown
	why   atomic.Pointer[session.Cause]
}

// Greet hears a client on a forwarded port out, in 10 s at most. When it fails
// the client has been told why, and conn is the caller's to close.
func Greet(conn net.Conn) (*Client, error) {
	c, err := hear(conn)
	if err != nil || c.start == nil {
		return c, err
	}
	c.forwarded, c.told = true, true
	_, err = conn.Write(c.start.accepted())
	return c, err
}

// TurnAway hears a client out and tells it why there is nothing for it. conn is
// the caller's to close.
func TurnAway(conn net.Conn, why string) error {
	c, err := hear(conn)
	if err == nil && c.start != nil {
		hangUp(conn, refused{"28000", why})
	}
	return err
}

// Tell shows a line when the client takes it; one that takes nothing loses lines.
func (c *Client) Tell(line string) {
	select {
	case c.lines <- line:
	default:
	}
}

// End says why the session is about to end.
func (c *Client) End(why session.Cause) { c.why.Store(&why) }

// Wait shows what is told to a client that waits for ready, and reports whether
// it waited long enough. If not, it has left, or ctx has ended and it was told so.
func (c *Client) Wait(ctx context.Context, ready <-chan struct{}) bool {
	if c.start == nil {
		select {
		case <-ready:
			return true
		default:
			return false
		}
	}
	tick := time.NewTicker(vanishedCheck)
	defer tick.Stop()
	for {
		select {
		case <-ready:
			return true
		case <-ctx.Done():
			hangUp(c.conn, context.Cause(ctx))
			return false
		case line := <-c.lines:
			c.conn.SetWriteDeadline(time.Now().Add(farewellTime))
			_, err := c.conn.Write(notice(line))
			c.conn.SetWriteDeadline(time.Time{})
			if err != nil {
				return false
			}
		case <-tick.C:
			if hungUp(c.conn) {
				return false
			}
		}
	}
}

// notice is a line of twokey's as clients print those of the server.
func notice(line string) []byte {
	return must((&pgproto3.NoticeResponse{
		Severity: "NOTICE", SeverityUnlocalized: "NOTICE", Code: "00000", Message: "twokey: " + readable(line, 2000),
	}).Encode(nil))
}

// Serve serves a client that Greet made, until one of both has enough.
func (g *Gateway) Serve(c session.Client) { g.serve(c.(*Client)) }

// tell shows what is told to a client, between two messages of the database's.
func (l *link) tell() {
	for {
		select {
		case <-l.ctx.Done():
			return
		case line := <-l.c.lines:
			l.writing.Lock()
			l.untold = append(l.untold, notice(line)...)
			l.writing.Unlock()
			l.say()
		}
	}
}

// say writes what is to be told, unless the client has got a part of a message:
// then it is said behind the rest of it.
func (l *link) say() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.sayNow()
}

// sayNow is say for whoever holds writing.
func (l *link) sayNow() {
	if len(l.untold) > 0 && !l.partial {
		l.client.Write(l.untold) // a client that is gone is noticed by the halves
		l.untold = nil
	}
}
