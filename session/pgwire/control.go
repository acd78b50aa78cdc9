package pgwire

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// This file keeps the control connection: one per Database, open while any
// session is, so that a kill need not log in first, nor fail when the database
// takes no more connections.

// controlPatience is how long an existing control connection may take to
// answer before a new one is tried. Its queries take a millisecond.
const controlPatience = time.Second

type control struct {
	db *Database

	mu    sync.Mutex
	users int

	turn chan struct{} // whoever holds the token uses conn
	conn *pgconn.PgConn
}

func newControl(d *Database) *control {
	return &control{db: d, turn: make(chan struct{}, 1)}
}

// open counts one more session.
func (c *control) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users++
}

// close counts one less. After the last one the connection is closed, by whoever
// has the turn then.
func (c *control) close() {
	c.mu.Lock()
	c.users--
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), controlPatience)
	defer cancel()
	if c.take(ctx) == nil {
		c.give()
	}
}

func (c *control) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.users == 0
}

func (c *control) take(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *control) give() {
	if c.conn != nil && c.idle() {
		ctx, cancel := context.WithTimeout(context.Background(), controlPatience)
		defer cancel()
		c.conn.Close(ctx)
		c.conn = nil
	}
	<-c.turn
}

// ready connects if need be and returns the server's version, such as "15.18".
func (c *control) ready(ctx context.Context) (version string, err error) {
	if err := c.take(ctx); err != nil {
		return "", noDatabase("the database did not answer in time")
	}
	defer c.give()
	if err := c.connect(ctx); err != nil {
		return "", err
	}
	return c.conn.ParameterStatus("server_version"), nil
}

// connect opens the connection if there is none. The caller has the turn. The
// parameters outrank whatever has been set for the role, search_path above all.
func (c *control) connect(ctx context.Context) error {
	if c.conn != nil && !c.conn.IsClosed() {
		return nil
	}
	conn, err := c.db.dial(ctx, c.db.own(), c.db.Name(), controlParams())
	if err != nil {
		return err
	}
	c.conn = conn
	return nil
}

func controlParams() map[string]string {
	return map[string]string{
		"application_name": "twokey control", "search_path": "pg_catalog", "client_encoding": "UTF8",
		"DateStyle": "ISO", "TimeZone": "UTC", "statement_timeout": "5000", "lock_timeout": "5000",
		"default_transaction_read_only": "off", "local_preload_libraries": "", "role": "none",
	}
}

// query runs one statement with text parameters and returns the rows, NULL as
// "". A connection that turned out broken is replaced once, within ctx.
func (c *control) query(ctx context.Context, sql string, args ...string) ([][]string, error) {
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	defer c.give()
	for again := false; ; again = true {
		fresh := c.conn == nil || c.conn.IsClosed()
		if err := c.connect(ctx); err != nil {
			return nil, err
		}
		rows, err := c.try(ctx, sql, args, fresh)
		var pg *pgconn.PgError
		if err == nil || errors.As(err, &pg) && !c.conn.IsClosed() {
			return rows, err
		}
		c.conn.Close(ctx)
		c.conn = nil
		if again || fresh || ctx.Err() != nil {
			return nil, fmt.Errorf("control connection: %s", innermost(err))
		}
	}
}

func (c *control) try(ctx context.Context, sql string, args []string, fresh bool) ([][]string, error) {
	if !fresh {
		short, cancel := context.WithTimeout(ctx, controlPatience)
		defer cancel()
		ctx = short
	}
	values := make([][]byte, len(args))
	for i, a := range args {
		values[i] = []byte(a)
	}
	result := c.conn.ExecParams(ctx, sql, values, nil, nil, nil).Read()
	if result.Err != nil {
		return nil, result.Err
	}
	rows := make([][]string, len(result.Rows))
	for i, row := range result.Rows {
		for _, v := range row {
			rows[i] = append(rows[i], string(v))
		}
	}
	return rows, nil
}

// backend is one server process, told apart from a later one with the same pid.
type backend struct {
	pid   uint32
	start string // its backend_start, as the control connection prints it
}

func (b backend) String() string { return fmt.Sprintf("%d %s", b.pid, b.start) }

// identify finds out when the backend started. "" when it is not to be seen.
func (c *control) identify(ctx context.Context, pid uint32) (backend, error) {
	rows, err := c.query(ctx, "select backend_start::text from pg_catalog.pg_stat_activity where pid = $1::int", fmt.Sprint(pid))
	if err != nil {
		return backend{pid: pid}, err
	}
	if len(rows) == 0 {
		return backend{pid: pid}, fmt.Errorf("backend %d is not in pg_stat_activity", pid)
	}
	return backend{pid: pid, start: rows[0][0]}, nil
}

// living returns which of the backends are still there, and terminates them if asked to.
func (c *control) living(ctx context.Context, of []backend, terminate bool) ([]backend, error) {
	what := "select pid || ' ' || coalesce(backend_start::text, '')"
	if terminate {
		what = "select pid || ' ' || coalesce(backend_start::text, ''), pg_catalog.pg_terminate_backend(pid)"
	}
	names := make([]string, len(of))
	for i, b := range of {
		names[i] = `"` + b.String() + `"`
	}
	rows, err := c.query(ctx, what+` from pg_catalog.pg_stat_activity
		where pid || ' ' || coalesce(backend_start::text, '') = any ($1::text[])`, "{"+strings.Join(names, ",")+"}")
	if err != nil {
		return of, err
	}
	var left []backend
	for _, b := range of {
		for _, row := range rows {
			if row[0] == b.String() {
				left = append(left, b)
			}
		}
	}
	return left, nil
}
