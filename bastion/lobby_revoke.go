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

// This file lets an admin keep a person out, or what somebody came in with: what they
// have here ends, and what they could come in with is refused.

// Revocations is the list of who and what is not let in any more.
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
	var what revoked
	c := &cobra.Command{
		Use: "revoke PERSON|--serial N|--before TIME REASON",
		Short: "keep a person out, or one certificate, or all that were issued before some time: sessions and seats end, " +
			"certificates are refused (admins); --undo lets a person log in again, or a certificate count",
		RunE: func(c *cobra.Command, args []string) error {
			r, err := what.revocation(args, time.Now())
			if err != nil {
				return misuse("%s: %s", err, v.server.command("revoke PERSON reason"))
			}
			return v.revoke(c.OutOrStdout(), r)
		},
	}
	c.Flags().BoolVar(&what.undo, "undo", false, "let the person log in again, or the certificate count")
	c.Flags().Uint64Var(&what.serial, "serial", 0, "the certificate with this `number`; audit --what certificate lists them")
	c.Flags().StringVar(&what.before, "before", "", "all that was logged in for before: now, 2h, 2026-11-23 or RFC 3339")
	return c
}

// revoked is what the command line says.
type revoked struct {
	undo   bool
	serial uint64
	before string
}

// revocation reads it: one of a person, a serial and a time, and a reason.
func (w revoked) revocation(words []string, now time.Time) (r certs.Revocation, err error) {
	r.Restored = w.undo
	switch {
	case w.serial != 0 && w.before != "":
		return r, errors.New("a certificate, or all from before some time")
	case w.serial != 0:
		r.Serial = w.serial
	case w.before != "" && w.undo:
		return r, errors.New("that can not be undone, and need not: everybody can log in again")
	case w.before == "now":
		r.Before = now.UTC()
	case w.before != "":
		if r.Before, err = Moment(w.before, now); err != nil {
			return r, err
		}
		if r.Before = r.Before.UTC(); r.Before.After(now) {
			return r, errors.New("what is yet to come can not be revoked")
		}
	case len(words) == 0 || session.OneLine(words[0], maxAnswer) == "":
		return r, errors.New("revoke whom?")
	default:
		r.Person, words = session.OneLine(words[0], maxAnswer), words[1:]
	}
	r.Why = session.OneLine(strings.Join(words, " "), maxAnswer)
	return r, nil
}

// whom says what a revocation is about.
func whom(r certs.Revocation) string {
	switch {
	case r.Serial != 0:
		return fmt.Sprintf("certificate %d", r.Serial)
	case !r.Before.IsZero():
		return "what was issued before " + r.Before.Format(time.RFC3339)
	}
	return r.Person
}

// revokePatience is how long the command waits for the sessions to have ended.
const revokePatience = 10 * time.Second

func (v *visit) revoke(w io.Writer, r certs.Revocation) error {
	if !v.admin() {
		return refusal("only admins keep people out: %s", orNobody(v.server.Admins))
	}
	r.By = v.who.Name
	is := v.server.meant(&r)
	if !r.Restored && is(v.who) {
		if r.Before.IsZero() {
			return refusal("you would keep yourself out; ask another admin")
		}
		return refusal("you would keep yourself out: log in anew first (--before is %s, and your login is from %s)",
			r.Before.Format(time.RFC3339), v.who.Credential.Issued.UTC().Format(time.RFC3339))
	}
	v.log.Warn("revocation", "revoked", whom(r), "subject", r.Subject, "why", r.Why, "undo", r.Restored)
	what := session.DeedRevoked
	if r.Restored {
		what = session.DeedReinstated
	}
	v.did(what, "", strings.TrimSuffix(whom(r)+": "+r.Why, ": "))
	failed := v.server.Revocations.Add(r)
	if r.Restored {
		if failed == nil && r.Serial != 0 {
			fmt.Fprintf(w, "%s counts again\n", whom(r))
		} else if failed == nil {
			fmt.Fprintf(w, "%s may log in again; certificates from before now stay refused\n", r.Person)
		}
		return failed
	}
	sessions, seats, connections := v.server.expel(is, session.Cause{Code: session.Revoked, By: v.who.Name, Text: r.Why})
	fmt.Fprintf(w, "%s is kept out: %d sessions ended, %d seats given up, %d connections closed\n", whom(r), sessions, seats, connections)
	return failed
}

// meant says whose things end with a revocation.
func (s *Server) meant(r *certs.Revocation) func(session.Identity) bool {
	switch {
	case r.Serial != 0:
		return func(who session.Identity) bool { return who.Credential.Serial == r.Serial }
	case !r.Before.IsZero():
		return func(who session.Identity) bool { return who.Credential.Issued.Before(r.Before) }
	}
	return s.named(r)
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

// expel ends all that some people have here. Their sessions and seats come to
// their end first, so that they read why.
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
	for _, c := range s.roll.of(is) {
		closed[c] = true // by us, or when what runs on it has ended
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

// runs reports whether a session or a seat of theirs still does.
func (s *Server) runs(is func(session.Identity) bool) bool {
	for _, c := range s.roll.of(is) {
		if c.runs.Load() {
			return true
		}
	}
	for _, live := range s.Sessions.Live() {
		if is(live.Request().Engineer) {
			return true
		}
	}
	return false
}
