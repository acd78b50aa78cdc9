package bastion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file is one session channel (RFC 4254 6): what the client asks for
// before its shell starts, the shell's life, and its end. Requests are
// drained for as long as the channel lives, whatever the shell does: 64 that
// nobody reads would stop the whole connection, and with it keepalive and kill.

// Patience with a client that opens a channel and asks for nothing, or does
// not close it when it is over.
const (
	startPatience = time.Minute
	closePatience = 5 * time.Second
)

// visit is one channel of one visitor.
type visit struct {
	server *Server
	conn   *connection
	ch     ssh.Channel
	in     io.Reader // what is typed: ch, or a keyboard that screens share
	visitor
	user string // the SSH user name of the finished handshake: what is asked for
	log  *slog.Logger

	ctx context.Context // ends with the channel, with a session.Cause
	end context.CancelCauseFunc

	// Set by the requests before the shell starts, constant after.
	command string // of exec; empty for a shell
	pty     bool
	term    string
	env     map[string]string

	sizes  latest
	seated atomic.Pointer[presence] // of a shadow
	over   chan struct{}            // closed when run has returned; nil before it started
}

func newVisit(c *connection, sc *ssh.ServerConn, ch ssh.Channel, who visitor) *visit {
	v := &visit{
		server: c.server, conn: c, ch: ch, in: ch, visitor: who, user: sc.User(),
		env: map[string]string{}, sizes: newLatest(), term: "dumb",
		log: c.server.Log.With("person", who.who.Name, "subject", who.who.Subject, "from", c.from),
	}
	v.ctx, v.end = context.WithCancelCause(c.ctx)
	return v
}

// disconnected is the cause of every end that comes from the client's side.
func disconnected(text string) session.Cause {
	return session.Cause{Code: session.Disconnected, Text: text}
}

// attend answers requests until the channel is closed, then waits for the
// shell to end.
func (v *visit) attend(requests <-chan *ssh.Request) {
	never := time.AfterFunc(startPatience, v.conn.hangUp)
	defer never.Stop()
	for r := range requests {
		started := v.over != nil
		ok := v.request(r)
		r.Reply(ok, nil)
		if ok && !started && (r.Type == "shell" || r.Type == "exec") {
			never.Stop()
			v.over = make(chan struct{})
			go v.run() // waited for below
		}
	}
	v.end(disconnected("the connection went away"))
	if v.over != nil {
		<-v.over
	}
}

// request handles one request and reports whether it is granted.
func (v *visit) request(r *ssh.Request) bool {
	started := v.over != nil
	switch {
	case r.Type == "window-change":
		size, err := parseWindow(r.Payload)
		if err == nil && v.pty {
			v.sizes.put(size)
		}
		return err == nil
	case r.Type == "signal":
		return v.signal(r.Payload)
	case r.Type == "env" && !started:
		return v.takeEnv(r.Payload)
	case r.Type == "pty-req" && !started && !v.pty:
		return v.takePTY(r.Payload)
	case r.Type == "shell" && !started:
		return true
	case r.Type == "exec" && !started:
		command, err := parseExec(r.Payload)
		v.command = command
		return v.granted(err)
	case r.Type == "env", r.Type == "eow@openssh.com", strings.HasPrefix(r.Type, "keepalive@"):
		return false // harmless
	}
	return v.granted(errors.New("not offered")) // agent, X11, subsystems, a second shell
}

// granted counts what is refused.
func (v *visit) granted(err error) bool {
	if err != nil {
		v.conn.strike()
	}
	return err == nil
}

func (v *visit) takePTY(payload []byte) bool {
	term, size, err := parsePTY(payload)
	if err != nil {
		return v.granted(err)
	}
	v.pty, v.term = true, term
	v.sizes.put(size)
	return true
}

// takeEnv keeps the few variables that are on the list. A client sends
// whatever its configuration says, so refusing costs it nothing.
func (v *visit) takeEnv(payload []byte) bool {
	e, err := parseEnv(payload)
	if err != nil || len(v.env) >= maxEnv {
		return false
	}
	v.env[e.Name] = e.Value
	return true
}

// signal ends a script on INT or TERM. On a terminal Ctrl-C is a key.
func (v *visit) signal(payload []byte) bool {
	var s signalRequest
	if ssh.Unmarshal(payload, &s) != nil || v.pty || v.over == nil {
		return false
	}
	if s.Name == "INT" || s.Name == "TERM" {
		v.end(disconnected("the client sent the signal " + s.Name))
		return true
	}
	return false
}

// run is the shell's life.
func (v *visit) run() {
	defer close(v.over)
	defer v.conn.caught()
	v.conn.visit.Store(v)
	defer v.conn.visit.Store(nil)
	v.log.Info("came in", "user", session.OneLine(v.user, 64), "serial", v.who.Credential.Serial, "key", v.who.Credential.Key, "terminal", v.pty)
	v.did(session.DeedCameIn, "", fmt.Sprintf("as %s, certificate %d", session.OneLine(v.user, 64), v.who.Credential.Serial))
	status := v.serve()
	v.log.Debug("left", "status", status)
	v.ch.SendRequest("exit-status", false, ssh.Marshal(exitStatus{uint32(status)}))
	v.ch.Close()
	time.AfterFunc(closePatience, func() {
		if v.ctx.Err() == nil { // the client did not close its side
			v.conn.hangUp()
		}
	})
}

// serve hands the visitor to where they belong and returns the exit status.
func (v *visit) serve() (status int) {
	defer func() {
		if p := recover(); p != nil {
			v.log.Error("panic", "value", fmt.Sprint(p), "stack", string(debug.Stack()))
			status = v.fail(session.Cause{Code: session.Broken, Text: "a mistake in twokey; the log of the bastion says more"})
		}
	}()
	want, err := route(v.user, v.server.Targets)
	switch {
	case err != nil:
		return v.fail(err)
	case want.lobby():
		return v.lobby(want)
	}
	return v.engineer(want)
}

// fail says why not, in one line, and returns the exit status that goes with it.
func (v *visit) fail(err error) int {
	fmt.Fprintf(v.errors(), "twokey: %s\n", session.OneLine(reason(err), 1000))
	return StatusOf(err)
}

// output is where text for people goes: lines end as the terminal needs it.
func (v *visit) output() io.Writer {
	if v.pty {
		return &crlf{w: shadow.NewFilter(v.ch)}
	}
	return v.ch
}

// errors is standard error, which a terminal shows too.
func (v *visit) errors() io.Writer {
	if v.pty {
		return &crlf{w: v.ch}
	}
	return v.ch.Stderr()
}

// latest holds the newest size of a terminal. Whoever reads late gets the last
// one; nobody who writes ever waits.
type latest struct {
	changed chan session.Size // holds the newest that was not read
	now     *atomic.Pointer[session.Size]
}

func newLatest() latest {
	return latest{changed: make(chan session.Size, 1), now: new(atomic.Pointer[session.Size])}
}

// put is called by one goroutine only, the one that drains the requests.
func (l latest) put(s session.Size) {
	l.now.Store(&s)
	select {
	case <-l.changed:
	default:
	}
	l.changed <- s
}

// size is the terminal's by now, the zero Size when there is none.
func (l latest) size() session.Size {
	if s := l.now.Load(); s != nil {
		return *s
	}
	return session.Size{}
}
