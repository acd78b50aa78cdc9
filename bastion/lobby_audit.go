package bastion

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/session"
)

// This file is the audit trail: what people do goes into the ledger, under the
// same proof as recordings, and auditors read it there.

// note puts a deed into the ledger. Nobody waits for the disk that does not take
// it: what matters for the proof of a session refuses by itself then.
func (s *Server) note(d session.Deed) {
	s.Meter.Did(d.What)
	if s.Ledger == nil {
		return
	}
	if err := s.Ledger.Note(d); err != nil {
		s.Log.Error("not in the ledger", "what", d.What, "session", d.Session, "error", err)
	}
}

// Refusals of people who are not known are noted up to this many a minute, and
// counted beyond it: strangers shall not write the ledger full.
const maxRefusals = 60

// refusals counts them.
type refusals struct {
	mu     sync.Mutex
	since  time.Time
	noted  int
	beyond int // were only counted
}

// note returns what is to be noted of one more: nothing, this, or this and how many there
// were that nobody noted.
func (r *refusals) note(text string, now time.Time) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.since) >= time.Minute {
		if r.beyond > 0 {
			text += fmt.Sprintf(" (and %d others in the minute from %s on)", r.beyond, r.since.UTC().Format(time.TimeOnly))
		}
		r.since, r.noted, r.beyond = now, 0, 0
	}
	if r.noted++; r.noted > maxRefusals {
		r.beyond++
		return "", false
	}
	return text, true
}

// turnedAway notes that somebody did not get in.
func (s *Server) turnedAway(from, cause string, why error) {
	s.Meter.Refused(cause)
	if text, ok := s.refusals.note(cause+": "+why.Error(), time.Now()); ok {
		s.note(session.Deed{What: session.DeedRefused, From: from, Text: text})
	}
}

// did notes what this visitor did.
func (v *visit) did(what session.DeedType, id, text string) {
	v.server.note(session.Deed{What: what, Who: &v.who, From: v.conn.from, Session: id, Text: text})
}

func (v *visit) auditCommand() *cobra.Command {
	var f auditFilter
	c := &cobra.Command{
		Use:   "audit",
		Short: "who came, asked, watched, killed, looked and was refused (auditors)",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := v.look(c.Context(), "audit", ""); err != nil {
				return err
			}
			if v.server.Ledger == nil {
				return errNoArchive
			}
			return audit(c.Context(), v.server.Ledger.Deeds, f, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f.flags(c)
	return c
}

// auditFilter says which deeds, and how they are shown.
type auditFilter struct {
	since, until string
	what         string
	asJSON       bool
}

func (f *auditFilter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.since, "since", "1d", "since when: 7d, 12h, 2026-11-23 or RFC 3339")
	c.Flags().StringVar(&f.until, "until", "", "until when: the same")
	c.Flags().StringVar(&f.what, "what", "", "only deeds of one `kind`: certificate (all that were issued, with their serials), revoked, killed, refused, ...")
	c.Flags().BoolVar(&f.asJSON, "json", false, "one JSON object a line")
}

// AuditCommand is the same on an auditor's own machine.
func AuditCommand(deeds func(ctx context.Context, since, until time.Time) iter.Seq2[session.Deed, error]) *cobra.Command {
	var f auditFilter
	c := &cobra.Command{
		Use: "audit", Short: "who came, asked, watched, killed, looked and was refused", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return audit(c.Context(), deeds, f, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f.flags(c)
	return c
}

// audit prints what was done, as it is read.
func audit(ctx context.Context, deeds func(ctx context.Context, since, until time.Time) iter.Seq2[session.Deed, error],
	f auditFilter, out, errs io.Writer) error {
	now := time.Now()
	from, err := Moment(f.since, now)
	if err != nil {
		return err
	}
	to, err := Moment(f.until, now)
	if err != nil {
		return err
	}
	if to.IsZero() {
		to = now
	}
	whole, found := true, false
	for d, err := range deeds(ctx, from, to) {
		if err != nil {
			whole = false
			fmt.Fprintf(errs, "twokey: %s\n", session.OneLine(err.Error(), 1000))
			continue
		}
		if f.what != "" && string(d.What) != f.what {
			continue
		}
		found = true
		d = cleanDeed(d)
		if f.asJSON {
			err = jsonLine(out, d)
		} else {
			_, err = fmt.Fprintln(out, deedLine(d))
		}
		if err != nil {
			return err
		}
	}
	if !whole {
		return failure{statusFailed, "the trail is not whole"}
	}
	if !found && f.what != "" {
		fmt.Fprintf(errs, "twokey: nothing of the kind %s in that time\n", session.OneLine(f.what, 40))
	}
	return nil
}

// cleanDeed takes out what could drive a terminal.
func cleanDeed(d session.Deed) session.Deed {
	d.What = session.DeedType(session.OneLine(string(d.What), 40))
	for _, text := range []*string{&d.From, &d.Session, &d.Text} {
		*text = session.OneLine(*text, maxAnswer)
	}
	if d.Who != nil {
		who := *d.Who
		for _, text := range []*string{&who.Name, &who.Subject, &who.Issuer} {
			*text = session.OneLine(*text, maxAnswer)
		}
		d.Who = &who
	}
	return d
}

func deedLine(d session.Deed) string {
	who := "-"
	if d.Who != nil {
		who = d.Who.Name
	}
	line := fmt.Sprintf("%s  %-12s %s", d.Time.UTC().Format("2006-01-02 15:04:05Z"), d.What, who)
	for _, more := range []string{d.Session, d.Text, d.From} {
		if more != "" {
			line += "  " + more
		}
	}
	return line
}
