package session

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"
)

// Registry holds the live sessions of this bastion.
type Registry struct {
	mu       sync.Mutex
	live     []*Session
	draining bool
	gone     sync.WaitGroup
}

// Add registers a session from now until it is Done; it fails with a Drained
// Cause once Drain was called.
func (r *Registry) Add(s *Session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		return Cause{Code: Drained, Text: "this bastion is stopping; try again in a minute"}
	}
	r.live = append(r.live, s)
	r.gone.Go(func() { r.forget(s) })
	return nil
}

// forget waits for the session's end, which its Run brings about.
func (r *Registry) forget(s *Session) {
	<-s.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, t := range r.live {
		if t == s {
			r.live = append(r.live[:i:i], r.live[i+1:]...)
			return
		}
	}
}

// Live returns the live sessions, oldest first.
func (r *Registry) Live() []*Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Session(nil), r.live...)
}

// Find returns the live session with this ID or short code (any case).
func (r *Registry) Find(idOrCode string) (*Session, bool) {
	name := strings.ToUpper(idOrCode)
	for _, s := range r.Live() {
		if s.want.ID == name || s.want.Code == name {
			return s, true
		}
	}
	return nil, false
}

// NewCode returns a short code that no live session has.
func (r *Registry) NewCode() string {
	for {
		code := newCode()
		if _, taken := r.Find(code); !taken {
			return code
		}
	}
}

// Revoke ends what a person has here: their sessions with the cause, and their
// seats at others'. It returns how many of each. The caller has seen to it that
// they open no new ones.
func (r *Registry) Revoke(is func(Identity) bool, c Cause) (sessions, seats int) {
	for _, s := range r.Live() {
		if is(s.want.Engineer) {
			s.end(c)
			sessions++
			continue
		}
		seats += s.unseat(is, c.Sentence())
	}
	return sessions, seats
}

// Drain refuses new sessions, tells the live ones, and waits for them to end
// until ctx ends; then it ends them with Drained and waits for their tapes to
// be sealed.
func (r *Registry) Drain(ctx context.Context) {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	notice := "this bastion is about to stop. Finish what you are doing."
	if until, ok := ctx.Deadline(); ok {
		notice = "this bastion stops in " + Brief(time.Until(until)) + ". Finish what you are doing; what is not committed by then is rolled back."
	}
	for _, s := range r.Live() {
		s.Tell(notice)
	}
	stop := context.AfterFunc(ctx, func() {
		for _, s := range r.Live() {
			s.Finish(Cause{Code: Drained, Text: "this bastion is stopping"})
		}
	})
	defer stop()
	r.gone.Wait()
}

// newCode makes five letters of Crockford's base 32, which has no I, L, O, U:
// 25 bits, enough to tell the live sessions apart, and never a credential.
func newCode() string {
	const letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var code [5]byte
	rand.Read(code[:])
	for i, b := range code {
		code[i] = letters[b&31]
	}
	return string(code[:])
}
