package bastion

import (
	"fmt"
	"io"

	"github.com/twokey/twokey/session"
)

// This file is breaking glass: opening a mode alone, in an emergency, although
// it asks for shadows. It is never silent, and it is owed: somebody else replays
// it and signs it off (lobby_review.go), or whoever broke it breaks no more.

// mayBreakGlass says why this person may not open a mode alone now, or nil.
// That they may open it at all has been asked before.
func (v *visit) mayBreakGlass(t session.Target, m session.Mode) error {
	switch {
	case len(m.Shadows) == 0:
		return refusal("%s mode %s asks for no shadow: there is no glass to break", t.Name, m.Name)
	case !v.who.Valid() || !v.who.InAny(m.BreakGlass.Groups):
		return refusal("opening %s mode %s alone is for %s, and you are not in it", t.Name, m.Name, orNobody(m.BreakGlass.Groups))
	}
	owed, err := v.server.Reviews.Owes(v.who)
	switch {
	case err != nil:
		return refusal("whether you owe a review can not be known, so you break no glass: %s", err)
	case len(owed) > 0:
		return refusal("you opened %s alone, and nobody has signed it off; until then you break no more glass. "+
			"Ask a colleague to replay it and then: %s", owed[0], v.server.command("review", owed[0], "--ok"))
	}
	return nil
}

// glassCommand is how somebody breaks glass.
func (s *Server) glassCommand(t session.Target, m session.Mode) string {
	return s.line("ssh -t", userFor(t, m)+"@", []string{"--", breakGlass})
}

// greetAlone tells an engineer who broke glass what that means.
func (v *visit) greetAlone(r session.Request) {
	within := session.Brief(r.Mode.BreakGlass.Review)
	review := v.server.command("review", r.ID, "--ok")
	if !v.pty {
		fmt.Fprintf(v.errors(), "twokey: GLASS BROKEN: %s, mode %s, is open to you ALONE, recorded as %s, flagged and told to everyone; "+
			"somebody else must replay it and sign it off within %s: %s\n", r.Target.Name, r.Mode.Name, r.ID, within, review)
		return
	}
	w := v.output()
	fmt.Fprintf(w, "\n  *** GLASS BROKEN: you open %s, mode %s, ALONE. ***\n\n", r.Target.Name, r.Mode.Name)
	fmt.Fprintf(w, "Reason: %s\n", r.Reason)
	fmt.Fprintf(w, "Everything here is recorded, as %s, and flagged: in the recording, in the log,\nand to everyone who is notified.\n", r.ID)
	fmt.Fprintf(w, "Within %s somebody else must replay it and sign it off, or you break no more glass:\n\n  %s\n\n", within, review)
	fmt.Fprintf(w, "Who may watch may still sit down: %s\n", v.server.seatCommand(r.Code))
}

// offerGlass tells an engineer who waits, and may break glass, how.
func (v *visit) offerGlass(w io.Writer, r session.Request) {
	if v.mayBreakGlass(r.Target, r.Mode) == nil {
		fmt.Fprintf(w, "In an emergency you may open it alone: %s\n", v.server.glassCommand(r.Target, r.Mode))
	}
}
