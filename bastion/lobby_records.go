package bastion

import (
	"context"
	"fmt"
	"slices"

	"github.com/twokey/twokey/session"
)

// This file gives the commands about recordings to a visitor: what they see,
// and that only auditors look inside, each time in the books. What was opened alone
// may be replayed by those who may review it, too.

// recordings are the commands as this visitor may use them.
func (v *visit) recordings() Recordings {
	return Recordings{
		Archive:  v.server.Archive,
		Live:     v.live,
		Sees:     v.sees,
		Reviewed: v.server.Reviews.Reviewed,
		Look:     v.look,
		Play:     v.play,
	}
}

// live yields the live sessions that this visitor sees.
func (v *visit) live(yield func(session.Summary) bool) {
	for _, s := range v.server.Sessions.Live() {
		if v.mayList(s) && !yield(s.Summary()) {
			return
		}
	}
}

// sees reports whether a session of the archive appears in this visitor's
// listing. A summary holds names alone, so this compares names; it decides over a
// line in a list and over nothing else.
func (v *visit) sees(s session.Summary) bool {
	if v.admin() || v.auditor() {
		return true
	}
	if s.Engineer == v.who.Name || slices.Contains(s.Shadows, v.who.Name) {
		return true
	}
	for _, t := range v.server.Targets {
		m, ok := t.Mode(s.Mode)
		if t.Name == s.Target && ok {
			return slices.ContainsFunc(m.Shadows, func(n session.Need) bool { return v.who.InAny(n.Groups) })
		}
	}
	return false
}

// look lets auditors look, and writes down that they did before they see anything.
func (v *visit) look(ctx context.Context, what, id string) error {
	if !v.auditor() && !(what == "replay" && v.mayReplay(ctx, id)) {
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
	return nil
}
