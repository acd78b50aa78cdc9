package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"regexp"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file is many people at their terminals, in one process: a thousand ssh
// programs would take what is to be measured.

// site is the bastion and who comes to it.
type site struct {
	house      *house.House
	alice, bob account
}

// account is what somebody comes with who has logged in.
type account struct {
	ssh.Signer // with the certificate
	key        ssh.Signer
}

func newSite(ctx context.Context, h *house.House) (*site, error) {
	s := &site{house: h}
	for name, to := range map[string]*account{"alice": &s.alice, "bob": &s.bob, "dave": nil} {
		if err := h.LogIn(ctx, name); err != nil {
			return nil, err
		}
		if to == nil {
			continue
		}
		var err error
		if *to, err = certified(h.Path(name, ".ssh", "id_ed25519")); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// certified reads a key with the certificate beside it.
func certified(path string) (account, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return account{}, err
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return account{}, err
	}
	line, err := os.ReadFile(path + "-cert.pub")
	if err != nil {
		return account{}, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return account{}, err
	}
	cert, ok := public.(*ssh.Certificate)
	if !ok {
		return account{}, fmt.Errorf("%s-cert.pub holds no certificate", path)
	}
	signer, err := ssh.NewCertSigner(cert, key)
	return account{signer, key}, err
}

// another gives the n-th person of a crowd the certificate that the bastion would give them: that
// of somebody who has logged in, for another account. A thousand logins would take an hour.
func (s *site) another(who account, n int) (ssh.Signer, error) {
	text, err := os.ReadFile(s.house.Path("etc", "keys", "user_ca"))
	if err != nil {
		return nil, err
	}
	ca, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, err
	}
	cert := *who.PublicKey().(*ssh.Certificate)
	var claims map[string]any
	if err := json.Unmarshal([]byte(cert.Extensions[identity]), &claims); err != nil {
		return nil, err
	}
	claims["subject"] = fmt.Sprint(claims["subject"], "-", n)
	changed, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	cert.Extensions = maps.Clone(cert.Extensions)
	cert.Extensions[identity] = string(changed)
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		return nil, err
	}
	return ssh.NewCertSigner(&cert, who.key)
}

// identity is the extension that says who somebody is.
const identity = "identity@twokey"

// address is one of many on this machine: the n-th person's.
func address(network byte, n int) *net.TCPAddr {
	return &net.TCPAddr{IP: net.IPv4(127, network, byte(1+n/200), byte(1+n%200))}
}

func (s *site) dial(ctx context.Context, who ssh.Signer, from *net.TCPAddr, user string) (*ssh.Client, error) {
	d := net.Dialer{LocalAddr: from, Timeout: house.Patience}
	nc, err := d.DialContext(ctx, "tcp", s.house.SSH())
	if err != nil {
		return nil, err
	}
	// Whose key the bastion has is not what is looked at here.
	conn, channels, requests, err := ssh.NewClientConn(nc, s.house.SSH(), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(who)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: house.Patience,
	})
	if err != nil {
		nc.Close()
		return nil, err
	}
	return ssh.NewClient(conn, channels, requests), nil
}

// command runs one and returns what it printed.
func (s *site) command(ctx context.Context, who ssh.Signer, from *net.TCPAddr, user, command string) (string, error) {
	c, err := s.dial(ctx, who, from, user)
	if err != nil {
		return "", err
	}
	defer c.Close()
	session, err := c.NewSession()
	if err != nil {
		return "", err
	}
	out, err := session.CombinedOutput(command)
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return string(out), nil
}

// window is one person's terminal.
type window struct {
	client *ssh.Client
	keys   io.WriteCloser
	gone   chan struct{}

	mu    sync.Mutex
	tail  []byte
	heard chan struct{} // gets something when bytes came
}

const tailSize = 8 << 10

func (s *site) open(ctx context.Context, who ssh.Signer, from *net.TCPAddr, user, command string) (*window, error) {
	client, err := s.dial(ctx, who, from, user)
	if err != nil {
		return nil, err
	}
	w := &window{client: client, gone: make(chan struct{}), heard: make(chan struct{}, 1)}
	if err := w.start(command); err != nil {
		client.Close()
		return nil, err
	}
	return w, nil
}

func (w *window) start(command string) error {
	session, err := w.client.NewSession()
	if err != nil {
		return err
	}
	if err := session.RequestPty("xterm-256color", 30, 100, ssh.TerminalModes{}); err != nil {
		return err
	}
	out, err1 := session.StdoutPipe()
	keys, err2 := session.StdinPipe()
	if err := errors.Join(err1, err2, session.Start(command)); err != nil {
		return err
	}
	w.keys = keys
	go w.listen(out) // ends with the connection
	return nil
}

var asks, answer = []byte("\x1b[5n"), []byte("\x1b[0n") // is the terminal there? it is (ECMA-48 8.3.35)

func (w *window) listen(out io.Reader) {
	defer close(w.gone)
	buf := make([]byte, 32<<10)
	for {
		n, err := out.Read(buf)
		w.mu.Lock()
		w.tail = append(w.tail, buf[:n]...)
		w.tail = w.tail[max(0, len(w.tail)-tailSize):]
		w.mu.Unlock()
		if bytes.Contains(buf[:n], asks) {
			w.keys.Write(answer)
		}
		select {
		case w.heard <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (w *window) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tail = nil
	select {
	case <-w.heard:
	default:
	}
}

func (w *window) text() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.tail)
}

// await waits until the pattern has come since forget, and returns its first group.
func (w *window) await(ctx context.Context, pattern *regexp.Regexp, limit time.Duration) (string, error) {
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		if m := pattern.FindSubmatch(w.text()); m != nil {
			return string(m[len(m)-1]), nil
		}
		select {
		case <-w.heard:
		case <-w.gone:
			return "", fmt.Errorf("the connection ended before %q came: %q", pattern, w.text())
		case <-late.C:
			return "", fmt.Errorf("%q did not come within %s: %q", pattern, limit, w.text())
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// echo presses a key and says how long until something came.
func (w *window) echo(ctx context.Context, key byte) (time.Duration, error) {
	w.forget()
	began := time.Now()
	if _, err := w.keys.Write([]byte{key}); err != nil {
		return 0, err
	}
	_, err := w.await(ctx, regexp.MustCompile(regexp.QuoteMeta(string(key))), house.Patience)
	return time.Since(began), err
}

func (w *window) close() {
	w.client.Close()
	<-w.gone
}

// pair is an engineer in psql with a shadow at a seat.
type pair struct{ alice, bob *window }

var (
	codePattern = regexp.MustCompile(`shadow ([0-9A-Z]{5})\b`)
	prompt      = regexp.MustCompile(`orders=> $`)
)

// openPair seats the n-th two.
func (s *site) openPair(ctx context.Context, n int) (p pair, err error) {
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	engineer, err := s.another(s.alice, n)
	if err != nil {
		return p, err
	}
	shadow, err := s.another(s.bob, n)
	if err != nil {
		return p, err
	}
	if p.alice, err = s.open(ctx, engineer, address(1, n), "orders+write", "--reason load"); err != nil {
		return p, err
	}
	code, err := p.alice.await(ctx, codePattern, time.Minute)
	if err != nil {
		return p, err
	}
	if p.bob, err = s.open(ctx, shadow, address(2, n), "bastion", "shadow "+code); err != nil {
		return p, err
	}
	_, err = p.alice.await(ctx, prompt, time.Minute)
	return p, err
}

func (p pair) close() {
	for _, w := range []*window{p.alice, p.bob} {
		if w != nil {
			w.close()
		}
	}
}
