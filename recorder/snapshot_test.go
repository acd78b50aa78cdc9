package recorder_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder/store/storetest"
)

// A machine is put back to how it was yesterday, or copied: its books then go on
// from a place from which the store has them already, in other words. What it
// recorded would be in no ledger: it opens nothing, and says what to do.
func TestStateThatWasPutBack(t *testing.T) {
	s, dir := storetest.NewMemory(t), memoryDir(t)
	run := func() {
		r := newRecorder(t, options(dir, s))
		want := request()
		sealTape(t, begin(t, r, want), want.ID, 1)
		closed(t, r)
	}
	run()
	snapshot := filepath.Join(memoryDir(t), "state")
	if err := os.CopyFS(snapshot, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	run()
	r := newRecorder(t, options(snapshot, s))
	eventually(t, "it knows", func() bool {
		want := request()
		tape, err := r.Begin(t.Context(), want)
		if err == nil {
			sealTape(t, tape, want.ID, 1) // it had not heard of it yet
		}
		return err != nil && strings.Contains(err.Error(), "put back to an earlier state") && strings.Contains(err.Error(), "new, empty state directory")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := r.Close(ctx); err == nil {
		t.Error("it closes as if everything were in the store")
	}
}
