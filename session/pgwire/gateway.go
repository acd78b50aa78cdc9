package pgwire

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/twokey/twokey/session"
)

// This file is the gateway of one session: it accepts the session's clients on
// a unix socket, numbers them and their statements, and ends them all.

// SocketName is the file in Options.Dir, where libpq looks when it is given
// the folder as host and 5432 as port.
const SocketName = ".s.PGSQL.5432"

const (
	maxLinks      = 16               // connections to the database of one session
	maxClients    = maxLinks + 4     // with those that are still greeting, or cancelling
	startTime     = 10 * time.Second // for a client to say who it is
	peerPatience  = 5 * time.Second  // for psql's pid to be known
	farewellTime  = time.Second      // for a client to take its last message
	burialTime    = 5 * time.Second  // for a backend to be gone after its client went away
	cancelTime    = 2 * time.Second  // for one cancel request
	vanishedCheck = 250 * time.Millisecond
)

// Options say whose gateway it is. All fields but Labels and Redact are required.
type Options struct {
	// Dir is the folder of the socket, for this session alone. It is made
	// with mode 0700 if it is not there; the caller removes it.
	Dir string
	// Door is the session's, and For what it was opened for.
	Door session.Door
	For  session.Request
	// PeerPID returns the process that may connect (SO_PEERCRED, unix(7)); 0
	// means that it is not known yet, and the client waits.
	PeerPID func() int
	// PeerUID is the user it runs as. The folder and the socket are given to it
	// when that is not who we are.
	PeerUID int
	Log     *slog.Logger
	// Labels says what a statement touches (StatementInfo.Touches); nil when
	// that is not known. It is called before each statement that is unlike those before.
	Labels func(sql string) []string
	// Redact says which parameters are kept from shadows and the tape.
	Redact Redaction
}

// Gateway is the database side of one session. It implements session.Gateway.
type Gateway struct {
	db   *Database
	door session.Door
	o    Options
	log  *slog.Logger
	lis  *net.UnixListener

	ctx   context.Context // ends with Kill or Close
	end   context.CancelCauseFunc
	wg    sync.WaitGroup // all goroutines of the gateway
	slots chan struct{}  // one per client
	as    login          // who links log in as; set by Ready, before psql starts

	numbering  chan struct{} // whoever holds the token numbers a statement
	statements int

	mu       sync.Mutex
	dead     bool // no link may begin
	dialing  int  // links that may yet get a backend
	opened   int  // links ever, which numbers them
	links    map[*link]struct{}
	backends map[backend]struct{} // that the database has not confirmed gone
	closed   sync.Once
}

var _ session.Gateway = (*Gateway)(nil)

// errEnded is the cause of links that end with the gateway.
var errEnded = errors.New("the session has ended")

// Listen opens the gateway of one session. Close or Kill ends it.
func (d *Database) Listen(o Options) (*Gateway, error) {
	if o.Dir == "" || o.Door == nil || o.PeerPID == nil || o.Log == nil {
		return nil, errors.New("pgwire: Options is not filled in")
	}
	lis, err := listen(o.Dir, o.PeerUID)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancelCause(context.Background())
	g := &Gateway{
		db: d, door: o.Door, o: o, log: o.Log.With("session", o.For.ID), lis: lis,
		ctx: ctx, end: end, slots: make(chan struct{}, maxClients), numbering: make(chan struct{}, 1),
		links: map[*link]struct{}{}, backends: map[backend]struct{}{},
	}
	if !d.perSession() {
		g.as = d.own()
	}
	d.control.open()
	g.wg.Go(g.accept)
	g.wg.Go(func() { d.control.ready(g.ctx) }) // whoever needs it asks again and gets the error
	return g, nil
}

func listen(dir string, uid int) (*net.UnixListener, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("the gateway's folder: %w", err)
	}
	path := filepath.Join(dir, SocketName)
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("the gateway's socket: %w", err)
	}
	err = os.Chmod(path, 0o600)
	if uid != os.Getuid() {
		err = errors.Join(err, os.Chown(path, uid, -1), os.Chown(dir, uid, -1))
	}
	if err != nil {
		lis.Close()
		return nil, fmt.Errorf("the gateway's socket: %w", err)
	}
	return lis, nil
}

// Ready waits until the database can be reached, and makes the session's role
// where each has its own. Its error is a session.Cause with a sentence. No
// client may start before it has returned.
func (g *Gateway) Ready(ctx context.Context) error {
	if _, err := g.db.control.ready(ctx); err != nil {
		return err
	}
	if g.db.perSession() {
		if err := g.makeRole(ctx); err != nil {
			return err
		}
	}
	return g.db.control.refuseSuperuser(ctx, g.User())
}

// User is the role that a client must ask for, or be given as PGUSER.
func (g *Gateway) User() string { return g.as.user }

// Close kills what is left and waits for every goroutine of the gateway.
// Calling it twice is fine.
func (g *Gateway) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), burialTime)
	defer cancel()
	err := g.Kill(ctx)
	g.wg.Wait()
	g.closed.Do(func() {
		g.dropRole()
		g.db.control.close()
	})
	return err
}

// accept takes clients until the listener is closed.
func (g *Gateway) accept() {
	for {
		conn, err := g.lis.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files, most likely
			g.log.Error("client not accepted", "error", err)
			time.Sleep(vanishedCheck)
			continue
		}
		select {
		case g.slots <- struct{}{}:
		default:
			g.log.Warn("client refused", "error", "too many at once")
			conn.Close()
			continue
		}
		g.wg.Go(func() {
			defer func() { <-g.slots }()
			defer conn.Close()
			g.greet(conn)
		})
	}
}

// alarm is for what an operator must look at.
func (g *Gateway) alarm(text string) {
	g.log.Error("alarm", "text", text)
	g.door.Note(session.Event{Type: session.Alarm, Text: text})
}

// enter numbers a link that is about to dial; false when the session is over
// or has enough of them.
func (g *Gateway) enter(l *link) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.dead:
		return errEnded
	case len(g.links) >= maxLinks:
		return fmt.Errorf("a session has at most %d connections to the database", maxLinks)
	}
	g.opened++
	g.dialing++
	l.n = g.opened
	g.links[l] = struct{}{}
	return nil
}

// dialed is called once the link has a backend, or will never have one. It is
// false when the session is over by now: the backend is to be ended.
func (g *Gateway) dialed(l *link, pg *pgconn.PgConn, h *pgconn.HijackedConn, b backend) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dialing--
	if h == nil {
		return !g.dead
	}
	g.backends[b] = struct{}{}
	l.pg, l.up, l.backend, l.talk = pg, h.Conn, b, newDialogue(h.TxStatus, h.ParameterStatuses)
	key := make([]byte, 4)
	rand.Read(key)
	l.key = binary.BigEndian.Uint32(key)
	l.serving = true
	return !g.dead
}

func (g *Gateway) leave(l *link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.links, l)
}
