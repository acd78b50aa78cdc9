//go:build linux

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/pgwire"
	"github.com/twokey/twokey/session/pgwire/label"
	"github.com/twokey/twokey/session/psql"
)

// This file opens what is behind the gate: the gateway to the database, and
// psql in its cage with nothing but the gateway's socket.

// opener opens the parts of sessions.
type opener struct {
	cage      *psql.Cage
	history   *psql.History                  // nil: none is kept
	databases map[[2]string]*pgwire.Database // by target and mode
	labels    *label.Parser
	redact    pgwire.Redaction
	log       *slog.Logger
	tidying   sync.WaitGroup
}

func newOpener(c *Config, cage *psql.Cage, node string, log *slog.Logger) (*opener, error) {
	o := &opener{cage: cage, databases: map[[2]string]*pgwire.Database{}, redact: c.Recordings.Redact, log: log}
	if !c.NoHistory {
		var err error
		if o.history, err = psql.OpenHistory(filepath.Join(c.State, "history")); err != nil {
			return nil, err
		}
	}
	for _, t := range c.Targets {
		for _, m := range t.Modes {
			db, err := t.database(m, node)
			if err != nil {
				return nil, fmt.Errorf("target %s, mode %s: %w", t.Name, m.Name, err)
			}
			o.databases[[2]string{t.Name, m.Name}] = db
		}
	}
	return o, nil
}

// session makes a session that cleans up behind itself when it has ended.
func (o *opener) session(want session.Request, tape session.Tape) *session.Session {
	p := &parts{opener: o}
	s := session.New(want, tape, p, o.log)
	o.tidying.Go(func() {
		<-s.Done()
		p.close()
	})
	return s
}

// parse starts the process that says what statements touch, until ctx ends.
func (o *opener) parse(ctx context.Context) {
	o.labels = label.Start(ctx, o.log)
	o.tidying.Go(func() { <-o.labels.Done() })
}

// keepReady has a launcher wait for the next psql, until ctx ends.
func (o *opener) keepReady(ctx context.Context) {
	o.tidying.Go(func() { o.cage.KeepReady(ctx) })
}

// sweep drops what roles of sessions a bastion that died has left, now and every
// minute, until ctx ends.
func (o *opener) sweep(ctx context.Context) {
	for name, db := range o.databases {
		o.tidying.Go(func() {
			db.Sweeper(ctx, func(dropped int, err error) {
				o.log.Warn("roles of sessions that are no more", "target", name[0], "mode", name[1], "dropped", dropped, "error", err)
			})
		})
	}
}

// wait returns when everything that sessions had open is closed.
func (o *opener) wait() { o.tidying.Wait() }

// parts are what one session has open. It is the session's Opener.
type parts struct {
	*opener
	mu      sync.Mutex
	dir     string
	gateway *pgwire.Gateway
	shell   *psql.Shell
	release func()
}

// Open is session.Opener's.
func (p *parts) Open(ctx context.Context, door session.Door, want session.Request) (session.Gateway, session.Shell, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	db := p.databases[[2]string{want.Target.Name, want.Mode.Name}]
	if db == nil {
		return nil, nil, session.Cause{Code: session.NoDatabase, Text: "this target has no database"}
	}
	var err error
	if p.dir, err = os.MkdirTemp("", "twokey-"); err != nil {
		return nil, nil, err
	}
	uid := os.Getuid()
	if !want.NoShell {
		if uid, p.release, err = p.cage.Reserve(); err != nil {
			return nil, nil, err
		}
	}
	var pid atomic.Int64
	p.gateway, err = db.Listen(pgwire.Options{
		Dir: p.dir, Door: door, For: want, PeerPID: func() int { return int(pid.Load()) }, PeerUID: uid, Log: p.log,
		Labels: p.labels.Labels, Redact: p.redact,
	})
	if err != nil {
		return nil, nil, err
	}
	if err := p.gateway.Ready(ctx); err != nil {
		return nil, nil, err
	}
	if want.NoShell {
		return p.gateway, nil, nil
	}
	p.shell, err = p.cage.Start(psql.Options{
		Socket: p.dir, Database: db.Name(), User: p.gateway.User(), Args: want.Args, Size: want.Size,
		Term: want.Term, Env: want.Env, UID: uid, Past: p.history.Of(want.Engineer, want.Target.Name),
	})
	if err != nil {
		return nil, nil, err
	}
	pid.Store(int64(p.shell.PID()))
	return p.gateway, p.shell, nil
}

// Greet is session.Opener's.
func (p *parts) Greet(conn net.Conn) (session.Client, error) { return pgwire.Greet(conn) }

// close closes whatever Open got to. The session has killed what was alive.
func (p *parts) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shell != nil {
		p.shell.Kill()
		if err := p.shell.Remembered(); err != nil {
			p.log.Error("what was typed is not remembered", "error", err)
		}
	}
	if p.gateway != nil {
		if err := p.gateway.Close(); err != nil {
			p.log.Error("gateway not closed", "error", err)
		}
	}
	if p.release != nil {
		p.release()
	}
	if p.dir != "" {
		os.RemoveAll(p.dir)
	}
}
