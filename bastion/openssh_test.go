package bastion_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// openssh is a person's home with OpenSSH's client in it.
type openssh struct {
	t     *testing.T
	h     *house
	home  string
	level string // of the log
}

// newOpenSSH makes a home with a key, and an askpass that keeps what it was
// asked and answers with the file "code".
func newOpenSSH(t *testing.T, h *house) *openssh {
	t.Helper()
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("no OpenSSH client here")
	}
	o := &openssh{t: t, h: h, home: t.TempDir(), level: "ERROR"}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	o.write("key", 0o600, string(pem.EncodeToMemory(block)))
	o.write("key.pub", 0o600, string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	o.write("code", 0o600, "123456")
	o.write("askpass", 0o700, "#!/bin/sh\nprintf '%s\\n' \"$1\" >> '"+o.path("asked")+"'\ncat '"+o.path("code")+"'\n")
	return o
}

func (o *openssh) path(name string) string { return filepath.Join(o.home, name) }

func (o *openssh) write(name string, mode os.FileMode, text string) {
	o.t.Helper()
	if err := os.WriteFile(o.path(name), []byte(text), mode); err != nil {
		o.t.Fatal(err)
	}
}

func (o *openssh) asked() string {
	text, _ := os.ReadFile(o.path("asked")) // not there: nothing was asked
	os.Remove(o.path("asked"))
	return string(text)
}

// ssh runs the client.
func (o *openssh) ssh(user string, words ...string) (stdout, stderr string, status int) {
	o.t.Helper()
	host, port, _ := strings.Cut(o.h.addr, ":")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	args := append([]string{"-F", "none", "-p", port, "-l", user, "-i", o.path("key"), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=" + o.level}, words...)
	for i, w := range args {
		if w == "HOST" {
			args[i] = host
		}
	}
	cmd := exec.CommandContext(ctx, "ssh", args...)
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+o.path("askpass"), "SSH_ASKPASS_REQUIRE=force", "DISPLAY=:none")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		o.t.Fatalf("ssh: %v", err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// The whole way of somebody with an ordinary key and OpenSSH, at LogLevel=ERROR.
func TestOpenSSH(t *testing.T) {
	h := open(t)
	h.desk.is(alice)
	o := newOpenSSH(t, h)

	out, errs, status := o.ssh("lobby", "HOST", "login")
	if status != 0 || errs != "" || !strings.HasPrefix(out, "ssh-ed25519-cert-v01@openssh.com ") {
		t.Fatalf("login: status %d, %q, %q", status, out, errs)
	}
	if asked := o.asked(); !strings.Contains(asked, "Sign in at https://bastion.example.com/login/ABCD-EFGH\n  then type the code it shows here.\nCode: ") {
		t.Errorf("asked %q", asked)
	}
	o.write("key-cert.pub", 0o600, out)
	out, _, status = o.ssh("lobby", "HOST", "whoami")
	if asked := o.asked(); status != 0 || asked != "" || !strings.Contains(out, "by  certificate ") || !strings.Contains(out, "alice") {
		t.Errorf("with the certificate: status %d, asked %q, %q", status, asked, out)
	}
	out, errs, status = o.ssh("lobby", "HOST", "login")
	if status != 77 || out != "" || !strings.Contains(errs, "PubkeyAcceptedAlgorithms=-*cert*") {
		t.Errorf("login with a certificate: status %d, %q, %q", status, out, errs)
	}
	out, errs, status = o.ssh("lobby", "-o", "PubkeyAcceptedAlgorithms=-*cert*", "HOST", "login")
	if status != 0 || !strings.Contains(out, "-cert-v01@openssh.com ") {
		t.Errorf("what was advised: status %d, %q, %q", status, out, errs)
	}
	out, errs, status = o.ssh("orders", "HOST", "--", "--csv", "-c", "select 'a  b'")
	if status != 3 || out != "psql is here\n" || errs != "" {
		t.Errorf("a script: status %d, %q, %q", status, out, errs)
	}
	if want, _ := h.psqls["01JD0000000000000000000001"].request(); strings.Join(want.Args, "|") != "--csv|-c|select 'a  b'" {
		t.Errorf("psql gets %q", want.Args)
	}
	out, errs, status = o.ssh("orders+write", "HOST", "--", "--csv")
	if status != 77 || out != "" || !strings.HasPrefix(errs, "twokey: ") {
		t.Errorf("a refusal: status %d, %q, %q", status, out, errs)
	}
}

func TestOpenSSHWithACertificateThatEnded(t *testing.T) {
	h := open(t)
	h.desk.is(alice)
	o := newOpenSSH(t, h)
	pub, err := os.ReadFile(o.path("key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	o.write("key-cert.pub", 0o600, string(ssh.MarshalAuthorizedKey(h.ca.certificate(alice, key, ended))))
	out, errs, status := o.ssh("lobby", "HOST", "login")
	if asked := o.asked(); status != 0 || !strings.Contains(asked, "your certificate was not accepted: it ended at ") || !strings.Contains(asked, "\nSign in at ") {
		t.Errorf("status %d, asked %q, %q, %q", status, asked, out, errs)
	}
	o.write("code", 0o600, "000000")
	out, _, status = o.ssh("lobby", "HOST", "login")
	if asked := o.asked(); status != 255 || out != "" || strings.Count(asked, "Code: ") != 3 || !strings.Contains(asked, "that is not the code") {
		t.Errorf("wrong codes: status %d, asked %q, %q", status, asked, out)
	}
	o.level = "INFO"
	_, errs, _ = o.ssh("lobby", "-o", "BatchMode=yes", "HOST", "login")
	if !strings.Contains(errs, "twokey: your certificate was not accepted: it ended at ") {
		t.Errorf("without anybody to ask: %q", errs)
	}
}

func TestOpenSSHClosesItsSide(t *testing.T) {
	h := open(t)
	h.desk.is(alice)
	o := newOpenSSH(t, h)
	if _, errs, status := o.ssh("lobby", "-N", "-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:0:x:1", "HOST"); status != 255 || !strings.Contains(errs, "remote port forwarding failed") {
		t.Errorf("forwarding: status %d, %q", status, errs)
	}
	if who, _, status := o.ssh("lobby", "-tt", "HOST", "whoami"); status != 0 || !strings.Contains(who, "alice\r\n") {
		t.Errorf("with a terminal: status %d, %q", status, who)
	}
	if n := len(h.options.Sessions.Live()); n != 0 {
		t.Errorf("%d sessions live", n)
	}
}
