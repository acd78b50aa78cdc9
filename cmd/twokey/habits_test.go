package main

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
)

// This file holds what people do at a terminal besides typing and reading.

// openWindow starts ssh in a terminal program, script(1), which can be stopped
// while ssh behind it lives on.
func (a *actor) openWindow(words ...string) error {
	client := a.ssh(true, words...)
	window := exec.Command("script", "-qefc", "exec '"+strings.Join(client.Args, "' '")+"'", "/dev/null")
	window.Env = client.Env
	return a.start(100, 30, window)
}

func (a *actor) resize(size string) error {
	var w pty.Winsize
	if _, err := fmt.Sscanf(size, "%dx%d", &w.Cols, &w.Rows); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.screen.Resize(int(w.Cols), int(w.Rows))
	return pty.Setsize(a.master, &w)
}

// paste puts a text into the terminal so and so many times, as fast as it takes
// it. It returns at once; the paste ends with the terminal.
func (a *actor) paste(times, text string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, keys(text), i+1)
	}
	go a.master.WriteString(all.String()) // fails when the terminal is closed
	return nil
}

// keepTyping presses keys, one after another, until stopTyping.
func (a *actor) keepTyping(text string) {
	a.typing, a.enough = make(chan error, 1), make(chan struct{})
	go func() { // stopTyping waits for it
		for all := keys(text); ; time.Sleep(2 * time.Millisecond) {
			select {
			case <-a.enough:
				a.typing <- nil
				return
			default:
			}
			if _, err := a.master.WriteString(all[:1]); err != nil {
				a.typing <- err
				return
			}
			all = all[1:] + all[:1]
		}
	}()
}

func (a *actor) stopTyping() error {
	close(a.enough)
	return <-a.typing
}

// comeAndGo sits down as shadow and leaves again: by saying so before anybody
// could look, by saying so after a moment, or without a word.
func (a *actor) comeAndGo(times, code string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	for i := range n {
		if err := a.visit(code, i%3, time.Duration(i)*7*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (a *actor) visit(code string, way int, stay time.Duration) error {
	cmd := a.ssh(false, "HOST", "shadow", code)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer late.Stop()
	if way == 0 {
		io.WriteString(in, "leave\n")
	}
	lines := bufio.NewReader(out)
	_, err = lines.ReadString('\n') // seated
	time.Sleep(stay)
	switch way {
	case 1:
		io.WriteString(in, "leave\n")
	case 2:
		cmd.Process.Kill()
	}
	io.Copy(io.Discard, lines)
	cmd.Wait()
	if way != 0 && err != nil {
		return fmt.Errorf("%s reads nothing as shadow: %w", a.name, err)
	}
	return nil
}

// roam puts a network in between that can lose packets.
func (a *actor) roam(to string) (err error) {
	if a.network, err = newNetwork(to); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(a.network.listener.Addr().String())
	if err != nil {
		return err
	}
	hosts, err := os.ReadFile(filepath.Join(a.home, "known_hosts"))
	if err != nil {
		return err
	}
	return a.meet(port, string(hosts))
}

// grow makes the certificate as old as if so much were left of it. It takes the
// authority's own key: nobody else can.
func (a *actor) grow(left, authority string) error {
	rest, err := time.ParseDuration(left)
	if err != nil {
		return err
	}
	path := filepath.Join(a.home, "id_ed25519-cert.pub")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(authority)
	if err != nil {
		return err
	}
	ca, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return err
	}
	cert := key.(*ssh.Certificate)
	cert.ValidBefore = uint64(time.Now().Add(rest).Unix())
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		return err
	}
	return os.WriteFile(path, ssh.MarshalAuthorizedKey(cert), 0o600)
}
