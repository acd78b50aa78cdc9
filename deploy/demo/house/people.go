package house

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

// This file gives people what they come with: a key and a line that says how
// to know the bastion.

// people who come with a key; what groups they are in is the identity provider's.
var people = []string{"alice", "bob", "carol", "dave", "frank"}

// keys gives each person a key, and what they must know of the bastion: one line.
func (h *House) keys(ctx context.Context) error {
	resp, err := http.Get("http://" + h.http + "/known_hosts")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	knownHosts, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the bastion's /known_hosts: %s %w", resp.Status, err)
	}
	for _, name := range people {
		if err := h.equip(ctx, name, knownHosts); err != nil {
			return err
		}
	}
	return nil
}

// sshConfig is what a person has in ~/.ssh/config. The user name is what they
// are called on their own machine; the bastion does not know it, so that it
// leads to the lobby, and people name a target instead.
const sshConfig = `Host bastion
  HostName 127.0.0.1
  Port %[1]s
  User %[5]s
  HostKeyAlias %[2]s
  UserKnownHostsFile %[3]s/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  IdentityFile %[3]s/%[4]s
  IdentitiesOnly yes
  IdentityAgent none
`

func (h *House) equip(ctx context.Context, name string, knownHosts []byte) error {
	home := h.Path(name, ".ssh")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(h.ssh)
	if err != nil {
		return err
	}
	files := map[string]string{
		"known_hosts": string(knownHosts),
		"config":      fmt.Sprintf(sshConfig, port, hostName, home, "id_ed25519", name),
		"config2":     fmt.Sprintf(sshConfig, port, hostName, home, "id_second", name),
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(home, file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", filepath.Join(home, "id_ed25519")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	return nil
}

// LogIn gets a person a certificate, in a window that nobody sees.
func (h *House) LogIn(ctx context.Context, name string) error {
	t, err := OpenTerminal(name, h.Path(name), "config", Size{Cols: 200, Rows: 24})
	if err != nil {
		return err
	}
	defer t.Close()
	if err := t.Press("ssh bastion login > ~/.ssh/id_ed25519-cert.pub; echo status $?\r"); err != nil {
		return err
	}
	link, err := t.Reads(ctx, regexp.MustCompile(`Sign in at (http://\S+)`))
	if err != nil {
		return err
	}
	code, err := SignIn(link[1], name)
	if err != nil {
		return err
	}
	if err := t.Press(code + "\r"); err != nil {
		return err
	}
	_, err = t.Reads(ctx, regexp.MustCompile(`(?m)^status 0$`))
	return err
}
