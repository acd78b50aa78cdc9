package bastion

import (
	"context"
	"encoding/json"
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
	// Live yields the sessions that run now, as far as they are to be seen; nil for none.
	Live iter.Seq[session.Summary]
	// Sees says which sessions of the archive appear in listings; nil for all.
	Sees func(session.Summary) bool
	// Reviewed returns the last review of a session, and whose it is; nil when
	// nobody knows.
	Reviewed func(id string) (what, by string)
	// Look is asked before anybody looks into a recording ("replay",
	// "export", "verify", "search"; id is empty for all of them): it allows and
	// puts it into the books, or says why not. Nil allows.
	Look func(ctx context.Context, what, id string) error
	// Progress is told how far a verification is; nil when nobody looks.
	Progress func(done, total int)
	// Play shows events at a pace; it is the caller who has a terminal.
	Play func(ctx context.Context, c *cobra.Command, events iter.Seq2[session.Event, error], pace Pace) error
}

// Pace is how a recording is played.
type Pace struct {
	Speed   float64       // 1 is as it was
	At      time.Duration // where to begin
	MaxIdle time.Duration // pauses are no longer; 0 leaves them
}

// Commands returns the listing, play, export and verify commands under the
// names they have where they are mounted.
func (r Recordings) Commands(list, play, export, verify string) []*cobra.Command {
	return []*cobra.Command{r.listCommand(list), r.playCommand(play), r.exportCommand(export), r.verifyCommand(verify)}
}

func (r Recordings) look(ctx context.Context, what, id string) error {
	if r.Look == nil {
		return nil
	}
	return r.Look(ctx, what, id)
}

// filter says which sessions are listed.
type filter struct {
	user, target string
	since, until time.Time
	grep         string
	unreviewed   bool
}

func (r Recordings) listCommand(name string) *cobra.Command {
	var f filter
	var since, until string
	var asJSON bool
	c := &cobra.Command{
		Use:   name,
		Short: "what runs and what is recorded",
		RunE: func(c *cobra.Command, args []string) (err error) {
			if f.grep == "" && len(args) > 0 {
				return misuse("%s takes no arguments, not %q", name, session.OneLine(args[0], 40))
			}
			f.grep = strings.Join(append([]string{f.grep}, args...), " ") // the local shell took the quotes of --grep 'delete from'
			now := time.Now()
			if f.since, err = Moment(since, now); err != nil {
				return err
			}
			if f.until, err = Moment(until, now); err != nil {
				return err
			}
			return r.list(c, f, asJSON)
		},
	}
	c.Flags().StringVar(&f.user, "user", "", "only of this engineer")
	c.Flags().StringVar(&f.target, "target", "", "only on this target")
	c.Flags().StringVar(&since, "since", "", "begun since: 7d, 12h, 2026-11-23 or RFC 3339")
	c.Flags().StringVar(&until, "until", "", "begun until: the same")
	c.Flags().StringVar(&f.grep, "grep", "", "only with a statement that holds this text, in any case (auditors)")
	if r.Reviewed != nil {
		c.Flags().BoolVar(&f.unreviewed, "unreviewed", false, "only those opened alone in an emergency that nobody has signed off")
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

func (r Recordings) list(c *cobra.Command, f filter, asJSON bool) error {
	if f.grep != "" {
		if err := r.look(c.Context(), "search", ""); err != nil {
			return err
		}
	}
	var t table
	lines := json.NewEncoder(c.OutOrStdout())
	var trouble error
	for s, err := range r.matching(c.Context(), f) {
		switch {
		case err != nil:
			trouble = err
			fmt.Fprintf(c.ErrOrStderr(), "twokey: %s\n", session.OneLine(err.Error(), 1000))
		case asJSON:
			if err := lines.Encode(r.listed(s)); err != nil {
				return err
			}
		default:
			t.add(row(r.listed(s))...)
		}
	}
	t.print(c.OutOrStdout())
	if trouble != nil {
		return failure{statusFailed, "the list is not whole"}
	}
	return nil
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

// all yields what runs, then what is recorded, each session once.
func (r Recordings) all(ctx context.Context) iter.Seq2[session.Summary, error] {
	return func(yield func(session.Summary, error) bool) {
		seen := map[string]bool{}
		if r.Live != nil {
			for s := range r.Live {
				seen[s.ID] = true
				if !yield(s, nil) {
					return
				}
			}
		}
		for s, err := range r.Archive.List(ctx) {
			if err == nil && (seen[s.ID] || r.Sees != nil && !r.Sees(s)) {
				continue
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

// matching yields the sessions that a filter lets through.
func (r Recordings) matching(ctx context.Context, f filter) iter.Seq2[session.Summary, error] {
	return func(yield func(session.Summary, error) bool) {
		for s, err := range r.all(ctx) {
			if err == nil {
				if !f.matches(s) || f.unreviewed && !r.unreviewed(s) {
					continue
				}
				var holds bool
				if holds, err = r.holds(ctx, s.ID, f.grep); err == nil && !holds {
					continue
				}
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

func (f filter) matches(s session.Summary) bool {
	return (f.user == "" || strings.EqualFold(s.Engineer, f.user)) &&
		(f.target == "" || s.Target == f.target) &&
		(f.since.IsZero() || !s.Started.Before(f.since)) &&
		(f.until.IsZero() || !s.Started.After(f.until))
}

// holds reports whether a session has a statement with the text in it.
func (r Recordings) holds(ctx context.Context, id, text string) (bool, error) {
	if text = strings.ToLower(strings.TrimSpace(text)); text == "" {
		return true, nil
	}
	for e, err := range r.Archive.Events(ctx, id) {
		if err != nil {
			if errors.Is(err, session.ErrNoRecording) {
				return false, nil // it has only begun
			}
			return false, fmt.Errorf("searching %s: %w", id, err)
		}
		if e.Statement != nil && strings.Contains(strings.ToLower(e.Statement.Text), text) {
			return true, nil
		}
	}
	return false, nil
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

func (r Recordings) playCommand(name string) *cobra.Command {
	var p Pace
	c := &cobra.Command{
		Use:   name + " ID",
		Short: "watch a recording",
		Args:  oneID,
		RunE: func(c *cobra.Command, args []string) error {
			if p.Speed < 0.01 || p.Speed > 1000 || p.At < 0 || p.MaxIdle < 0 {
				return misuse("--speed is from 0.01 to 1000, and times are not negative")
			}
			id, err := r.find(c.Context(), args[0])
			if err != nil {
				return err
			}
			if err := r.look(c.Context(), "replay", id); err != nil {
				return err
			}
			return r.Play(c.Context(), c, r.Archive.Events(c.Context(), id), p)
		},
	}
	c.Flags().Float64Var(&p.Speed, "speed", 1, "how many times as fast")
	c.Flags().DurationVar(&p.At, "at", 0, "begin here: 1m30s")
	c.Flags().DurationVar(&p.MaxIdle, "max-idle", 0, "no pause longer than this: 1s")
	return c
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
	for s, err := range r.all(ctx) {
		if err == nil && s.Code == id {
			return s.ID, nil
		}
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

func (noArchive) List(context.Context) iter.Seq2[session.Summary, error] {
	return nothing[session.Summary](nil)
}

func (noArchive) Events(context.Context, string) iter.Seq2[session.Event, error] {
	return nothing[session.Event](errNoArchive)
}

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
