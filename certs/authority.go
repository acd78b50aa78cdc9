// Package certs holds identity on the SSH side: the two certificate
// authorities, issuing, and the only place where a certificate becomes an
// Identity.
//
// Its one idea: a certificate is judged whole. golang.org/x/crypto/ssh checks
// a signature and little else; everything that must be true of a certificate of ours
// is written down in Identify, and whatever is not exactly as we would
// have issued it is refused.
//
// It knows nothing of connections or browsers.
package certs

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/session"
)

// identityExtension carries the verified identity, as JSON, in a certificate.
// Its name has a domain, as names of extensions that are not OpenSSH's must
// (PROTOCOL.certkeys, "Extensions").
const identityExtension = "identity@twokey"

// Bounds of a certificate. clockSkew is how far a certificate begins before it
// is issued, for clocks that are behind.
const (
	MaxTTL           = 24 * time.Hour
	clockSkew        = time.Minute
	maxExtension     = 32 << 10 // bytes
	permitPTY        = "permit-pty"
	sourceAddress    = "source-address"
	hostLifetime     = 90 * 24 * time.Hour
	sentenceNewLogin = "; get a new one with: ssh HOST login"
)

// Options are an Authority's keys and rules.
type Options struct {
	UserCA ssh.Signer
	HostCA ssh.Signer
	TTL    time.Duration // of issued certificates; at most 24 h
	// SourceAddress binds an issued certificate to the address it was asked
	// for from.
	SourceAddress bool
	// Revoked says why a certificate is no longer good, or "". It may be nil.
	Revoked func(cert *ssh.Certificate, who session.Identity) string
}

// Authority issues certificates and judges them. It is safe for concurrent use.
type Authority struct {
	o Options
}

// NewAuthority checks that the keys are there, apart, and plain.
func NewAuthority(o Options) (*Authority, error) {
	for _, ca := range []ssh.Signer{o.UserCA, o.HostCA} {
		if ca == nil {
			return nil, fmt.Errorf("a CA key is missing")
		}
		if _, is := ca.PublicKey().(*ssh.Certificate); is {
			return nil, fmt.Errorf("a CA key is a certificate; it must be a plain key")
		}
	}
	if sameKey(o.UserCA.PublicKey(), o.HostCA.PublicKey()) {
		return nil, fmt.Errorf("the user CA and the host CA are the same key; each needs its own")
	}
	if o.TTL <= 0 || o.TTL > MaxTTL {
		return nil, fmt.Errorf("the lifetime of certificates is %s; it must be more than 0 and at most %s", o.TTL, MaxTTL)
	}
	return &Authority{o}, nil
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// keyTypes are the public keys that a certificate is issued for. Keys on
// hardware (sk-) sign with a touch: the SSH server enforces it, as no certificate of
// ours has the extension that would waive it.
var keyTypes = map[string]bool{
	ssh.KeyAlgoED25519: true, ssh.KeyAlgoSKED25519: true, ssh.KeyAlgoSKECDSA256: true,
	ssh.KeyAlgoECDSA256: true, ssh.KeyAlgoECDSA384: true, ssh.KeyAlgoECDSA521: true,
}

// Issue signs a certificate for a person who has just logged in, for the key
// they have proven. The caller vouches for both.
func (a *Authority) Issue(who session.Identity, key ssh.PublicKey) (*ssh.Certificate, error) {
	if !who.Valid() || !printable(who.Name) {
		return nil, fmt.Errorf("nobody to issue a certificate for")
	}
	if _, is := key.(*ssh.Certificate); is || !keyTypes[key.Type()] {
		return nil, fmt.Errorf("keys of type %s get no certificate; use ed25519 (ssh-keygen -t ed25519)", key.Type())
	}
	claims, err := json.Marshal(person(who))
	if err != nil {
		return nil, err
	}
	var serial [8]byte
	rand.Read(serial[:])
	now := time.Now()
	cert := &ssh.Certificate{
		Key: key, CertType: ssh.UserCert, Serial: binary.BigEndian.Uint64(serial[:]) | 1,
		ValidPrincipals: []string{who.Name},
		ValidAfter:      uint64(now.Add(-clockSkew).Unix()), ValidBefore: uint64(now.Add(a.o.TTL).Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{permitPTY: "", identityExtension: string(claims)}},
	}
	cert.KeyId = fmt.Sprintf("%s issued %s serial %016x", who.Name, now.UTC().Format(time.RFC3339), cert.Serial)
	if a.o.SourceAddress {
		host, _, err := net.SplitHostPort(who.Credential.From)
		if err != nil {
			return nil, fmt.Errorf("a certificate for one address needs the address: %w", err)
		}
		cert.CriticalOptions = map[string]string{sourceAddress: host}
	}
	if err := cert.SignCert(rand.Reader, a.o.UserCA); err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return cert, nil
}

// person is an identity as a certificate carries it: without what this one
// connection proved.
func person(who session.Identity) session.Identity {
	who.Credential = session.Credential{}
	return who
}

// Identify makes the identity of a certificate that passes every check. from is
// the client's address, host:port. The error is a sentence for the person.
func (a *Authority) Identify(cert *ssh.Certificate, from string) (session.Identity, error) {
	who, err := a.judge(cert, from, time.Now())
	if err != nil {
		return session.Identity{}, err
	}
	who.Credential = session.Credential{
		Key: ssh.FingerprintSHA256(cert.Key), Serial: cert.Serial,
		Expires: time.Unix(int64(cert.ValidBefore), 0), From: from,
	}
	return who, nil
}

func (a *Authority) judge(cert *ssh.Certificate, from string, now time.Time) (session.Identity, error) {
	var none session.Identity
	if err := a.signed(cert); err != nil {
		return none, err
	}
	if err := a.inTime(cert, now); err != nil {
		return none, err
	}
	if err := exactly(cert, from); err != nil {
		return none, err
	}
	who, err := carried(cert)
	if err != nil {
		return none, err
	}
	if len(cert.ValidPrincipals) != 1 || cert.ValidPrincipals[0] != who.Name {
		return none, fmt.Errorf("the certificate is not for exactly one person" + sentenceNewLogin)
	}
	if a.o.Revoked != nil {
		if why := a.o.Revoked(cert, who); why != "" {
			return none, fmt.Errorf("the certificate was revoked: %s", why)
		}
	}
	return who, nil
}

// signed checks type, key, authority and signature.
func (a *Authority) signed(cert *ssh.Certificate) error {
	switch {
	case cert == nil || cert.Key == nil || cert.SignatureKey == nil || cert.Signature == nil:
		return fmt.Errorf("the certificate is not whole")
	case cert.CertType != ssh.UserCert:
		return fmt.Errorf("this is the certificate of a host, not of a person")
	case !keyTypes[cert.Key.Type()]:
		return fmt.Errorf("the certificate is for a key of type %s, which is not accepted", cert.Key.Type())
	case !sameKey(cert.SignatureKey, a.o.UserCA.PublicKey()):
		return fmt.Errorf("the certificate was signed by another authority" + sentenceNewLogin)
	}
	checker := ssh.CertChecker{
		IsUserAuthority:          func(auth ssh.PublicKey) bool { return sameKey(auth, a.o.UserCA.PublicKey()) },
		SupportedCriticalOptions: []string{sourceAddress},
		Clock:                    func() time.Time { return time.Unix(int64(cert.ValidAfter), 0) }, // inTime judges the time
	}
	if len(cert.ValidPrincipals) != 1 {
		return fmt.Errorf("the certificate is not for exactly one person" + sentenceNewLogin)
	}
	if err := checker.CheckCert(cert.ValidPrincipals[0], cert); err != nil {
		return fmt.Errorf("the certificate is not valid: %w", err)
	}
	return nil
}

// inTime checks the validity and that it is no longer than we would issue.
// ValidBefore is the first second at which a certificate is no longer valid.
func (a *Authority) inTime(cert *ssh.Certificate, now time.Time) error {
	const sane = 1 << 40 // seconds; far beyond any date, far below overflow
	after, before := cert.ValidAfter, cert.ValidBefore
	unix := uint64(now.Unix())
	switch {
	case after >= sane || before >= sane || before <= after:
		return fmt.Errorf("the certificate's lifetime makes no sense" + sentenceNewLogin)
	case time.Duration(before-after)*time.Second > MaxTTL+clockSkew:
		return fmt.Errorf("the certificate lives longer than %s"+sentenceNewLogin, MaxTTL)
	case unix < after:
		return fmt.Errorf("the certificate is not valid yet; is a clock wrong?")
	case unix >= before:
		return fmt.Errorf("the certificate ended at %s"+sentenceNewLogin, time.Unix(int64(before), 0).UTC().Format(time.DateTime))
	}
	return nil
}

// exactly checks that there are the extensions and critical options that we
// issue and no others: no forwarding, no command, no waiver of touch.
func exactly(cert *ssh.Certificate, from string) error {
	for name, value := range cert.Extensions {
		if name != identityExtension && (name != permitPTY || value != "") {
			return fmt.Errorf("the certificate permits %q, which ours never do"+sentenceNewLogin, name)
		}
	}
	for name, value := range cert.CriticalOptions {
		if name != sourceAddress {
			return fmt.Errorf("the certificate has the option %q, which ours never do"+sentenceNewLogin, name)
		}
		if err := comesFrom(from, value); err != nil {
			return err
		}
	}
	return nil
}

// comesFrom checks an address against a source-address option, which we issue
// with one plain address.
func comesFrom(from, allowed string) error {
	host, _, err := net.SplitHostPort(from)
	if err != nil {
		host = from
	}
	theirs, err1 := netip.ParseAddr(host)
	ours, err2 := netip.ParseAddr(allowed)
	if err1 != nil || err2 != nil || theirs.Unmap() != ours.Unmap() {
		return fmt.Errorf("the certificate is for another address than yours" + sentenceNewLogin)
	}
	return nil
}

// carried reads the identity out of the certificate.
func carried(cert *ssh.Certificate) (session.Identity, error) {
	text, has := cert.Extensions[identityExtension]
	if !has || len(text) > maxExtension {
		return session.Identity{}, fmt.Errorf("the certificate does not say who you are" + sentenceNewLogin)
	}
	var who session.Identity
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&who); err != nil || d.More() {
		return session.Identity{}, fmt.Errorf("the certificate does not say who you are in a way that can be read" + sentenceNewLogin)
	}
	if !who.Valid() || !printable(who.Name) {
		return session.Identity{}, fmt.Errorf("the certificate names nobody" + sentenceNewLogin)
	}
	return person(who), nil
}

// HostCertificate signs the host's key for the names people reach it by, for
// 90 days.
func (a *Authority) HostCertificate(key ssh.PublicKey, names []string) (*ssh.Certificate, error) {
	now := time.Now()
	cert := &ssh.Certificate{
		Key: key, CertType: ssh.HostCert, KeyId: "twokey " + strings.Join(names, ","), ValidPrincipals: names,
		ValidAfter: uint64(now.Add(-time.Hour).Unix()), ValidBefore: uint64(now.Add(hostLifetime).Unix()),
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("a host certificate needs a name")
	}
	if err := cert.SignCert(rand.Reader, a.o.HostCA); err != nil {
		return nil, fmt.Errorf("signing the host certificate: %w", err)
	}
	return cert, nil
}

// KnownHosts is the line by which clients trust the host CA for these names
// (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
func (a *Authority) KnownHosts(names []string) string {
	return "@cert-authority " + strings.Join(names, ",") + " " + string(ssh.MarshalAuthorizedKey(a.o.HostCA.PublicKey()))
}

// UserCA is the public half of the user CA, as one line.
func (a *Authority) UserCA() string { return string(ssh.MarshalAuthorizedKey(a.o.UserCA.PublicKey())) }
