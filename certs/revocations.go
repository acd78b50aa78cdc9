package certs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twokey/twokey/session"
)

// This file keeps the list of what is revoked: people, whatever certificate they
// have; single certificates; and all that were issued before some time, as when a key
// or the identity provider was in wrong hands. It is the only file that this package
// keeps: a line of JSON for each decision, never changed, only added to.

// Revocation is one decision of an admin's: about a person, a certificate, or all
// certificates of before.
type Revocation struct {
	Serial uint64    `json:"serial,omitempty"` // the certificate's
	Before time.Time `json:"before,omitzero"`  // what was issued, or logged in for, before then

	Person  string `json:"person,omitempty"`  // the name they go by
	Issuer  string `json:"issuer,omitempty"`  // with Subject: who that is, where it was known
	Subject string `json:"subject,omitempty"` //
	// SamePerson is the claim that tells other accounts of theirs, where it was known.
	SamePerson string    `json:"same_person,omitempty"`
	By         string    `json:"by"`            // the admin
	Why        string    `json:"why,omitempty"` // in words
	Time       time.Time `json:"time"`          // of the decision
	// Outdated: what this account has logged in for before Time is no good, and a new
	// login is. Not an admin's decision, but what the identity provider said since.
	Outdated bool `json:"outdated,omitempty"`
	Restored bool `json:"restored,omitempty"` // they may come in again, with a new login; the certificate counts again
}

// about reports whether the decision is about this person, or what they came with.
// The name counts in any case, as refusing one person too many is the lesser evil.
// proven is when they logged in.
func (r Revocation) about(who session.Identity, proven time.Time) bool {
	switch {
	case r.Outdated:
		return r.Issuer == who.Issuer && r.Subject == who.Subject
	case r.Serial != 0:
		return r.Serial == who.Credential.Serial
	case !r.Before.IsZero() && !who.Credential.Issued.IsZero():
		return who.Credential.Issued.Before(r.Before)
	case !r.Before.IsZero():
		return proven.Before(r.Before)
	}
	return strings.EqualFold(r.Person, who.Name) || r.Subject != "" && r.Issuer == who.Issuer && r.Subject == who.Subject ||
		r.SamePerson != "" && r.SamePerson == who.SamePerson
}

// sound reports whether it says about whom or what it is, and about one of them.
func (r Revocation) sound() bool {
	about := 0
	for _, is := range []bool{r.Person != "", r.Serial != 0, !r.Before.IsZero()} {
		if is {
			about++
		}
	}
	if r.Outdated && (r.Person == "" || r.Issuer == "" || r.Subject == "" || r.Restored) {
		return false
	}
	return about == 1 && !r.Time.IsZero() && (r.Before.IsZero() || !r.Restored && !r.Before.After(r.Time))
}

// Revocations is the list. It is safe for concurrent use.
type Revocations struct {
	path string
	mu   sync.Mutex
	list []Revocation
}

// OpenRevocations reads the list, which begins empty. A line that cannot be
// read, such as one that a crash cut off, is an error: whoever it is about
// would be let in.
func OpenRevocations(path string) (*Revocations, error) {
	l := &Revocations{path: path}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the list of what is revoked: %w", err)
	}
	for n, line := range bytes.Split(data, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		r, err := readRevocation(line)
		if err != nil {
			return nil, fmt.Errorf("the list of what is revoked, %s:%d: %w", path, n+1, err)
		}
		l.list = append(l.list, r)
	}
	return l, nil
}

// readRevocation reads a line that says nothing but what a Revocation does.
func readRevocation(line []byte) (r Revocation, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, err
	}
	if !r.sound() || len(bytes.TrimSpace(line[d.InputOffset():])) > 0 {
		return r, errors.New("it is not about anybody, or there is more on the line")
	}
	return r, nil
}

// Add puts a decision on the list. It is on disk when Add returns nil, and
// counts even when that failed.
func (l *Revocations) Add(r Revocation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Time = time.Now().UTC()
	if !r.sound() {
		return errors.New("a revocation is about a person, a certificate, or what is from before some time in the past")
	}
	l.list = append(l.list, r)
	if err := l.write(r); err != nil {
		return fmt.Errorf("it counts until the bastion stops, and could not be written down: %w", err)
	}
	return nil
}

// write adds a line, and ends one that an earlier failure cut off, so that
// this one can be read. The caller holds mu.
func (l *Revocations) write(r Revocation) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(append(append([]byte("\n"), line...), '\n')); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(l.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Why says why a person is not let in on the strength of what was proven to us
// at some time, or "". Of the decisions about a person the last one counts; after they were
// restored, what is from before is still no good. The same holds for those about one
// certificate. What was issued before some time stays refused.
func (l *Revocations) Why(who session.Identity, proven time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	person, serial := true, who.Credential.Serial != 0 // not yet decided
	for i := len(l.list) - 1; i >= 0; i-- {
		r := l.list[i]
		if !r.about(who, proven) || r.Person != "" && !r.Outdated && !person || r.Serial != 0 && !serial {
			continue
		}
		if why := r.why(proven); why != "" {
			return why
		}
		switch {
		case r.Outdated: // what an admin decided before that still counts
		case r.Person != "":
			person = false
		default:
			serial = false
		}
	}
	return ""
}

// why is what a decision about them means for what was proven at some time.
func (r Revocation) why(proven time.Time) string {
	what := "you"
	switch {
	case r.Outdated && proven.Before(r.Time):
		return r.Why + "; log in again"
	case r.Outdated:
		return ""
	case r.Serial != 0 && r.Restored:
		return ""
	case r.Serial != 0:
		what = "this certificate"
	case !r.Before.IsZero():
		what = "all logins from before " + r.Before.Format("2006-01-02 15:04 UTC")
	case r.Restored && proven.Before(r.Time):
		return "it is from before you were restored; log in again"
	case r.Restored:
		return ""
	}
	return strings.TrimSuffix(fmt.Sprintf("%s revoked %s on %s: %s", r.By, what, r.Time.Format("2006-01-02 15:04 UTC"), r.Why), ": ")
}
