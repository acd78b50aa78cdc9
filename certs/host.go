package certs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// This file is the other direction: how clients know that they speak to us.

// hostLifetime is how long a host certificate lives. The bastion makes a new one
// each time it starts, and while it runs when a third of the time is left.
const (
	hostLifetime = 90 * 24 * time.Hour
	hostRenewal  = hostLifetime / 3
)

// Host is a host's key with a certificate that is renewed. It is an ssh.Signer, which
// the handshakes to come take the newest certificate from.
type Host struct {
	authority *Authority
	key       ssh.Signer
	names     []string
	now       atomic.Pointer[certified]
}

// certified is a key with one certificate.
type certified struct {
	ssh.Signer
	ends time.Time
}

// NewHost certifies a host's key for the names people reach it by.
func (a *Authority) NewHost(key ssh.Signer, names []string) (*Host, error) {
	h := &Host{authority: a, key: key, names: names}
	return h, h.renew()
}

func (h *Host) renew() error {
	cert, err := h.authority.HostCertificate(h.key.PublicKey(), h.names)
	if err != nil {
		return err
	}
	signer, err := ssh.NewCertSigner(cert, h.key)
	if err != nil {
		return err
	}
	h.now.Store(&certified{signer, time.Unix(int64(cert.ValidBefore), 0)})
	return nil
}

// KeepCertified renews the certificate in time, until ctx ends. What fails is told,
// and tried again an hour later: there are weeks left.
func (h *Host) KeepCertified(ctx context.Context, told func(ends time.Time, err error)) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Until(h.now.Load().ends) > hostRenewal {
			continue
		}
		err := h.renew()
		told(h.now.Load().ends, err)
	}
}

// PublicKey is ssh.Signer's: the certificate.
func (h *Host) PublicKey() ssh.PublicKey { return h.now.Load().PublicKey() }

// Sign is ssh.Signer's. The key is the same with every certificate.
func (h *Host) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return h.key.Sign(random, data)
}

// HostCertificate signs the host's key for the names people reach it by,
// without ports, for 90 days.
func (a *Authority) HostCertificate(key ssh.PublicKey, names []string) (*ssh.Certificate, error) {
	if len(names) == 0 {
		return nil, errors.New("a host certificate needs the name of the host") // without one it would be good for every host
	}
	if key == nil || !keyTypes[key.Type()] {
		return nil, fmt.Errorf("a host key of type %s gets no certificate; use ed25519", typeOf(key))
	}
	now := time.Now()
	cert := &ssh.Certificate{
		Key: key, CertType: ssh.HostCert, KeyId: "twokey " + strings.Join(names, ","), ValidPrincipals: names,
		ValidAfter: uint64(now.Add(-time.Hour).Unix()), ValidBefore: uint64(now.Add(hostLifetime).Unix()),
	}
	if err := cert.SignCert(rand.Reader, a.o.HostCA); err != nil {
		return nil, fmt.Errorf("signing the host certificate: %w", err)
	}
	return cert, nil
}

// KnownHosts are the lines by which clients trust the host CA for these names
// (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), and the CAs of before and to come; a name
// with a port other than 22 is written [name]:port.
func (a *Authority) KnownHosts(names []string) string {
	lines := ""
	for _, ca := range append([]ssh.PublicKey{a.o.HostCA.PublicKey()}, a.o.OtherHostCAs...) {
		lines += "@cert-authority " + strings.Join(names, ",") + " " + string(ssh.MarshalAuthorizedKey(ca))
	}
	return lines
}
