package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// This file starts the parts, each an ordinary program, and stops them. All
// they leave lies in .work/demo, apart from the database, which is removed.

// world is everything around the people.
type world struct {
	root string // of the repository
	dir  string // .work/demo

	ssh, http, s3 string // addresses, host:port
	issuer        string
	db            *postgres
	bastion       *part
	parts         []*part // in the order of their start
}

// people who come with a key; what groups they are in is the identity provider's.
var people = []string{"alice", "bob", "carol", "dave"}

func newWorld(root string) (*world, error) {
	w := &world{root: root, dir: filepath.Join(root, ".work", "demo")}
	if err := os.RemoveAll(w.dir); err != nil {
		return nil, err
	}
	for _, dir := range []string{"log", "s3/recordings", "s3-versions"} {
		if err := os.MkdirAll(filepath.Join(w.dir, dir), 0o700); err != nil {
			return nil, err
		}
	}
	for _, address := range []*string{&w.ssh, &w.http, &w.s3} {
		free, err := freeAddress()
		if err != nil {
			return nil, err
		}
		*address = free
	}
	return w, nil
}

// freeAddress is a loopback port that nobody listens on, for now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// start brings everything up, and says what it does.
func (w *world) start(ctx context.Context, stage *stage) (err error) {
	stage.heading("The parts")
	if w.db, err = startPostgres(ctx, filepath.Join(w.dir, "log", "postgres.log")); err != nil {
		return err
	}
	stage.line("a database: Postgres on 127.0.0.1:%s, with a table of orders", w.db.port)
	if err := w.startStore(ctx); err != nil {
		return err
	}
	stage.line("a store:    an S3 server on %s", w.s3)
	if err := w.startIdentityProvider(ctx); err != nil {
		return err
	}
	stage.line("a login:    an OpenID provider on %s", w.issuer)
	if err := w.configure(ctx, stage); err != nil {
		return err
	}
	if err := w.startBastion(ctx); err != nil {
		return err
	}
	stage.line("the bastion on %s", w.ssh)
	return w.keys(ctx)
}

func (w *world) startStore(ctx context.Context) error {
	p, err := w.part("s3", w.bin("versitygw"), "--quiet", "--port", w.s3, "--access", s3Access, "--secret", s3Secret,
		"posix", "--versioning-dir", filepath.Join(w.dir, "s3-versions"), filepath.Join(w.dir, "s3"))
	if err != nil {
		return err
	}
	return p.listens(ctx, w.s3)
}

func (w *world) startIdentityProvider(ctx context.Context) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	w.issuer = "http://" + address
	p, err := w.part("idp", w.bin("demo-idp"), "--listen", address, "--client-id", clientID, "--client-secret", clientSecret,
		"--redirect", "http://"+w.http+"/login/callback")
	if err != nil {
		return err
	}
	return p.listens(ctx, address)
}

// configure makes keys and configuration as an operator would: init, edit, check.
func (w *world) configure(ctx context.Context, stage *stage) error {
	etc := w.path("etc")
	if out, err := exec.CommandContext(ctx, w.bin("twokey"), "init", "--dir", etc, "--host", hostName).CombinedOutput(); err != nil {
		return fmt.Errorf("twokey init: %w: %s", err, out)
	}
	if err := w.writeConfig(etc); err != nil {
		return err
	}
	stage.line("$ twokey check --config etc/twokey.yaml")
	out, err := exec.CommandContext(ctx, w.bin("twokey"), "check", "--config", w.config()).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		stage.line("  %s", strings.TrimRight(line, "\n"))
	}
	if err != nil {
		return fmt.Errorf("twokey check: %w", err)
	}
	return nil
}

func (w *world) config() string { return w.path("etc", "twokey.yaml") }

func (w *world) startBastion(ctx context.Context) (err error) {
	if w.bastion, err = w.part("bastion", w.bin("twokey"), "serve", "--config", w.config()); err != nil {
		return err
	}
	if err := w.bastion.listens(ctx, w.http); err != nil {
		return err
	}
	return w.bastion.listens(ctx, w.ssh)
}

// keys gives each person a key, and what they must know of the bastion: one line.
func (w *world) keys(ctx context.Context) error {
	resp, err := http.Get("http://" + w.http + "/known_hosts")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	knownHosts, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the bastion's /known_hosts: %s %w", resp.Status, err)
	}
	for _, name := range people {
		if err := w.equip(ctx, name, knownHosts); err != nil {
			return err
		}
	}
	return nil
}

// sshConfig is what a person has in ~/.ssh/config. The user name is not in it:
// it says what one wants, not who one is.
const sshConfig = `Host bastion
  HostName 127.0.0.1
  Port %[1]s
  HostKeyAlias %[2]s
  UserKnownHostsFile %[3]s/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  IdentityFile %[3]s/%[4]s
  IdentitiesOnly yes
  IdentityAgent none
`

func (w *world) equip(ctx context.Context, name string, knownHosts []byte) error {
	home := w.path(name, ".ssh")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(w.ssh)
	if err != nil {
		return err
	}
	files := map[string]string{
		"known_hosts": string(knownHosts),
		"config":      fmt.Sprintf(sshConfig, port, hostName, home, "id_ed25519"),
		"config2":     fmt.Sprintf(sshConfig, port, hostName, home, "id_second"),
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

func (w *world) bin(name string) string { return filepath.Join(w.root, "bin", name) }
func (w *world) path(elements ...string) string {
	return filepath.Join(w.dir, filepath.Join(elements...))
}

// part is a program that runs beside the demo.
type part struct {
	name string
	log  string
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
}

// part starts a program.
func (w *world) part(name, program string, args ...string) (*part, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = w.dir
	p, err := startPart(name, w.path("log", name+".log"), cmd)
	if err != nil {
		return nil, err
	}
	w.parts = append(w.parts, p)
	return p, nil
}

// startPart starts a program with its output in a log. Its process group is
// its own, so that Ctrl-C reaches the demo alone, which then stops everything in
// order; it does not outlive a demo that is killed.
func startPart(name, log string, cmd *exec.Cmd) (*part, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &part{name: name, log: log, cmd: cmd, gone: make(chan struct{})}
	go func() { cmd.Wait(); close(p.gone) }() // end waits for it
	return p, nil
}

// end sends a signal and waits; a program that does not listen is killed.
func (p *part) end(s syscall.Signal) error {
	p.cmd.Process.Signal(s)
	select {
	case <-p.gone:
		return nil
	case <-time.After(20 * time.Second):
		p.cmd.Process.Kill()
		<-p.gone
		return fmt.Errorf("%s did not stop; its log is %s", p.name, p.log)
	}
}

// listens waits until the part answers at its address.
func (p *part) listens(ctx context.Context, address string) error {
	return within(ctx, patience, func() (bool, error) {
		select {
		case <-p.gone:
			return false, fmt.Errorf("%s ended: %s", p.name, p.lastWords())
		default:
		}
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return false, nil
		}
		return true, c.Close()
	}, func() error { return fmt.Errorf("%s does not listen on %s: %s", p.name, address, p.lastWords()) })
}

// lastWords is the end of the part's log.
func (p *part) lastWords() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	var last []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		last = append(last, lines.Text())
	}
	return strings.Join(last[max(0, len(last)-5):], "\n")
}

// stop ends everything, the last started first.
func (w *world) stop() error {
	var all []error
	for len(w.parts) > 0 {
		p := w.parts[len(w.parts)-1]
		w.parts = w.parts[:len(w.parts)-1]
		all = append(all, p.end(syscall.SIGTERM))
	}
	if w.db != nil {
		all = append(all, w.db.stop())
	}
	return errors.Join(all...)
}

// patience bounds every wait. Nothing that works takes as long.
const patience = 20 * time.Second

// within asks until it is so, or fails.
func within(ctx context.Context, limit time.Duration, so func() (bool, error), late func() error) error {
	deadline := time.Now().Add(limit)
	for {
		if yes, err := so(); yes || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return late()
		}
		select {
		case <-ctx.Done():
			return errors.New("interrupted")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
