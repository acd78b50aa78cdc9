package bastion_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/session"
)

// authority certifies whoever it is told to.
type authority struct {
	t      *testing.T
	signer ssh.Signer
	broken error // it issues nothing
}

func newAuthority(t *testing.T) *authority { return &authority{t: t, signer: newKey(t)} }

func (a *authority) Identify(cert *ssh.Certificate, _ string) (session.Identity, error) {
	var who session.Identity
	if fingerprint(cert.SignatureKey) != fingerprint(a.signer.PublicKey()) {
		return who, errors.New("it is not signed by this bastion")
	}
	if uint64(time.Now().Unix()) >= cert.ValidBefore {
		return who, errors.New("it ended at noon")
	}
	err := json.Unmarshal([]byte(cert.Extensions["who"]), &who)
	return who, err
}

func (a *authority) Issue(who session.Identity, key ssh.PublicKey) (*ssh.Certificate, error) {
	if a.broken != nil {
		return nil, a.broken
	}
	id, err := json.Marshal(who)
	if err != nil {
		return nil, err
	}
	cert := &ssh.Certificate{
		Key: key, CertType: ssh.UserCert, KeyId: who.Name, ValidPrincipals: []string{who.Name}, Serial: 7,
		ValidAfter: uint64(time.Now().Add(-time.Minute).Unix()), ValidBefore: uint64(time.Now().Add(time.Hour).Unix()),
	}
	cert.Extensions = map[string]string{"who": string(id)}
	return cert, cert.SignCert(rand.Reader, a.signer)
}

// certify makes a key and a certificate for a person; change may spoil it
// before it is signed.
func (a *authority) certify(who session.Identity, change ...func(*ssh.Certificate)) ssh.Signer {
	a.t.Helper()
	key := newKey(a.t)
	cert, err := a.Issue(who, key.PublicKey())
	if err != nil {
		a.t.Fatal(err)
	}
	for _, c := range change {
		c(cert)
	}
	if len(change) > 0 {
		if err := cert.SignCert(rand.Reader, a.signer); err != nil {
			a.t.Fatal(err)
		}
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		a.t.Fatal(err)
	}
	return signer
}

func fingerprint(key ssh.PublicKey) string { return ssh.FingerprintSHA256(key) }
