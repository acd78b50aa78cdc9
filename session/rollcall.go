package session

import (
	"sync"
	"time"
)

// Stuck is the flag of a session that does not answer, as its spool hangs. Nothing
// passes its gate.
const Stuck = "stuck"

// RollCall asks sessions how they are, for those who list and count them, and
// waits for none whose tape hangs. The zero one is ready; any goroutine may call.
type RollCall struct {
	mu    sync.Mutex
	asked map[*Session]*asked
}

// Present is how a session is. Of one that does not answer it is what was asked
// for, with the flag Stuck, a gate that is shut, and for how long that has been so.
type Present struct {
	*Session
	Summary Summary
	Health  Health
	Silent  time.Duration // 0: it has answered
}

// Of asks sessions and waits for all of them together at most patience. One that
// has not answered an earlier call is not asked again before it has.
func (r *RollCall) Of(sessions []*Session, patience time.Duration) []Present {
	late := time.NewTimer(patience)
	defer late.Stop()
	all := make([]Present, 0, len(sessions))
	out := false
	for _, a := range r.ask(sessions) {
		if !out {
			select {
			case <-a.done:
			case <-late.C:
				out = true
			}
		}
		all = append(all, a.present())
	}
	return all
}

type asked struct {
	session *Session
	began   time.Time
	done    chan struct{}
	summary Summary // when done is closed
	health  Health
}

func (r *RollCall) ask(sessions []*Session) (all []*asked) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := map[*Session]*asked{}
	for s, a := range r.asked {
		if !a.answered() {
			next[s] = a
		}
	}
	for _, s := range sessions {
		a := next[s]
		if a == nil {
			a = &asked{session: s, began: time.Now(), done: make(chan struct{})}
			// Nobody waits for it longer than their patience: it ends when the session's
			// disk answers, and until then is the only one for this session.
			go a.answer()
			next[s] = a
		}
		all = append(all, a)
	}
	r.asked = next
	return all
}

func (a *asked) answer() {
	defer close(a.done)
	a.summary, a.health = a.session.Summary(), a.session.Health()
}

func (a *asked) answered() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

func (a *asked) present() Present {
	if a.answered() {
		return Present{Session: a.session, Summary: a.summary, Health: a.health}
	}
	w := a.session.want
	return Present{Session: a.session, Silent: time.Since(a.began), Summary: Summary{
		ID: w.ID, Code: w.Code, Engineer: w.Engineer.Name, Target: w.Target.Name, Mode: w.Mode.Name,
		Reason: w.Reason, State: Shut, Started: w.Started, Flags: []string{Stuck},
	}}
}
