package pgwire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"github.com/twokey/twokey/session"
)

// This file is one client's connection to the database: made, run by two
// halves that share a dialogue, and taken apart, whatever ended it.

// link is one client and its backend.
type link struct {
	g        *Gateway
	n        int // counts from 1 within the session
	c        *Client
	database string
	client   net.Conn
	in       *reader

	ctx context.Context
	end context.CancelCauseFunc

	// Set before serving is, under the gateway's mutex, and never changed.
	serving bool
	pg      *pgconn.PgConn // hijacked: for its cancel request alone
	up      net.Conn
	backend backend
	key     uint32 // ours, for the client's cancel requests

	noted chan struct{} // closed when all results are on the tape

	talk *dialogue
	out  []byte // encoded, asked for, not sent yet
	approval
	batch   bool        // extended messages since the last Sync
	rows    int         // that may be shown without asking; the database's half has it
	reading atomic.Bool // the client's half is in a read, and will itself see the client go
	writing sync.Mutex  // orders what is written to the client
	partial bool        // the client has got a part of a message; guarded by writing
	untold  []byte      // notices that have yet to be said; guarded by writing
}

// Why a link ends, besides refusals, the door's errors and errEnded.
var (
	errQuit     = errors.New("the client has left")
	errVanished = errors.New("the client went away in the middle of a statement")
)

// lost is a database that went away or spoke nonsense.
type lost struct{ text string }

func (l lost) Error() string { return l.text }

// serve does what a client asked for: a link from the start-up to the grave, or
// to cancel what another one waits for.
func (g *Gateway) serve(c *Client) {
	if c.cancels != nil {
		g.cancel(*c.cancels)
		return
	}
	ctx, end := context.WithCancelCause(g.ctx)
	l := &link{g: g, c: c, client: c.conn, in: c.in, ctx: ctx, end: end, noted: make(chan struct{}), approval: approval{cancels: make(chan context.CancelCauseFunc, 1)}}
	defer end(nil)
	var err error
	l.database, err = g.offered(c)
	if err == nil {
		err = g.enter(l)
	}
	if err != nil {
		g.log.Warn("client refused", "error", err)
		hangUp(c.conn, err)
		return
	}
	defer g.leave(l)
	var others sync.WaitGroup
	defer others.Wait()
	defer end(errQuit)
	others.Go(l.watch)
	if c.forwarded {
		others.Go(l.tell)
	}
	hello, err := l.dial(*c.start)
	if err != nil {
		l.refuse(err)
		return
	}
	l.run(*c.start, hello)
}

// refuse tells everyone why there is no connection to the database.
func (l *link) refuse(err error) {
	l.g.log.Error("no connection to the database", "conn", l.n, "error", err)
	var cause session.Cause
	if errors.As(err, &cause) && cause.Code == session.NoDatabase {
		l.g.door.Note(session.Event{Type: session.Alarm, Text: cause.Text})
		err = refused{"08001", cause.Text}
	}
	hangUp(l.client, err)
}

// dial asks the door and logs in to the database.
func (l *link) dial(s start) (*pgconn.HijackedConn, error) {
	pg, hijacked, b, err := l.login(s)
	if !l.g.dialed(l, pg, hijacked, b) && err == nil {
		err = errEnded
		sever(hijacked.Conn)
	}
	return hijacked, err
}

func (l *link) login(s start) (*pgconn.PgConn, *pgconn.HijackedConn, backend, error) {
	if err := l.g.door.Pass(l.ctx, nil); err != nil {
		return nil, nil, backend{}, err
	}
	db := l.g.db
	version, err := db.control.ready(l.ctx)
	if err != nil {
		return nil, nil, backend{}, err
	}
	pg, err := db.dial(l.ctx, l.g.as, l.database, l.params(s, version))
	if err != nil {
		return nil, nil, backend{}, err
	}
	b, err := db.control.identify(l.ctx, pg.PID())
	if err == nil {
		err = l.vet()
	}
	if err == nil {
		err = pg.SyncConn(l.ctx)
	}
	var hijacked *pgconn.HijackedConn
	if err == nil {
		hijacked, err = pg.Hijack()
	}
	if cause := (session.Cause{}); errors.As(err, &cause) {
		pg.Close(l.ctx)
		return nil, nil, backend{}, cause
	}
	if err != nil {
		pg.Close(l.ctx)
		return nil, nil, backend{}, noDatabase("the connection to the database cannot be told from others, so it could not be killed: " + err.Error())
	}
	return pg, hijacked, b, nil
}

// params are the run-time parameters of the login: the client's, and those
// that it has no say in.
func (l *link) params(s start, version string) map[string]string {
	params := maps.Clone(s.params)
	params["application_name"] = applicationName(l.g.o.For)
	if major, _, _ := cutInt(version); major >= 14 {
		params[checkInterval] = "1000"
	}
	for name, d := range map[string]time.Duration{
		"statement_timeout": l.g.db.up.StatementTimeout, "idle_in_transaction_session_timeout": l.g.db.up.IdleInTransactionTimeout,
	} {
		if d > 0 {
			params[name] = strconv.FormatInt(d.Milliseconds(), 10)
		}
	}
	return params
}

func cutInt(version string) (major int, rest string, ok bool) {
	i := 0
	for i < len(version) && version[i] >= '0' && version[i] <= '9' {
		i++
	}
	major, err := strconv.Atoi(version[:i])
	return major, version[i:], err == nil
}

// vet refuses a role that may become a superuser, and looks at what an earlier
// user of a shared one may have left for this one.
func (l *link) vet() error {
	db := l.g.db
	if err := db.control.refuseSuperuser(l.ctx, l.g.User()); err != nil {
		return err
	}
	found, err := db.control.settings(l.ctx, l.g.User(), l.database)
	if err != nil {
		l.g.log.Warn("settings of the role not read", "conn", l.n, "error", err)
	}
	for _, s := range found {
		l.g.alarm(s)
	}
	return nil
}

// run moves messages until one side is gone, and then takes the link apart.
func (l *link) run(s start, h *pgconn.HijackedConn) {
	if err := l.welcome(s, h.ParameterStatuses, h.TxStatus); err != nil {
		l.end(errVanished)
	}
	unhook := context.AfterFunc(l.ctx, l.interrupt)
	var half sync.WaitGroup
	half.Go(func() { l.half(l.fromServer) })
	l.half(l.fromClient)
	half.Wait()
	unhook()
	l.part(context.Cause(l.ctx))
}

// interrupt ends the reads and writes that the halves block in. The client's
// reader sets deadlines of its own, so it needs something more final.
func (l *link) interrupt() {
	past := time.Unix(1, 0)
	l.up.SetDeadline(past)
	l.client.SetWriteDeadline(past)
	if c, ok := l.client.(interface{ CloseRead() error }); ok {
		c.CloseRead()
		return
	}
	l.client.SetReadDeadline(past)
}

// half runs one direction; its end is the link's.
func (l *link) half(move func() error) {
	defer func() {
		if p := recover(); p != nil {
			l.g.log.Error("panic", "conn", l.n, "value", fmt.Sprint(p))
			l.end(fmt.Errorf("a mistake in twokey; the log of the bastion says more"))
		}
	}()
	err := move()
	l.end(err)
}

// part takes the link apart: results of what was never answered, a last word
// to the client, and the backend confirmed gone.
func (l *link) part(cause error) {
	busy := l.talk.busy()
	for _, e := range l.talk.lost("08006", cause.Error()) {
		l.g.door.Note(e)
	}
	close(l.noted)
	if !errors.Is(cause, errQuit) {
		l.g.log.Info("connection ended", "conn", l.n, "error", cause)
		if !l.partial && !errors.Is(cause, errVanished) {
			hangUp(l.client, l.farewell(cause))
		}
	}
	if errors.Is(cause, errQuit) && !busy {
		l.up.SetDeadline(time.Now().Add(farewellTime))
		l.up.Write([]byte{'X', 0, 0, 0, 4})
		sever(l.up)
		l.bury(false)
		return
	}
	sever(l.up)
	l.bury(true)
}

// farewell is the client's last error: with its SQLSTATE, or why the session ends.
func (l *link) farewell(cause error) error {
	var gone lost
	switch why := l.c.why.Load(); {
	case errors.As(cause, &gone):
		return refused{"08006", gone.text}
	case why != nil && errors.Is(cause, errEnded):
		return refused{"57P01", "the session has ended: " + why.Sentence()}
	}
	return cause
}

// sever closes a connection without another byte and without waiting: a TLS
// connection would say goodbye first.
func sever(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	conn.Close()
}

// watch ends a link whose client went away while nobody reads from it: a
// statement runs, or the gate is shut. It is waited for by serve.
func (l *link) watch() {
	tick := time.NewTicker(vanishedCheck)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
			if !l.reading.Load() && hungUp(l.client) {
				l.end(errVanished)
			}
		}
	}
}

// hungUp asks the kernel whether the other side has closed, without reading.
func hungUp(conn net.Conn) (gone bool) {
	s, ok := conn.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return true
	}
	raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0)
		gone = err == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone
}

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
