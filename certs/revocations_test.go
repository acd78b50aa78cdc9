package certs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/certs"
	"github.com/twokey/twokey/session"
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

}

// One certificate, or all of before, are no good; the person may log in again.
func TestRevocationOfCertificates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked.jsonl")
	list, err := certs.OpenRevocations(path)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	with := func(serial uint64, issued time.Time) session.Identity {
		who := alice
		who.Credential = session.Credential{Serial: serial, Issued: issued}
		return who
	}
	add := func(r certs.Revocation) {
		t.Helper()
		r.By = "sam"
		if err := list.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	says := func(what string, who session.Identity, want string) {
		t.Helper()
		again, err := certs.OpenRevocations(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range []*certs.Revocations{list, again} {
			if got := l.Why(who, time.Now()); !strings.Contains(got, want) || want == "" && got != "" {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
	}
	add(certs.Revocation{Serial: 7, Why: "seen on a wiki"})
	says("that one", with(7, now), "sam revoked this certificate on")
	says("another one of hers", with(8, now), "")
	says("a login without one", with(0, now), "")
	add(certs.Revocation{Serial: 7, Restored: true})
	says("that one again", with(7, now), "")
	add(certs.Revocation{Before: now.Add(-time.Hour)})
	says("of before", with(8, now.Add(-2*time.Hour)), "sam revoked all logins from before")
	says("of after", with(8, now), "")
	add(certs.Revocation{Person: alice.Name})
	add(certs.Revocation{Serial: 7, Restored: true})
	says("a certificate restored is no person restored", with(7, now), "sam revoked you")
	add(certs.Revocation{Person: alice.Name, Restored: true})
	says("a person restored", with(8, time.Now()), "")
	says("a person restored keeps what is revoked besides", with(8, now.Add(-2*time.Hour)), "sam revoked all logins from before")
	add(certs.Revocation{Serial: 9})
	add(certs.Revocation{Person: alice.Name, Restored: true})
	says("as this one", with(9, time.Now()), "sam revoked this certificate")
	for what, r := range map[string]certs.Revocation{
		"nothing": {}, "two things": {Person: "al", Serial: 1}, "time and person": {Person: "al", Before: now},
		"the future": {Before: now.Add(time.Hour)}, "a time restored": {Before: now.Add(-time.Hour), Restored: true},
	} {
		if list.Add(r) == nil {
			t.Errorf("revoked %s", what)
		}
	}
}

// A decision of which something is lost is not forgotten: nobody comes in.
func TestRevocationsThatCannotBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked.jsonl")
	list, err := certs.OpenRevocations(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Add(certs.Revocation{Person: "al", By: "sam"}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.TrimSpace(string(whole))
	for _, broken := range []string{
		"{\"person\":\"al\n", "{}", "null", line + line, line + " x", strings.Replace(line, `"person"`, `"persom"`, 1),
		strings.Replace(line, `"al"`, `""`, 1), line[:len(line)-1], line[1:],
	} {
		if err := os.WriteFile(path, []byte(broken+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := certs.OpenRevocations(path); err == nil {
			t.Errorf("taken: %s", broken)
		}
	}
	if err := list.Add(certs.Revocation{By: "sam"}); err == nil {
		t.Error("nobody was revoked")
	}
}

// A disk that was full for a while cuts off one decision, and no other.
func TestARevocationBehindOneThatWasCutOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked.jsonl")
	if err := os.WriteFile(path, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := certs.OpenRevocations(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(`{"person":"carol","by":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := list.Add(certs.Revocation{Person: alice.Name, By: "sam"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := strings.Split(strings.TrimSpace(string(data)), "\n")
	if err := os.WriteFile(path, []byte(whole[len(whole)-1]), 0o600); err != nil { // the operator removes the broken one
		t.Fatal(err)
	}
	if list, err = certs.OpenRevocations(path); err != nil || list.Why(alice, time.Now()) == "" {
		t.Errorf("alice's is lost: %v", err)
	}
}

// Whoever is kept out does not come in with another account of theirs.
func TestRevocationOfAnotherAccount(t *testing.T) {
	other := alice
	other.Subject, other.Name = "alice-2", "al"
	list := revoked(certs.Revocation{Person: alice.Name, SamePerson: alice.SamePerson, By: "sam"})
	if list.Why(other, time.Now()) == "" {
		t.Error("the other account comes in")
	}
	other.SamePerson = ""
	if why := list.Why(other, time.Now()); why != "" {
		t.Errorf("somebody else does not: %s", why)
	}
}
