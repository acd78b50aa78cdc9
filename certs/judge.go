package certs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/session"
)

// This file judges certificates. Nothing in one is read before its signature
// is known to be ours, and nothing in one is ignored.

// Rejection is why a certificate was not accepted, in words for the person
// who showed it and for the log.
type Rejection struct {
	Reason string
	Renew  bool // a new certificate helps
}

func (r Rejection) Error() string {
	if r.Renew {
		return r.Reason + "; get a new one"
	}
	return r.Reason
}

// renew is for certificates that a new one replaces.
func renew(format string, args ...any) error {
	return Rejection{fmt.Sprintf(format, args...), true}
}

func reject(format string, args ...any) error {
	return Rejection{Reason: fmt.Sprintf(format, args...)}
}

// Identify makes the identity of a certificate that passes every check. from is
// the client's address, host:port. The error is a Rejection.
func (a *Authority) Identify(cert *ssh.Certificate, from string) (session.Identity, error) {
	who, err := a.judge(cert, from, time.Now())
	if err != nil {
		return session.Identity{}, err
	}
	who.Credential = session.Credential{
		Key: ssh.FingerprintSHA256(cert.Key), Serial: cert.Serial,
		Issued: issued(cert), Expires: time.Unix(int64(cert.ValidBefore), 0), From: from,
	}
	return who, nil
}

// issued is when the person had logged in for a certificate. Its beginning lies before that.
func issued(cert *ssh.Certificate) time.Time {
	return time.Unix(int64(cert.ValidAfter), 0).Add(clockSkew)
}

func (a *Authority) judge(cert *ssh.Certificate, from string, now time.Time) (who session.Identity, err error) {
	for _, check := range []func() error{
		func() error { return a.signed(cert, now) },
		func() error { return a.inTime(cert, now) },
		func() error { return a.exact(cert, from) },
		func() error { who, err = a.carried(cert); return err },
		func() error { return a.revoked(cert, who) },
	} {
		if err := check(); err != nil {
			return session.Identity{}, err
		}
	}
	return who, nil
}

// signed checks type, key, authority and signature.
func (a *Authority) signed(cert *ssh.Certificate, now time.Time) error {
	switch {
	case cert == nil || cert.Key == nil || cert.SignatureKey == nil || cert.Signature == nil:
		return reject("it is not whole")
	case cert.CertType != ssh.UserCert:
		return reject("it is the certificate of a host, not of a person")
	case !keyTypes[cert.Key.Type()]:
		return reject("it is for a key of type %s, which is not accepted here", cert.Key.Type())
	case !a.isOurs(cert.SignatureKey, now):
		return renew("it was signed by another authority")
	case len(cert.ValidPrincipals) != 1:
		return renew("it is not for exactly one person")
	}
	checker := ssh.CertChecker{
		SupportedCriticalOptions: []string{sourceAddress},
		Clock:                    func() time.Time { return time.Unix(int64(cert.ValidAfter), 0) }, // inTime judges the time
	}
	if err := checker.CheckCert(cert.ValidPrincipals[0], cert); err != nil {
		return reject("it is not valid: %s", err)
	}
	return nil
}

// isOurs reports whether a key is the user CA, or one before it whose time is not over.
func (a *Authority) isOurs(key ssh.PublicKey, now time.Time) bool {
	return sameKey(key, a.o.UserCA.PublicKey()) || slices.ContainsFunc(a.o.OldUserCAs, func(old OldCA) bool {
		return sameKey(key, old.Key) && now.Before(old.Until)
	})
}

// inTime checks the validity, and that it is no longer than we would issue.
// ValidBefore is the first second at which a certificate is no longer valid.
func (a *Authority) inTime(cert *ssh.Certificate, now time.Time) error {
	const sane = 1 << 33 // seconds: beyond the year 2200, and far from overflow
	after, before := cert.ValidAfter, cert.ValidBefore
	unix := uint64(max(now.Unix(), 0))
	switch {
	case after >= sane || before >= sane || before <= after:
		return renew("its lifetime makes no sense")
	case time.Duration(before-after)*time.Second > a.o.TTL+clockSkew:
		return renew("it lives longer than %s, which is the most here", a.o.TTL)
	case unix < after:
		return reject("it is not valid yet; is a clock wrong?")
	case unix >= before:
		return renew("it ended at %s", time.Unix(int64(before), 0).UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	return nil
}

// exact checks that the certificate permits what ours permit, no less and no
// more: no forwarding, no command, no waiver of touch.
func (a *Authority) exact(cert *ssh.Certificate, from string) error {
	for name, value := range cert.Extensions {
		if name != identityExtension && (name != permitPTY || value != "") {
			return renew("it permits %.40q, which ours never do", name)
		}
	}
	if _, has := cert.Extensions[permitPTY]; !has {
		return renew("it does not permit a terminal, which ours always do")
	}
	if cert.Serial == 0 || len(cert.Reserved) > 0 {
		return renew("it is not numbered as ours are")
	}
	for name := range cert.CriticalOptions {
		if name != sourceAddress {
			return renew("it has the option %.40q, which ours never do", name)
		}
	}
	bound, is := cert.CriticalOptions[sourceAddress]
	if !is && a.o.SourceAddress {
		return renew("it is not for one address only, as it must be here")
	}
	if is && !comesFrom(from, bound) {
		return renew("it is for another address than yours")
	}
	return nil
}

// comesFrom checks an address against a source-address option, which we issue
// with one plain address.
func comesFrom(from, allowed string) bool {
	theirs, err1 := address(from)
	ours, err2 := address(allowed)
	return err1 == nil && err2 == nil && theirs == ours
}

// carried reads the identity out of the certificate.
func (a *Authority) carried(cert *ssh.Certificate) (session.Identity, error) {
	text, has := cert.Extensions[identityExtension]
	if !has || len(text) > maxExtension {
		return session.Identity{}, renew("it does not say who you are")
	}
	var who session.Identity
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&who); err != nil || int(d.InputOffset()) != len(text) {
		return session.Identity{}, renew("it does not say who you are in a way that can be read")
	}
	if !who.Valid() || !clean(who.Name) || who.Credential != (session.Credential{}) {
		return session.Identity{}, renew("it names nobody")
	}
	if a.o.SamePerson && who.SamePerson == "" {
		return session.Identity{}, renew("it does not tell you from other accounts of yours, as it must here now")
	}
	if cert.ValidPrincipals[0] != who.Name {
		return session.Identity{}, renew("it is not for the person it names")
	}
	return who, nil
}

func (a *Authority) revoked(cert *ssh.Certificate, who session.Identity) error {
	if a.o.Revoked == nil {
		return nil
	}
	who.Credential = session.Credential{Serial: cert.Serial, Issued: issued(cert)}
	if why := a.o.Revoked.Why(who, issued(cert).Add(time.Second)); why != "" { // a certificate knows whole seconds only
		return Rejection{Reason: why}
	}
	return nil
}
