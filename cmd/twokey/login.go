package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/session"
)

// This file is `twokey login`: a browser login on this machine, with nothing to
// type and no key to keep.
//
// Its one idea: it is `ssh HOST login`, done for you. A key is made afresh and
// OpenSSH is started with it, so that known_hosts, jump hosts and aliases mean what
// they always mean, and the certificate is for the key that the very connection has
// proven. OpenSSH asks this program for the code (SSH_ASKPASS; login_answer.go),
// which opens the browser and hears the code on loopback. The bastion is the
// provider's only client: the PKCE verifier, the client's secret and the ID token never
// leave it, and the nonce of the login is bound to the key. So this machine holds
// no token that could be used for anything else, and needs no address registered
// at the provider.

// inLogin is the variable by which OpenSSH's children know that a login is under
// way. Its value is how the browser is opened.
const inLogin = "TWOKEY_LOGIN"

// lobby is the SSH user name that a login comes with: no target can have it.
const lobby = "_login"

// leftOver is how much of its lifetime a certificate must have left to be left alone.
const leftOver = 5 * time.Minute

// loginTime is how long a login may take; the bastion gives it five minutes.
const loginTime = 6 * time.Minute

type loginFlags struct {
	out       string
	ifNeeded  bool
	noBrowser bool
}

func loginCommand() *cobra.Command {
	var f loginFlags
	c := &cobra.Command{
		Use:   "login HOST",
		Short: "sign in with the browser; key and certificate go into the ssh-agent, or into files",
		Long: "Sign in with the browser. A new key and its certificate go into the ssh-agent, for as long as the\n" +
			"certificate lives; without an agent, into files below ~/.ssh/twokey. HOST is what ssh takes, or HOST:PORT.\n\n" +
			"`twokey ssh-config HOST` prints what makes ssh do this by itself.",
		Args: oneHost,
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), loginTime)
			defer cancel()
			return login(ctx, args[0], f, c.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&f.out, "out", "", "a `file` for the key, and beside it FILE-cert.pub, instead of the agent")
	c.Flags().BoolVar(&f.ifNeeded, "if-needed", false, "do nothing while the certificate of an earlier login is good")
	c.Flags().BoolVar(&f.noBrowser, "no-browser", false, "print the link; type the code that it leads to")
	return c
}

func oneHost(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return ended{fmt.Errorf("which bastion? twokey %s HOST", c.Name()), 2}
	}
	return nil
}

func login(ctx context.Context, at string, f loginFlags, say io.Writer) error {
	to, err := parseSSHAddress(at)
	if err != nil {
		return err
	}
	keep, err := keeperFor(to, f.out)
	if err != nil {
		return err
	}
	underWay := os.Getenv(inLogin) != "" // OpenSSH, started below, reads its configuration, which may ask for a login
	if f.ifNeeded && (underWay || keep.until().After(time.Now().Add(leftOver))) {
		return nil
	}
	if err := keep.ready(); err != nil { // before anybody looks for their phone
		return err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	cert, err := certificateFor(ctx, to, key, browserFor(f.noBrowser), say)
	if err != nil {
		return err
	}
	where, err := keep.keep(key, cert)
	if err != nil {
		return err
	}
	fmt.Fprintf(say, "You are %s until %s; %s.\n", cert.ValidPrincipals[0], ends(cert).Format("15:04"), where)
	return nil
}

// sshAddress is a bastion as ssh finds it.
type sshAddress struct {
	host string // a name or an address, or an alias of ssh's configuration
	port string // empty: as ssh's configuration says
}

func (p sshAddress) String() string {
	if p.port == "" {
		return p.host
	}
	return net.JoinHostPort(p.host, p.port)
}

// sshHost is what may stand behind ssh: it goes into command lines and files.
var sshHost = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?$`)

func parseSSHAddress(text string) (sshAddress, error) {
	p := sshAddress{host: text}
	if host, port, err := net.SplitHostPort(text); err == nil {
		p = sshAddress{host, port}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return sshAddress{}, fmt.Errorf("%q is no port", port)
		}
	}
	if !sshHost.MatchString(p.host) && net.ParseIP(p.host) == nil {
		return sshAddress{}, fmt.Errorf("%q is no host as ssh takes one: give a name, without user, such as bastion.example.com or bastion.example.com:2222", p.host)
	}
	return p, nil
}

// certificateFor logs in with a key, and returns the certificate for it.
func certificateFor(ctx context.Context, to sshAddress, key ed25519.PrivateKey, browser string, say io.Writer) (*ssh.Certificate, error) {
	// OpenSSH reads the key from a file. Without the certificate, which never is
	// in this folder, it opens nothing.
	dir, err := os.MkdirTemp(os.Getenv("XDG_RUNTIME_DIR"), "twokey-login-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "key")
	if err := writeKey(file, key); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "ssh", sshArgs(to, file)...)
	cmd.Env = append(os.Environ(), inLogin+"="+browser, "SSH_ASKPASS="+self, "SSH_ASKPASS_REQUIRE=force")
	cmd.Stdin, cmd.Stderr = os.Stdin, say
	cmd.WaitDelay = time.Second
	printed, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("there is no ssh here; install OpenSSH's client")
	}
	switch {
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return nil, fmt.Errorf("nobody signed in within %s", session.Brief(loginTime))
	case ctx.Err() != nil, interrupted(err):
		return nil, errLeft
	case err != nil:
		return nil, fmt.Errorf("ssh did not get a certificate from %s (%w); if it does not know the host: curl https://%s/known_hosts >> ~/.ssh/known_hosts", to, err, to.host)
	}
	return readCertificate(printed, key)
}

// interrupted reports whether a program ended by Ctrl-C, which it may have heard first.
func interrupted(err error) bool {
	exit := (*exec.ExitError)(nil)
	if !errors.As(err, &exit) {
		return false
	}
	how, is := exit.Sys().(syscall.WaitStatus)
	return is && how.Signaled() && how.Signal() == syscall.SIGINT
}

// sshArgs are for exactly this login, whatever else ssh's configuration offers.
func sshArgs(to sshAddress, key string) []string {
	args := []string{"-T", "-i", key, "-l", lobby}
	for _, option := range []string{
		"IdentitiesOnly=yes", "IdentityAgent=none", "PubkeyAcceptedAlgorithms=-*cert*", // an older certificate would leave nothing to log in for
		"PreferredAuthentications=publickey,keyboard-interactive", "BatchMode=no", "StrictHostKeyChecking=yes",
		"ControlPath=none", "ClearAllForwardings=yes", "ForwardAgent=no", "RemoteCommand=none", "PermitLocalCommand=no",
	} {
		args = append(args, "-o", option)
	}
	if to.port != "" {
		args = append(args, "-p", to.port)
	}
	return append(args, to.host, "login")
}

// readCertificate reads what `login` printed. It must be a person's, good now, and
// for our key.
func readCertificate(printed []byte, key ed25519.PrivateKey) (*ssh.Certificate, error) {
	parsed, _, _, _, err := ssh.ParseAuthorizedKey(printed)
	if err != nil {
		return nil, fmt.Errorf("the bastion printed no certificate: %w", err)
	}
	ours, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	cert, ok := parsed.(*ssh.Certificate)
	switch {
	case !ok || cert.CertType != ssh.UserCert || len(cert.ValidPrincipals) != 1:
		return nil, errors.New("what the bastion printed is no certificate of a person")
	case string(cert.Key.Marshal()) != string(ours.Marshal()):
		return nil, errors.New("the bastion printed the certificate of another key")
	case !ends(cert).After(time.Now()):
		return nil, errors.New("the certificate has ended already; is a clock wrong?")
	}
	return cert, nil
}

// ends is when a certificate is no longer good. One that never ends is not ours.
func ends(cert *ssh.Certificate) time.Time {
	const sane = 1 << 33
	if cert.ValidBefore >= sane {
		return time.Time{}
	}
	return time.Unix(int64(cert.ValidBefore), 0)
}

// fileName is a place as the name of a file.
func (p sshAddress) fileName() string {
	return strings.NewReplacer(":", "_", "[", "", "]", "").Replace(p.String())
}
