package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestWhereALoginMayGo(t *testing.T) {
	for text, want := range map[string]sshAddress{
		"bastion": {"bastion", ""}, "bastion.example.com:2222": {"bastion.example.com", "2222"},
		"192.0.2.1": {"192.0.2.1", ""}, "[2001:db8::1]:22": {"2001:db8::1", "22"}, "2001:db8::1": {"2001:db8::1", ""},
		"-oProxyCommand=x": {}, "a b": {}, "alice@bastion": {}, "bastion:0": {}, "bastion:x": {}, "": {}, "b;id": {}, "b\nHost *": {}, "$(id)": {}, "%h": {},
	} {
		got, err := parseSSHAddress(text)
		if got != want || (err == nil) != (want != sshAddress{}) {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
}

// Only what the bastion's page was told can hand over a code, and nothing that
// another page of the same browser makes it do.
func TestOnlyThePageIsHeard(t *testing.T) {
	e, err := listenFor("ABCD-EFGH")
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	base := "http://" + e.door.Addr().String()
	ask := func(query string, change func(*http.Request)) int {
		r, err := http.NewRequest(http.MethodGet, base+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(r)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if strings.Contains(string(body), "123456") {
			t.Errorf("the page repeats the code")
		}
		return resp.StatusCode
	}
	const right = "/?login=ABCD-EFGH&code=123456"
	for name, c := range map[string]struct {
		query  string
		change func(*http.Request)
	}{
		"nothing":         {"/", nil},
		"another login":   {"/?login=ABCD-EFGJ&code=123456", nil},
		"no login":        {"/?code=123456", nil},
		"no code":         {"/?login=ABCD-EFGH&code=12345", nil},
		"words":           {"/?login=ABCD-EFGH&code=abcdef", nil},
		"a rebound name":  {right, func(r *http.Request) { r.Host = "evil.example.com" }},
		"an image":        {right, func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "image") }},
		"a script":        {right, func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "empty") }},
		"a posted form":   {right, func(r *http.Request) { r.Method = http.MethodPost }},
		"a question only": {right, func(r *http.Request) { r.Method = http.MethodHead }},
	} {
		if status := ask(c.query, c.change); status != http.StatusNotFound {
			t.Errorf("%s: status %d", name, status)
		}
	}
	select {
	case heard := <-e.code:
		t.Fatalf("heard %v", heard)
	default:
	}
	for range 2 { // a page that is loaded again does no harm
		if status := ask(right, func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "document") }); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	}
	if heard := <-e.code; heard != (heardCode{"123456", runtime.GOOS == "linux"}) {
		t.Errorf("heard %v", heard)
	}
}

// Another user of this machine, who has read the link in the arguments of a program,
// may sign in with it as themselves; their code is not taken.
func TestAnotherUsersCodeIsNotHeard(t *testing.T) {
	e, err := listenFor("ABCD-EFGH")
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	ask := exec.Command("bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/$0; printf 'GET /?login=ABCD-EFGH&code=666666 HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' $0 >&3; cat <&3`,
		strconv.Itoa(e.door.Addr().(*net.TCPAddr).Port))
	if os.Getuid() == 0 {
		ask.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	} else { // it asks as ourselves, and the kernel's answer is somebody else
		e.owner = func(from, to netip.AddrPort) (int, bool) {
			uid, known := ownerOf(from, to)
			return uid + 1, known
		}
	}
	said, err := ask.CombinedOutput()
	if err != nil || !strings.Contains(string(said), "403 Forbidden") || !strings.Contains(string(said), "another user's") {
		t.Errorf("%v: %s", err, said)
	}
	select {
	case heard := <-e.code:
		t.Errorf("heard %v", heard)
	default:
	}
}

// Where the system does not tell whose program it was, the person says that the code is
// the one that their page showed.
func TestACodeOfNobodyKnownIsAskedFor(t *testing.T) {
	for _, c := range []struct{ typed, want string }{{"", "123456"}, {"654321", "654321"}} {
		heard, typed, screen := make(chan heardCode), make(chan string, 1), &bytes.Buffer{}
		go func() {
			heard <- heardCode{"123456", false}
			typed <- c.typed
		}()
		if code, err := wait(t.Context(), heard, typed, screen); err != nil || code != c.want || !strings.Contains(screen.String(), "123456, says a browser") {
			t.Errorf("%q, %v: %s", code, err, screen)
		}
	}
	e, err := listenFor("ABCD-EFGH")
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	e.owner = func(_, _ netip.AddrPort) (int, bool) { return 0, false }
	resp, err := http.Get("http://" + e.door.Addr().String() + "/?login=ABCD-EFGH&code=123456")
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !strings.Contains(string(page), "It asks you whether") {
		t.Errorf("%v: %s", err, page)
	}
	if heard := <-e.code; heard.sure {
		t.Error("sure of somebody whom nobody knows")
	}
}

func TestAPromptIsReadable(t *testing.T) {
	if got := readable("(_login@b) twokey: \x1b[2Jno\x07\u202e\u009b1A\nCode: "); got != "twokey: [2Jno1A\nCode: " {
		t.Errorf("%q", got)
	}
	for prompt, link := range map[string]string{
		"Sign in at https://b.example.com/login/ABCD-EFGH\n then":     "https://b.example.com/login/ABCD-EFGH",
		"Sign in at http://127.0.0.1:8022/login/ABCD-EFGH\n":          "http://127.0.0.1:8022/login/ABCD-EFGH",
		"Sign in at https://b.example.com/login/ABCD-EFGHX":           "",
		"file:///login/ABCD-EFGH":                                     "",
		"https://b.example.com/x;id/login/ABCD-EFGH":                  "",
		"https://user@evil/login/ABCD-EFGH":                           "",
		"Code: ":                                                      "",
		"javascript:alert(1)//https://b/login/ABCD-EFGH is no scheme": "https://b/login/ABCD-EFGH",
	} {
		if got := theLink.FindString(prompt); got != link {
			t.Errorf("in %q the link is %q", prompt, got)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	none := make(chan string)
	close(none)
	if code, err := wait(t.Context(), nil, none, io.Discard); err == nil || code != "" {
		t.Errorf("%q, %v", code, err)
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if code, err := wait(late, make(chan heardCode), make(chan string), io.Discard); err == nil || code != "" {
		t.Errorf("%q, %v", code, err)
	}
}

// What a bastion prints is checked before it goes to the agent or a file.
func TestACertificateOfOurs(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	ca, err := ssh.NewSignerFromKey(other)
	if err != nil {
		t.Fatal(err)
	}
	printed := func(of ed25519.PrivateKey, change func(*ssh.Certificate)) []byte {
		public, err := ssh.NewPublicKey(of.Public())
		if err != nil {
			t.Fatal(err)
		}
		c := &ssh.Certificate{Key: public, CertType: ssh.UserCert, ValidPrincipals: []string{"alice"}, ValidBefore: uint64(time.Now().Add(time.Hour).Unix())}
		change(c)
		if err := c.SignCert(rand.Reader, ca); err != nil {
			t.Fatal(err)
		}
		return ssh.MarshalAuthorizedKey(c)
	}
	same := func(*ssh.Certificate) {}
	if _, err := readCertificate(printed(key, same), key); err != nil {
		t.Errorf("our own: %v", err)
	}
	for name, text := range map[string][]byte{
		"another key's":   printed(other, same),
		"a host's":        printed(key, func(c *ssh.Certificate) { c.CertType = ssh.HostCert }),
		"for nobody":      printed(key, func(c *ssh.Certificate) { c.ValidPrincipals = nil }),
		"ended":           printed(key, func(c *ssh.Certificate) { c.ValidBefore = 1 }),
		"without an end":  printed(key, func(c *ssh.Certificate) { c.ValidBefore = ssh.CertTimeInfinity }),
		"a plain key":     ssh.MarshalAuthorizedKey(ca.PublicKey()),
		"a page":          []byte("<html>"),
		"nothing":         nil,
		"half of a line":  printed(key, same)[:100],
		"a thousand keys": bytes.Repeat([]byte("ssh-ed25519 AAAA\n"), 1000),
	} {
		if cert, err := readCertificate(text, key); err == nil {
			t.Errorf("%s: %v", name, cert)
		}
	}
}

func TestLinesForSSH(t *testing.T) {
	t.Setenv("HOME", "/home/al%ice")
	var out bytes.Buffer
	if err := writeSSHConfig(&out, "bastion.example.com:2222", "b", "/opt/two key/it's"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Host b\n  HostName bastion.example.com\n  Port 2222\n", `IdentityFile "/home/al%%ice/.ssh/twokey/b"`,
		`Match originalhost b exec "'/opt/two key/it'\''s' login --if-needed b"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	for _, bad := range []string{"a b", "*", "-x", "x\nHost *"} {
		if err := writeSSHConfig(io.Discard, "bastion", bad, "twokey"); err == nil {
			t.Errorf("the name %q", bad)
		}
	}
}
