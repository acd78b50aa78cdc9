package recorder_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/recorder"
)

// A key that was replaced proves what is from before that, and nothing that is
// signed with it later: neither a recording nor a tombstone.
func TestAKeyUntil(t *testing.T) {
	l := record(t, 2)
	replaced := time.Now()
	until := func(moment time.Time) []ssh.PublicKey {
		return []ssh.PublicKey{testKey('n').PublicKey(), recorder.KeyUntil(trusted()[0], moment)}
	}
	before := l.Clone()
	if err := recorder.OpenArchive(before, until(time.Now().Add(time.Hour)), nil).Verify(t.Context(), nil, io.Discard); err != nil {
		t.Errorf("before the key's end: %v", err)
	}

	var w strings.Builder
	yesterday := until(time.Now().Add(-24 * time.Hour))
	if err := recorder.OpenArchive(before, yesterday, nil).Verify(t.Context(), nil, &w); err == nil || !strings.Contains(w.String(), "which counts for what is from before") {
		t.Errorf("signed after the key's end: %v\n%s", err, w.String())
	}

	// Whoever found the old key now buries a recording with it.
	s := l.Clone()
	found := newRecorder(t, options(memoryDir(t), s))
	if err := found.Prune(t.Context(), time.Now().Add(time.Minute), true, func(string) {}); err != nil {
		t.Fatal(err)
	}
	closed(t, found)
	w.Reset()
	err := recorder.OpenArchive(s, until(replaced), nil).Verify(t.Context(), nil, &w)
	if err == nil || !strings.Contains(w.String(), "is in the ledger, and missing") {
		t.Errorf("buried with an old key: %v\n%s", err, w.String())
	}
}
