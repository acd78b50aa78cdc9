package bastion

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/twokey/twokey/session"
)

// This file counts who is in the house: so that no one source fills it, and so
// that Shutdown can wait for everybody. gliderlabs/ssh has neither (its
// Shutdown returns while handlers still run).

// roll is the list of everyone in the house.
type roll struct {
	limits Limits

	mu        sync.Mutex
	closing   bool
	listeners []net.Listener
	conns     map[*connection]struct{}
	sources   map[netip.Prefix]int // connections of each
	crowd     crowd                // of strangers
	talkers   map[talker]int       // those of them who are in the middle of a login
	people    map[account]int      // connections of each
	strangers [known]int           // at each stage before
	awaited   int                  // connections whose proxy has not said yet whom it brings
	living    sync.WaitGroup       // connections; added to only under mu while not closing
	handling  sync.WaitGroup       // channel handlers; the same
}

// stage is how far somebody has come.
type stage int

const (
	silent  stage = iota // has offered no key and begun no login; a program that connects and waits can be this for free
	talking              // in the middle of a login
	known
)

// talker is where somebody comes from who is in the middle of a login, and whether they have shown a
// certificate that is good. Both kinds have places of their own, as a certificate is no secret: who has
// copied one gets no further with it, and must not push anybody out who has none yet.
type talker struct {
	source  netip.Prefix
	vouched bool
}

func newRoll(l Limits) roll {
	return roll{limits: l, conns: map[*connection]struct{}{}, sources: map[netip.Prefix]int{}, crowd: crowd{}, talkers: map[talker]int{}, people: map[account]int{}}
}

func (r *roll) listen(l net.Listener) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closing {
		r.listeners = append(r.listeners, l)
	}
	return !r.closing
}

func (r *roll) isClosing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closing
}

// arrive counts a connection in, or says why it cannot come in.
func (r *roll) arrive(c *connection) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closing:
		return ErrClosed
	case len(r.conns) >= r.limits.Connections:
		return errors.New("too many connections")
	case r.sources[c.source] >= r.limits.PerSource:
		return errors.New("too many connections from one address")
	}
	talking := r.talkers[talker{c.source, false}] + r.talkers[talker{c.source, true}]
	if r.crowd[c.source]-talking >= r.limits.Strangers {
		r.evict(silent, c.neighbour)
	}
	if r.strangers[silent] >= r.limits.AllStrangers {
		r.evict(silent, anyone)
	}
	r.sources[c.source]++
	r.crowd.add(c.source, 1)
	r.strangers[silent]++
	r.conns[c] = struct{}{}
	r.living.Add(1)
	return nil
}

// talk notes that somebody has begun a login, or says why they cannot. Where too many of their
// kind from their address are in the middle of one, the first gives way: of those who are vouched for
// at once, of others when they have had their time.
func (r *roll) talk(c *connection, vouched bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.stage != silent {
		return nil
	}
	kind, late := talker{c.source, vouched}, time.Now().Add(-r.limits.Undisturbed)
	yields := func(o *connection) bool { return o.talker() == kind && (vouched || o.began.Before(late)) }
	if r.talkers[kind] >= r.limits.Strangers && !r.evict(talking, yields) {
		return fmt.Errorf("%d logins are under way from your address; try again in a minute", r.talkers[kind])
	}
	if r.strangers[talking] >= r.limits.AllStrangers {
		r.evict(talking, anyone)
	}
	c.vouched = vouched
	r.move(c, talking)
	return nil
}

// welcome notes that somebody is in.
func (r *roll) welcome(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.move(c, known)
}

// move counts a connection at its new stage. Nobody goes back. The caller holds mu.
func (r *roll) move(c *connection, to stage) {
	if to <= c.stage {
		return
	}
	r.strangers[c.stage]--
	if c.stage == talking {
		less(r.talkers, c.talker())
	}
	if to == known {
		r.crowd.add(c.source, -1)
	} else {
		r.strangers[to]++
		r.talkers[c.talker()]++
	}
	c.stage = to
}

// less counts one down, and keeps no zeros.
func less[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// belongs counts a connection as this person's, unless they have enough.
func (r *roll) belongs(c *connection, to account) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.owner == to {
		return true
	}
	if r.people[to] >= r.limits.PerPerson {
		return false
	}
	less(r.people, c.owner)
	r.people[to]++
	c.owner = to
	return true
}

func (c *connection) talker() talker { return talker{c.source, c.vouched} }

// neighbour reports whether another one comes from the same address.
func (c *connection) neighbour(o *connection) bool { return o.source == c.source }

func anyone(*connection) bool { return true }

// evict makes room among some strangers of one stage: the one who came first of
// those from the most crowded place goes. So whoever is in the middle of a login is
// not disturbed by any number of silent ones, and whoever comes from a place of
// their own by no number of others from one. It reports whether anybody went. The caller
// holds mu.
func (r *roll) evict(at stage, of func(*connection) bool) bool {
	var out *connection
	for c := range r.conns {
		if c.stage == at && of(c) && (out == nil || r.sooner(c, out)) {
			out = c
		}
	}
	if out == nil {
		return false
	}
	r.move(out, known) // not counted any more
	out.hangUp()
	out.server.Meter.Refused(refusedConnection)
	return true
}

func (r *roll) sooner(a, b *connection) bool {
	if n := r.crowd.compare(a.source, b.source); n != 0 {
		return n > 0
	}
	return a.began.Before(b.began)
}

func (r *roll) depart(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.move(c, known)
	less(r.sources, c.source)
	less(r.people, c.owner)
	delete(r.conns, c)
	r.living.Done()
}

// expect counts in a connection of which its proxy has yet to say whom it brings.
func (r *roll) expect() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closing:
		return ErrClosed
	case r.awaited >= r.limits.AllStrangers:
		return errors.New("too many connections that their proxy says nothing about")
	}
	r.awaited++
	r.living.Add(1)
	return nil
}

// expected is the end of expect.
func (r *roll) expected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.awaited--
	r.living.Done()
}

// enter counts a handler in; false when the house is closing.
func (r *roll) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closing {
		r.handling.Add(1)
	}
	return !r.closing
}

func (r *roll) leave() { r.handling.Done() }

// close lets nobody in any more.
func (r *roll) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
	for _, l := range r.listeners {
		l.Close()
	}
	r.listeners = nil
}

// hangUp closes every connection.
func (r *roll) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.hangUp()
	}
}

// of returns the connections of some people.
func (r *roll) of(is func(session.Identity) bool) (list []*connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		if who := c.who.Load(); who != nil && is(*who) {
			list = append(list, c)
		}
	}
	return list
}

func (r *roll) waitHandlers(patience time.Duration) bool {
	return within(patience, r.handling.Wait)
}

func (r *roll) waitAll(patience time.Duration) bool {
	return within(patience, func() { r.handling.Wait(); r.living.Wait() })
}

// within reports whether wait came back in time. The goroutine has no waiter
// when it did not: Shutdown then reports a handler that hangs, and the process
// is about to end.
func within(patience time.Duration, wait func()) bool {
	done := make(chan struct{})
	go func() { wait(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(patience):
		return false
	}
}
