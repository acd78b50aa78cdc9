package recorder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/twokey/twokey/session"
)

// This file keeps what must be reviewed: which sessions were opened alone in an
// emergency, who has replayed a recording, and who signed it off. Each such
// session has a file of its own in the state directory, so that neither a crash
// nor the loss of a recording lets anybody off, and the answer is there when somebody
// is in a hurry and the store is not. The ledger proves what is kept here.

// replayCounts is for how long, at least, a replay is remembered of a session
// that nobody owes and nobody has reviewed.
const replayCounts = 30 * 24 * time.Hour

// reviews are the dossiers of all sessions that have one.
type reviews struct {
	dir string

	mu    sync.Mutex
	known map[string]dossier // by session
}

// dossier is what is known of the review of one session.
type dossier struct {
	Engineer *session.Identity `json:"engineer,omitempty"` // who opened it alone, and owes its review; nil for any other session
	Since    time.Time         `json:"since,omitzero"`     // when that was
	Until    time.Time         `json:"until,omitzero"`     // it must be signed off by then

	Replayed []replayed        `json:"replayed,omitempty"` // by whom, all of it, since it was sealed
	What     string            `json:"what,omitempty"`     // the last review: ok, raise
	By       *session.Identity `json:"by,omitempty"`       // whose it is
}

// replayed is somebody who has seen a recording.
type replayed struct {
	By session.Identity `json:"by"`
	At time.Time        `json:"at"`
}

// openReviews reads the dossiers. One that can not be read is an error: what is
// owed must not be forgotten.
func openReviews(dir string) (*reviews, error) {
	v := &reviews{dir: filepath.Join(dir, "reviews"), known: map[string]dossier{}}
	if err := errors.Join(os.MkdirAll(v.dir, 0o700), syncDir(dir), sweep(v.dir)); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		id, found := strings.CutSuffix(e.Name(), ".json")
		if _, err := ulid.ParseStrict(id); !found || err != nil {
			continue
		}
		d, err := readDossier(v.file(id))
		if err != nil {
			return nil, fmt.Errorf("what is to be reviewed: %w", err)
		}
		if d.stale(time.Now()) {
			if err := os.Remove(v.file(id)); err != nil {
				return nil, err
			}
			continue
		}
		v.known[id] = d
	}
	return v, nil
}

// readDossier reads a file that says something, and nothing but what a dossier does.
func readDossier(path string) (d dossier, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return d, err
	}
	in := json.NewDecoder(bytes.NewReader(data))
	in.DisallowUnknownFields()
	if err := in.Decode(&d); err != nil {
		return d, fmt.Errorf("%s: %w", path, err)
	}
	if nothing := d.Engineer == nil && d.What == "" && len(d.Replayed) == 0; nothing || in.More() {
		return d, fmt.Errorf("%s: something is lost of it", path)
	}
	return d, nil
}

func (v *reviews) file(id string) string { return filepath.Join(v.dir, id+".json") }

// stale reports whether a dossier is of no use any more.
func (d dossier) stale(now time.Time) bool {
	recent := func(r replayed) bool { return now.Sub(r.At) < replayCounts }
	return d.Engineer == nil && d.What == "" && !slices.ContainsFunc(d.Replayed, recent)
}

// locks reports whether the dossier keeps its engineer from breaking glass: its
// time is over, or somebody raised what only an ok can settle.
func (d dossier) locks(now time.Time) bool {
	switch {
	case d.Engineer == nil, d.What == ReviewOK:
		return false
	case d.What == ReviewRaise:
		return true
	}
	return !now.Before(d.Until)
}

// change changes a dossier. It is on disk when change returns nil, and
// otherwise as it was.
func (v *reviews) change(id string, apply func(*dossier)) error {
	if _, err := ulid.ParseStrict(id); err != nil {
		return fmt.Errorf("%.40q is no session ID", id)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	d := v.known[id]
	apply(&d)
	if err := writeJSON(v.file(id), d); err != nil {
		return fmt.Errorf("what is to be reviewed can not be written: %w", err)
	}
	v.known[id] = d
	return nil
}

// owe notes that a session was opened alone.
func (v *reviews) owe(want session.Request) error {
	return v.change(want.ID, func(d *dossier) {
		engineer := person(want.Engineer)
		d.Engineer, d.Since = &engineer, time.Now().UTC()
		d.Until = d.Since.Add(want.Mode.BreakGlass.Review)
	})
}

// saw notes that somebody has replayed the whole recording.
func (v *reviews) saw(id string, who session.Identity) error {
	return v.change(id, func(d *dossier) {
		before := func(r replayed) bool { return r.By.SamePersonAs(who) }
		d.Replayed = append(slices.DeleteFunc(slices.Clone(d.Replayed), before), replayed{By: person(who), At: time.Now().UTC()})
	})
}

// sign notes a review.
func (v *reviews) sign(id string, who session.Identity, what string) error {
	return v.change(id, func(d *dossier) {
		by := person(who)
		d.What, d.By = what, &by
	})
}

func (v *reviews) get(id string) dossier {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.known[id]
}

// locking returns the sessions that keep somebody from breaking glass, oldest
// first.
func (v *reviews) locking(who session.Identity, now time.Time) (ids []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for id, d := range v.known {
		if d.locks(now) && d.Engineer.SamePersonAs(who) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// person is as much of an identity as tells one person from another.
func person(who session.Identity) session.Identity {
	return session.Identity{Issuer: who.Issuer, Subject: who.Subject, Name: who.Name, SamePerson: who.SamePerson}
}

// Owes returns the sessions that this person opened alone and that must be
// signed off before they may do that again: those whose time is over, and those
// about which somebody raised something.
func (r *Recorder) Owes(who session.Identity) []string { return r.reviews.locking(who, time.Now()) }

// Reviewed returns the last review of a session, ok or raise, and by whom it
// is; nothing when there is none.
func (r *Recorder) Reviewed(id string) (what, by string) {
	d := r.reviews.get(id)
	if d.By == nil {
		return "", ""
	}
	return d.What, d.By.Name
}

// Review puts into the books what somebody says of a recording they have
// replayed: ok, or raise. Whether they may review it is for the caller to know.
func (r *Recorder) Review(_ context.Context, who session.Identity, id, what, note string) error {
	saw := func(x replayed) bool { return x.By.SamePersonAs(who) }
	switch {
	case what != ReviewOK && what != ReviewRaise:
		return fmt.Errorf("a review is %s or %s, not %.40q", ReviewOK, ReviewRaise, what)
	case !who.Valid() || !slices.ContainsFunc(r.reviews.get(id).Replayed, saw):
		return session.Cause{Code: session.Refused, Text: "you have not replayed all of " + id + " since it ended; replay it first, to its end and with every statement"}
	}
	if err := r.books.add(Entry{Type: EntryReviewed, Who: &who, What: what, Note: note, Session: id}); err != nil {
		return err
	}
	return r.reviews.sign(id, who, what)
}

// errNoBooks is what an archive without books says of everything about them.
var errNoBooks = errors.New("there is no ledger to note this in")

// Asked returns who asked for what, as a proven manifest says it; of the rules of
// the mode only its quorum. A recording that is not whole yet is ErrNoRecording.
func (a *Archive) Asked(ctx context.Context, id string) (session.Request, error) {
	place, err := folder(id)
	if err != nil {
		return session.Request{}, fmt.Errorf("%w: %w", ErrNoRecording, err)
	}
	if len(a.keys) == 0 {
		return session.Request{}, errors.New("there are no public keys to verify with")
	}
	m, err := a.manifest(ctx, place)
	switch {
	case err != nil:
		return session.Request{}, fmt.Errorf("recording %s: %w", id, err)
	case m == nil:
		return session.Request{}, fmt.Errorf("%w that is whole: %s", ErrNoRecording, id)
	}
	s := m.Session
	return session.Request{
		ID: s.ID, Code: s.Code, Engineer: s.Engineer, Target: session.Target{Name: s.Target},
		Mode: session.Mode{Name: s.Mode, Shadows: s.Quorum}, Reason: s.Reason, BreakGlass: s.BreakGlass, Started: s.Started,
	}, nil
}

// Owes is the recorder's. Without one nobody knows, which is an error.
func (a *Archive) Owes(who session.Identity) ([]string, error) {
	if a.books == nil {
		return nil, errNoBooks
	}
	return a.books.Owes(who), nil
}

// Reviewed is the recorder's.
func (a *Archive) Reviewed(id string) (what, by string) {
	if a.books == nil {
		return "", ""
	}
	return a.books.Reviewed(id)
}

// Review is the recorder's, for anybody but the session's engineer.
func (a *Archive) Review(ctx context.Context, who session.Identity, id, what, note string) error {
	if a.books == nil {
		return errNoBooks
	}
	want, err := a.Asked(ctx, id)
	if err != nil {
		return err
	}
	if want.Engineer.SamePersonAs(who) {
		return session.Cause{Code: session.Refused, Text: "nobody reviews themselves: this session is yours"}
	}
	return a.books.Review(ctx, who, id, what, note)
}
