package bastion_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/session"
)

var bobsWindow = session.Size{Cols: 100, Rows: 30}

// This file holds what gliderlabs/ssh is known to do wrong as it comes, each
// with a client that does it.

// channel opens a raw session channel.
func channel(t *testing.T, c *ssh.Client) (ssh.Channel, <-chan *ssh.Request) {
	t.Helper()
	ch, requests, err := c.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	return ch, requests
}

// request sends a channel request with reply and reports whether it was granted.
func request(t *testing.T, ch ssh.Channel, name string, payload []byte) bool {
	t.Helper()
	ok, err := ch.SendRequest(name, true, payload)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return ok
}

// lying is a string that claims to be longer than it is.
func lying(length uint32, text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, length), text...)
}

func TestLengthsThatLieHarmNothing(t *testing.T) {
	h := open(t)
	c := h.as(alice, "lobby")
	ch, _ := channel(t, c)
	for _, payload := range [][]byte{
		lying(0xFFFFFFFE, "xterm"), lying(0xFFFFFFFF, ""), lying(0x7FFFFFFF, "xterm"), lying(6, "xterm"), nil, {0},
		append(lying(5, "xterm"), bytes.Repeat([]byte{0xff}, 15)...),
	} {
		for _, name := range []string{"pty-req", "env", "exec", "window-change", "signal"} {
			if request(t, ch, name, payload) && name != "window-change" {
				t.Errorf("%s with %x was granted", name, payload)
			}
			if name == "pty-req" || name == "exec" {
				ch.Close()
				c = h.as(alice, "lobby") // what is refused is counted
				ch, _ = channel(t, c)
			}
		}
	}
	if !request(t, ch, "pty-req", ssh.Marshal(struct {
		Term       string
		C, R, W, H uint32
		Modes      string
	}{"xterm", 0xFFFFFFFF, 0xFFFFFFFF, 1, 1, ""})) {
		t.Error("a large window is no reason to refuse")
	}
	if out, _, _ := h.run(alice, "lobby", "whoami"); !strings.Contains(out, "alice") {
		t.Error("the bastion does not answer any more")
	}
}

func TestNoneIsRefused(t *testing.T) {
	h := open(t)
	if _, err := h.dial("orders"); err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
		t.Errorf("came in with nothing: %v", err)
	}
}

func TestPasswordsAreRefused(t *testing.T) {
	h := open(t)
	if _, err := h.dial("orders", ssh.Password("123456")); err == nil {
		t.Error("came in with a password")
	}
}

// The user name of the last attempt is the one that counts; gliderlabs keeps
// the first.
func TestTheUserNameIsTheLastOne(t *testing.T) {
	h := open(t)
	// x/crypto's client keeps one name; this one changes under its hands.
	name := []byte("orders")
	key := h.ca.certify(alice)
	config := clientConfig(unsafe.String(&name[0], len(name)), ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
		copy(name, "lobby1")
		return []ssh.Signer{key}, nil
	}))
	c, err := ssh.Dial("tcp", h.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	out, errs, status := result(t, c, "whoami", nil)
	if status != 0 || !strings.Contains(out, "alice") {
		t.Errorf("status %d, %q, %q: not in the lobby, so the first name counted", status, out, errs)
	}
	if n := len(h.options.Sessions.Live()); n != 0 {
		t.Errorf("%d sessions were opened", n)
	}
}

// Keys that were offered, or proven and refused, leave nothing behind for the
// key that gets in (CVE-2024-45337).
func TestOnlyTheKeyThatProvedItselfCounts(t *testing.T) {
	h := open(t)
	stolen := offerOnly{h.ca.certify(dave)} // dave's certificate is public; his key is not here
	expired := h.ca.certify(sam, ended)
	c, err := h.dial("lobby", ssh.PublicKeys(expired, h.ca.certify(alice)))
	if err != nil {
		t.Fatal(err)
	}
	if out, _, _ := result(t, c, "whoami", nil); !strings.Contains(out, "alice") || strings.Contains(out, "sam") {
		t.Errorf("alice came in as %q", out)
	}
	if _, err := h.dial("lobby", ssh.PublicKeys(stolen)); err == nil {
		t.Error("came in with a certificate without its key")
	}
	config := clientConfig("lobby")
	next := []ssh.AuthMethod{ssh.PublicKeys(stolen), ssh.PublicKeys(h.ca.certify(alice))}
	config.AuthCallback = func(*ssh.ClientAuthContext) (auth ssh.AuthMethod, err error) {
		if len(next) == 0 {
			return nil, errors.New("nothing left to try")
		}
		auth, next = next[0], next[1:]
		return auth, nil
	}
	c, err = ssh.Dial("tcp", h.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if out, _, _ := result(t, c, "whoami", nil); !strings.Contains(out, "alice") || strings.Contains(out, "dave") {
		t.Errorf("alice, having offered dave's certificate, came in as %q", out)
	}
}

// offerOnly is a key whose private half is not known.
type offerOnly struct{ ssh.Signer }

func (offerOnly) Sign(io.Reader, []byte) (*ssh.Signature, error) {
	return nil, errStolen
}

func TestUndrainedWindowChangesDoNotStopTheConnection(t *testing.T) {
	h := open(t)
	x := h.terminal(alice, "orders+watched", "")
	x.sees("shadow 7KQ01") // nobody reads sizes but the session, which waits
	for i := range 1000 {
		if err := x.session.WindowChange(30, 60+i%40); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.session.WindowChange(33, 133); err != nil {
		t.Fatal(err)
	}
	s := h.live(1)
	seat, err := s.Sit(bob, bobsWindow)
	if err != nil {
		t.Fatal(err)
	}
	x.sees("psql is here")
	eventually(t, "the newest size", func() bool {
		_, size := h.psql(s).request()
		return size.Cols == 133 && size.Rows == 33
	})
	seat.Kill("enough")
	x.ends(137)
}

func TestShutdownWaitsForHandlers(t *testing.T) {
	h := open(t)
	x := h.terminal(alice, "orders", "")
	x.sees("psql is here")
	s := h.live(1)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := h.server.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if sealed := h.tape(s).summary(); sealed == nil || sealed.Cause.Code != "drained" {
		t.Errorf("Shutdown returned before the tape was sealed: %+v", sealed)
	}
	x.sees("this bastion is stopping")
	x.ends(69)
	if err := <-h.served; !errors.Is(err, bastion.ErrClosed) {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := h.dial("lobby", ssh.PublicKeys(h.ca.certify(bob))); err == nil {
		t.Error("bob came in after Shutdown")
	}
}

func TestAClientThatSaysNothingIsHungUpOn(t *testing.T) {
	h := open(t, func(o *bastion.Options) { o.Limits.Handshake = 50 * time.Millisecond })
	for name, says := range map[string]string{"nothing": "", "a version": "SSH-2.0-x\r\n", "rubbish": strings.Repeat("a", 10_000)} {
		t.Run(name, func(t *testing.T) {
			nc, err := net.Dial("tcp", h.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			io.WriteString(nc, says)
			nc.SetReadDeadline(time.Now().Add(10 * time.Second))
			greeting, err := io.ReadAll(nc)
			if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
				t.Fatal("not hung up on")
			}
			if says != "" && !isReset(err) && !bytes.HasPrefix(greeting, []byte("SSH-2.0-twokey\r\n")) {
				t.Errorf("greeted with %q", greeting)
			}
		})
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func isReset(err error) bool { return err != nil && !isTimeout(err) }

// A person at a prompt has longer than a client at a handshake; but not for ever.
func TestALoginMayTakeLongerThanAHandshake(t *testing.T) {
	h := open(t, func(o *bastion.Options) {
		o.Limits.Handshake, o.Limits.Login = 500*time.Millisecond, 2500*time.Millisecond
	})
	h.desk.is(alice)
	slow := func(wait time.Duration) ssh.AuthMethod {
		return ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
			time.Sleep(wait)
			return make([]string, len(questions)), nil
		})
	}
	began := time.Now()
	_, err := h.dial("lobby", slow(900*time.Millisecond))
	if err == nil || time.Since(began) < 2*time.Second {
		t.Errorf("hung up on after %v: %v", time.Since(began), err)
	}
	c, err := h.dial("lobby", ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
		time.Sleep(time.Second)
		return []string{"123456"}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // the login's deadline is over and must not matter now
	if out, _, _ := result(t, c, "whoami", nil); !strings.Contains(out, "alice") {
		t.Errorf("after the login: %q", out)
	}
	time.Sleep(700 * time.Millisecond)
	if _, errs, status := result(t, c, "login", nil); status != 77 || !strings.Contains(errs, "you signed in more than 2.5s ago") {
		t.Errorf("a certificate for an old login: status %d, %q", status, errs)
	}
}

// However many addresses strangers come from, whoever comes after them gets in.
func TestStrangersCannotFillTheHouse(t *testing.T) {
	h := open(t, func(o *bastion.Options) { o.Limits.AllStrangers = 6; o.Limits.Strangers = 3 })
	for _, from := range []byte{2, 3, 4, 5} {
		for range 3 {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}
			nc, err := d.Dial("tcp", h.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
		}
	}
	c := h.as(bob, "lobby")
	if out, _, _ := result(t, c, "whoami", nil); !strings.Contains(out, "bob") {
		t.Errorf("bob reads %q", out)
	}
}

// Somebody in the middle of a login is not disturbed by any number of
// connections that say nothing, from wherever they come.
func TestSilentStrangersDisturbNoLogin(t *testing.T) {
	h := open(t, func(o *bastion.Options) { o.Limits.AllStrangers = 6 })
	h.desk.is(alice)
	done := make(chan struct{})
	c, err := h.dial("lobby", ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
		defer close(done)
		for i := range 200 { // while she looks for her phone
			greeted(h.connect(fmt.Sprintf("127.0.%d.2", 1+i), nil))
		}
		return []string{"123456"}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	<-done
	if out, _, _ := result(t, c, "whoami", nil); !strings.Contains(out, "alice") {
		t.Errorf("she reads %q", out)
	}
}

// logins is a number of people in the middle of a login, until end.
func (h *house) logins(n int) (end func()) {
	var all sync.WaitGroup
	done := make(chan struct{})
	for range n {
		asked := make(chan struct{}, 10)
		all.Go(func() {
			h.dial("lobby", ssh.KeyboardInteractive(func(string, string, []string, []bool) ([]string, error) {
				asked <- struct{}{}
				<-done
				return []string{"no"}, nil
			}))
		})
		receive(h.t, "the question", asked)
	}
	return sync.OnceFunc(func() { close(done); all.Wait() })
}

// prompts dials as somebody who has no certificate, and returns what they are asked.
func (h *house) prompts() (asked []string, err error) {
	_, err = h.dial("lobby", ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
		asked = append(asked, questions...)
		return []string{"no"}, nil
	}))
	return asked, err
}

// Of those who have said nothing yet the first gives way to whoever comes from the same
// address. Where too many are in the middle of a login, the next one reads so; whoever
// has a certificate gets in.
func TestOneSourceCannotFillTheHouse(t *testing.T) {
	m := &meter{}
	h := open(t, func(o *bastion.Options) { o.Limits.Strangers, o.Meter = 3, m })
	c := h.as(alice, "lobby")
	var silent []net.Conn
	for range 4 {
		nc := h.connect("127.0.0.1", nil)
		if !greeted(nc) {
			t.Fatal("a stranger too few")
		}
		silent = append(silent, nc)
	}
	if !hungUp(silent[0]) {
		t.Error("a fourth stranger took nobody's place")
	}
	end := h.logins(3)
	defer end()
	if asked, err := h.prompts(); err == nil || len(asked) == 0 || !strings.Contains(asked[0], "3 logins are under way from your address; try again in a minute\nPress Enter") {
		t.Errorf("a fourth login from one address: %v, asked %q", err, asked)
	}
	eventually(t, "it is counted", func() bool { return m.has("refused crowd") })
	if out, _, _ := result(t, c, "whoami", nil); !strings.Contains(out, "alice") {
		t.Error("alice, who is known, was disturbed")
	}
	if out, _, _ := h.run(bob, "lobby", "whoami"); !strings.Contains(out, "bob") {
		t.Error("bob, who has a certificate, did not get in")
	}
}

// Whoever holds all the logins of an address, such as an office's, holds them for a minute.
func TestALoginKeepsItsPlaceForAWhile(t *testing.T) {
	h := open(t, func(o *bastion.Options) { o.Limits.Strangers, o.Limits.Undisturbed = 3, time.Second })
	end := h.logins(3)
	defer end()
	eventually(t, "one of them gives way", func() bool {
		asked, _ := h.prompts()
		return len(asked) > 0 && strings.Contains(asked[0], "Sign in at")
	})
}

// A certificate is no secret: whoever shows one of somebody else's, and can not sign with it, takes
// nobody's place who logs in without one, and keeps no owner of one out.
func TestACopiedCertificatePushesNobodyOut(t *testing.T) {
	h := open(t, func(o *bastion.Options) { o.Limits.Strangers = 3 })
	asked, leave, left := make(chan struct{}, 10), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		h.dial("lobby", ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
			asked <- struct{}{}
			<-leave
			return make([]string, len(questions)), nil
		}))
	}()
	receive(t, "the question", asked)
	copied := keyless{h.ca.certify(bob), make(chan struct{}, 10), make(chan struct{})}
	var thieves sync.WaitGroup
	for range 8 {
		thieves.Go(func() { h.dial("lobby", ssh.PublicKeys(copied)) })
		receive(t, "the certificate is taken for good", copied.asked)
	}
	if out, _, _ := h.run(alice, "lobby", "whoami"); !strings.Contains(out, "alice") {
		t.Error("alice, who has a certificate, did not get in")
	}
	leave <- struct{}{}
	receive(t, "the next question: the login was not pushed out", asked)
	close(leave)
	close(copied.sign)
	<-left
	thieves.Wait()
}

// keyless is a certificate whose key signs late.
type keyless struct {
	ssh.Signer
	asked chan struct{} // gets something when a signature is asked for
	sign  chan struct{} // closed when there are signatures
}

func (w keyless) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	w.asked <- struct{}{}
	<-w.sign
	return nil, errors.New("the key is somebody else's")
}

// One person has so many connections and no more, however they have logged in, and reads
// that; it does not count for another, and ends with the connections.
func TestOnePersonCannotFillTheHouse(t *testing.T) {
	m := &meter{}
	h := open(t, func(o *bastion.Options) { o.Limits.PerPerson, o.Meter = 3, m })
	h.desk.is(alice)
	var hers []*ssh.Client
	for range 2 {
		hers = append(hers, h.as(alice, "lobby"))
	}
	code := func(_, _ string, questions []string, _ []bool) ([]string, error) { return []string{"123456"}, nil }
	c, err := h.dial("lobby", ssh.KeyboardInteractive(code))
	if err != nil {
		t.Fatal(err)
	}
	var banners syncBuffer
	for name, auth := range map[string]ssh.AuthMethod{"certificate": ssh.PublicKeys(h.ca.certify(alice)), "login": ssh.KeyboardInteractive(code)} {
		config := clientConfig("lobby", auth)
		config.BannerCallback = func(text string) error { io.WriteString(&banners, text); return nil }
		if c, err := ssh.Dial("tcp", h.addr, config); err == nil {
			c.Close()
			t.Errorf("a fourth connection, with a %s", name)
		}
	}
	if n := strings.Count(banners.String(), "you have 3 connections here"); n != 2 {
		t.Errorf("she reads %q", &banners)
	}
	config := clientConfig("lobby", ssh.PublicKeys(h.ca.certify(alice)), ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
		io.WriteString(&banners, strings.Join(questions, ""))
		return make([]string, len(questions)), nil
	}))
	if _, err := ssh.Dial("tcp", h.addr, config); err == nil || !strings.Contains(banners.String(), "close some first\nPress Enter") || strings.Contains(banners.String(), "Sign in at") {
		t.Errorf("%v; with a terminal she reads %q", err, &banners)
	}
	if n := m.count("refused person"); n != 3 || m.has("refused certificate") {
		t.Errorf("three were turned away; counted %d: %s", n, m.heard)
	}
	if out, _, _ := h.run(bob, "lobby", "whoami"); !strings.Contains(out, "bob") {
		t.Error("bob was disturbed")
	}
	if out, _, _ := result(t, c, "whoami", nil); !strings.Contains(out, "alice") {
		t.Error("her others were disturbed")
	}
	hers[0].Close()
	eventually(t, "room again", func() bool {
		_, err := h.dial("lobby", ssh.PublicKeys(h.ca.certify(alice)))
		return err == nil
	})
}

// A client on whose connection nothing runs is asked, too, whether it is there.
func TestAnIdleClientThatDoesNotAnswerIsHungUpOn(t *testing.T) {
	// Long enough that bob's client, on a busy machine, answers before three more.
	h := open(t, func(o *bastion.Options) { o.Limits.Keepalive = 100 * time.Millisecond })
	answers := h.as(bob, "lobby")
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	asleep := &sleeper{Conn: nc}
	conn, channels, requests, err := ssh.NewClientConn(asleep, h.addr, clientConfig("lobby", ssh.PublicKeys(h.ca.certify(alice))))
	if err != nil {
		t.Fatal(err)
	}
	hers := ssh.NewClient(conn, channels, requests)
	gone := make(chan struct{})
	go func() { hers.Wait(); close(gone) }()
	asleep.now.Store(true)
	receive(t, "she is hung up on", gone)
	if out, _, _ := result(t, answers, "whoami", nil); !strings.Contains(out, "bob") {
		t.Error("so is bob, who answers")
	}
}

// sleeper is a connection whose client sends nothing any more, from some moment on.
type sleeper struct {
	net.Conn
	now atomic.Bool
}

func (s *sleeper) Write(p []byte) (int, error) {
	if s.now.Load() {
		return len(p), nil
	}
	return s.Conn.Write(p)
}

func TestOneShellAtATimeAndTwentyRejectsEndIt(t *testing.T) {
	h := open(t)
	c := h.as(alice, "lobby")
	ch, _ := channel(t, c)
	if _, _, err := c.OpenChannel("session", nil); err == nil || !strings.Contains(err.Error(), "one shell at a time") {
		t.Errorf("a second shell: %v", err)
	}
	ch.Close()
	eventually(t, "a shell after the other", func() bool {
		ch, _, err := c.OpenChannel("session", nil)
		if err == nil {
			ch.Close()
		}
		return err == nil
	})
	gone := make(chan struct{})
	go func() { c.Wait(); close(gone) }()
	refused := make(chan string, 100)
	for range cap(refused) { // x/crypto's client may wait for ever when it opens a channel on a connection that ends
		go func() {
			_, _, err := c.OpenChannel("direct-tcpip", ssh.Marshal(struct {
				Host string
				Port uint32
				From string
				Src  uint32
			}{"orders", 5432, "127.0.0.1", 1}))
			var open *ssh.OpenChannelError
			if errors.As(err, &open) {
				refused <- open.Message
			}
		}()
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Fatal("never hung up on")
	}
	if n := len(refused); n > 20 {
		t.Errorf("%d refusals and still there", n)
	}
	if text := <-refused; !strings.Contains(text, "nothing is forwarded but") {
		t.Errorf("refused with %q", text)
	}
}

func TestForwardingAgentX11AndSubsystemsAreRefused(t *testing.T) {
	h := open(t)
	c := h.as(alice, "lobby")
	if _, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("tcpip-forward granted")
	}
	ch, _ := channel(t, c)
	for _, name := range []string{"auth-agent-req@openssh.com", "x11-req", "subsystem", "nonsense"} {
		if request(t, ch, name, lying(4, "sftp")) {
			t.Errorf("%s granted", name)
		}
	}
}

func TestOnlyListedEnvironmentGetsThrough(t *testing.T) {
	h := open(t)
	c := h.as(alice, "orders")
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"LANG": "de_DE.UTF-8", "LC_ALL": "C", "LC_X1": "x", "PGOPTIONS": "-c role=admin", "LD_PRELOAD": "/tmp/x.so",
		"PATH": "/tmp", "LC_TIME": "a\x1b]0;b", "LC_NAME": strings.Repeat("x", 1000), "PSQLRC": "/tmp/x",
	} {
		granted := s.Setenv(name, value) == nil
		if want := name == "LANG" || name == "LC_ALL"; granted != want {
			t.Errorf("%s=%q granted: %v", name, value, granted)
		}
	}
	if _, err := s.StdinPipe(); err != nil { // stays open: psql goes on
		t.Fatal(err)
	}
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	sess := h.live(1)
	if env := strings.Join(sess.Request().Env, " "); env != "LANG=de_DE.UTF-8 LC_ALL=C" {
		t.Errorf("the environment is %q", env)
	}
}

func TestOldAlgorithmsAreNotSpoken(t *testing.T) {
	h := open(t)
	weak := map[string]func(*ssh.ClientConfig){
		"group14-sha1":    func(c *ssh.ClientConfig) { c.KeyExchanges = []string{"diffie-hellman-group14-sha1"} },
		"group14-sha256":  func(c *ssh.ClientConfig) { c.KeyExchanges = []string{"diffie-hellman-group14-sha256"} },
		"aes128-ctr":      func(c *ssh.ClientConfig) { c.Ciphers = []string{"aes128-ctr"} },
		"hmac-sha1 + cbc": func(c *ssh.ClientConfig) { c.Ciphers, c.MACs = []string{"aes128-cbc"}, []string{"hmac-sha1"} },
	}
	for name, set := range weak {
		config := clientConfig("lobby", ssh.PublicKeys(h.ca.certify(alice)))
		set(config)
		if c, err := ssh.Dial("tcp", h.addr, config); err == nil || !strings.Contains(err.Error(), "no common algorithm") {
			t.Errorf("%s: %v", name, err)
			if c != nil {
				c.Close()
			}
		}
	}
}
