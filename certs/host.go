package certs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// This file is the other direction: how clients know that they speak to us.

// hostLifetime is how long a host certificate lives; the bastion makes a new
// one each time it starts.
const hostLifetime = 90 * 24 * time.Hour

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

// KnownHosts is the line by which clients trust the host CA for these names
// (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT); one with a port other than 22 is
// written [name]:port.
func (a *Authority) KnownHosts(names []string) string {
	return "@cert-authority " + strings.Join(names, ",") + " " + string(ssh.MarshalAuthorizedKey(a.o.HostCA.PublicKey()))
}
