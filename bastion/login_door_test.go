package bastion_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// answers is a person at a prompt: what they type, and what they were asked.
type answers struct {
	types  []string
	asked  []string
	echoed []bool
}

func (a *answers) method() ssh.AuthMethod {
	return ssh.KeyboardInteractive(func(_, instruction string, questions []string, echo []bool) ([]string, error) {
		if len(questions) == 0 {
			return nil, nil
		}
		if len(a.types) == 0 {
			return nil, errors.New("nothing more to type")
		}
		a.asked, a.echoed = append(a.asked, questions...), append(a.echoed, echo...)
		next := a.types[0]
		a.types = a.types[1:]
		return []string{next}, nil
	})
}

func TestLoginWithAKeyAndTheCertificateForIt(t *testing.T) {
	h := open(t)
	h.desk.is(alice)
	key := newKey(t)
	a := &answers{types: []string{"000000", " 123 456 "}}
	c, err := h.dial("lobby", ssh.PublicKeys(key), a.method())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Sign in at https://bastion.example.com/login/ABCD-EFGH\n  then type the code it shows here.\nCode: ",
		"twokey: that is not the code\nCode: ",
	}
	if !slices.Equal(a.asked, want) || slices.Contains(a.echoed, false) {
		t.Errorf("asked %q, echo %v", a.asked, a.echoed)
	}
	if h.desk.begun[0] != fingerprint(key.PublicKey()) {
		t.Errorf("the login was begun for %q", h.desk.begun)
	}
	out, errs, status := result(t, c, "login", nil)
	if status != 0 || errs != "" {
		t.Fatalf("status %d, %q", status, errs)
	}
	pub, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(out))
	if err != nil || len(rest) > 0 {
		t.Fatalf("not a certificate and nothing else: %q: %v", out, err)
	}
	cert := pub.(*ssh.Certificate)
	if fingerprint(cert.Key) != fingerprint(key.PublicKey()) || !slices.Equal(cert.ValidPrincipals, []string{"alice"}) {
		t.Errorf("certificate %+v", cert)
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err = h.dial("lobby", ssh.PublicKeys(signer))
	if err != nil {
		t.Fatalf("the certificate does not open: %v", err)
	}
	out, errs, status = result(t, c, "login", nil)
	if status != 77 || out != "" || !strings.Contains(errs, "PubkeyAcceptedAlgorithms=-*cert*") {
		t.Errorf("a certificate for a certificate: status %d, %q, %q", status, out, errs)
	}
}

func TestLoginWithoutAKey(t *testing.T) {
	h := open(t)
	h.desk.is(alice)
	c, err := h.dial("lobby", (&answers{types: []string{"123456"}}).method())
	if err != nil {
		t.Fatal(err)
	}
	out, errs, status := result(t, c, "login", nil)
	if status != 77 || out != "" || !strings.Contains(errs, "ssh-keygen -t ed25519") {
		t.Errorf("status %d, %q, %q", status, out, errs)
	}
}

func TestThreeWrongCodesEndTheLogin(t *testing.T) {
	h := open(t)
	h.desk.is(alice)
	a := &answers{types: []string{"1", strings.Repeat("9", 100_000), "3", "123456"}}
	if _, err := h.dial("lobby", ssh.RetryableAuthMethod(a.method(), 3)); err == nil {
		t.Fatal("came in")
	}
	if len(a.asked) != 3 || len(h.desk.begun) != 1 {
		t.Errorf("asked %d times, %d links", len(a.asked), len(h.desk.begun))
	}
	if !strings.Contains(h.log.String(), "three wrong codes") {
		t.Error("no line in the log")
	}
}

func TestARefusedCertificateSaysWhyAndLeadsToTheLogin(t *testing.T) {
	h := open(t)
	h.desk.is(alice)
	expired := h.ca.certify(alice, ended)
	a := &answers{types: []string{"123456"}}
	var banner string
	config := clientConfig("lobby", ssh.PublicKeys(expired, newKey(t)), a.method())
	config.BannerCallback = func(text string) error { banner += text; return nil }
	c, err := ssh.Dial("tcp", h.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const why = "twokey: your certificate was not accepted: it ended at "
	if len(a.asked) != 1 || !strings.HasPrefix(a.asked[0], why) || !strings.Contains(a.asked[0], "\nSign in at ") {
		t.Errorf("asked %q", a.asked)
	}
	if !strings.HasPrefix(banner, why) || !strings.HasSuffix(banner, "\r\n") {
		t.Errorf("banner %q", banner)
	}
	if out, _, _ := result(t, c, "login", nil); !strings.Contains(out, "-cert-v01@openssh.com") {
		t.Errorf("no new certificate: %q", out)
	}
}

func TestForeignCertificatesAndStrangersStayOut(t *testing.T) {
	h := open(t)
	other := newAuthority(t)
	for name, key := range map[string]ssh.Signer{
		"another CA":       other.certify(alice),
		"nobody":           h.ca.certify(alice, func(c *ssh.Certificate) { c.Extensions["identity@twokey"] = "{}" }),
		"another person":   h.ca.certify(alice, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"root"} }),
		"no principals":    h.ca.certify(alice, func(c *ssh.Certificate) { c.ValidPrincipals = nil }),
		"for ever":         h.ca.certify(alice, func(c *ssh.Certificate) { c.ValidBefore = ssh.CertTimeInfinity }),
		"host certificate": h.ca.certify(alice, func(c *ssh.Certificate) { c.CertType = ssh.HostCert }),
		"another address":  h.ca.certify(alice, func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"source-address": "192.0.2.1"} }),
	} {
		c, err := h.dial("lobby", ssh.PublicKeys(key))
		if err != nil {
			continue
		}
		if s, err := c.NewSession(); err == nil {
			out, _ := s.CombinedOutput("whoami")
			t.Errorf("%s is inside and reads %q", name, out)
		}
	}
}

func TestALoginThatCannotBegin(t *testing.T) {
	h := open(t)
	h.desk.broken = errors.New("the identity provider does not answer; try again in a minute")
	a := &answers{types: []string{""}}
	if _, err := h.dial("lobby", a.method()); err == nil {
		t.Fatal("came in")
	}
	if len(a.asked) != 1 || !strings.Contains(a.asked[0], "the identity provider does not answer") {
		t.Errorf("asked %q", a.asked)
	}
}

// A connection may outlive what let it in.
func TestAnEndedCertificateOpensNothingMore(t *testing.T) {
	h := open(t)
	c, err := h.dial("lobby", ssh.PublicKeys(h.ca.certify(alice, soon)))
	if err != nil {
		t.Fatal(err)
	}
	if out, _, _ := result(t, c, "whoami", nil); !strings.Contains(out, "alice") {
		t.Fatalf("whoami: %q", out)
	}
	eventually(t, "the end of the certificate", func() bool {
		s, err := c.NewSession()
		if err == nil {
			s.Close()
		}
		return err != nil && strings.Contains(err.Error(), "your certificate has ended")
	})
}
