package pgwire

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// This file ends backends for certain: the statement is cancelled and the
// backend terminated at the same time, over two ways, neither of which is the
// connection that may be stuck; and then the database is asked until it says
// that the backend is gone.

const (
	askAgain      = 10 * time.Millisecond // while a backend is still there
	askBroken     = 100 * time.Millisecond
	politeTime    = time.Second // for a backend to leave by itself
	terminateEach = time.Second // terminate again, should the first have been lost
)

// Kill ends every link and confirms that their backends are gone, or says
// which are not when ctx ends. After it nothing is sent to the database, and
// what became of every statement has been noted. It may be called at any time, from anywhere, and again.
func (g *Gateway) Kill(ctx context.Context) error {
	g.mu.Lock()
	g.dead = true
	links := slices.DeleteFunc(slices.Collect(maps.Keys(g.links)), func(l *link) bool { return !l.serving })
	g.mu.Unlock()
	g.lis.Close()
	g.end(errEnded)
	short, stop := context.WithTimeout(ctx, cancelTime)
	var cancels sync.WaitGroup
	defer cancels.Wait()
	defer stop()
	for _, l := range links {
		if l.talk.busy() {
			cancels.Go(func() { l.pg.CancelRequest(short) })
		}
		sever(l.up)
	}
	if err := g.settled(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	left := slices.Collect(maps.Keys(g.backends))
	g.mu.Unlock()
	err := g.bury(ctx, left, true)
	for _, l := range links {
		select {
		case <-l.noted:
		case <-ctx.Done():
		}
	}
	return err
}

// settled waits until no link is on its way to a backend any more; their
// context has ended.
func (g *Gateway) settled(ctx context.Context) error {
	for {
		g.mu.Lock()
		dialing := g.dialing
		g.mu.Unlock()
		if dialing == 0 {
			return nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("a login to the database did not end in time")
		}
	}
}

// bury waits until the backends are gone, ending them if told to, at once or
// when they do not leave by themselves.
func (g *Gateway) bury(ctx context.Context, left []backend, now bool) error {
	began, ended := time.Now(), time.Time{}
	for len(left) > 0 {
		terminate := (now || time.Since(began) > politeTime) && time.Since(ended) > terminateEach
		there, err := g.db.control.living(ctx, left, terminate)
		wait := askAgain
		if err != nil {
			wait = askBroken
		} else {
			g.gone(left, there)
			left = there
			if terminate {
				ended = time.Now()
			}
		}
		if len(left) == 0 {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return g.unburied(left, err)
		}
	}
	return nil
}

// gone forgets the backends that are not there any more.
func (g *Gateway) gone(asked, there []backend) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range asked {
		if !slices.Contains(there, b) {
			delete(g.backends, b)
		}
	}
}

func (g *Gateway) unburied(left []backend, err error) error {
	pids := make([]string, len(left))
	for i, b := range left {
		pids[i] = fmt.Sprint(b.pid)
	}
	text := "the database has not confirmed that backend " + strings.Join(pids, ", ") + " is gone"
	if err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	return fmt.Errorf("%s", text)
}

// bury ends this link's backend, cancelling what runs if it must go now. When
// the gateway has been killed, Kill does it.
func (l *link) bury(now bool) {
	if l.g.ctx.Err() != nil {
		return
	}
	ctx, stop := context.WithTimeout(l.g.ctx, burialTime)
	var cancels sync.WaitGroup
	defer cancels.Wait()
	defer stop()
	if now {
		cancels.Go(func() { l.pg.CancelRequest(ctx) })
	}
	if err := l.g.bury(ctx, []backend{l.backend}, now); err != nil && l.g.ctx.Err() == nil {
		l.g.alarm(err.Error())
	}
}
