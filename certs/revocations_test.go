package certs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/certs"
)

// revoked is a list with one decision on it, in no file that lasts.
func revoked(r certs.Revocation) *certs.Revocations {
	list, err := certs.OpenRevocations(filepath.Join(os.TempDir(), "none", "revoked.jsonl"))
	if err == nil && list.Add(r) == nil {
		panic("it was written down")
	}
	return list
}

func TestRevocations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked.jsonl")
	open := func() *certs.Revocations {
		t.Helper()
		list, err := certs.OpenRevocations(path)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	list := open()
	add := func(r certs.Revocation) {
		t.Helper()
		if err := list.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now()
	says := func(what, want string, proven time.Time) {
		t.Helper()
		for _, l := range []*certs.Revocations{list, open()} { // also after a restart
			if got := l.Why(alice, proven); !strings.Contains(got, want) || want == "" && got != "" {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
	}
	says("nobody is revoked", "", before)
	add(certs.Revocation{Person: strings.ToUpper(alice.Name), By: "sam", Why: "lost laptop"})
	says("in any case", "sam revoked you on", time.Now().Add(time.Hour))
	says("and why", "lost laptop", before)
	add(certs.Revocation{Person: alice.Name, By: "sam", Restored: true})
	says("what is from before stays refused", "from before you were restored", before)
	says("a new login", "", time.Now())
	add(certs.Revocation{Person: "al", Issuer: alice.Issuer, Subject: alice.Subject, By: "dana"})
	says("the last decision counts", "dana revoked you", time.Now())

	if err := os.WriteFile(path, []byte("{\"person\":\"al\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.OpenRevocations(path); err == nil {
		t.Error("a list that cannot be read was taken")
	}
}
