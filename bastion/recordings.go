package bastion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file holds the commands about recordings. They are the same in the
// lobby, where they ask who somebody is, and on an auditor's own machine, where
// reading the store is permission enough; so they know neither.

// Recordings are the commands about the recordings of one archive.
type Recordings struct {
	Archive Archive
	Index   Index // nil: there is none, and only what runs is found
	// Live yields the sessions that run now, as far as they are to be seen; nil for none.
	Live iter.Seq[session.Summary]
	// Seer is who asks, and Sees says which sessions that have ended they may see,
	// also of what Seer lets through. Both are nil for somebody who may see all.
	Seer *session.Seer
	Sees func(session.Found) bool
	// Reviewed returns the last review of a session, and whose it is; nil when
	// nobody knows.
	Reviewed func(id string) (what, by string)
	// Look is asked before anybody looks into a recording ("replay", "follow",
	// "export", "verify", "search"; id is empty for all of them): it allows and
	// puts it into the books, or says why not. Nil allows.
	Look func(ctx context.Context, what, id string) error
	// Progress is told how far a verification is; nil when nobody looks.
	Progress func(done, total int)
	// Replay is what to type to see a place in a recording; nil for who may not.
	Replay func(id string, at time.Duration) string
	// Shown is told that somebody has been shown a whole recording; nil when
	// nobody asks.
	Shown func(ctx context.Context, id string) error
	// Screen is where recordings are played. done gives a terminal back.
	Screen func(c *cobra.Command) (t shadow.PlayTerminal, done func(), err error)
}

// Commands returns the listing, search, play, export and verify commands under the
// names they have where they are mounted.
func (r Recordings) Commands(list, search, play, export, verify string) []*cobra.Command {
	return []*cobra.Command{r.listCommand(list), r.searchCommand(search), r.playCommand(play), r.exportCommand(export), r.verifyCommand(verify)}
}

func (r Recordings) look(ctx context.Context, what, id string) error {
	if r.Look == nil {
		return nil
	}
	return r.Look(ctx, what, id)
}

// listed is a session as listings show it.
type listed struct {
	session.Summary
	Reviewed   string `json:"reviewed,omitempty"` // ok or raise, the last review
	ReviewedBy string `json:"reviewed_by,omitempty"`
}

func (r Recordings) listed(s session.Summary) listed {
	l := listed{Summary: clean(s)}
	if r.Reviewed != nil {
		what, by := r.Reviewed(s.ID)
		l.Reviewed, l.ReviewedBy = what, session.OneLine(by, maxAnswer)
	}
	return l
}

// unreviewed reports whether a session was opened alone in an emergency and
// nobody has signed it off.
func (r Recordings) unreviewed(s session.Summary) bool {
	what, _ := r.Reviewed(s.ID)
	return slices.Contains(s.Flags, "break-glass") && what != reviewOK
}

// clean takes out of a summary what could drive a terminal: the store has it
// as it was written, by whoever can write there, and JSON escapes no C1.
func clean(s session.Summary) session.Summary {
	for _, text := range []*string{&s.ID, &s.Code, &s.Engineer, &s.Target, &s.Mode, &s.Reason} {
		*text = session.OneLine(*text, maxAnswer)
	}
	s.State = session.State(session.OneLine(string(s.State), 40))
	s.Shadows, s.Flags = slices.Clone(s.Shadows), slices.Clone(s.Flags)
	for _, list := range [][]string{s.Shadows, s.Flags} {
		for i := range list {
			list[i] = session.OneLine(list[i], maxAnswer)
		}
	}
	if s.Cause != nil {
		s.Cause = &session.Cause{
			Code: session.Code(session.OneLine(string(s.Cause.Code), 40)), By: session.OneLine(s.Cause.By, maxAnswer), Text: session.OneLine(s.Cause.Text, maxAnswer),
		}
	}
	return s
}

// row is a session, clean, for people.
func row(s listed) []string {
	state, flags := string(s.State), slices.Clone(s.Flags)
	switch s.Reviewed {
	case reviewOK:
		flags = append(flags, "signed off by "+s.ReviewedBy)
	case reviewRaise:
		flags = append(flags, "raised by "+s.ReviewedBy)
	}
	if s.Cause != nil {
		state = s.Cause.Error()
	}
	return []string{
		s.ID, s.Code, s.Started.UTC().Format("2006-01-02 15:04:05Z"), session.OneLine(s.Engineer, 40), session.OneLine(s.Target+"+"+s.Mode, 60),
		fmt.Sprintf("%d statements", s.Statements), session.OneLine(state, 80), session.OneLine(strings.Join(flags, ", "), 120), session.OneLine(strings.Join(s.Shadows, ", "), 80), session.OneLine(s.Reason, 80),
	}
}

var days = regexp.MustCompile(`^(\d{1,4})d$`)

// Moment reads a point in time, as a date or as how long ago; the zero time of
// an empty text.
func Moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if m := days.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1]) // four digits at most
		return now.AddDate(0, 0, -n), nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, misuse("%q is no point in time; use 7d, 12h, 2026-11-23 or 2026-11-23T15:04:05Z", session.OneLine(text, 40))
}

// Exit statuses of verify.
const (
	statusUnproven = 1 // a recording is not what was recorded
	statusUndone   = 2 // something could not be verified
	statusLedger   = 3 // the recordings are proven, and the ledger tells of others, or otherwise
)

func (r Recordings) verifyCommand(name string) *cobra.Command {
	var all, asJSON bool
	c := &cobra.Command{
		Use:   name + " ID|--all",
		Short: "prove recordings, or say what is wrong with them",
		Long: "Prove recordings, or say what is wrong with them.\n\n" +
			"Exit status: 0 all is proven; 1 a recording is not; 2 it could not be verified; 3 the ledger does not agree.",
		RunE: func(c *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return misuse("%s takes IDs, or --all", name)
			}
			ids := make([]string, len(args))
			for i, arg := range args {
				id, err := r.find(c.Context(), arg)
				if err != nil {
					return failure{statusUndone, err.Error()}
				}
				ids[i] = id
			}
			for _, id := range idsOrAll(ids) {
				if err := r.look(c.Context(), "verify", id); err != nil {
					return err
				}
			}
			how := session.Verification{IDs: ids, JSON: asJSON, Progress: r.Progress}
			return verdict(r.Archive.Judge(c.Context(), how, shadow.NewFilter(c.OutOrStdout())))
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every recording and the ledger")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

// verdict gives the outcome of a verification its exit status.
func verdict(err error) error {
	var found session.Unproven
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &found):
		return failure{statusUndone, session.OneLine(err.Error(), 1000)}
	case found.Recordings > 0:
		return failure{statusUnproven, found.Error()}
	}
	return failure{statusLedger, found.Error()}
}

// idsOrAll is what is looked at; empty names all.
func idsOrAll(ids []string) []string {
	if len(ids) == 0 {
		return []string{""}
	}
	return ids
}

// find turns what somebody typed into a ULID. A short code means the session
// that runs under it, or else the newest that did.
func (r Recordings) find(ctx context.Context, typed string) (string, error) {
	id, err := sessionID(typed)
	if err != nil || len(id) == 26 {
		return id, err
	}
	q := session.Query{Code: id, Seer: r.Seer}
	for s := range r.running(q) {
		return s.ID, nil
	}
	if r.Index != nil {
		err = r.Index.Freshen(ctx, false)
	}
	for s, failed := range r.all(ctx, q) {
		if failed == nil {
			return s.ID, nil
		}
		err = failed
	}
	if err != nil {
		return "", err
	}
	return "", failure{statusFailed, "no session has or had the code " + id}
}

// nothing is what an archive that is not there yields.
func nothing[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if err != nil {
			var none T
			yield(none, err)
		}
	}
}

// noArchive is the archive of a bastion that was given none.
type noArchive struct{}

var errNoArchive = errors.New("this bastion has no recordings")

func (noArchive) Events(context.Context, string) iter.Seq2[session.Event, error] {
	return nothing[session.Event](errNoArchive)
}

func (noArchive) Tape(context.Context, string, time.Duration, bool) iter.Seq2[session.Event, error] {
	return nothing[session.Event](errNoArchive)
}

func (noArchive) Shown(context.Context, session.Identity, string) error { return errNoArchive }

func (noArchive) Summary(context.Context, string) (session.Summary, error) {
	return session.Summary{}, errNoArchive
}

func (noArchive) Export(context.Context, string, io.Writer) error { return errNoArchive }

func (noArchive) Judge(context.Context, session.Verification, io.Writer) error { return errNoArchive }

func (noArchive) Viewed(context.Context, session.Identity, string, string) error {
	return errNoArchive
}

func (noArchive) Asked(context.Context, string) (session.Request, error) {
	return session.Request{}, errNoArchive
}

func (noArchive) Owes(session.Identity) ([]string, error) { return nil, errNoArchive }

func (noArchive) Review(context.Context, session.Identity, string, string, string) error {
	return errNoArchive
}

func (noArchive) Reviewed(string) (what, by string) { return "", "" }
