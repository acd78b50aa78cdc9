package recorder_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
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
	if err := found.Prune(t.Context(), recorder.Pruning{Before: time.Now().Add(time.Minute), Really: true}, func(string) {}); err != nil {
		t.Fatal(err)
	}
	closed(t, found)
	w.Reset()
	err := recorder.OpenArchive(s, until(replaced), nil).Verify(t.Context(), nil, &w)
	if err == nil || !strings.Contains(w.String(), "is in the ledger, and missing") {
		t.Errorf("buried with an old key: %v\n%s", err, w.String())
	}

	// A second time in what is signed, an old one, changes nothing.
	for _, name := range s.Names() {
		if !strings.HasSuffix(name, "0000000001-started.json") || l.Object(name) != nil {
			continue
		}
		forged := append([]byte(`{"ended":"2020-01-01T00:00:00Z",`), s.Object(name)[1:]...)
		sig, err := sshsig.Sign(bytes.NewReader(forged), testKey('k'), sshsig.HashSHA512, recorder.LedgerNamespace)
		if err != nil {
			t.Fatal(err)
		}
		s.Tamper(name, forged)
		s.Tamper(name+".sig", sshsig.Armor(sig))
		w.Reset()
		recorder.OpenArchive(s, until(replaced), nil).Verify(t.Context(), nil, &w)
		if !strings.Contains(w.String(), name+" is not what was signed") || !strings.Contains(w.String(), "which counts for what is from before") {
			t.Errorf("dated back beside its own time:\n%s", w.String())
		}
		return
	}
	t.Error("nobody who found the key wrote a ledger")
}
