package certs_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/certs"
	"github.com/twokey/twokey/session"
)

// fuzzed is an authority for fuzz targets, which have no *testing.T yet.
func fuzzed(f *testing.F) (*certs.Authority, ssh.Signer, ssh.PublicKey) {
	var signers [3]ssh.Signer
	for i := range signers {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			f.Fatal(err)
		}
		if signers[i], err = ssh.NewSignerFromKey(key); err != nil {
			f.Fatal(err)
		}
	}
	a, err := certs.NewAuthority(certs.Options{UserCA: signers[0], HostCA: signers[1], TTL: 8 * time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	return a, signers[0], signers[2].PublicKey()
}

// Whatever somebody sends as a certificate, it ends, and it is nobody.
func FuzzParseCertificate(f *testing.F) {
	a, _, key := fuzzed(f)
	cert, err := a.Issue(alice, key)
	if err != nil {
		f.Fatal(err)
	}
	good := cert.Marshal()
	f.Add(good)
	f.Add(good[:len(good)-7])
	f.Fuzz(func(t *testing.T, blob []byte) {
		key, err := ssh.ParsePublicKey(blob)
		if err != nil {
			return
		}
		cert, ok := key.(*ssh.Certificate)
		if !ok {
			return
		}
		who, err := a.Identify(cert, "192.0.2.7:1")
		if err == nil && string(cert.Marshal()) != string(good) {
			t.Errorf("somebody who was never issued a certificate: %+v", who)
		}
	})
}

// Even what the CA itself signed is believed only when it is as we issue it.
func FuzzJudge(f *testing.F) {
	a, ca, key := fuzzed(f)
	claims, err := json.Marshal(session.Identity{Issuer: "https://idp.example.com", Subject: "u-alice", Name: "alice@example.com"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("alice@example.com", string(claims), "permit-pty", "", uint64(7), int64(-30), int64(3600), uint32(1))
	f.Add("alice@example.com", string(claims), "no-touch-required", "x", uint64(0), int64(0), int64(1<<40), uint32(2))
	f.Add("root", `{"issuer":"i","subject":"s","name":"alice@example.com"}{}`, "permit-pty", "", uint64(1), int64(10), int64(5), uint32(1))
	f.Fuzz(func(t *testing.T, principal, identity, extension, value string, serial uint64, from, to int64, kind uint32) {
		now := time.Now().Unix()
		cert := &ssh.Certificate{
			Key: key, CertType: kind, Serial: serial, ValidPrincipals: []string{principal}, ValidAfter: uint64(now + from), ValidBefore: uint64(now + to),
			Permissions: ssh.Permissions{Extensions: map[string]string{"permit-pty": "", "identity@twokey": identity}},
		}
		cert.Extensions[extension] = value
		if err := cert.SignCert(rand.Reader, ca); err != nil {
			return
		}
		who, err := a.Identify(cert, "192.0.2.7:1")
		if err != nil {
			if who.Valid() {
				t.Errorf("an error and somebody: %+v", who)
			}
			return
		}
		lives := time.Duration(to-from) * time.Second
		switch {
		case !who.Valid() || who.Name != principal || certs.CleanName(who.Name) != who.Name:
			t.Errorf("%q is %+v", principal, who)
		case kind != ssh.UserCert || serial == 0 || from > 1 || to < 0 || lives > 8*time.Hour+time.Minute:
			t.Errorf("believed: kind %d, serial %d, from %d to %d", kind, serial, from, to)
		case len(cert.Extensions) != 2 || cert.Extensions["permit-pty"] != "":
			t.Errorf("believed with %v", cert.Extensions)
		}
	})
}
