package bastion

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/certs"
	"github.com/twokey/twokey/session"
)

// This file lets an admin keep a person out: what they have here ends, and what
// they could come in with is refused.

// Revocations is the list of people who are not let in any more.
type Revocations interface {
	// Why says why a person is not let in on the strength of what was proven
	// at some time, in words for them, or "".
	Why(who session.Identity, proven time.Time) string
	// Add puts a decision on the list; it counts at once, even with an error.
	Add(certs.Revocation) error
}

// noRevocations is the list where none is kept.
type noRevocations struct{}

func (noRevocations) Why(session.Identity, time.Time) string { return "" }
func (noRevocations) Add(certs.Revocation) error {
	return errors.New("this bastion keeps no list of revoked people")
}

func (v *visit) revokeCommand() *cobra.Command {
	var undo bool
	c := &cobra.Command{
		Use:   "revoke PERSON REASON",
		Short: "keep a person out: their sessions and seats end, their certificates are refused (admins); --undo lets them log in again",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misuse("revoke whom? %s", v.server.command("revoke PERSON reason"))
			}
			return v.revoke(c.OutOrStdout(), args[0], strings.Join(args[1:], " "), undo)
		},
	}
	c.Flags().BoolVar(&undo, "undo", false, "let the person log in again")
	return c
}

// revokePatience is how long the command waits for the sessions to have ended.
const revokePatience = 10 * time.Second

func (v *visit) revoke(w io.Writer, name, why string, undo bool) error {
	if !v.admin() {
		return refusal("only admins keep people out: %s", orNobody(v.server.Admins))
	}
	r := certs.Revocation{
		Person: session.OneLine(name, maxAnswer), By: v.who.Name, Why: session.OneLine(why, maxAnswer), Restored: undo,
	}
	if r.Person == "" {
		return misuse("revoke whom? %s", v.server.command("revoke PERSON reason"))
	}
	is := v.server.named(&r)
	if !undo && is(v.who) {
		return refusal("you would keep yourself out; ask another admin")
	}
	v.log.Warn("revocation", "revoked", r.Person, "subject", r.Subject, "why", r.Why, "undo", undo)
	what := session.DeedRevoked
	if undo {
		what = session.DeedReinstated
	}
	v.did(what, "", strings.TrimSuffix(r.Person+": "+r.Why, ": "))
	failed := v.server.Revocations.Add(r)
	if undo {
		if failed == nil {
			fmt.Fprintf(w, "%s may log in again; certificates from before now stay refused\n", r.Person)
		}
		return failed
	}
	sessions, seats, connections := v.server.expel(is, session.Cause{Code: session.Revoked, By: v.who.Name, Text: r.Why})
	fmt.Fprintf(w, "%s is kept out: %d sessions ended, %d seats given up, %d connections closed\n", r.Person, sessions, seats, connections)
	return failed
}

// named says who a name means: everyone who goes by it, and, if one of them is
// here, that very account, whatever it is called from now on, and the others of
// the same human.
func (s *Server) named(r *certs.Revocation) func(session.Identity) bool {
	byName := func(who session.Identity) bool { return strings.EqualFold(who.Name, r.Person) }
	for _, c := range s.roll.of(byName) {
		who := c.who.Load()
		r.Issuer, r.Subject, r.SamePerson = who.Issuer, who.Subject, who.SamePerson
	}
	account := session.Identity{Issuer: r.Issuer, Subject: r.Subject, SamePerson: r.SamePerson}
	return func(who session.Identity) bool {
		return byName(who) || account.Valid() && account.SamePersonAs(who)
	}
}

// expel ends all that some people have here. Their sessions come to their end
// first, so that they read why.
func (s *Server) expel(is func(session.Identity) bool, why session.Cause) (sessions, seats, connections int) {
	sessions, seats = s.Sessions.Revoke(is, why)
	closed := map[*connection]bool{}
	hangUp := func(c *connection) {
		c.hangUp()
		closed[c] = true
	}
	for _, c := range s.roll.of(is) {
		if !c.runs.Load() {
			hangUp(c)
		}
	}
	for until := time.Now().Add(revokePatience); time.Now().Before(until) && s.runs(is); {
		s.Sessions.Revoke(is, why) // also what was just about to begin
		time.Sleep(20 * time.Millisecond)
	}
	for _, c := range s.roll.of(is) {
		hangUp(c)
	}
	return sessions, seats, len(closed)
}

// runs reports whether a session of theirs still does.
func (s *Server) runs(is func(session.Identity) bool) bool {
	for _, live := range s.Sessions.Live() {
		if is(live.Request().Engineer) {
			return true
		}
	}
	return false
}
