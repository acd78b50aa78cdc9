package bastion

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	gliderlabs "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/session"
)

// This file is one client's connection: its deadlines, its limits, and what it
// may open. It is where gliderlabs/ssh is used, with a server value for each
// connection, so that nothing travels through its shared context.

// maxRejects is how many things a client may be refused before it is hung up on.
const maxRejects = 20

// connection is one client's.
type connection struct {
	*engaged // what runs on it
	server   *Server
	net      net.Conn
	from     string // host:port
	source   netip.Prefix
	began    time.Time
	ctx      context.Context // ends with the connection
	end      context.CancelFunc
	peer     func() pinger // who answers at the other end, nil until the handshake has ended; set when that begins

	// Guarded by server.roll.mu:
	stage   stage
	vouched bool    // a certificate that is good was shown, and not proven
	owner   account // whose connection it is, for counting alone

	who   atomic.Pointer[session.Identity] // of the first channel on
	runs  atomic.Bool                      // a session or a seat of theirs, which ends in its own time
	visit atomic.Pointer[visit]            // that is here
	pace  pace                             // of new keys

	mu      sync.Mutex
	rejects int
	entry   entry
}

// entry is how far the login has come.
type entry struct {
	refused string // why a certificate was refused on the way in, for the login prompt
	over    error  // why there is no login on this connection, or no more
}

func newConnection(s *Server, nc net.Conn) *connection {
	from := nc.RemoteAddr().String()
	c := &connection{engaged: newEngaged(), server: s, net: nc, from: from, source: sourceOf(from), began: time.Now()}
	c.ctx, c.end = context.WithCancel(context.Background())
	return c
}

// serve is the connection's whole life. Everything that handles its channels
// has been told when it returns.
func (c *connection) serve() {
	defer c.end()
	defer c.net.Close()
	defer c.caught()
	c.net.SetDeadline(c.began.Add(c.server.Limits.Handshake))
	c.front().HandleConn(ownDeadline{c.net})
}

// front is gliderlabs' server for this connection alone.
func (c *connection) front() *gliderlabs.Server {
	signers := make([]gliderlabs.Signer, len(c.server.HostSigners))
	for i, s := range c.server.HostSigners {
		signers[i] = paced{s, &c.pace}
	}
	return &gliderlabs.Server{
		HostSigners: signers,
		ServerConfigCallback: func(ctx gliderlabs.Context) *ssh.ServerConfig {
			c.peer = func() pinger {
				if sc, is := ctx.Value(gliderlabs.ContextKeyConn).(*ssh.ServerConn); is {
					return sc
				}
				return nil
			}
			return c.config()
		},
		ConnectionFailedCallback: func(_ net.Conn, err error) {
			c.server.Log.Info("handshake failed", "from", c.from, "error", session.OneLine(err.Error(), logged))
		},
		ChannelHandlers: map[string]gliderlabs.ChannelHandler{
			"session": func(_ *gliderlabs.Server, sc *ssh.ServerConn, n ssh.NewChannel, _ gliderlabs.Context) {
				defer c.caught()
				c.session(sc, n)
			},
			"direct-tcpip": func(_ *gliderlabs.Server, sc *ssh.ServerConn, n ssh.NewChannel, _ gliderlabs.Context) {
				defer c.caught()
				c.forward(sc, n)
			},
			"default": func(_ *gliderlabs.Server, _ *ssh.ServerConn, n ssh.NewChannel, _ gliderlabs.Context) {
				defer c.caught()
				c.refuse(n)
			},
		},
		RequestHandlers: map[string]gliderlabs.RequestHandler{
			// keepalives are answered by any answer; forwarding is refused by this one
			"default": func(gliderlabs.Context, *gliderlabs.Server, *ssh.Request) (bool, []byte) { return false, nil },
		},
	}
}

// ownDeadline keeps gliderlabs/ssh, which clears the deadline at every read
// and write, away from ours.
type ownDeadline struct{ net.Conn }

func (ownDeadline) SetDeadline(time.Time) error { return nil }

// patience gives the client until the end of the login: somebody is asked for
// something, a touch of a key, a passphrase, or the code. Who has shown a certificate that
// is good is vouched for. The error is a sentence for the person.
func (c *connection) patience(vouched bool) error {
	if err := c.server.roll.talk(c, vouched); err != nil {
		return err
	}
	c.net.SetDeadline(c.began.Add(c.server.Limits.Login))
	return nil
}

// welcome takes the deadline of the login away.
func (c *connection) welcome() {
	c.net.SetDeadline(time.Time{})
	c.server.roll.welcome(c)
	go c.keepalive() // ends with the connection
}

// hangUp closes the connection at once, whatever its other end does.
func (c *connection) hangUp() { c.net.Close() }

// reject refuses a channel, and hangs up on a client that does not stop. It counts
// first: a client that reads nothing would have ever more refusals wait for it.
func (c *connection) reject(n ssh.NewChannel, why ssh.RejectionReason, text string) {
	c.strike()
	n.Reject(why, text)
}

// strike counts what was refused.
func (c *connection) strike() {
	c.mu.Lock()
	c.rejects++
	enough := c.rejects >= maxRejects
	c.mu.Unlock()
	if enough {
		c.server.Log.Warn("hung up on a client that was refused too often", "from", c.from)
		c.hangUp()
	}
}

// refuse answers every kind of channel that is not named here.
func (c *connection) refuse(n ssh.NewChannel) {
	c.reject(n, ssh.Prohibited, "twokey opens sessions, and forwards to their databases, and nothing else")
}

// session handles a session channel: who is it, what do they ask for. There is
// one at a time on a connection.
func (c *connection) session(sc *ssh.ServerConn, n ssh.NewChannel) {
	who, err := c.visitor(sc)
	if err != nil {
		c.reject(n, ssh.Prohibited, err.Error())
		return
	}
	if !c.claim() {
		c.reject(n, ssh.ResourceShortage, "one shell at a time on a connection; open another connection")
		return
	}
	defer c.yield()
	if !c.server.roll.enter() {
		c.reject(n, ssh.ConnectionFailed, "this bastion is stopping; try again in a minute")
		return
	}
	defer c.server.roll.leave()
	ch, requests, err := n.Accept()
	if err != nil {
		return
	}
	newVisit(c, sc, ch, who).attend(requests)
}

// caught turns a panic in a goroutine that touches this client's bytes into
// the end of this connection alone.
func (c *connection) caught() {
	if p := recover(); p != nil {
		c.server.Log.Error("panic", "value", fmt.Sprint(p), "from", c.from, "stack", string(debug.Stack()))
		c.hangUp()
	}
}

// visitor is who came in, as the authentication that succeeded left it.
type visitor struct {
	who      session.Identity
	key      ssh.PublicKey // the plain key proven on this connection; nil without one, or with a certificate
	signedIn time.Time     // at the identity provider, for this very connection; zero with a certificate
}

// visitorKey finds the visitor in the permissions of a finished handshake.
type visitorKey struct{}

// permit makes the permissions with which a callback succeeds. They are the
// only way an identity gets from the handshake to the rest.
func (v visitor) permit() *ssh.Permissions {
	return &ssh.Permissions{ExtraData: map[any]any{visitorKey{}: v}}
}

// visitor is who came in, unless they have been revoked since. They are known to
// be here before the list is asked, so that whoever is put on it later is found.
func (c *connection) visitor(sc *ssh.ServerConn) (visitor, error) {
	v, err := visitorOf(sc)
	if err != nil {
		return visitor{}, err
	}
	c.who.Store(&v.who)
	if why := c.server.Revocations.Why(v.who, c.began); why != "" {
		return visitor{}, errors.New(why)
	}
	return v, nil
}

// visitorOf reads who came in from the finished connection. It refuses when
// there is nobody, or when what they proved has ended since: a connection may
// outlive a certificate.
func visitorOf(sc *ssh.ServerConn) (visitor, error) {
	if sc.Permissions == nil {
		return visitor{}, errors.New("twokey does not know who you are")
	}
	v, ok := sc.Permissions.ExtraData[visitorKey{}].(visitor)
	if !ok || !v.who.Valid() {
		return visitor{}, errors.New("twokey does not know who you are")
	}
	if ends := v.who.Credential.Expires; !ends.IsZero() && !time.Now().Before(ends) {
		return visitor{}, errors.New("your certificate has ended; connect again and log in")
	}
	return v, nil
}
