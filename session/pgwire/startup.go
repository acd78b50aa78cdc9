package pgwire

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sys/unix"
)

// This file greets a client: is it the process that may connect, what does it
// want, and whom does it say it is. A greeting has three possible ends: a
// start-up, a cancel request, or a refusal (Postgres manual 55.2.1).

// Codes in place of a protocol version.
const (
	cancelCode = 80877102
	sslCode    = 80877103
	gssCode    = 80877104
)

// maxStartup is the server's own limit for a start-up packet, in bytes.
const maxStartup = 10000

// refused is what a client is told before it is hung up on.
type refused struct {
	code string // SQLSTATE
	text string
}

func (r refused) Error() string { return r.text }

func violation(format string, args ...any) error {
	return refused{"08P01", fmt.Sprintf(format, args...)}
}

// start is what a client asked for in the one StartupMessage.
type start struct {
	minor  uint16            // of the protocol version
	strip  []string          // _pq_. options it sent, none of which exist here
	params map[string]string // from the allow-list; database and user apart
	user   string
	name   string // of the database; empty: the user's, as the server has it
}

// cancelRequest is what a client sends on a connection of its own.
type cancelRequest struct{ pid, key uint32 }

// greet serves one client of the socket from its first byte to its last.
func (g *Gateway) greet(conn *net.UnixConn) {
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("panic", "value", fmt.Sprint(p))
		}
	}()
	if err := g.isPeer(conn); err != nil {
		g.log.Warn("client refused", "error", err)
		hangUp(conn, refused{"28000", "this socket belongs to another process"})
		return
	}
	c, err := hear(conn)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			g.log.Warn("client refused", "error", err)
		}
		return
	}
	g.serve(c)
}

// hear lets a client say what it wants, and hangs up on one that says nothing
// sensible in time.
func hear(conn net.Conn) (*Client, error) {
	in := newReader(conn)
	conn.SetDeadline(time.Now().Add(startTime))
	in.fixed = true
	s, c, err := hello(in, conn)
	in.fixed, in.timed = false, false
	conn.SetDeadline(time.Time{})
	if err != nil {
		if !errors.Is(err, io.EOF) {
			hangUp(conn, err)
		}
		return nil, err
	}
	return &Client{conn: conn, in: in, start: s, cancels: c, lines: make(chan string, maxLines)}, nil
}

// isPeer checks that the process behind the socket is the one that may use it.
func (g *Gateway) isPeer(conn *net.UnixConn) error {
	cred, err := peerOf(conn)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(peerPatience)
	want := g.o.PeerPID()
	for want == 0 && time.Now().Before(deadline) && g.ctx.Err() == nil {
		time.Sleep(2 * time.Millisecond)
		want = g.o.PeerPID()
	}
	if want <= 0 || int(cred.Pid) != want || int(cred.Uid) != g.o.PeerUID {
		return fmt.Errorf("process %d of user %d connected, not %d of %d", cred.Pid, cred.Uid, want, g.o.PeerUID)
	}
	return nil
}

func peerOf(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, failed
}

// hello reads until the client has said what it wants: at most one SSLRequest
// and one GSSENCRequest, both answered no, and then one packet.
func hello(in *reader, out io.Writer) (*start, *cancelRequest, error) {
	asked := map[uint32]bool{}
	for {
		code, body, err := in.startup()
		if err != nil {
			return nil, nil, err
		}
		switch {
		case code == sslCode || code == gssCode:
			if asked[code] || len(body) > 0 || in.buffered() > 0 {
				return nil, nil, violation("a request for encryption that is not one")
			}
			asked[code] = true
			if _, err := out.Write([]byte("N")); err != nil {
				return nil, nil, err
			}
		case code == cancelCode:
			if len(body) != 8 || in.buffered() > 0 {
				return nil, nil, violation("a cancel request that is not one")
			}
			return nil, &cancelRequest{binary.BigEndian.Uint32(body), binary.BigEndian.Uint32(body[4:])}, nil
		case code>>16 == 3:
			s, err := parseStart(uint16(code), body)
			if err == nil && in.buffered() > 0 {
				err = violation("data behind the start-up message")
			}
			return s, nil, err
		default:
			return nil, nil, refused{"0A000", fmt.Sprintf("protocol %d.%d is not spoken here, only 3.0", code>>16, code&0xffff)}
		}
	}
}

// allowed start-up parameters. options and replication are dropped like any
// other that is not here; application_name is the gateway's to give.
var allowed = map[string]bool{
	"client_encoding": true, "datestyle": true, "timezone": true, "intervalstyle": true, "extra_float_digits": true, "geqo": true,
}

const (
	maxParams     = 64  // in one start-up message
	maxParamValue = 256 // bytes
)

func parseStart(minor uint16, body []byte) (*start, error) {
	s := &start{minor: minor, params: map[string]string{}}
	seen := map[string]bool{}
	for {
		key, rest, found := bytes.Cut(body, []byte{0})
		if !found {
			return nil, violation("the start-up message ends too early")
		}
		if len(key) == 0 {
			if len(rest) > 0 {
				return nil, violation("data behind the start-up parameters")
			}
			break
		}
		value, rest, found := bytes.Cut(rest, []byte{0})
		if !found {
			return nil, violation("the start-up message ends too early")
		}
		body = rest
		name := strings.ToLower(string(key))
		if seen[name] || len(seen) >= maxParams || len(value) > maxParamValue {
			return nil, violation("start-up parameter %s is there twice, or too long, or one too many", readable(name, 40))
		}
		seen[name] = true
		s.take(name, string(value))
	}
	return s, nil
}

func (s *start) take(name, value string) {
	switch {
	case name == "user":
		s.user = value
	case name == "database":
		s.name = value
	case strings.HasPrefix(name, "_pq_."):
		s.strip = append(s.strip, name)
	case allowed[name]:
		s.params[name] = value
	}
}

// offered returns the database that a client gets. It refuses one that asks for
// another database or role than the session's. On a forwarded port nobody knows
// the role, so none is asked for, and the target's name will do.
func (g *Gateway) offered(c *Client) (database string, err error) {
	s := c.start
	if s.user != g.User() && !c.forwarded {
		return "", refused{"28000", fmt.Sprintf("this session is for role %q; connecting as %q is refused", g.User(), readable(s.user, 63))}
	}
	name := cmp.Or(s.name, s.user)
	switch {
	case g.db.offers(name):
		return name, nil
	case c.forwarded && (name == s.user || name == g.o.For.Target.Name): // libpq asks for the user's when it is left out
		return g.db.Name(), nil
	}
	return "", refused{"3D000", fmt.Sprintf("this session is for database %s; connecting to %q is refused: open a session for that target", g.db.names(), readable(name, 63))}
}

// accepted is the beginning of the answer: there is nothing to authenticate.
func (s start) accepted() (out []byte) {
	if s.minor > 0 || len(s.strip) > 0 {
		out = must((&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 0, UnrecognizedOptions: s.strip}).Encode(out))
	}
	return must((&pgproto3.AuthenticationOk{}).Encode(out))
}

// welcome is all a client gets between its start-up and its first statement.
func (l *link) welcome(s start, statuses map[string]string, tx byte) error {
	var out []byte
	if !l.c.told {
		out = s.accepted()
	}
	add := func(m pgproto3.BackendMessage) { out = must(m.Encode(out)) }
	for _, name := range sorted(statuses) {
		add(&pgproto3.ParameterStatus{Name: name, Value: statuses[name]})
	}
	add(&pgproto3.BackendKeyData{ProcessID: l.backend.pid, SecretKey: binary.BigEndian.AppendUint32(nil, l.key)})
	add(&pgproto3.ReadyForQuery{TxStatus: tx})
	l.writing.Lock()
	defer l.writing.Unlock()
	_, err := l.client.Write(out)
	return err
}

// must is for encoding what we made ourselves.
func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// hangUp tells a client why, without waiting for it for long. psql prints it
// as a FATAL error of the server.
func hangUp(conn net.Conn, err error) {
	r := refused{"57P01", err.Error()}
	errors.As(err, &r)
	conn.SetWriteDeadline(time.Now().Add(farewellTime))
	conn.Write(must((&pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: r.code, Message: "twokey: " + readable(r.text, 1000),
	}).Encode(nil)))
}

// cancel passes on a cancel request that has the key of one of our links. The
// database's own key is never the client's to use.
func (g *Gateway) cancel(c cancelRequest) {
	l := g.owner(c)
	if l == nil {
		g.log.Warn("forged cancel request ignored", "pid", c.pid)
		return
	}
	if l.withdraw() || !l.talk.busy() {
		return
	}
	ctx, done := context.WithTimeout(l.ctx, cancelTime)
	defer done()
	if err := g.door.Pass(ctx, nil); err != nil {
		g.log.Warn("cancel request ignored", "error", err)
		return
	}
	if err := l.pg.CancelRequest(ctx); err != nil {
		g.log.Warn("cancel request failed", "error", err)
	}
}

func (g *Gateway) owner(c cancelRequest) *link {
	g.mu.Lock()
	defer g.mu.Unlock()
	for l := range g.links {
		if l.serving && l.backend.pid == c.pid && l.key == c.key {
			return l
		}
	}
	return nil
}
