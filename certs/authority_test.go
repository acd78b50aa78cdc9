package certs_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/twokey/twokey/certs"
	"github.com/twokey/twokey/session"
)

var alice = session.Identity{
	Issuer: "https://idp.example.com", Subject: "u-alice", Name: "alice@example.com", Groups: []string{"engineering", "dba"},
	Claims: map[string]string{"team": "checkout"}, SamePerson: "1001",
	Credential: session.Credential{From: "192.0.2.7:50122"},
}

func newKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer(t, key)
}

func signer(t *testing.T, key any) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func rsaKey(t *testing.T) ssh.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer(t, key)
}

func ecdsaKey(t *testing.T) ssh.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer(t, key)
}

// skKey is the public half of a key on hardware.
func skKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, public, "ssh:"}))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T, change ...func(*certs.Options)) (*certs.Authority, certs.Options) {
	t.Helper()
	o := certs.Options{UserCA: newKey(t), HostCA: newKey(t), TTL: 8 * time.Hour}
	for _, c := range change {
		c(&o)
	}
	a, err := certs.NewAuthority(o)
	if err != nil {
		t.Fatal(err)
	}
	return a, o
}

func issue(t *testing.T, a *certs.Authority, key ssh.PublicKey) *ssh.Certificate {
	t.Helper()
	cert, err := a.Issue(alice, key)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestWhatIsIssuedIsIdentified(t *testing.T) {
	a, _ := newAuthority(t)
	for name, key := range map[string]ssh.PublicKey{
		"ed25519": newKey(t).PublicKey(), "ecdsa": ecdsaKey(t).PublicKey(), "hardware": skKey(t),
	} {
		t.Run(name, func(t *testing.T) {
			cert := issue(t, a, key)
			sent, err := ssh.ParsePublicKey(cert.Marshal())
			if err != nil {
				t.Fatal(err)
			}
			who, err := a.Identify(sent.(*ssh.Certificate), "198.51.100.9:1234")
			if err != nil {
				t.Fatal(err)
			}
			want := alice
			want.Credential = session.Credential{
				Key: ssh.FingerprintSHA256(key), Serial: cert.Serial,
				Issued: time.Unix(int64(cert.ValidAfter)+60, 0), Expires: time.Unix(int64(cert.ValidBefore), 0), From: "198.51.100.9:1234",
			}
			if !reflect.DeepEqual(who, want) {
				t.Errorf("identified %+v\nwant       %+v", who, want)
			}
			if left := time.Until(want.Credential.Expires); left > 8*time.Hour || left < 8*time.Hour-time.Minute {
				t.Errorf("it lives for %s", left)
			}
		})
	}
	if one, other := issue(t, a, skKey(t)), issue(t, a, skKey(t)); one.Serial == other.Serial || one.Serial == 0 {
		t.Errorf("serials %d and %d", one.Serial, other.Serial)
	}
}

func TestWhatIsNotIssued(t *testing.T) {
	a, _ := newAuthority(t, func(o *certs.Options) { o.SourceAddress = true })
	key := newKey(t).PublicKey()
	crowd := alice
	for range 2000 {
		crowd.Groups = append(crowd.Groups, "a-group-with-a-long-name")
	}
	for name, c := range map[string]struct {
		who  func(*session.Identity)
		key  ssh.PublicKey
		want string
	}{
		"nobody":             {func(w *session.Identity) { w.Subject = "" }, key, "nobody"},
		"no issuer":          {func(w *session.Identity) { w.Issuer = "" }, key, "nobody"},
		"no name":            {func(w *session.Identity) { w.Name = "" }, key, "nobody"},
		"a name that moves":  {func(w *session.Identity) { w.Name = "ali\x1b[2Jce" }, key, "nobody"},
		"a name that turns":  {func(w *session.Identity) { w.Name = "ali\u202ece" }, key, "nobody"},
		"a long name":        {func(w *session.Identity) { w.Name = strings.Repeat("a", 121) }, key, "nobody"},
		"too many groups":    {func(w *session.Identity) { *w = crowd }, key, "fewer groups"},
		"from nowhere":       {func(w *session.Identity) { w.Credential.From = "" }, key, "one address"},
		"no key":             {nil, nil, "type none"},
		"an RSA key":         {nil, rsaKey(t).PublicKey(), "ssh-keygen -t ed25519"},
		"another of our own": {nil, issue(t, a, key), "-cert-v01"},
	} {
		t.Run(name, func(t *testing.T) {
			who := alice
			if c.who != nil {
				c.who(&who)
			}
			if cert, err := a.Issue(who, c.key); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("issued %v, %v; want an error with %q", cert, err, c.want)
			}
		})
	}
}

func TestNewAuthority(t *testing.T) {
	key, other := newKey(t), newKey(t)
	maker, _ := newAuthority(t)
	certified, err := ssh.NewCertSigner(issue(t, maker, key.PublicKey()), key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    certs.Options
		want string
	}{
		"good":                        {certs.Options{UserCA: key, HostCA: other, TTL: 24 * time.Hour}, ""},
		"nothing":                     {certs.Options{}, "user CA is missing"},
		"no host CA":                  {certs.Options{UserCA: key, TTL: time.Hour}, "host CA is missing"},
		"one key for two":             {certs.Options{UserCA: key, HostCA: key, TTL: time.Hour}, "the same key"},
		"a certificate for a CA":      {certs.Options{UserCA: certified, HostCA: other, TTL: time.Hour}, "plain ed25519"},
		"a certificate for a host CA": {certs.Options{UserCA: other, HostCA: certified, TTL: time.Hour}, "plain ed25519"},
		"RSA":                         {certs.Options{UserCA: rsaKey(t), HostCA: other, TTL: time.Hour}, "type ssh-rsa"},
		"no lifetime":                 {certs.Options{UserCA: key, HostCA: other}, "lifetime"},
		"a day and a second":          {certs.Options{UserCA: key, HostCA: other, TTL: 24*time.Hour + time.Second}, "at most 24h"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := certs.NewAuthority(c.o)
			if c.want == "" && err == nil {
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// What ssh-keygen -L prints is what an engineer and an auditor can check.
func TestSSHKeygenReadsIt(t *testing.T) {
	for _, c := range []struct {
		name    string
		bound   bool
		options string // as ssh-keygen lists them
	}{
		{"free", false, "Critical Options: (none)"},
		{"bound to an address", true, "Critical Options: source-address 192.0.2.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, o := newAuthority(t, func(o *certs.Options) { o.SourceAddress = c.bound })
			cert := issue(t, a, newKey(t).PublicKey())
			path := filepath.Join(t.TempDir(), "id_ed25519-cert.pub")
			if err := os.WriteFile(path, ssh.MarshalAuthorizedKey(cert), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("ssh-keygen", "-L", "-f", path).CombinedOutput()
			if err != nil {
				t.Fatalf("ssh-keygen: %v: %s", err, out)
			}
			text := strings.Join(strings.Fields(string(out)), " ")
			for _, want := range []string{
				"ssh-ed25519-cert-v01@openssh.com user certificate",
				"Signing CA: ED25519 " + ssh.FingerprintSHA256(o.UserCA.PublicKey()),
				`Key ID: "alice@example.com issued 20`,
				"Principals: alice@example.com " + c.options + " Extensions: identity@twokey UNKNOWN OPTION",
				"permit-pty",
			} {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			if n := strings.Count(text, "permit-"); n != 1 || strings.Contains(text, "forever") {
				t.Errorf("permits too much:\n%s", out)
			}
		})
	}
}

func TestHostCertificate(t *testing.T) {
	a, _ := newAuthority(t)
	host := newKey(t)
	cert, err := a.HostCertificate(host.PublicKey(), []string{"bastion.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(a.KnownHosts([]string{"bastion.example.com", "[bastion.example.com]:2222"})), 0o600); err != nil {
		t.Fatal(err)
	}
	trusted, err := knownhosts.New(file)
	if err != nil {
		t.Fatal(err)
	}
	at := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 2222}
	if err := trusted("bastion.example.com:2222", at, cert); err != nil {
		t.Errorf("our own host is not trusted: %v", err)
	}
	if err := trusted("other.example.com:2222", at, cert); err == nil {
		t.Error("the certificate is good for another host")
	}
	stranger, _ := newAuthority(t)
	forged, err := stranger.HostCertificate(host.PublicKey(), []string{"bastion.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if err := trusted("bastion.example.com:2222", at, forged); err == nil {
		t.Error("a stranger's certificate is good")
	}
	if _, err := a.HostCertificate(host.PublicKey(), nil); err == nil {
		t.Error("a certificate for every host")
	}
	if _, err := a.HostCertificate(cert, []string{"bastion.example.com"}); err == nil {
		t.Error("a certificate for a certificate")
	}
	if _, err := a.Identify(cert, "192.0.2.1:1"); err == nil {
		t.Error("a host is a person")
	}
}
