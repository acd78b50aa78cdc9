package bastion

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twokey/twokey/session"
)

// This file gives the commands about recordings to a visitor: what they see,
// and that only auditors look inside, each time in the books. What was opened alone
// may be replayed by those who may review it, too; and everyone may search
// what they see in the listing.

// recordings are the commands as this visitor may use them.
func (v *visit) recordings() Recordings {
	r := Recordings{
		Archive:  v.server.Archive,
		Index:    v.server.Index,
		Live:     v.live,
		Reviewed: v.server.Reviews.Reviewed,
		Look:     v.look,
		Shown:    v.shown,
		Screen:   v.screen,
	}
	if v.auditor() {
		r.Replay = v.server.replayCommand
	}
	if !v.admin() && !v.auditor() {
		r.Seer, r.Sees = v.seer(), v.sees
	}
	return r
}

// replayCommand is how somebody sees a place in a recording.
func (s *Server) replayCommand(id string, at time.Duration) string {
	return s.line("ssh -t", "", []string{"replay", id, "--at", at.String()})
}

// rollCallPatience is how long a listing waits for all sessions: one whose spool hangs
// must not hide the others.
const rollCallPatience = time.Second

func (s *Server) present() []session.Present { return s.call.Of(s.Sessions.Live(), rollCallPatience) }

// live yields the live sessions that this visitor sees.
func (v *visit) live(yield func(session.Summary) bool) {
	for _, p := range v.server.present() {
		if v.mayList(p.Session) && !yield(p.Summary) {
			return
		}
	}
}

// seer is this visitor with the modes in which they might be a shadow. It is for the
// index to leave out what is surely not theirs to see; sees decides.
func (v *visit) seer() *session.Seer {
	seer := session.Seer{Who: v.who}
	for _, t := range v.server.Targets {
		for _, m := range t.Modes {
			if slices.ContainsFunc(m.Shadows, func(n session.Need) bool { return v.who.InAny(n.Groups) }) {
				seer.Modes = append(seer.Modes, session.ModeName{Target: t.Name, Mode: m.Name})
			}
		}
	}
	return &seer
}

// sees reports whether this visitor sees a session that has ended, in listings and
// in what they search: their own, those they shadowed, and those they might shadow as
// the modes are today.
func (v *visit) sees(s session.Found) bool {
	if !v.who.Valid() || !s.Opened.Valid() {
		return false // nobody is the same person as anyone
	}
	if s.Opened.SamePersonAs(v.who) {
		return true
	}
	if slices.ContainsFunc(s.Seated, func(i session.Identity) bool { return i.Valid() && i.SamePersonAs(v.who) }) {
		return true
	}
	for _, t := range v.server.Targets {
		if m, ok := t.Mode(s.Mode); ok && t.Name == s.Target && s.Mode != "" {
			return m.Shadows.Eligible(s.Opened, v.who) == nil
		}
	}
	return false
}

// look lets auditors look, and everyone search what they see, and writes down that they did before they see anything.
func (v *visit) look(ctx context.Context, what, id string) error {
	if !v.auditor() && what != "search" && !(what == "replay" && v.mayReplay(ctx, id)) {
		also := ""
		if what == "replay" {
			also = "; what was opened alone is, once it is stored, for those who may review it, too"
		}
		return refusal("%s is for auditors, people from %s, and you are not one%s", what, orNobody(v.server.Auditors), also)
	}
	v.log.Info("audit", "what", what, "session", id)
	if err := v.server.Archive.Viewed(ctx, v.who, what, id); err != nil {
		return fmt.Errorf("that you look could not be written down, so you may not: %w", err)
	}
	if s, live := v.server.Sessions.Find(id); live && what == "follow" {
		s.Tell(v.who.Name + ", an auditor, follows this session. They do not count as a shadow.")
	}
	return nil
}

// shown puts into the books that this visitor has been shown a whole recording.
func (v *visit) shown(ctx context.Context, id string) error {
	v.log.Info("audit", "what", "replayed to its end", "session", id)
	if err := v.server.Archive.Shown(ctx, v.who, id); err != nil {
		return fmt.Errorf("that you have seen it all could not be written down: %w", err)
	}
	return nil
}
