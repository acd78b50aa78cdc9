package session

import (
	"slices"
	"time"
)

// Identity is a person as the identity provider vouched for them. A person is
// the pair (Issuer, Subject); everything else is what was claimed of them at
// their last login. Only package certs makes one.
type Identity struct {
	Issuer  string `json:"issuer"`  // exact OIDC issuer URL
	Subject string `json:"subject"` // OIDC sub, unique within the issuer

	// Name is how people call them, cleaned of control and bidi characters.
	// It is for reading; no decision compares it.
	Name   string   `json:"name"`
	Groups []string `json:"groups,omitempty"` // exact strings

	// Claims holds the extra configured claims by their configured role, such as "team".
	Claims map[string]string `json:"claims,omitempty"`
	// SamePerson is the configured claim that tells two accounts of one human
	// apart from two humans (an employee number). Empty when not configured.
	SamePerson string `json:"same_person,omitempty"`

	Credential Credential `json:"credential,omitzero"`
}

// Credential is what this connection proved about the person.
type Credential struct {
	Key     string    `json:"key,omitempty"`     // SHA256:… fingerprint of the public key, empty when none was shown
	Serial  uint64    `json:"serial,omitempty"`  // of the certificate; 0 for a login without one
	Issued  time.Time `json:"issued,omitzero"`   // when the person had logged in for it
	Expires time.Time `json:"expires,omitempty"` // when the certificate or login ends
	From    string    `json:"from,omitempty"`    // remote address, host:port
}

// Valid reports whether the identity names a person at all. The zero Identity
// is nobody and is equal to everybody, so that forgetting to fill it refuses.
func (i Identity) Valid() bool { return i.Issuer != "" && i.Subject != "" }

// SamePersonAs reports whether both are one human: same account, or same
// configured same-person claim. Nobody is the same person as anyone.
func (i Identity) SamePersonAs(o Identity) bool {
	if !i.Valid() || !o.Valid() {
		return true
	}
	if i.Issuer == o.Issuer && i.Subject == o.Subject {
		return true
	}
	return i.SamePerson != "" && i.SamePerson == o.SamePerson
}

// InAny reports whether the person is in one of the groups; false for no groups.
func (i Identity) InAny(groups []string) bool {
	return slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(i.Groups, g) })
}
