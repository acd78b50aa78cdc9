package bastion

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twokey/twokey/certs"
	"github.com/twokey/twokey/session"
)

// This file asks the identity provider, now and then, about everyone who is in the
// house. Whoever has lost what they came in with is put out, as an admin would, and
// needs a new login; so is, in the end, whoever it has not answered about for too long.

// Rechecker asks about people who have logged in; certs/oidc's Provider is one.
type Rechecker interface {
	// Recheck says who somebody is by now. asked is false when nobody can be asked. An
	// error with a method Ended() bool that is true says that the login does not count
	// any more; any other, that there is no answer.
	Recheck(ctx context.Context, issuer, subject string) (now session.Identity, asked bool, err error)
}

const (
	maxMisses = 3 // rounds in a row without an answer about somebody
	atOnce    = 8 // questions under way
)

// account is a person.
type account struct{ issuer, subject string }

func accountOf(who session.Identity) account { return account{who.Issuer, who.Subject} }

// Recheck goes round every so often until ctx ends.
func (s *Server) Recheck(ctx context.Context, by Rechecker, every time.Duration) {
	r := &recheck{server: s, by: by, every: every, misses: map[account]int{}}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.round(ctx)
		case <-ctx.Done():
			return
		}
	}
}

type recheck struct {
	server *Server
	by     Rechecker
	every  time.Duration

	mu     sync.Mutex
	misses map[account]int // in a row
}

// round asks about everyone once, a few at a time.
func (r *recheck) round(ctx context.Context) {
	here := map[account]string{}
	for _, c := range r.server.roll.of(func(session.Identity) bool { return true }) {
		who := c.who.Load()
		here[accountOf(*who)] = who.Name
	}
	r.mu.Lock()
	maps.DeleteFunc(r.misses, func(a account, _ int) bool { _, is := here[a]; return !is })
	r.mu.Unlock()
	slots := make(chan struct{}, atOnce)
	var asking sync.WaitGroup
	for a, name := range here {
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			r.ask(ctx, a, name)
		})
	}
	asking.Wait()
}

// ask asks about one, and acts on the answer.
func (r *recheck) ask(ctx context.Context, a account, name string) {
	defer func() {
		if p := recover(); p != nil {
			r.missed(a, name, fmt.Errorf("panic: %v", p))
		}
	}()
	now, asked, err := r.by.Recheck(ctx, a.issuer, a.subject)
	var said interface{ Ended() bool }
	switch {
	case ctx.Err() != nil || !asked:
	case errors.As(err, &said) && said.Ended():
		r.server.Log.Warn("recheck: the login has ended", "person", name, "subject", a.subject, "error", err)
		r.putOut(a, name, fmt.Sprintf("the identity provider ended the login of %s", name), everything)
	case err != nil:
		r.missed(a, name, err)
	default:
		r.answered(a)
		r.compare(a, name, now)
	}
}

func (r *recheck) answered(a account) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.misses, a)
}

// missed counts a round without an answer.
func (r *recheck) missed(a account, name string, err error) {
	r.mu.Lock()
	r.misses[a]++
	n := r.misses[a]
	r.mu.Unlock()
	r.server.Log.Warn("recheck: no answer", "person", name, "subject", a.subject, "misses", n, "of", maxMisses, "error", session.OneLine(err.Error(), 1000))
	if n >= maxMisses {
		r.answered(a)
		r.putOut(a, name, fmt.Sprintf("the identity provider has not said for %s whether %s may still be here", session.Brief(maxMisses*r.every), name), everything)
	}
}

func everything(session.Identity) bool { return true }

// compare puts out whoever came in with more than they have now.
func (r *recheck) compare(a account, name string, now session.Identity) {
	for _, c := range r.server.roll.of(func(who session.Identity) bool { return accountOf(who) == a }) {
		if what := lost(*c.who.Load(), now); what != "" {
			r.server.Log.Warn("recheck: changed", "person", name, "subject", a.subject, "what", what)
			r.putOut(a, name, fmt.Sprintf("the identity provider says that %s %s", name, what), func(who session.Identity) bool { return lost(who, now) != "" })
			return
		}
	}
}

// lost says what of somebody that decisions rest on is not so any more, or "". Groups
// that came are none of it: a new login has them.
func lost(had, now session.Identity) string {
	for _, g := range had.Groups {
		if !slices.Contains(now.Groups, g) {
			return "is no longer in the group " + g
		}
	}
	if had.SamePerson != now.SamePerson || !maps.Equal(had.Claims, now.Claims) {
		return "has moved, or is somebody else"
	}
	return ""
}

// putOut ends what an account has here, where it came in with what is no good, and
// refuses what it had logged in for until now.
func (r *recheck) putOut(a account, name, why string, those func(session.Identity) bool) {
	s := r.server
	if err := s.Revocations.Add(certs.Revocation{Person: name, Issuer: a.issuer, Subject: a.subject, By: "login.recheck", Why: why, Outdated: true}); err != nil {
		s.Log.Error("recheck", "error", err)
	}
	is := func(who session.Identity) bool { return accountOf(who) == a && those(who) }
	sessions, seats, connections := s.expel(is, session.Cause{Code: session.Revoked, Text: why + "; log in again"})
	s.Log.Warn("put out", "person", name, "subject", a.subject, "why", why, "sessions", sessions, "seats", seats, "connections", connections)
}
