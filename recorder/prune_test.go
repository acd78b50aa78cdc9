package recorder_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder"
)

// Recordings whose time is over leave the store with a tombstone, by which the
// rest stays proven; without it, the same is a theft.
func TestPrune(t *testing.T) {
	l := record(t, 3) // an hour ago
	s := l.Clone()
	s.Tamper(l.segment(1, 2), []byte("x"))
	o := options(t.TempDir(), s)
	prune := func(really bool) (ids []string, err error) {
		r := newRecorder(t, o)
		err = r.Prune(t.Context(), time.Now().Add(time.Minute), really, func(id string) { ids = append(ids, id) })
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
