// Package certs holds identity on the SSH side: the two certificate
// authorities, issuing, and the only place where a certificate becomes an
// Identity.
//
// Its one idea: a certificate is judged whole. golang.org/x/crypto/ssh checks
// a signature and little else; everything that must be true of a certificate of ours
// is written down in judge.go, and whatever is not exactly as we would
// have issued it is refused.
//
// It knows nothing of browsers, and of connections only that to an ssh-agent which
// holds a key of its own. The only file it reads is the list of what is revoked.
package certs

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/session"
)

// This file makes an authority and lets it issue.

// identityExtension carries the verified identity, as JSON, in a certificate.
// Its name has a domain, as names of extensions that are not OpenSSH's must
// (PROTOCOL.certkeys, "Extensions").
const identityExtension = "identity@twokey"

// The other options a certificate of ours can have (PROTOCOL.certkeys).
const (
	permitPTY     = "permit-pty"
	sourceAddress = "source-address"
)

const (
	// MaxTTL is the longest a certificate may live.
	MaxTTL = 24 * time.Hour
	// clockSkew is how far a certificate begins before it is issued, for
	// clocks that are behind.
	clockSkew = time.Minute
	// maxExtension bounds the identity in a certificate, in bytes. Clients
	// send it in one packet, which ends at 256 KiB (OpenSSH's PACKET_MAX_SIZE).
	maxExtension = 32 << 10
)

// Options are an Authority's keys and rules.
type Options struct {
	UserCA ssh.Signer
	HostCA ssh.Signer
	TTL    time.Duration // of issued certificates, and the most that is accepted; at most MaxTTL
	// OldUserCAs are user CAs of before: what they signed is accepted for a while.
	OldUserCAs []OldCA
	// OtherHostCAs are those of before and those to come, which clients shall trust too.
	OtherHostCAs []ssh.PublicKey
	// SourceAddress binds an issued certificate to the address it was asked
	// for from, and refuses one that is not bound.
	SourceAddress bool
	// SamePerson refuses whoever comes without that claim: a certificate from before
	// it was configured would make two people of two accounts.
	SamePerson bool
	// Revoked may be nil.
	Revoked *Revocations
}

// OldCA is a CA that signs no more.
type OldCA struct {
	Key   ssh.PublicKey
	Until time.Time // from then on nothing that it signed is accepted
}

// Authority issues certificates and judges them. It is safe for concurrent use.
type Authority struct {
	o Options
}

// NewAuthority checks that the keys are there, apart, and plain.
func NewAuthority(o Options) (*Authority, error) {
	if err := isCA("user", o.UserCA); err != nil {
		return nil, err
	}
	if err := isCA("host", o.HostCA); err != nil {
		return nil, err
	}
	if sameKey(o.UserCA.PublicKey(), o.HostCA.PublicKey()) {
		return nil, errors.New("the user CA and the host CA are the same key; each needs its own")
	}
	for _, old := range o.OldUserCAs {
		if old.Key == nil || !keyTypes[old.Key.Type()] || sameKey(old.Key, o.HostCA.PublicKey()) {
			return nil, errors.New("an old user CA is no plain ed25519 or ecdsa key, or is the host CA")
		}
	}
	for _, other := range o.OtherHostCAs {
		if other == nil || !keyTypes[other.Type()] || sameKey(other, o.UserCA.PublicKey()) {
			return nil, errors.New("another host CA is no plain ed25519 or ecdsa key, or is the user CA")
		}
	}
	if o.TTL <= 0 || o.TTL > MaxTTL {
		return nil, fmt.Errorf("the lifetime of certificates is %s; it must be more than 0 and at most %s", o.TTL, MaxTTL)
	}
	return &Authority{o}, nil
}

// isCA refuses what must not sign: nothing, certificates, weak keys.
func isCA(name string, ca ssh.Signer) error {
	if ca == nil {
		return fmt.Errorf("the key of the %s CA is missing", name)
	}
	if t := ca.PublicKey().Type(); !keyTypes[t] {
		return fmt.Errorf("the key of the %s CA is of type %s; it must be a plain ed25519 or ecdsa key", name, t)
	}
	return nil
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// keyTypes are the public keys that sign, and that a certificate is issued
// for. Those of certificates are not among them. Keys on hardware (sk-) sign with a touch: the SSH
// server enforces it, as no certificate of ours has the extension that would waive it.
var keyTypes = map[string]bool{
	ssh.KeyAlgoED25519: true, ssh.KeyAlgoSKED25519: true, ssh.KeyAlgoSKECDSA256: true,
	ssh.KeyAlgoECDSA256: true, ssh.KeyAlgoECDSA384: true, ssh.KeyAlgoECDSA521: true,
}

// Issue signs a certificate for a person who has just logged in, for the key
// they have proven. The caller vouches for both; it never issues one to
// somebody who came with a certificate. The error is a sentence for the person.
func (a *Authority) Issue(who session.Identity, key ssh.PublicKey) (*ssh.Certificate, error) {
	if !who.Valid() || !clean(who.Name) {
		return nil, errors.New("nobody to issue a certificate for")
	}
	if key == nil || !keyTypes[key.Type()] {
		return nil, fmt.Errorf("keys of type %s get no certificate; use ed25519 (ssh-keygen -t ed25519)", typeOf(key))
	}
	cert := a.draft(who, key, time.Now())
	claims, err := json.Marshal(person(who))
	if err != nil {
		return nil, err
	}
	if len(claims) > maxExtension {
		return nil, fmt.Errorf("what the identity provider says of you takes %d bytes and a certificate holds %d; let it send fewer groups", len(claims), maxExtension)
	}
	cert.Extensions[identityExtension] = string(claims)
	if a.o.SourceAddress {
		addr, err := address(who.Credential.From)
		if err != nil {
			return nil, fmt.Errorf("a certificate is for one address here, and yours is not known: %w", err)
		}
		cert.CriticalOptions = map[string]string{sourceAddress: addr.String()}
	}
	if err := cert.SignCert(rand.Reader, a.o.UserCA); err != nil {
		return nil, fmt.Errorf("signing the certificate: %w", err)
	}
	return cert, nil
}

// draft is a certificate without identity and signature.
func (a *Authority) draft(who session.Identity, key ssh.PublicKey, now time.Time) *ssh.Certificate {
	var random [8]byte
	rand.Read(random[:])
	serial := binary.BigEndian.Uint64(random[:]) | 1 // 0 is "no certificate"
	return &ssh.Certificate{
		Key: key, CertType: ssh.UserCert, Serial: serial,
		KeyId:           fmt.Sprintf("%s issued %s serial %016x", who.Name, now.UTC().Format(time.RFC3339), serial),
		ValidPrincipals: []string{who.Name},
		ValidAfter:      uint64(now.Add(-clockSkew).Unix()), ValidBefore: uint64(now.Add(a.o.TTL).Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{permitPTY: ""}},
	}
}

func typeOf(key ssh.PublicKey) string {
	if key == nil {
		return "none"
	}
	return key.Type()
}

// person is an identity as a certificate carries it: without what this one
// connection proved.
func person(who session.Identity) session.Identity {
	who.Credential = session.Credential{}
	return who
}

// address reads an address, with or without port, in the one form in which
// addresses are compared.
func address(from string) (netip.Addr, error) {
	host, _, err := net.SplitHostPort(from)
	if err != nil {
		host = from
	}
	addr, err := netip.ParseAddr(host)
	return addr.Unmap().WithZone(""), err
}

// UserCA is the public half of the user CA, and of those before it that still count,
// each as one line of authorized_keys.
func (a *Authority) UserCA() string {
	lines := string(ssh.MarshalAuthorizedKey(a.o.UserCA.PublicKey()))
	for _, old := range a.o.OldUserCAs {
		if time.Now().Before(old.Until) {
			lines += string(ssh.MarshalAuthorizedKey(old.Key))
		}
	}
	return lines
}
