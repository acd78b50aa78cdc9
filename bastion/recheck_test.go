package bastion_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
)

// registrar is an identity provider that is asked about people. About most it
// has nothing to say; script says what it answers about one of them, in turn, the
// last answer again and again.
type registrar struct {
	subject string
	script  []answer

	mu    sync.Mutex
	asked int
}

type answer struct {
	now session.Identity
	err error
}

// over is a login that does not count any more.
type over struct{ error }

func (over) Ended() bool { return true }

func (r *registrar) Recheck(_ context.Context, _, subject string) (session.Identity, bool, error) {
	if subject != r.subject {
		return session.Identity{}, false, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.script[min(r.asked, len(r.script)-1)]
	r.asked++
	return a.now, true, a.err
}

func (r *registrar) times() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// asks begins to ask it about everybody, until the test ends.
func (h *house) asks(r *registrar) {
	ctx, stop := context.WithCancel(context.Background())
	var rounds sync.WaitGroup
	rounds.Go(func() { h.server.Recheck(ctx, r, 5*time.Millisecond) })
	h.t.Cleanup(func() { stop(); rounds.Wait() })
}

var (
	away = answer{err: errors.New("the identity provider does not answer")}
	done = answer{err: over{errors.New("invalid_grant")}}
)

func isStill(who session.Identity) answer { return answer{now: who} }

// Every row is what the provider says of somebody in a session that is open.
func TestRecheckPutsOut(t *testing.T) {
	for _, c := range []struct {
		name   string
		script []answer
		says   string
		asked  int // until then
	}{
		{"three rounds without an answer, after two that had one behind them", []answer{away, away, isStill(alice), away, away, away},
			"the identity provider has not said for", 6},
		{"the login has ended", []answer{isStill(alice), done}, "the identity provider ended the login of alice", 2},
		{"a group is gone", []answer{isStill(person("alice", "sales"))}, "alice is no longer in the group engineering", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t)
			x, s := waiting(t, h)
			y := h.terminal(bob, "lobby", "shadow 7kq01")
			x.sees("psql is here")
			r := &registrar{subject: alice.Subject, script: c.script}
			h.asks(r)
			x.sees(c.says)
			<-s.Done()
			y.sees(c.says)
			if cause := s.Summary().Cause; cause == nil || cause.Code != session.Revoked || !strings.Contains(cause.Text, c.says) {
				t.Errorf("the session ended with %+v", cause)
			}
			if n := r.times(); n < c.asked {
				t.Errorf("out after %d questions, not %d", n, c.asked)
			}
		})
	}
}

func TestRecheckLeavesWhoIsStillWhoTheyWere(t *testing.T) {
	h := open(t)
	x, s := waiting(t, h)
	h.terminal(bob, "lobby", "shadow 7kq01")
	x.sees("psql is here")
	more := person("alice", "engineering", "dba") // what comes, a new login has
	r := &registrar{subject: alice.Subject, script: []answer{away, away, isStill(more), away, away, isStill(alice)}}
	h.asks(r)
	eventually(t, "ten questions", func() bool { return r.times() >= 10 })
	if !s.Gate().Open {
		t.Errorf("the gate is %s", s.Gate())
	}
}

// A shadow who may not be one any more leaves a gate that is shut, and a session
// that somebody else may come to.
func TestRecheckTakesAShadow(t *testing.T) {
	h := open(t)
	x, s := waiting(t, h)
	y := h.terminal(bob, "lobby", "shadow 7kq01")
	x.sees("psql is here")
	h.asks(&registrar{subject: bob.Subject, script: []answer{isStill(person("bob", "sales"))}})
	y.sees("bob is no longer in the group engineering")
	x.sees("bob left")
	x.sees("the gate is shut")
	if s.Gate().Open || s.Summary().State != session.Shut {
		t.Errorf("the gate is %s", s.Gate())
	}
}

// Broken glass is asked about like everything else: an emergency is no reason to
// keep somebody in whom the provider has put out.
func TestRecheckOfBrokenGlass(t *testing.T) {
	for says, script := range map[string][]answer{
		"olga is no longer in the group oncall": {isStill(person("olga", "engineering"))}, "has not said for": {away},
	} {
		h := open(t)
		x := h.terminal(olga, "orders+watched", "--break-glass --reason 'db down'")
		x.sees("psql is here")
		s := h.live(1)
		h.asks(&registrar{subject: olga.Subject, script: script})
		x.sees(says)
		<-s.Done()
	}
}
