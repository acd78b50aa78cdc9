package certs_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/certs"
	"github.com/twokey/twokey/session"
)

// judged is one row of the matrix: a certificate as we issue it, spoiled, and
// signed again by the user CA, so that only the spoiled part can refuse it.
type judged struct {
	name    string
	options func(*certs.Options)
	spoil   func(*ssh.Certificate)
	by      func(certs.Options) ssh.Signer // signs; nil: the user CA
	after   func(*ssh.Certificate)         // spoils what is signed
	from    string
	want    string // in the error; empty: identified
}

func unix(d time.Duration) uint64 { return uint64(time.Now().Add(d).Unix()) }

func carry(who session.Identity) func(*ssh.Certificate) {
	return func(c *ssh.Certificate) {
		text, _ := json.Marshal(who)
		c.Extensions["identity@twokey"] = string(text)
	}
}

func says(text string) func(*ssh.Certificate) {
	return func(c *ssh.Certificate) { c.Extensions["identity@twokey"] = text }
}

func matrix(t *testing.T) []judged {
	stranger, rsa := newKey(t), rsaKey(t)
	bound := func(o *certs.Options) { o.SourceAddress = true }
	apart := func(o *certs.Options) { o.SamePerson = true }
	weak, nested := weakKey(t), certified(t)
	return []judged{
		{name: "as issued"},
		{name: "in its last second", spoil: func(c *ssh.Certificate) { c.ValidBefore = unix(time.Second) }},

		{name: "signed by a stranger", by: func(certs.Options) ssh.Signer { return stranger }, want: "another authority"},
		{name: "signed by the host CA", by: func(o certs.Options) ssh.Signer { return o.HostCA }, want: "another authority"},
		{name: "signed by RSA", by: func(certs.Options) ssh.Signer { return rsa }, want: "another authority"},
		{name: "a stranger's, dressed as ours", by: func(certs.Options) ssh.Signer { return stranger },
			after: func(c *ssh.Certificate) { c.SignatureKey = ours(c, t) }, want: "not valid"},
		{name: "changed after signing", after: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"root"} }, want: "not valid"},
		{name: "identity changed after signing", after: says(`{"issuer":"i","subject":"s","name":"alice@example.com"}`), want: "not valid"},
		{name: "a flipped bit in the signature", after: func(c *ssh.Certificate) { c.Signature.Blob[7] ^= 1 }, want: "not valid"},
		{name: "no signature", after: func(c *ssh.Certificate) { c.Signature = nil }, want: "not whole"},
		{name: "no key", after: func(c *ssh.Certificate) { c.Key = nil }, want: "not whole"},
		{name: "no authority", after: func(c *ssh.Certificate) { c.SignatureKey = nil }, want: "not whole"},

		{name: "a host's", spoil: func(c *ssh.Certificate) { c.CertType = ssh.HostCert }, want: "of a host"},
		{name: "of no kind", spoil: func(c *ssh.Certificate) { c.CertType = 0 }, want: "of a host"},
		{name: "for an RSA key", spoil: func(c *ssh.Certificate) { c.Key = rsa.PublicKey() }, want: "type ssh-rsa"},
		{name: "serial 0", spoil: func(c *ssh.Certificate) { c.Serial = 0 }, want: "not numbered"},
		{name: "reserved bytes", spoil: func(c *ssh.Certificate) { c.Reserved = []byte("x") }, want: "not numbered"},

		{name: "no principal", spoil: func(c *ssh.Certificate) { c.ValidPrincipals = nil }, want: "exactly one person"},
		{name: "two principals", spoil: func(c *ssh.Certificate) { c.ValidPrincipals = []string{alice.Name, "root"} }, want: "exactly one person"},
		{name: "twice the same", spoil: func(c *ssh.Certificate) { c.ValidPrincipals = []string{alice.Name, alice.Name} }, want: "exactly one person"},
		{name: "for another name", spoil: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"bob@example.com"} }, want: "person it names"},
		{name: "another case", spoil: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"Alice@example.com"} }, want: "person it names"},
		{name: "an empty principal", spoil: func(c *ssh.Certificate) { c.ValidPrincipals = []string{""} }, want: "person it names"},

		{name: "ended", spoil: func(c *ssh.Certificate) { c.ValidBefore = unix(0) }, want: "it ended at 20"},
		{name: "not valid yet", spoil: func(c *ssh.Certificate) { c.ValidAfter = unix(time.Minute) }, want: "not valid yet"},
		{name: "for ever", spoil: func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 0, ssh.CertTimeInfinity }, want: "makes no sense"},
		{name: "a lifetime that overflows", spoil: func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = math.MaxUint64-10, math.MaxUint64-1 }, want: "not valid"},
		{name: "ends before it begins", spoil: func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = unix(time.Hour), unix(-time.Hour) }, want: "not valid"},
		{name: "longer than configured", spoil: func(c *ssh.Certificate) { c.ValidBefore += 60 }, want: "lives longer than 8h"},
		{name: "longer, nearly over", spoil: func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = unix(-23*time.Hour), unix(time.Hour) }, want: "lives longer than 8h"},

		{name: "port forwarding", spoil: func(c *ssh.Certificate) { c.Extensions["permit-port-forwarding"] = "" }, want: `permits "permit-port-forwarding"`},
		{name: "agent forwarding", spoil: func(c *ssh.Certificate) { c.Extensions["permit-agent-forwarding"] = "" }, want: `permits "permit-agent-forwarding"`},
		{name: "no touch", spoil: func(c *ssh.Certificate) { c.Extensions["no-touch-required"] = "" }, want: `permits "no-touch-required"`},
		{name: "an extension of somebody else's", spoil: func(c *ssh.Certificate) { c.Extensions["x@example.com"] = "" }, want: `permits "x@example.com"`},
		{name: "a terminal with a value", spoil: func(c *ssh.Certificate) { c.Extensions["permit-pty"] = "yes" }, want: `permits "permit-pty"`},
		{name: "no terminal", spoil: func(c *ssh.Certificate) { delete(c.Extensions, "permit-pty") }, want: "does not permit a terminal"},
		{name: "a forced command", spoil: func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "true"} }, want: "not valid"},
		{name: "verified by a PIN", spoil: func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"verify-required": ""} }, want: "not valid"},

		{name: "bound, from there", options: bound, from: "192.0.2.7:1"},
		{name: "bound, from there in another spelling", options: bound, from: "[::ffff:192.0.2.7]:1"},
		{name: "bound, from elsewhere", options: bound, from: "192.0.2.8:1", want: "another address"},
		{name: "bound, from nowhere", options: bound, from: "", want: "another address"},
		{name: "bound though that is not asked", spoil: func(c *ssh.Certificate) {
			c.CriticalOptions = map[string]string{"source-address": "203.0.113.1"}
		}, want: "another address"},
		{name: "bound to a network", options: bound, spoil: func(c *ssh.Certificate) { c.CriticalOptions["source-address"] = "0.0.0.0/0" }, want: "another address"},
		{name: "not bound", options: bound, spoil: func(c *ssh.Certificate) { c.CriticalOptions = nil }, want: "one address only"},

		{name: "no identity", spoil: func(c *ssh.Certificate) { delete(c.Extensions, "identity@twokey") }, want: "does not say who you are"},
		{name: "an identity that is no JSON", spoil: says("alice"), want: "in a way that can be read"},
		{name: "two identities", spoil: says(`{"issuer":"i","subject":"s","name":"alice@example.com"}{}`), want: "in a way that can be read"},
		{name: "an identity with more", spoil: says(`{"issuer":"i","subject":"s","name":"alice@example.com","admin":true}`), want: "in a way that can be read"},
		{name: "an endless identity", spoil: says(`{"issuer":"i","subject":"s","name":"alice@example.com"}` + strings.Repeat(" ", 40<<10)), want: "does not say who you are"},
		{name: "nobody", spoil: carry(session.Identity{Name: alice.Name}), want: "names nobody"},
		{name: "a name that turns text around", spoil: func(c *ssh.Certificate) {
			who := alice
			who.Name, who.Credential = "ali\u202ece", session.Credential{}
			carry(who)(c)
			c.ValidPrincipals = []string{who.Name}
		}, want: "names nobody"},
		{name: "told apart, as asked", options: apart},
		{name: "from before people were told apart", options: apart, spoil: func(c *ssh.Certificate) {
			who := alice
			who.SamePerson, who.Credential = "", session.Credential{}
			carry(who)(c)
		}, want: "does not tell you from other accounts"},
		{name: "an RSA-1024 key", spoil: func(c *ssh.Certificate) { c.Key = weak }, want: "type ssh-rsa"},
		{name: "for a certificate", after: func(c *ssh.Certificate) { c.Key = nested }, want: "which is not accepted here"},
		{name: "an issuer without a subject", spoil: says(`{"issuer":"i","name":"alice@example.com"}`), want: "names nobody"},
		{name: "a name of nothing to see", spoil: func(c *ssh.Certificate) {
			carry(session.Identity{Issuer: "i", Subject: "s", Name: "\u2800"})(c)
			c.ValidPrincipals = []string{"\u2800"}
		}, want: "names nobody"},
		{name: "an identity that claims a connection", spoil: carry(alice), want: "names nobody"},

		{name: "revoked", options: func(o *certs.Options) {
			o.Revoked = revoked(certs.Revocation{Person: alice.Name, By: "sam", Why: "left the company"})
		}, want: "sam revoked you on"},
		{name: "revoked under another name", options: func(o *certs.Options) {
			o.Revoked = revoked(certs.Revocation{Person: "al", Issuer: alice.Issuer, Subject: alice.Subject, By: "sam"})
		}, want: "sam revoked you on"},
		{name: "somebody else revoked", options: func(o *certs.Options) {
			o.Revoked = revoked(certs.Revocation{Person: "al", Issuer: "https://other.example", Subject: alice.Subject, By: "sam"})
		}},
	}
}

// weakKey is RSA with 1024 bits, as it is on the wire: Go makes none any more.
func weakKey(t *testing.T) ssh.PublicKey {
	modulus := make([]byte, 129)
	modulus[1], modulus[128] = 0xc5, 1
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Type string
		E    *big.Int
		N    *big.Int
	}{ssh.KeyAlgoRSA, big.NewInt(65537), new(big.Int).SetBytes(modulus)}))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certified is a key that is a certificate itself.
func certified(t *testing.T) ssh.PublicKey {
	a, _ := newAuthority(t)
	return issue(t, a, newKey(t).PublicKey())
}

// ours is the user CA's key; judge keeps it in the key ID, which nothing reads.
func ours(c *ssh.Certificate, t *testing.T) ssh.PublicKey {
	key, err := ssh.ParsePublicKey([]byte(c.KeyId))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestCertificateMatrix(t *testing.T) {
	for _, c := range matrix(t) {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { judge(t, c) })
		})
	}
}

func judge(t *testing.T, c judged) {
	a, o := newAuthority(t, func(o *certs.Options) {
		if c.options != nil {
			c.options(o)
		}
	})
	cert := issue(t, a, newKey(t).PublicKey())
	if c.spoil != nil {
		c.spoil(cert)
	}
	by := o.UserCA
	if c.by != nil {
		by = c.by(o)
		cert.KeyId = string(o.UserCA.PublicKey().Marshal())
	}
	if err := cert.SignCert(rand.Reader, by); err != nil {
		t.Fatal(err)
	}
	if c.after != nil {
		c.after(cert)
	}
	who, err := a.Identify(cert, c.from)
	if c.want == "" {
		if err != nil || who.Subject != "u-alice" {
			t.Errorf("identified %+v, %v", who, err)
		}
		return
	}
	if rejection := (certs.Rejection{}); !errors.As(err, &rejection) || !strings.Contains(err.Error(), c.want) {
		t.Errorf("error %v, want a rejection with %q", err, c.want)
	}
	if who.Valid() || who.Name != "" {
		t.Errorf("an error and somebody: %+v", who)
	}
}

func TestNoCertificateIsNobody(t *testing.T) {
	a, _ := newAuthority(t)
	for _, cert := range []*ssh.Certificate{nil, {}, {CertType: ssh.UserCert}} {
		if who, err := a.Identify(cert, "192.0.2.7:1"); err == nil {
			t.Errorf("%+v is %+v", cert, who)
		}
	}
}

func TestACertificateEndsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newAuthority(t)
		cert := issue(t, a, newKey(t).PublicKey())
		time.Sleep(8*time.Hour - time.Second)
		if _, err := a.Identify(cert, ""); err != nil {
			t.Errorf("a second before its end: %v", err)
		}
		time.Sleep(time.Second)
		_, err := a.Identify(cert, "")
		if err == nil || !strings.Contains(err.Error(), "get a new one") {
			t.Errorf("at its end: %v", err)
		}
	})
}

// An operator who shortens ttl means the certificates that are out there too.
func TestAShorterLifetimeCountsAtOnce(t *testing.T) {
	a, o := newAuthority(t)
	cert := issue(t, a, newKey(t).PublicKey())
	o.TTL = time.Hour
	stricter, err := certs.NewAuthority(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stricter.Identify(cert, ""); err == nil || !strings.Contains(err.Error(), "longer than 1h") {
		t.Errorf("error %v", err)
	}
}
