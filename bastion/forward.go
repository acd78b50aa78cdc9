package bastion

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/session"
)

// This file forwards a port (RFC 4254 7.2): the engineer's own Postgres clients
// reach the database of their session, and nothing else, through its gate and onto
// its tape. A connection that has a session shares it; one that has none, ssh -N,
// opens one without psql for its first client.

const (
	postgresPort = 5432
	maxForwards  = 20 // channels of one connection
)

// directTCPIP is the payload of RFC 4254 7.2.
type directTCPIP struct {
	Host       string
	Port       uint32
	Originator string
	FromPort   uint32
}

// forward handles a channel for one client.
func (c *connection) forward(sc *ssh.ServerConn, n ssh.NewChannel) {
	who, err := c.visitor(sc)
	if err != nil {
		c.reject(n, ssh.Prohibited, err.Error())
		return
	}
	want, err := c.asksFor(sc.User(), n.ExtraData())
	if err != nil {
		c.reject(n, ssh.Prohibited, "twokey: "+session.OneLine(reason(err), 500))
		return
	}
	if !c.takeForward() {
		c.reject(n, ssh.ResourceShortage, fmt.Sprintf("twokey: at most %d clients at once", maxForwards))
		return
	}
	defer c.giveForward()
	if !c.server.roll.enter() {
		c.reject(n, ssh.ConnectionFailed, "this bastion is stopping; try again in a minute")
		return
	}
	defer c.server.roll.leave()
	s, err := c.shared(sc, who, want)
	serve := func(conn net.Conn) error { return s.Forward(conn) }
	if err != nil {
		c.strike()
		why := session.OneLine(reason(err), 500)
		serve = func(conn net.Conn) error {
			defer conn.Close()
			return c.server.TurnAway(conn, why)
		}
	}
	ch, requests, err := n.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests) // ends with the channel
	if err := c.splice(ch, serve); err != nil {
		c.server.Log.Warn("client not served", "from", c.from, "error", session.OneLine(err.Error(), logged))
	}
}

// asksFor is the target that a client is forwarded to: the one that the SSH
// user name says, and no other.
func (c *connection) asksFor(user string, payload []byte) (wish, error) {
	var to directTCPIP
	if err := ssh.Unmarshal(payload, &to); err != nil {
		return wish{}, err
	}
	want, err := route(user, c.server.Targets)
	if err != nil {
		return wish{}, err
	}
	name := want.target.Name
	if want.lobby() {
		name = "TARGET"
	}
	if want.lobby() || to.Host != name || to.Port != postgresPort {
		return wish{}, refusal("nothing is forwarded but the session's own target: %s", c.server.forwardCommand(name, user))
	}
	return want, nil
}

// forwardCommand is how somebody brings their own client.
func (s *Server) forwardCommand(target, user string) string {
	if !strings.HasPrefix(user, target) {
		user = target
	}
	return s.line(fmt.Sprintf("ssh -N -L %d:%s:%d", postgresPort, target, postgresPort), user+"@", nil)
}

// shared returns this connection's session. Where one is about to begin, it
// waits for it; where none ever was, it opens one.
func (c *connection) shared(sc *ssh.ServerConn, who visitor, want wish) (*session.Session, error) {
	var failed chan error // of the one that we open
	for {
		s, over, first, changed := c.look(failed == nil)
		if first {
			failed = make(chan error, 1)
			go c.quietly(sc, who, want, failed) // ends with the session
		}
		switch {
		case s != nil:
			return s, nil
		case over && failed == nil:
			return nil, errors.New("the session of this connection has ended; connect again")
		}
		select {
		case err := <-failed:
			return nil, err
		case <-changed:
		case <-c.ctx.Done():
			return nil, c.ctx.Err()
		}
	}
}

// quietly runs a session without a channel of its own, and hangs up behind it,
// as nobody at the other end could read that it is over.
func (c *connection) quietly(sc *ssh.ServerConn, who visitor, want wish, failed chan<- error) {
	defer c.caught()
	defer c.yield()
	v := newVisit(c, sc, &silence{closed: c.ctx.Done()}, who)
	v.command = noPsql
	c.visit.Store(v)
	defer c.visit.Store(nil)
	v.log.Info("came in", "user", session.OneLine(v.user, 64), "serial", v.who.Credential.Serial, "key", v.who.Credential.Key, "forwards", true)
	v.did(session.DeedCameIn, "", fmt.Sprintf("as %s, certificate %d, to forward", session.OneLine(v.user, 64), v.who.Credential.Serial))
	if _, err := v.open(want); err != nil {
		v.refused(want, err)
		failed <- err
		return
	}
	c.lastForwards(closePatience)
	c.sayGoodbye()
}

// sayGoodbye hangs up behind what was written: a connection that is closed with
// something unread is reset, and what is on its way lost.
func (c *connection) sayGoodbye() {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		time.AfterFunc(closePatience, c.hangUp)
		return
	}
	c.hangUp()
}

// lastForwards waits until the clients have read that it is over.
func (c *connection) lastForwards(patience time.Duration) {
	late := time.After(patience)
	for {
		left, changed := c.clients()
		if left == 0 {
			return
		}
		select {
		case <-changed:
		case <-late:
			return
		}
	}
}

// silence is the channel of a session that has none.
type silence struct{ closed <-chan struct{} }

func (s *silence) Read([]byte) (int, error)                       { <-s.closed; return 0, io.EOF }
func (s *silence) Write(p []byte) (int, error)                    { return len(p), nil }
func (s *silence) Close() error                                   { return nil }
func (s *silence) CloseWrite() error                              { return nil }
func (s *silence) SendRequest(string, bool, []byte) (bool, error) { return false, nil }
func (s *silence) Stderr() io.ReadWriter                          { return s }

// splice puts a socket between a channel and what serves it: the gateway wants
// deadlines, and to see at once that a client is gone, which a channel has not.
func (c *connection) splice(ch ssh.Channel, serve func(net.Conn) error) error {
	defer ch.Close()
	near, far, err := socketPair()
	if err != nil {
		return err
	}
	defer near.Close()
	served := make(chan error, 1)
	go func() {
		defer close(served)
		defer c.caught()
		served <- serve(far)
	}()
	go func() { // ends when the channel or the socket does
		io.Copy(near, ch)
		near.CloseWrite()
	}()
	io.Copy(ch, near) // until far is closed, with all that was written to it
	return <-served
}
