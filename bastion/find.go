package bastion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/session"
)

// This file is how sessions are found: the listing, and the search for a text in
// what they said and saw.

const (
	somePage    = 50   // rows for people who say no limit
	longestText = 1000 // characters that are looked for
)

// finding is what somebody typed about what they look for.
type finding struct {
	session.Query
	unreviewed bool
	limit      int // 0: all
	json       bool

	end, since, until, before string // as typed
}

// flags puts the options that listing and search share onto a command.
func (f *finding) flags(c *cobra.Command, reviewed bool) {
	o := c.Flags()
	o.StringVar(&f.Engineer, "user", "", "only of this engineer: alice@example.com, or alice")
	o.StringVar(&f.Shadow, "shadow", "", "only watched by this person")
	o.StringVar(&f.Target, "target", "", "only on this target")
	o.StringVar(&f.Mode, "mode", "", "only in this mode")
	o.StringVar(&f.since, "since", "", "begun since: 7d, 12h, 2026-11-23 or RFC 3339")
	o.StringVar(&f.until, "until", "", "begun until: the same")
	o.StringVar(&f.end, "end", "", "only those that ended so: killed, quit, idle, unclean, …")
	o.StringArrayVar(&f.Flags, "flag", nil, "only with this flag: "+strings.Join(flagNames(), ", ")+"; may be given more than once")
	o.BoolVar(&f.Screen, "output", false, "look for the text on the screen, too")
	o.StringVar(&f.before, "before", "", "only what is older than this session, or place: for the next page")
	o.IntVar(&f.limit, "limit", somePage, "so many at most; 0 for all, as is normal with --json")
	if reviewed {
		o.BoolVar(&f.unreviewed, "unreviewed", false, "only those opened alone in an emergency that nobody has signed off")
	}
	o.BoolVar(&f.json, "json", false, "one JSON object a line")
}

// flagNames are the flags of a manifest (FORMAT.md), that of the index, and that of a session that runs.
func flagNames() []string {
	return []string{"alone", "break-glass", "killed", "alarm", "unclean", "lost", "recovered", "damaged", "unread", "unannounced", session.UnprovenFlag, session.Stuck}
}

// parse reads what was typed.
func (f *finding) parse(c *cobra.Command, now time.Time) (err error) {
	if f.json && !c.Flags().Changed("limit") {
		f.limit = 0
	}
	if f.limit < 0 {
		return misuse("--limit is a number of rows, or 0 for all")
	}
	if f.Since, err = Moment(f.since, now); err != nil {
		return err
	}
	if f.Until, err = Moment(f.until, now); err != nil {
		return err
	}
	if f.Before, err = place(f.before); err != nil {
		return err
	}
	f.End = session.Code(f.end)
	if codes := session.Codes(); f.end != "" && !slices.Contains(codes, f.End) {
		return misuse("no session ends as %q; they end as one of %s", session.OneLine(f.end, 40), fmt.Sprint(codes))
	}
	for _, flag := range f.Flags {
		if !slices.Contains(flagNames(), flag) {
			return misuse("there is no flag %q; there are %s", session.OneLine(flag, 40), strings.Join(flagNames(), ", "))
		}
	}
	if f.unreviewed {
		f.Flags = append(f.Flags, "break-glass")
	}
	f.Text = strings.TrimSpace(f.Text)
	if len([]rune(f.Text)) > longestText {
		return misuse("a text that is looked for has at most %d characters", longestText)
	}
	return nil
}

// place reads what --before takes: a session, or a place in it as search tells it.
func place(typed string) (session.Place, error) {
	if typed == "" {
		return session.Place{}, nil
	}
	id, within, found := strings.Cut(typed, ":")
	full, err := sessionID(id)
	n := 0
	if found && err == nil {
		n, err = strconv.Atoi(within)
	}
	if err != nil || len(full) != 26 || n < 0 {
		return session.Place{}, misuse("--before takes the long ID of a session, or a place as search tells it, not %q", session.OneLine(typed, 60))
	}
	return session.Place{ID: full, N: n}, nil
}

func (r Recordings) listCommand(name string) *cobra.Command {
	var f finding
	c := &cobra.Command{
		Use:   name,
		Short: "what runs and what is recorded",
		RunE: func(c *cobra.Command, args []string) error {
			if f.Text == "" && len(args) > 0 {
				return misuse("%s takes no arguments, not %q", name, session.OneLine(args[0], 40))
			}
			f.Text = strings.Join(append([]string{f.Text}, args...), " ") // the local shell took the quotes of --grep 'delete from'
			if err := f.parse(c, time.Now()); err != nil {
				return err
			}
			if f.Screen && f.Text == "" {
				return misuse("--output says where --grep looks, and there is none")
			}
			return r.list(c, f)
		},
	}
	f.flags(c, r.Reviewed != nil)
	c.Flags().StringVar(&f.Text, "grep", "", "only with a statement that holds this text, in any case")
	return c
}

func (r Recordings) searchCommand(name string) *cobra.Command {
	var f finding
	c := &cobra.Command{
		Use:   name + " TEXT",
		Short: "where a statement holds a text, and how to see it",
		Long: "Where a statement, or with --output what was on the screen, holds a text: the session, the time, the person,\n" +
			"the statement, and what to type to see that second of the recording.\n\n" +
			"The text is taken as it is. Case does not matter, nor how much white space there is and of which kind, nor in which\n" +
			"of Unicode's ways an accent was typed; no character is special.",
		RunE: func(c *cobra.Command, args []string) error {
			f.Text = strings.Join(args, " ")
			if err := f.parse(c, time.Now()); err != nil {
				return err
			}
			if f.Text == "" {
				return misuse("%s what? Say a piece of a statement: %s 'delete from payments'", name, name)
			}
			return r.search(c, f)
		},
	}
	f.flags(c, r.Reviewed != nil)
	return c
}

// answer is what a listing or a search has come to.
type answer struct {
	Recordings
	c     *cobra.Command
	f     finding
	shown int
	whole bool
	shut  int // running sessions whose recordings can not be opened here
}

func (r Recordings) begin(c *cobra.Command, f finding) (*answer, error) {
	if f.Text != "" {
		if err := r.look(c.Context(), "search", ""); err != nil {
			return nil, err
		}
	}
	f.Seer = r.Seer
	a := &answer{Recordings: r, c: c, f: f, whole: true}
	if r.Index != nil {
		a.failed(r.Index.Freshen(c.Context(), f.Text != ""))
	}
	return a, c.Context().Err()
}

// failed says what did not work; the answer goes on without it.
func (a *answer) failed(err error) {
	if err != nil && a.c.Context().Err() == nil {
		a.whole = false
		a.say("%s", err)
	}
}

func (a *answer) say(format string, args ...any) {
	fmt.Fprintf(a.c.ErrOrStderr(), "twokey: %s\n", session.OneLine(fmt.Sprintf(format, args...), 1000))
}

// full reports whether no more is to be shown, and says how to see the rest.
func (a *answer) full(last session.Place) bool {
	if a.f.limit == 0 || a.shown < a.f.limit {
		a.shown++
		return false
	}
	switch {
	case last.ID == "": // what runs fills the page
		a.say("there are more than these %d; --limit 0 shows all", a.f.limit)
	case last.N > 0:
		a.say("there are more than these %d; the next page: --before %s:%d", a.f.limit, last.ID, last.N)
	default:
		a.say("there are more than these %d; the next page: --before %s", a.f.limit, last.ID)
	}
	return true
}

func (r Recordings) list(c *cobra.Command, f finding) error {
	a, err := r.begin(c, f)
	if err != nil {
		return err
	}
	var t table
	var last session.Place
	for s, err := range a.matching(c.Context()) {
		if err != nil {
			a.failed(err)
			continue
		}
		if a.full(last) {
			break
		}
		if !s.running {
			last = session.Place{ID: s.ID}
		}
		if !f.json {
			t.add(row(r.listed(s.Summary))...)
		} else if err := jsonLine(c.OutOrStdout(), r.listed(s.Summary)); err != nil {
			return err
		}
	}
	t.print(c.OutOrStdout())
	return a.end()
}

// matching yields what runs, then what is recorded, each session once.
func (a *answer) matching(ctx context.Context) iter.Seq2[one, error] {
	return func(yield func(one, error) bool) {
		for s, err := range a.all(ctx, a.f.Query) {
			if err == nil && a.f.unreviewed && !a.unreviewed(s.Summary) {
				continue
			}
			if err == nil && s.running && a.f.Text != "" {
				var holds bool
				if holds, err = a.holds(ctx, s.ID); err == nil && !holds {
					continue
				}
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

// one is a session, running or not.
type one struct {
	session.Summary
	running bool
}

// all yields what runs, whatever its text, and what is recorded, each session once.
func (r Recordings) all(ctx context.Context, q session.Query) iter.Seq2[one, error] {
	return func(yield func(one, error) bool) {
		seen := map[string]bool{}
		for s := range r.running(q) {
			seen[s.ID] = true
			if !yield(one{s, true}, nil) {
				return
			}
		}
		if r.Index == nil {
			return
		}
		for s, err := range r.Index.Find(ctx, q) {
			if err == nil && (seen[s.ID] || r.Sees != nil && !r.Sees(s)) {
				continue
			}
			if !yield(one{Summary: s.Summary}, err) {
				return
			}
		}
	}
}

// running yields the sessions that run now and are looked for. They stand before
// everything else, and are on no further page.
func (r Recordings) running(q session.Query) iter.Seq[session.Summary] {
	return func(yield func(session.Summary) bool) {
		if r.Live == nil || q.Before.ID != "" {
			return
		}
		for s := range r.Live {
			if q.Matches(s) && !yield(s) {
				return
			}
		}
	}
}

// holds reports whether a running session has the text.
func (a *answer) holds(ctx context.Context, id string) (bool, error) {
	for _, err := range a.within(ctx, id) {
		return err == nil, err
	}
	return false, nil
}

// within yields the places of a running session that have the text.
func (a *answer) within(ctx context.Context, id string) iter.Seq2[session.Hit, error] {
	if a.Index == nil {
		return nothing[session.Hit](nil)
	}
	return func(yield func(session.Hit, error) bool) {
		for hit, err := range a.Index.Within(ctx, id, a.f.Query) {
			switch {
			case errors.Is(err, session.ErrNoRecording): // it has only begun
				return
			case errors.Is(err, session.ErrEncrypted):
				a.shut++
				return
			case err != nil:
				yield(hit, fmt.Errorf("searching %s: %w", id, err))
				return
			case !yield(hit, nil):
				return
			}
		}
	}
}

func (r Recordings) search(c *cobra.Command, f finding) error {
	a, err := r.begin(c, f)
	if err != nil {
		return err
	}
	var last session.Place
	for hit, err := range a.places(c.Context()) {
		if err != nil {
			a.failed(err)
			continue
		}
		if a.full(last) {
			break
		}
		if !hit.running {
			last = hit.Place
		}
		if err := a.print(c.OutOrStdout(), hit.Hit); err != nil {
			return err
		}
	}
	return a.end()
}

// found is a place, of a session that runs or does not.
type found struct {
	session.Hit
	running bool
}

// places yields every place that has the text.
func (a *answer) places(ctx context.Context) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		seen := map[string]bool{}
		for s := range a.running(a.f.Query) {
			seen[s.ID] = true
			if a.f.unreviewed && !a.unreviewed(s) {
				continue
			}
			for hit, err := range a.within(ctx, s.ID) {
				hit.Summary = s
				if !yield(found{hit, true}, err) {
					return
				}
			}
		}
		if a.Index == nil {
			return
		}
		for hit, err := range a.Index.Search(ctx, a.f.Query) {
			if err == nil && (seen[hit.ID] || a.Sees != nil && !a.Sees(hit.Found) || a.f.unreviewed && !a.unreviewed(hit.Summary)) {
				continue
			}
			if !yield(found{Hit: hit}, err) {
				return
			}
		}
	}
}

// told is a hit as programs read it.
type told struct {
	Session   string    `json:"session"`
	Code      string    `json:"code,omitempty"`
	Time      time.Time `json:"time"`
	At        float64   `json:"at"` // seconds into the session
	Engineer  string    `json:"engineer"`
	Target    string    `json:"target"`
	Mode      string    `json:"mode"`
	Flags     []string  `json:"flags,omitempty"`
	N         int       `json:"n,omitempty"` // of the statement
	Statement string    `json:"statement,omitempty"`
	Output    string    `json:"output,omitempty"` // what was on the screen
	Place     string    `json:"place"`            // for --before
	Replay    string    `json:"replay,omitempty"`
}

// excerpt is how much of a statement people see: so much of it before the match,
// and so much in all.
const (
	excerptBefore = 60
	excerptLength = 240
	wholeText     = 64 << 10
)

func (a *answer) print(w io.Writer, hit session.Hit) error {
	s := clean(hit.Summary)
	replay := ""
	if a.Replay != nil {
		replay = a.Replay(s.ID, hit.At.Truncate(time.Second))
	}
	when := hit.Started.Add(hit.At).UTC()
	if !a.f.json {
		text := []rune(hit.Text)
		if from := hit.Offset - excerptBefore; from > 0 && len(text) > excerptLength {
			text = append([]rune("…"), text[from:]...)
		}
		head := strings.Join([]string{
			s.ID, when.Format("2006-01-02 15:04:05Z"), session.OneLine(s.Engineer, 40), session.OneLine(s.Target+"+"+s.Mode, 60), session.OneLine(strings.Join(s.Flags, ", "), 120),
		}, "  ")
		rows := []string{strings.TrimRight(head, " "), session.OneLine(string(text), excerptLength)}
		if replay != "" {
			rows = append(rows, replay)
		}
		_, err := fmt.Fprintln(w, strings.Join(rows, "\n    "))
		return err
	}
	t := told{
		Session: s.ID, Code: s.Code, Time: when, At: hit.At.Seconds(), Engineer: s.Engineer, Target: s.Target, Mode: s.Mode, Flags: s.Flags, N: hit.N,
		Place: fmt.Sprintf("%s:%d", s.ID, hit.Place.N), Replay: replay,
	}
	if text := session.OneLine(hit.Text, wholeText); hit.N > 0 {
		t.Statement = text
	} else {
		t.Output = text
	}
	return jsonLine(w, t)
}

// end says what the answer does not hold, and whether that is a failure.
func (a *answer) end() error {
	if err := a.c.Context().Err(); err != nil {
		return err
	}
	if a.Index != nil {
		in, err := a.Index.Indexed(a.c.Context())
		a.failed(err)
		if err == nil {
			a.known(in)
		}
	}
	if !a.whole {
		return failure{statusFailed, "the answer is not whole"}
	}
	return nil
}

// stale is from when on it is said how old an answer is.
const stale = time.Minute

func (a *answer) known(in session.Indexed) {
	missing := func(n int, what string) {
		if n > 0 {
			a.whole = false
			a.say("%s %s", a.howMany(n), what)
		}
	}
	switch {
	case in.At.IsZero():
		a.whole = false
		a.say("the store is still being listed; there may be more than this")
	case time.Since(in.At) > stale:
		a.say("the store was last looked at %s", in.At.UTC().Format("2006-01-02 15:04:05Z"))
	}
	if a.Seer == nil {
		for _, trouble := range in.Troubles {
			a.whole = false
			a.say("%s", trouble)
		}
	} else {
		missing(len(in.Troubles), "can not be read")
	}
	if a.f.Text == "" {
		return
	}
	missing(in.Unread, "have not been searched yet: ask again later")
	missing(in.Broken, "could not be searched, or not to their end; verify says why")
	if n := in.Encrypted + a.shut; n > 0 {
		a.say("%s are encrypted, and nothing here opens them: they were not searched. Where an identity is: twokey recordings search --identity FILE", a.howMany(n))
	}
	if in.Cut > 0 {
		a.say("of %s only the beginning was searched: they hold more text than is kept", a.howMany(in.Cut))
	}
}

// howMany tells no number to those who may not see all: it is of recordings of others, too.
func (a *answer) howMany(n int) string {
	switch {
	case a.Seer != nil:
		return "some recordings"
	case n == 1:
		return "1 recording"
	}
	return fmt.Sprintf("%d recordings", n)
}
