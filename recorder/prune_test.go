package recorder_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// Recordings whose time is over leave the store with a tombstone, by which the
// rest stays proven; without it, the same is a theft.
func TestPrune(t *testing.T) {
	l := record(t, 3) // an hour ago
	s := l.Clone()
	s.Tamper(l.segment(1, 2), []byte("x"))
	o := options(memoryDir(t), s)
	prune := func(really bool) (ids []string, err error) {
		r := newRecorder(t, o)
		err = r.Prune(t.Context(), recorder.Pruning{Before: time.Now().Add(time.Minute), Really: really}, func(id string) { ids = append(ids, id) })
		closed(t, r)
		slices.Sort(ids)
		return ids, err
	}
	due := []string{l.ids[0], l.ids[2]}
	slices.Sort(due)
	for _, really := range []bool{false, true} {
		ids, err := prune(really)
		if !slices.Equal(ids, due) || err == nil || !strings.Contains(err.Error(), l.ids[1]+" stays: it is not proven") {
			t.Fatalf("really %v: %v, %v; want %v, and that the damaged one stays", really, ids, err, due)
		}
		a := recorder.OpenArchive(s, trusted(), nil)
		if _, err := a.Check(t.Context(), l.ids[0]); errors.Is(err, recorder.ErrNoRecording) != really {
			t.Fatalf("really %v: %v", really, err)
		}
	}
	var w strings.Builder
	if err := recorder.OpenArchive(s, trusted(), nil).Verify(t.Context(), nil, &w); err == nil || !strings.Contains(w.String(), "1 recordings, 1 not proven; 0 findings in the ledger") &&
		!strings.Contains(w.String(), "in the ledger, and missing from the store or not proven") {
		t.Errorf("%v\n%s", err, w.String())
	}
	for _, id := range due {
		if strings.Contains(w.String(), id) {
			t.Errorf("%s was pruned, and is spoken of:\n%s", id, w.String())
		}
	}

	// A prune that was broken off in the middle of a recording goes on the next time.
	broken := l.Clone()
	for _, name := range s.Names() {
		if strings.HasPrefix(name, "ledger/") && broken.Object(name) == nil {
			broken.Tamper(name, s.Object(name))
		}
	}
	broken.Tamper(l.segment(0, 1), nil)
	w.Reset()
	if err := recorder.OpenArchive(broken, trusted(), nil).Verify(t.Context(), nil, &w); err != nil || !strings.Contains(w.String(), l.ids[0]+"  removed: its time is over") {
		t.Errorf("half removed: %v\n%s", err, w.String())
	}
	o.Store = broken
	if ids, err := prune(true); err != nil || !slices.Contains(ids, l.ids[0]) {
		t.Errorf("pruned again: %v, %v", ids, err)
	}
	proven(t, recorder.OpenArchive(broken, trusted(), nil))

	stolen := s.Clone()
	for _, name := range stolen.Names() {
		if strings.Contains(name, "-pruned.json") {
			stolen.Tamper(name, nil)
		}
	}
	w.Reset()
	if err := recorder.OpenArchive(stolen, trusted(), nil).Verify(t.Context(), nil, &w); err == nil || !strings.Contains(w.String(), due[0]+" is in the ledger, and missing") {
		t.Errorf("without the tombstone: %v\n%s", err, w.String())
	}
}

// What somebody must still look at is not removed, whoever prunes, until it is signed off or
// the operator says so.
func TestPruneKeepsWhatIsToBeReviewed(t *testing.T) {
	s := storetest.NewMemory(t)
	r := newRecorder(t, options(memoryDir(t), s))
	a := recorder.OpenArchive(s, trusted(), r)
	record := func(want session.Request) string {
		sealTape(t, begin(t, r, want), want.ID, time.Millisecond)
		eventually(t, "it is whole", func() bool {
			_, err := a.Asked(t.Context(), want.ID)
			return err == nil
		})
		return want.ID
	}
	say := func(id, what string) {
		t.Helper()
		if err := errors.Join(a.Viewed(t.Context(), carol, recorder.ViewReplay, id), a.Shown(t.Context(), carol, id), a.Review(t.Context(), carol, id, what, "note")); err != nil {
			t.Fatal(err)
		}
	}
	plain, broken, good, bad, mended := record(request()), record(glass()), record(glass()), record(request()), record(request())
	say(good, "raise")
	say(good, "ok")
	say(bad, "ok")
	say(bad, "raise")
	say(mended, "raise")
	say(mended, "ok")
	closed(t, r)
	prune := func(unreviewed bool) (ids []string, err error) {
		r := newRecorder(t, options(memoryDir(t), s)) // beside the bastion, of which it knows nothing
		defer closed(t, r)
		err = r.Prune(t.Context(), recorder.Pruning{Before: time.Now().Add(time.Minute), Unreviewed: unreviewed}, func(id string) { ids = append(ids, id) })
		slices.Sort(ids)
		return ids, err
	}
	want := []string{plain, good, mended}
	slices.Sort(want)
	if ids, err := prune(false); !slices.Equal(ids, want) || !errors.Is(err, recorder.ErrOwed) ||
		!strings.Contains(err.Error(), broken+" stays: its review is owed: it was opened alone") || !strings.Contains(err.Error(), bad+" stays: its review is owed: something was raised") {
		t.Errorf("%q, %v", ids, err)
	}
	if ids, err := prune(true); len(ids) != 5 || err != nil {
		t.Errorf("with all: %q, %v", ids, err)
	}
}

// stubborn is a store that does not remove one object.
type stubborn struct {
	*storetest.Memory
	keeps string
}

func (s stubborn) Remove(ctx context.Context, name string) error {
	if name == s.keeps {
		return errors.New("not today")
	}
	return s.Memory.Remove(ctx, name)
}

// What the store does not remove is named, and goes the next time, behind its tombstone.
func TestPruneNamesWhatTheStoreKeeps(t *testing.T) {
	l := record(t, 2)
	s := l.Clone()
	o := options(memoryDir(t), stubborn{s, l.segment(0, 2)})
	prune := func() (ids []string, err error) {
		r := newRecorder(t, o)
		defer closed(t, r)
		err = r.Prune(t.Context(), recorder.Pruning{Before: time.Now().Add(time.Minute), Really: true}, func(id string) { ids = append(ids, id) })
		return ids, err
	}
	if ids, err := prune(); !slices.Equal(ids, l.ids[1:]) || err == nil || !strings.Contains(err.Error(), l.ids[0]+": not today") {
		t.Errorf("%q, %v", ids, err)
	}
	o.Store = s
	if ids, err := prune(); !slices.Equal(ids, l.ids[:1]) || err != nil {
		t.Errorf("the next time: %q, %v", ids, err)
	}
	proven(t, recorder.OpenArchive(s, trusted(), nil))
}
