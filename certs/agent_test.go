package certs_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/twokey/twokey/certs"
)

// socketIn is a path short enough for a socket.
func socketIn(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "ca-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// The CA's key lives in OpenSSH's own agent: what it signs is as good as any.
func TestAKeyInAnAgent(t *testing.T) {
	socket := socketIn(t)
	server := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { server.Process.Kill(); server.Wait() }()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
	}
	file := filepath.Join(t.TempDir(), "user_ca")
	for _, c := range [][]string{{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file}, {"ssh-add", "-q", file}} {
		cmd := exec.Command(c[0], c[1:]...)
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", c, err, out)
		}
	}
	public, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(public)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{string(public), ssh.FingerprintSHA256(key)} {
		ca, err := certs.AgentSigner(socket, name)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := newAuthority(t, func(o *certs.Options) { o.UserCA = ca })
		if _, err := a.Identify(issue(t, a, newKey(t).PublicKey()), "192.0.2.7:1"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := certs.AgentSigner(socket, ssh.FingerprintSHA256(newKey(t).PublicKey())); err == nil || !strings.Contains(err.Error(), "holds 1 keys and not") {
		t.Errorf("another key: %v", err)
	}
}

// faulty is an agent that holds a key and does something wrong with it.
type faulty struct {
	agent.ExtendedAgent
	sign func(ssh.PublicKey, []byte) (*ssh.Signature, error)
}

func (f *faulty) Sign(key ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	return f.sign(key, data)
}
func (f *faulty) SignWithFlags(key ssh.PublicKey, data []byte, _ agent.SignatureFlags) (*ssh.Signature, error) {
	return f.sign(key, data)
}

func TestAnAgentThatFails(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	keyring := agent.NewKeyring().(agent.ExtendedAgent)
	if err := keyring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	defer close(over)
	for name, c := range map[string]struct {
		sign func(ssh.PublicKey, []byte) (*ssh.Signature, error)
		want string
	}{
		"hangs":              {func(ssh.PublicKey, []byte) (*ssh.Signature, error) { <-over; return nil, errors.New("late") }, "timeout"},
		"refuses":            {func(ssh.PublicKey, []byte) (*ssh.Signature, error) { return nil, errors.New("the token is out") }, "failed to sign"},
		"signs something":    {func(k ssh.PublicKey, _ []byte) (*ssh.Signature, error) { return keyring.Sign(k, []byte("else")) }, "signature is wrong"},
		"signs with another": {func(_ ssh.PublicKey, data []byte) (*ssh.Signature, error) { return newKey(t).Sign(rand.Reader, data) }, "signature is wrong"},
		"signs with nothing": {func(ssh.PublicKey, []byte) (*ssh.Signature, error) { return &ssh.Signature{Format: "ssh-ed25519"}, nil }, "signature is wrong"},
		"speaks at length": {func(ssh.PublicKey, []byte) (*ssh.Signature, error) {
			return &ssh.Signature{Format: "ssh-ed25519", Blob: make([]byte, 1<<20)}, nil
		}, "agent"},
		"says another format": {func(k ssh.PublicKey, d []byte) (*ssh.Signature, error) {
			s, err := keyring.Sign(k, d)
			s.Format = "ssh-rsa"
			return s, err
		}, "signature is wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := socketIn(t)
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() { // ends with the listener
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go agent.ServeAgent(&faulty{keyring, c.sign}, conn)
				}
			}()
			public, err := ssh.NewPublicKey(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			ca, err := certs.AgentSignerWithin(socket, ssh.FingerprintSHA256(public), 300*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			a, _ := newAuthority(t, func(o *certs.Options) { o.UserCA = ca })
			if cert, err := a.Issue(alice, newKey(t).PublicKey()); err == nil || cert != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("issued %v, %v; want %q", cert, err, c.want)
			}
		})
	}
	t.Run("is not there", func(t *testing.T) {
		if _, err := certs.AgentSigner(socketIn(t), "SHA256:x"); err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("comes back", func(t *testing.T) {
		socket := socketIn(t)
		serve := func() net.Listener {
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			go func() { // ends with the listener
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go agent.ServeAgent(keyring, conn)
				}
			}()
			return l
		}
		l := serve()
		public, _ := ssh.NewPublicKey(key.Public())
		ca, err := certs.AgentSigner(socket, ssh.FingerprintSHA256(public))
		if err != nil {
			t.Fatal(err)
		}
		a, _ := newAuthority(t, func(o *certs.Options) { o.UserCA = ca })
		l.Close()
		if _, err := a.Issue(alice, newKey(t).PublicKey()); err == nil {
			t.Error("issued without the agent")
		}
		l = serve()
		defer l.Close()
		issue(t, a, newKey(t).PublicKey())
	})
}

// A user CA is made anew: certificates of the old one count until its time is over.
func TestRotatingTheUserCA(t *testing.T) {
	before, old := newAuthority(t)
	cert := issue(t, before, newKey(t).PublicKey())
	until := func(d time.Duration) func(*certs.Options) {
		return func(o *certs.Options) {
			o.OldUserCAs = []certs.OldCA{{Key: old.UserCA.PublicKey(), Until: time.Now().Add(d)}}
		}
	}
	for name, c := range map[string]struct {
		change func(*certs.Options)
		want   string
	}{
		"in the overlap": {until(time.Hour), ""},
		"after it":       {until(-time.Second), "another authority"},
		"without":        {func(*certs.Options) {}, "another authority"},
	} {
		after, _ := newAuthority(t, c.change)
		_, err := after.Identify(cert, "192.0.2.7:1")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		lines := strings.Count(after.UserCA(), "\n")
		if want := map[bool]int{true: 2, false: 1}[c.want == ""]; lines != want {
			t.Errorf("%s: %d lines of user_ca.pub", name, lines)
		}
		issued := issue(t, after, newKey(t).PublicKey())
		if bytes.Equal(issued.SignatureKey.Marshal(), old.UserCA.PublicKey().Marshal()) {
			t.Errorf("%s: the old key still signs", name)
		}
	}
	for name, change := range map[string]func(*certs.Options){
		"no key":        func(o *certs.Options) { o.OldUserCAs = []certs.OldCA{{}} },
		"an RSA key":    func(o *certs.Options) { o.OldUserCAs = []certs.OldCA{{Key: rsaKey(t).PublicKey()}} },
		"the host CA":   func(o *certs.Options) { o.OldUserCAs = []certs.OldCA{{Key: o.HostCA.PublicKey()}} },
		"a certificate": func(o *certs.Options) { o.OldUserCAs = []certs.OldCA{{Key: cert}} },
		"users' for hosts": func(o *certs.Options) {
			o.OtherHostCAs = []ssh.PublicKey{o.UserCA.PublicKey()}
		},
		"no host CA": func(o *certs.Options) { o.OtherHostCAs = []ssh.PublicKey{nil} },
	} {
		o := certs.Options{UserCA: newKey(t), HostCA: newKey(t), TTL: time.Hour}
		change(&o)
		if _, err := certs.NewAuthority(o); err == nil {
			t.Errorf("%s is an authority", name)
		}
	}
}

// Clients learn of the next host CA before it signs.
func TestKnownHostsHasBoth(t *testing.T) {
	next := newKey(t).PublicKey()
	a, _ := newAuthority(t, func(o *certs.Options) { o.OtherHostCAs = []ssh.PublicKey{next} })
	lines := strings.Split(strings.TrimSpace(a.KnownHosts([]string{"b"})), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[1], "@cert-authority b ssh-ed25519 ") || !strings.Contains(lines[1]+"\n", string(ssh.MarshalAuthorizedKey(next))) {
		t.Errorf("%q", lines)
	}
}
