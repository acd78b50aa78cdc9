package bastion

import (
	"context"
	"strings"

	"github.com/twokey/twokey/session"
)

// This file tells people who are not here what becomes of a session.

// Notifier tells people who are not here. It never waits.
type Notifier interface {
	// Notify tells that something happened to a session: "waiting", "opened",
	// "break-glass", "alarm", "killed" or "ended". takes is who it takes to watch, in words;
	// join what to type to sit down, empty when it is over.
	Notify(event string, s session.Summary, takes, join string)
	// Names are where it tells, for people.
	Names() []string
}

// tell tells of a session that has not begun, until it is sealed. Where
// nobody has to watch, people open sessions all day: there it tells of nothing
// but a kill or an alarm. wait returns when the last has been told.
func (s *Server) tell(x *session.Session) (wait func()) {
	if s.Notifier == nil || len(s.Notifier.Names()) == 0 {
		return func() {}
	}
	r := x.Request()
	watched := len(r.Mode.Shadows) > 0
	told := func(event, join string) {
		if watched || event == "killed" || event == "alarm" {
			s.Notifier.Notify(event, x.Summary(), r.Mode.Shadows.String(), join)
		}
	}
	if len(r.Quorum()) > 0 {
		told("waiting", r.Join)
		x.Tell("told: " + strings.Join(s.Notifier.Names(), ", ") + ".")
	}
	feed := x.Follow(session.GateOpen, session.Alarm, session.End)
	done := make(chan struct{})
	go func() { // ends with the session
		defer close(done)
		defer feed.Close()
		opened := false
		for {
			events, err := feed.Next(context.Background())
			if err != nil {
				break
			}
			for _, e := range events {
				switch {
				case e.Type == session.Alarm:
					told("alarm", r.Join)
				case e.Type == session.GateOpen && !opened:
					opened = true
					told(openedAs(r), r.Join)
				}
			}
		}
		end := "ended"
		if c := x.Summary().Cause; c != nil && c.Code == session.Killed {
			end = "killed"
		}
		told(end, "")
	}()
	return func() { <-done }
}

func openedAs(r session.Request) string {
	if r.BreakGlass {
		return "break-glass"
	}
	return "opened"
}
