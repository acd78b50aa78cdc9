package bastion_test

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/certs"
	"github.com/twokey/twokey/session"
)

// authority is the real one, whose key this test has too.
type authority struct {
	*certs.Authority
	t      *testing.T
	signer ssh.Signer
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	signer := newKey(t)
	real, err := certs.NewAuthority(certs.Options{UserCA: signer, HostCA: newKey(t), TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return &authority{Authority: real, t: t, signer: signer}
}

// certify makes a key and a certificate for a person; change may spoil it
// before it is signed.
func (a *authority) certify(who session.Identity, change ...func(*ssh.Certificate)) ssh.Signer {
	a.t.Helper()
	key := newKey(a.t)
	signer, err := ssh.NewCertSigner(a.certificate(who, key.PublicKey(), change...), key)
	if err != nil {
		a.t.Fatal(err)
	}
	return signer
}

func (a *authority) certificate(who session.Identity, key ssh.PublicKey, change ...func(*ssh.Certificate)) *ssh.Certificate {
	a.t.Helper()
	cert, err := a.Issue(who, key)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, c := range change {
		c(cert)
	}
	if err := cert.SignCert(rand.Reader, a.signer); err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// ended is a certificate of yesterday.
func ended(c *ssh.Certificate) {
	c.ValidAfter -= 24 * 60 * 60
	c.ValidBefore -= 24 * 60 * 60
}

// soon is a certificate that ends in a moment.
func soon(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Add(2 * time.Second).Unix()) }

func fingerprint(key ssh.PublicKey) string { return ssh.FingerprintSHA256(key) }

var errStolen = errors.New("the private half of this key is not here")
