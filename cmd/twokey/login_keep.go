package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// This file keeps what a login gave: in the ssh-agent, which forgets it when the
// certificate ends, or in files.

// keeper is where a key and its certificate are.
type keeper interface {
	// until is when the certificate that is kept ends; zero when there is none.
	until() time.Time
	// ready says why nothing could be kept there, as far as that can be known before.
	ready() error
	// keep takes the place of what was kept, and says where it is now.
	keep(ed25519.PrivateKey, *ssh.Certificate) (where string, err error)
}

// keeperFor is the agent, if there is one and no file is named. Windows' agent takes
// no lifetime, so there it is files.
func keeperFor(to sshAddress, out string) (keeper, error) {
	if socket := os.Getenv("SSH_AUTH_SOCK"); out == "" && socket != "" && runtime.GOOS != "windows" {
		return inAgent{socket, "twokey " + to.String()}, nil
	}
	if out == "" {
		dir, err := keyDir()
		if err != nil {
			return nil, err
		}
		out = filepath.Join(dir, to.fileName())
	}
	return inFiles{out}, nil
}

// keyDir is where files go that nobody named.
func keyDir() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("where is your home? Name a file with --out: %w", err)
	}
	return filepath.Join(home, ".ssh", "twokey"), nil
}

// inAgent is an ssh-agent; what is ours there has a comment that says so.
type inAgent struct{ socket, comment string }

// agentTime bounds what an agent may take: it may ask somebody.
const agentTime = 30 * time.Second

func (a inAgent) with(do func(agent.ExtendedAgent) error) error {
	conn, err := net.Dial("unix", a.socket)
	if err != nil {
		return fmt.Errorf("the ssh-agent at SSH_AUTH_SOCK does not answer; start one, or name a file with --out: %w", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(agentTime))
	return do(agent.NewClient(conn))
}

func (a inAgent) until() (last time.Time) {
	a.with(func(c agent.ExtendedAgent) error { // what cannot be asked holds nothing
		certs, err := a.ours(c)
		for _, cert := range certs {
			if end := ends(cert); end.After(last) {
				last = end
			}
		}
		return err
	})
	return last
}

func (a inAgent) ready() error {
	return a.with(func(c agent.ExtendedAgent) error {
		if _, err := a.ours(c); err != nil {
			return fmt.Errorf("the ssh-agent at SSH_AUTH_SOCK does not answer as one; start one, or name a file with --out: %w", err)
		}
		return nil
	})
}

// ours are the certificates of earlier logins at the same place.
func (a inAgent) ours(c agent.ExtendedAgent) (certs []*ssh.Certificate, err error) {
	held, err := c.List()
	for _, k := range held {
		if key, err := ssh.ParsePublicKey(k.Blob); err == nil && k.Comment == a.comment {
			if cert, ok := key.(*ssh.Certificate); ok {
				certs = append(certs, cert)
			}
		}
	}
	return certs, err
}

func (a inAgent) keep(key ed25519.PrivateKey, cert *ssh.Certificate) (string, error) {
	err := a.with(func(c agent.ExtendedAgent) error {
		before, err := a.ours(c)
		if err != nil {
			return err
		}
		lifetime := uint32(time.Until(ends(cert))/time.Second) + 1
		if err := c.Add(agent.AddedKey{PrivateKey: key, Certificate: cert, Comment: a.comment, LifetimeSecs: lifetime}); err != nil {
			return fmt.Errorf("the ssh-agent does not take the key; name a file with --out: %w", err)
		}
		for _, old := range before {
			c.Remove(old) // it ends by itself, at the latest with its certificate
		}
		return nil
	})
	return "key and certificate are in the ssh-agent until then", err
}

// inFiles is a key's file, with the certificate beside it as OpenSSH looks for it.
type inFiles struct{ key string }

func (f inFiles) certificate() string { return f.key + "-cert.pub" }

func (f inFiles) until() time.Time {
	text, err := os.ReadFile(f.certificate())
	if err != nil {
		return time.Time{}
	}
	parsed, _, _, _, err := ssh.ParseAuthorizedKey(text)
	cert, ok := parsed.(*ssh.Certificate)
	if _, gone := os.Stat(f.key); err != nil || !ok || gone != nil {
		return time.Time{}
	}
	return ends(cert)
}

// ready makes the folder, and tries it.
func (f inFiles) ready() error {
	if err := f.mayReplace(); err != nil {
		return err
	}
	dir := filepath.Dir(f.key)
	try := filepath.Join(dir, ".twokey-try")
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = replaceFile(try, []byte("twokey login\n"))
	}
	if err == nil {
		err = os.Remove(try)
	}
	if err != nil {
		return fmt.Errorf("the key could not be kept in %s; name another file with --out: %w", dir, err)
	}
	return nil
}

// keep writes the certificate last and takes the old one away first: one that
// is there belongs to the key beside it.
func (f inFiles) keep(key ed25519.PrivateKey, cert *ssh.Certificate) (string, error) {
	if err := f.ready(); err != nil {
		return "", err
	}
	if err := os.Remove(f.certificate()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := writeKey(f.key, key); err != nil {
		return "", err
	}
	if err := replaceFile(f.certificate(), ssh.MarshalAuthorizedKey(cert)); err != nil {
		return "", err
	}
	return "the key is in " + f.key + ", and the certificate beside it", nil
}

// keyComment marks keys that a login made, which the next may replace.
const keyComment = "twokey login"

// mayReplace keeps a login away from a key that somebody made themselves.
func (f inFiles) mayReplace() error {
	text, err := os.ReadFile(f.key)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil || !bytes.Contains(block.Bytes, []byte(keyComment)) { // OpenSSH's format holds the comment as it is
		return fmt.Errorf("%s is there and no key that a login made; name another file with --out", f.key)
	}
	return nil
}

// writeKey writes a private key for its owner alone.
func writeKey(file string, key ed25519.PrivateKey) error {
	block, err := ssh.MarshalPrivateKey(key, keyComment)
	if err != nil {
		return err
	}
	return replaceFile(file, pem.EncodeToMemory(block))
}

// replaceFile puts a file, for its owner alone, in the place of the one that is there.
func replaceFile(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".twokey-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone when it was renamed
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
