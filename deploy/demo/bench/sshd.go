package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file is the other side: a plain sshd, as fast as it can be made (no
// PAM, no reverse look-up), whose users run psql with the password in their
// environment.

type sshd struct {
	*house.Part
	config string // of the client
}

const serverConfig = `ListenAddress %[1]s
HostKey %[2]s/host
AuthorizedKeysFile %[2]s/authorized_keys
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
StrictModes no
PidFile none
MaxStartups 100
SetEnv PGPASSWORD=%[3]s LANG=C.UTF-8
`

const clientConfig = `Host plain
  HostName 127.0.0.1
  Port %[1]s
  User %[2]s
  UserKnownHostsFile %[3]s/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking accept-new
  IdentityFile %[4]s
  IdentitiesOnly yes
  IdentityAgent none
  LogLevel ERROR
`

func startSSHD(ctx context.Context, h *house.House) (*sshd, error) {
	dir := h.Path("sshd")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where Debian's sshd keeps its privilege separation
			return nil, err
		}
	}
	if out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "host")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	address, err := house.FreeAddress()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	key := h.Path("alice", ".ssh", "id_ed25519")
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		return nil, err
	}
	s := &sshd{config: filepath.Join(dir, "ssh_config")}
	identity := filepath.Join(dir, "id") // beside it there is no certificate to try first
	for path, text := range map[string]string{
		filepath.Join(dir, "sshd_config"):     fmt.Sprintf(serverConfig, address, dir, house.PasswordRO),
		filepath.Join(dir, "authorized_keys"): string(public),
		s.config:                              fmt.Sprintf(clientConfig, port, me.Username, dir, identity),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if err := os.Link(key, identity); err != nil {
		return nil, err
	}
	s.Part, err = h.Run(ctx, "sshd", address, "/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	return s, err
}

// ssh is a client of sshd that runs psql with these arguments.
func (s *sshd) ssh(h *house.House, terminal bool, psql ...string) *exec.Cmd {
	args := append([]string{h.DB.Psql(), "-X", "-h", "127.0.0.1", "-p", h.DB.Port(), "-U", "app_ro", "-d", "orders"}, psql...)
	return client(s.config, terminal, "plain", strings.Join(args, " "))
}

// viaTwokey is a client of the bastion.
func viaTwokey(h *house.House, name string, terminal bool, words ...string) *exec.Cmd {
	return client(h.Path(name, ".ssh", "config"), terminal, words...)
}

func client(config string, terminal bool, words ...string) *exec.Cmd {
	args := []string{"-F", config, "-T"}
	if terminal {
		args[2] = "-tt"
	}
	return exec.Command("ssh", append(args, words...)...)
}
