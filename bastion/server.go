// Package bastion is the front door of twokey: it finds out who somebody is
// and what they ask for, and hands them over. Engineers go to a session,
// shadows to a seat, everyone else to the commands of the lobby. The pages of
// the browser login live here too.
//
// Its one idea: nothing is decided from what a client said on the way in. Who
// somebody is comes out of the handshake in one piece (visitor), made by the
// callback that succeeded, and is read after it; what they ask for is read from the
// same finished connection. Everything else a client sends is bounded,
// parsed by us, and refused unless it is on a list.
//
// It decides nothing about the gate and keeps no recordings: that is package
// session and the Archive. It is the only user of gliderlabs/ssh, of which it takes
// the server's handling of connections and channels and none of its session,
// permissions, context or shutdown.
package bastion

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/session"
)

// Options are the parts of a Server. HostSigners, Authority, Sessions, Open
// and NewID must be there; without Logins only certificates get in.
type Options struct {
	HostSigners []ssh.Signer // the host certificate first, then the plain key
	Authority   Authority
	Logins      LoginDesk
	Targets     []session.Target
	Auditors    []string // groups whose people replay, export, verify and search
	Admins      []string // groups whose people see and kill every session
	Sessions    *session.Registry
	Archive     Archive
	Index       Index // finds what is in it; nil: only what runs is listed
	Revocations Revocations
	Notifier    Notifier // may be nil
	Ledger      Ledger   // may be nil
	Reviews     Reviews  // without it no glass is broken
	Meter       Meter    // may be nil

	// Open makes a session that has not begun: its tape is ready, or the
	// error says why not. A session.Cause sets the exit status; its text is
	// shown to the engineer. The bastion registers and runs it.
	Open func(ctx context.Context, want session.Request) (*session.Session, error)
	// TurnAway tells a client on a forwarded port, in its own words, why there is
	// no session for it. The bastion closes conn.
	TurnAway func(conn net.Conn, why string) error
	// CheckArgs says what is wrong with arguments for psql; nil allows none.
	CheckArgs func(args []string) error
	// NewID names a new session: a ULID and a short code unique among live ones.
	NewID func() (id, code string)
	// Proxies are the addresses from which the PROXY protocol is taken, and asked for.
	Proxies []netip.Prefix
	// HostName is how people reach this bastion, "host" or "host:port", for
	// the commands they are told to type.
	HostName string

	// LoginLasts is how long a login counts on its own connection, without a
	// certificate; 8 h when zero.
	LoginLasts time.Duration

	Log    *slog.Logger
	Limits Limits
}

// Limits bound what clients can cost. A zero field is the default in brackets.
type Limits struct {
	Connections  int           // in total [4096]
	PerSource    int           // from one IPv4 address or one IPv6 /64 [1024]
	PerPerson    int           // of one person [128]
	Strangers    int           // not yet authenticated, from one source [32 that are silent, 32 in the middle of a login]
	AllStrangers int           // not yet authenticated, in total [256 that are silent, 256 in the middle of a login]; the next one takes the place of another
	Handshake    time.Duration // from the connection to the first key or prompt [10 s]
	Login        time.Duration // from the connection to the end of the login [5 min]
	Undisturbed  time.Duration // for which a login keeps its place, however many come from its source [1 min]
	Keepalive    time.Duration // between two questions whether a client is alive [5 s]
	Shutdown     time.Duration // for handlers to end by themselves in Shutdown [3 s]
}

func (l Limits) orDefaults() Limits {
	number := func(n *int, d int) {
		if *n <= 0 {
			*n = d
		}
	}
	span := func(t *time.Duration, d time.Duration) {
		if *t <= 0 {
			*t = d
		}
	}
	number(&l.Connections, 4096)
	number(&l.PerSource, 1024)
	number(&l.PerPerson, 128)
	number(&l.Strangers, 32)
	number(&l.AllStrangers, 256)
	span(&l.Handshake, 10*time.Second)
	span(&l.Login, 5*time.Minute)
	span(&l.Undisturbed, time.Minute)
	span(&l.Keepalive, 5*time.Second)
	span(&l.Shutdown, 3*time.Second)
	return l
}

// Server is the bastion's SSH server.
type Server struct {
	Options
	roll     roll
	seats    seating
	hall     *hall
	call     session.RollCall
	refusals refusals
}

// New checks that the parts are there.
func New(o Options) (*Server, error) {
	switch {
	case len(o.HostSigners) == 0:
		return nil, errors.New("bastion: no host key")
	case slices.ContainsFunc(o.HostSigners, func(s ssh.Signer) bool { return s == nil }):
		return nil, errors.New("bastion: a host key is nil")
	case o.Authority == nil:
		return nil, errors.New("bastion: no certificate authority")
	case o.Sessions == nil || o.Open == nil || o.NewID == nil:
		return nil, errors.New("bastion: nothing opens sessions")
	}
	if o.CheckArgs == nil {
		o.CheckArgs = func(args []string) error { return errors.New("psql takes no arguments here") }
	}
	if o.TurnAway == nil {
		o.TurnAway = func(net.Conn, string) error { return nil }
	}
	if o.Archive == nil {
		o.Archive = noArchive{}
	}
	if o.Revocations == nil {
		o.Revocations = noRevocations{}
	}
	if o.Reviews == nil {
		o.Reviews = noArchive{}
	}
	if o.Meter == nil {
		o.Meter = noMeter{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Limits = o.Limits.orDefaults()
	o.LoginLasts = cmp.Or(o.LoginLasts, 8*time.Hour)
	return &Server{Options: o, roll: newRoll(o.Limits), hall: newHall()}, nil
}

// ErrClosed is returned by Serve after Shutdown.
var ErrClosed = errors.New("bastion: shut down")

// Serve accepts connections until Shutdown, then returns ErrClosed. A
// listener that fails for a moment (no file descriptors left) is tried again.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.roll.listen(l) {
		return ErrClosed
	}
	var pause time.Duration
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			if s.proxied(nc) {
				s.admitBehind(nc)
			} else {
				s.admit(nc)
			}
		case s.roll.isClosing():
			return ErrClosed
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("bastion: accepting connections: %w", err)
		default:
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.Log.Warn("accepting a connection failed", "error", err)
			time.Sleep(pause)
		}
	}
}

// admit lets a connection in, or closes it when there are too many.
func (s *Server) admit(nc net.Conn) {
	c := newConnection(s, nc)
	if err := s.roll.arrive(c); err != nil {
		s.refuseConnection(nc, c.from, err)
		return
	}
	// Shutdown waits for it: roll.arrive counted it in.
	go func() {
		defer s.roll.depart(c)
		c.serve()
	}()
}

func (s *Server) refuseConnection(nc net.Conn, from string, why error) {
	nc.Close()
	s.Meter.Refused(refusedConnection)
	s.Log.Warn("connection refused", "from", from, "error", why)
}

// Shutdown stops accepting, lets the live sessions come to their end until ctx
// ends, ends the rest, and returns when every handler has returned and every
// connection is closed: nothing of a session is left undone. The error is
// not nil only when a handler did not end, which is a bug.
func (s *Server) Shutdown(ctx context.Context) error {
	s.roll.close()
	s.Sessions.Drain(ctx)
	s.hall.close()
	if s.roll.waitHandlers(s.Limits.Shutdown) {
		s.roll.hangUp()
	} else {
		s.Log.Info("ending the commands that still run")
		s.roll.hangUp()
	}
	if !s.roll.waitAll(10 * time.Second) {
		return errors.New("bastion: a handler did not end")
	}
	return nil
}

// command is what a person types to reach this bastion, such as
// "ssh -p 2222 bastion shadow 7KQ2M".
func (s *Server) command(words ...string) string { return s.line("ssh", "", words) }

// seatCommand is how somebody sits down as shadow. The -t is for the terminal:
// with a command, OpenSSH asks for none by itself, and without there is only
// the plain stream.
func (s *Server) seatCommand(code string) string {
	return s.line("ssh -t", "", []string{"shadow", code})
}

// commandAs is the same with an SSH user name, which says what is asked for.
func (s *Server) commandAs(user string, words ...string) string {
	return s.line("ssh", user+"@", words)
}

func (s *Server) line(ssh, user string, words []string) string {
	line := []string{ssh}
	host := s.HostName
	if h, port, err := net.SplitHostPort(s.HostName); err == nil {
		host = h
		if port != "22" {
			line = append(line, "-p", port)
		}
	}
	if host == "" {
		host = "HOST"
	}
	return strings.Join(append(append(line, user+host), words...), " ")
}
