// Package house is a whole twokey on one machine: a database, a store, an
// identity provider and a bastion, each an ordinary program, and people with
// terminals. Its one idea: everything is what it would be in production, only
// small, so what is shown or measured here is true there.
//
// It tells no story and measures nothing; that is for the programs beside it.
package house

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// House is everything around the people. All it leaves lies in its folder,
// apart from the database, which is removed.
type House struct {
	root string // of the repository
	dir  string // .work/demo

	ssh, http, s3, monitor string // addresses, host:port
	issuer                 string
	parts                  []*Part // in the order of their start

	DB      *Postgres
	Bastion *Part
}

// Repository is the folder that holds bin/twokey.
func Repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "bin", "twokey")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", errors.New("bin/twokey is not there; run make demo at the top of the repository")
		}
	}
}

// New makes the folder .work/name in the repository, empty.
func New(root, name string) (*House, error) {
	h := &House{root: root, dir: filepath.Join(root, ".work", name)}
	if err := os.RemoveAll(h.dir); err != nil {
		return nil, err
	}
	for _, dir := range []string{"log", "s3/recordings", "s3-versions"} {
		if err := os.MkdirAll(filepath.Join(h.dir, dir), 0o700); err != nil {
			return nil, err
		}
	}
	for _, address := range []*string{&h.ssh, &h.http, &h.s3, &h.monitor} {
		free, err := FreeAddress()
		if err != nil {
			return nil, err
		}
		*address = free
	}
	return h, nil
}

// FreeAddress is a loopback port that nobody listens on, for now.
func FreeAddress() (address string, err error) {
	for range 100 {
		// Below the ports that the kernel gives to clients, so that none takes it
		// before its server does.
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(20_000))); err == nil {
			defer l.Close()
			return l.Addr().String(), nil
		}
	}
	return "", err
}

// Start brings everything up, and says what it does.
func (h *House) Start(ctx context.Context, say func(format string, args ...any)) (err error) {
	if h.DB, err = startPostgres(ctx, filepath.Join(h.dir, "log", "postgres.log")); err != nil {
		return err
	}
	say("a database: Postgres on 127.0.0.1:%s, with a table of orders", h.DB.port)
	if err := h.startStore(ctx); err != nil {
		return err
	}
	say("a store:    an S3 server on %s", h.s3)
	if err := h.startIdentityProvider(ctx); err != nil {
		return err
	}
	say("a login:    an OpenID provider on %s", h.issuer)
	if err := h.configure(ctx, say); err != nil {
		return err
	}
	if err := h.StartBastion(ctx); err != nil {
		return err
	}
	say("the bastion on %s", h.ssh)
	return h.keys(ctx)
}

func (h *House) startStore(ctx context.Context) error {
	_, err := h.Run(ctx, "s3", h.s3, h.Bin("versitygw"), "--quiet", "--keep-alive", "--port", h.s3, "--access", s3Access, "--secret", s3Secret,
		"posix", "--versioning-dir", h.Path("s3-versions"), h.Path("s3"))
	return err
}

func (h *House) startIdentityProvider(ctx context.Context) error {
	address, err := FreeAddress()
	if err != nil {
		return err
	}
	h.issuer = "http://" + address
	_, err = h.Run(ctx, "idp", address, h.Bin("demo-idp"), "--listen", address, "--client-id", clientID, "--client-secret", clientSecret,
		"--redirect", "http://"+h.http+"/login/callback")
	return err
}

// configure makes keys and configuration as an operator would: init, edit, check.
func (h *House) configure(ctx context.Context, say func(format string, args ...any)) error {
	etc := h.Path("etc")
	if out, err := exec.CommandContext(ctx, h.Bin("twokey"), "init", "--dir", etc, "--host", hostName).CombinedOutput(); err != nil {
		return fmt.Errorf("twokey init: %w: %s", err, out)
	}
	if err := h.writeConfig(etc); err != nil {
		return err
	}
	say("$ twokey check --config etc/twokey.yaml")
	out, err := exec.CommandContext(ctx, h.Bin("twokey"), "check", "--config", h.Config()).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		say("  %s", strings.TrimRight(line, "\n"))
	}
	if err != nil {
		return fmt.Errorf("twokey check: %w", err)
	}
	return nil
}

// SSH is where the bastion's front door is.
func (h *House) SSH() string { return h.ssh }

// Monitor is where the bastion serves /metrics.
func (h *House) Monitor() string { return h.monitor }

// Config is the bastion's configuration file.
func (h *House) Config() string { return h.Path("etc", "twokey.yaml") }

// StartBastion starts the bastion, also again after it has ended, and waits until it listens.
func (h *House) StartBastion(ctx context.Context) (err error) {
	if h.Bastion, err = h.part("bastion", h.Bin("twokey"), "serve", "--config", h.Config()); err != nil {
		return err
	}
	if err := h.Bastion.listens(ctx, h.http); err != nil {
		return err
	}
	return h.Bastion.listens(ctx, h.ssh)
}

// Run starts another program, which ends with the house, and waits until it listens.
func (h *House) Run(ctx context.Context, name, address, program string, args ...string) (*Part, error) {
	p, err := h.part(name, program, args...)
	if err != nil {
		return nil, err
	}
	return p, p.listens(ctx, address)
}

// Bin is a program of the repository.
func (h *House) Bin(name string) string { return filepath.Join(h.root, "bin", name) }

// Path is a file in the house's folder.
func (h *House) Path(elements ...string) string {
	return filepath.Join(h.dir, filepath.Join(elements...))
}

// Stop ends everything, the last started first.
func (h *House) Stop() error {
	var all []error
	for len(h.parts) > 0 {
		p := h.parts[len(h.parts)-1]
		h.parts = h.parts[:len(h.parts)-1]
		all = append(all, p.End(syscall.SIGTERM))
	}
	if h.DB != nil {
		all = append(all, h.DB.stop())
	}
	return errors.Join(all...)
}
