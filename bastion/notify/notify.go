// Package notify tells people who are not at the bastion what happens there:
// that somebody waits for a shadow, that glass was broken, that a session was
// killed. It speaks to webhooks (signed, as the Standard Webhooks specification
// says) and to Slack's incoming webhooks.
//
// Its one idea: whoever tells never waits. Each destination has a queue of its
// own, bounded, and one goroutine that delivers; what is urgent goes first.
//
// It knows nothing of SSH, and decides nothing.
package notify

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twokey/twokey/session"
)

// What is told. The words are a contract.
const (
	Waiting    = "waiting"     // a session waits for its shadows
	Opened     = "opened"      // they are there, and psql starts
	BreakGlass = "break-glass" // a session was opened without them
	Killed     = "killed"
	Alarm      = "alarm" // something an operator must look at
	Ended      = "ended"
)

// Notice is one thing that is told. Its JSON names are a contract.
type Notice struct {
	Event string    `json:"event"`
	Time  time.Time `json:"time"`
	session.Summary
	Takes string `json:"takes,omitempty"` // who it takes to watch, in words
	Join  string `json:"join,omitempty"`  // what to type to sit down; empty when it is over

	id string // tells this notice from others, through all tries
}

// urgent reports whether a notice goes before others.
func (n Notice) urgent() bool {
	return n.Event == Killed || n.Event == BreakGlass || n.Event == Alarm
}

// Bounds of what waits for a destination that does not answer.
const (
	maxQueue   = 256
	maxAge     = 15 * time.Minute // then a notice is given up
	firstPause = time.Second
	lastPause  = time.Minute
)

// Destination is where notices go.
type Destination interface {
	// Name is for people and logs: no secret, no path.
	Name() string
	// Deliver makes one try. retry says whether another may help, and after how
	// long at least.
	Deliver(ctx context.Context, n Notice) (retry bool, after time.Duration, err error)
	// Reach connects, and sends nothing.
	Reach(ctx context.Context) error
}

// Notifier tells all its destinations.
type Notifier struct {
	queues []*queue
	names  []string
	log    *slog.Logger
	wg     sync.WaitGroup
	stop   context.CancelFunc
}

// New starts delivering. Close ends it.
func New(to []Destination, log *slog.Logger) *Notifier {
	ctx, stop := context.WithCancel(context.Background())
	n := &Notifier{log: log, stop: stop}
	for _, d := range to {
		q := &queue{to: d, log: log.With("to", d.Name()), changed: make(chan struct{}, 1), empty: make(chan struct{})}
		close(q.empty)
		n.queues = append(n.queues, q)
		n.names = append(n.names, d.Name())
		n.wg.Go(func() { q.deliver(ctx) })
	}
	return n
}

// Names are those of the destinations, for people.
func (n *Notifier) Names() []string { return n.names }

// Notify tells what happened to a session. It never waits.
func (n *Notifier) Notify(event string, s session.Summary, takes, join string) {
	var id [12]byte
	rand.Read(id[:])
	notice := Notice{Event: event, Time: time.Now().UTC(), Summary: s, Takes: takes, Join: join, id: "msg_" + hex.EncodeToString(id[:])}
	for _, q := range n.queues {
		q.put(notice)
	}
}

// Close delivers what waits until ctx ends, and stops.
func (n *Notifier) Close(ctx context.Context) {
	for _, q := range n.queues {
		q.drain(ctx)
	}
	n.stop()
	n.wg.Wait()
}

// queue is what waits for one destination.
type queue struct {
	to      Destination
	log     *slog.Logger
	changed chan struct{} // holds a token when something was put

	mu      sync.Mutex
	waiting []Notice
	busy    bool          // one is being delivered
	empty   chan struct{} // closed while nothing waits and nothing is under way
}

// put adds a notice. In a full queue the oldest that is not urgent makes room.
func (q *queue) put(n Notice) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 && !q.busy {
		q.empty = make(chan struct{})
	}
	if len(q.waiting) >= maxQueue {
		i := max(slices.IndexFunc(q.waiting, func(n Notice) bool { return !n.urgent() }), 0)
		q.log.Warn("notice dropped: too many wait", "event", q.waiting[i].Event, "session", q.waiting[i].ID)
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	q.waiting = append(q.waiting, n)
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// take returns what is to be delivered next.
func (q *queue) take() (n Notice, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return n, false
	}
	i := max(slices.IndexFunc(q.waiting, Notice.urgent), 0)
	n = q.waiting[i]
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.busy = true
	return n, true
}

// done ends a delivery; again puts the notice back to the front.
func (q *queue) done(n Notice, again bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy = false
	if again {
		q.waiting = slices.Insert(q.waiting, 0, n)
	}
	if len(q.waiting) == 0 {
		close(q.empty)
	}
}

// deliver delivers until ctx ends. A destination that fails gets a pause, which
// grows.
func (q *queue) deliver(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		n, ok := q.take()
		if !ok {
			select {
			case <-q.changed:
			case <-ctx.Done():
			}
			continue
		}
		retry, after, err := q.to.Deliver(ctx, n)
		again := err != nil && retry && time.Since(n.Time) < maxAge && ctx.Err() == nil
		q.done(n, again)
		switch {
		case err == nil:
			pause = firstPause
			continue
		case !again:
			q.log.Error("notice not delivered", "event", n.Event, "session", n.ID, "error", err)
		default:
			q.log.Warn("notice not delivered yet", "event", n.Event, "session", n.ID, "error", err)
		}
		select {
		case <-time.After(max(pause, min(after, lastPause))):
		case <-ctx.Done():
		}
		pause = min(2*pause, lastPause)
	}
}

// drain waits until nothing waits, or ctx ends.
func (q *queue) drain(ctx context.Context) {
	q.mu.Lock()
	empty := q.empty
	q.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
		q.mu.Lock()
		left := len(q.waiting)
		q.mu.Unlock()
		q.log.Error("notices not delivered: the bastion stops", "left", left)
	}
}
