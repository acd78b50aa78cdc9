package certs

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// This file lets a CA's private key be somewhere else: behind the socket of an
// ssh-agent, which may speak for a hardware token or a key management service. The
// agent is not believed: what it signs is checked before it leaves here.

// agentTime bounds one question to an agent.
const agentTime = 10 * time.Second

// agentSigner signs by asking an agent, with a connection for each signature: one
// that was started again is found again.
type agentSigner struct {
	socket   string
	key      ssh.PublicKey
	patience time.Duration
}

// AgentSigner is the key behind an agent's socket, named by its fingerprint
// (SHA256:…) or by its public half as one line of authorized_keys. The agent must
// hold it now. Each signature takes at most ten seconds.
func AgentSigner(socket, key string) (ssh.Signer, error) {
	return agentSignerWithin(socket, key, agentTime)
}

func agentSignerWithin(socket, key string, patience time.Duration) (ssh.Signer, error) {
	s := &agentSigner{socket: socket, patience: patience}
	var held []*agent.Key
	err := s.with(func(c agent.ExtendedAgent) (err error) {
		held, err = c.List()
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, k := range held {
		public, err := ssh.ParsePublicKey(k.Blob)
		if err == nil && named(public, key) {
			s.key = public
			return s, nil
		}
	}
	return nil, fmt.Errorf("the agent at %s holds %d keys and not %.80s", socket, len(held), key)
}

// named reports whether a key is the one that is meant.
func named(key ssh.PublicKey, by string) bool {
	if strings.HasPrefix(by, "SHA256:") {
		return ssh.FingerprintSHA256(key) == by
	}
	meant, _, _, _, err := ssh.ParseAuthorizedKey([]byte(by))
	return err == nil && sameKey(meant, key)
}

func (s *agentSigner) with(ask func(agent.ExtendedAgent) error) error {
	conn, err := net.DialTimeout("unix", s.socket, s.patience)
	if err != nil {
		return fmt.Errorf("the agent does not answer: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(s.patience)); err != nil {
		return err
	}
	if err := ask(agent.NewClient(conn)); err != nil {
		return fmt.Errorf("the agent at %s: %w", s.socket, err)
	}
	return nil
}

// PublicKey is ssh.Signer's.
func (s *agentSigner) PublicKey() ssh.PublicKey { return s.key }

// Sign is ssh.Signer's.
func (s *agentSigner) Sign(_ io.Reader, data []byte) (signature *ssh.Signature, err error) {
	err = s.with(func(c agent.ExtendedAgent) (err error) {
		signature, err = c.Sign(s.key, data)
		return err
	})
	if err != nil {
		return nil, err
	}
	if signature == nil || s.key.Verify(data, signature) != nil {
		return nil, errors.New("the agent's signature is wrong; nothing was issued")
	}
	return signature, nil
}
