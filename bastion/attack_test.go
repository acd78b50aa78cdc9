package bastion_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/bastion"
)

// This file is a client that means harm and knows the protocol: what it sends is
// no SSH, or SSH in an order or in a number that no honest client would.

// stuck is a listener whose connections can be made to take nothing any more, as those
// of a client that has stopped reading.
type stuck struct {
	net.Listener
	now atomic.Bool
}

type stuckConn struct {
	net.Conn
	listener *stuck
	closed   chan struct{}
	once     sync.Once
}

func (s *stuck) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &stuckConn{Conn: c, listener: s, closed: make(chan struct{})}, nil
}

func (c *stuckConn) Write(p []byte) (int, error) {
	if c.listener.now.Load() {
		<-c.closed
	}
	return c.Conn.Write(p)
}

func (c *stuckConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// Refusals that a client does not read must not wait for it in ever greater number.
func TestRefusalsThatNobodyReadsEndTheConnection(t *testing.T) {
	h := open(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	door := &stuck{Listener: l}
	go h.server.Serve(door) // ends with the house
	c, err := ssh.Dial("tcp", l.Addr().String(), clientConfig("lobby", ssh.PublicKeys(h.ca.certify(alice))))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	gone := make(chan struct{})
	go func() { c.Wait(); close(gone) }()
	door.now.Store(true)
	for range 200 {
		go c.OpenChannel("x@example.com", nil) // returns with the connection
	}
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Fatal("200 refusals wait for a client that reads nothing")
	}
}

// kexInit is RFC 4253 7.1.
type kexInit struct {
	Cookie                        [16]byte `sshtype:"20"`
	Kex, HostKey                  []string
	CipherOut, CipherIn           []string
	MACOut, MACIn                 []string
	CompressionOut, CompressionIn []string
	LanguageOut, LanguageIn       []string
	Follows                       bool
	Reserved                      uint32
}

func proposal(kex ...string) kexInit {
	ciphers, macs := []string{ssh.CipherAES256GCM}, []string{ssh.HMACSHA256ETM}
	return kexInit{Kex: kex, HostKey: []string{ssh.KeyAlgoED25519}, CipherOut: ciphers, CipherIn: ciphers, MACOut: macs, MACIn: macs,
		CompressionOut: []string{"none"}, CompressionIn: []string{"none"}}
}

// packet is a payload before there are keys (RFC 4253 6).
func packet(payload []byte) []byte {
	padding := 16 - (5+len(payload))%8
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	return append(append(append(b, byte(padding)), payload...), make([]byte, padding)...)
}

func packets(payloads ...[]byte) (all []byte) {
	for _, p := range payloads {
		all = append(all, packet(p)...)
	}
	return all
}

const (
	curve  = ssh.KeyExchangeCurve25519
	strict = "kex-strict-c-v00@openssh.com"
)

// Whatever comes before there are keys: the connection ends by itself, at once where
// it cannot become one, and nobody else notices.
func TestPacketsBeforeThereAreKeys(t *testing.T) {
	const hello = "SSH-2.0-x\r\n"
	var (
		ignore, debug   = append([]byte{2}, lying(0, "")...), []byte{4, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		newKeys, theEnd = []byte{21}, []byte{1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0}
		init            = ssh.Marshal(proposal(curve))
		strictInit      = ssh.Marshal(proposal(curve, strict))
		ecdh            = func(public string) []byte { return append([]byte{30}, lying(uint32(len(public)), public)...) }
		service         = append([]byte{5}, lying(12, "ssh-userauth")...)
		login           = append([]byte{50}, bytes.Repeat(lying(4, "none"), 3)...)
	)
	none := proposal(curve)
	none.CipherOut, none.CipherIn = []string{"none"}, []string{"none"}
	guessed := proposal("none@example.com", curve)
	guessed.Follows = true
	for name, sent := range map[string]string{
		"no line":                         strings.Repeat("A", 4096),
		"lines without end":               strings.Repeat("hello\r\n", 5000),
		"a line of zeros":                 string(make([]byte, 300)) + "\r\n",
		"another version":                 "SSH-1.5-x\r\n" + string(packet(init)),
		"a browser":                       "GET / HTTP/1.1\r\nHost: bastion\r\n\r\n",
		"TLS":                             "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 500),
		"a packet without length":         hello + string(make([]byte, 64)),
		"a packet of 4 GiB":               hello + "\xff\xff\xff\xff" + strings.Repeat("\x04", 64),
		"a packet of 256 MiB":             hello + "\x10\x00\x00\x00" + strings.Repeat("\x04", 64),
		"more padding than packet":        hello + "\x00\x00\x00\x0c\xff" + strings.Repeat("\x00", 64),
		"no padding":                      hello + "\x00\x00\x00\x0c\x00" + strings.Repeat("\x14", 64),
		"a proposal cut short":            hello + string(packet(init[:len(init)/2])),
		"a list that lies":                hello + string(packet(append(append([]byte{20}, make([]byte, 16)...), 0xff, 0xff, 0xff, 0xff))),
		"nothing in common":               hello + string(packet(ssh.Marshal(proposal("diffie-hellman-group1-sha1")))),
		"no cipher":                       hello + string(packet(ssh.Marshal(none))),
		"two proposals":                   hello + string(packets(init, init)),
		"new keys first":                  hello + string(packets(newKeys, init)),
		"new keys before there are any":   hello + string(packets(init, newKeys)),
		"a service before there are keys": hello + string(packets(service, login)),
		"a login in the exchange":         hello + string(packets(init, login)),
		"no point":                        hello + string(packets(init, ecdh(""))),
		"the point zero":                  hello + string(packets(init, ecdh(strings.Repeat("\x00", 32)))),
		"a long point":                    hello + string(packets(init, ecdh(strings.Repeat("A", 30_000)))),
		"a wrong guess, and no second":    hello + string(packets(ssh.Marshal(guessed), ecdh("wrong"), ecdh(""))),
		"the end":                         hello + string(packet(theEnd)),
		"a packet of no kind":             hello + string(packet([]byte{255})),
		"an empty packet":                 hello + string(packet(nil)),

		// Terrapin (CVE-2023-48795): with strict key exchange nothing may stand before
		// the proposal, nor in the exchange.
		"strict, something before":  hello + string(packets(ignore, strictInit)),
		"strict, something between": hello + string(packets(strictInit, ignore, ecdh(strings.Repeat("\x09", 32)))),
		"strict, a remark between":  hello + string(packets(strictInit, debug, ecdh(strings.Repeat("\x09", 32)))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, func(o *bastion.Options) { o.Limits.Handshake = 2 * time.Second })
			nc := h.connect("127.0.0.1", []byte(sent))
			nc.SetReadDeadline(time.Now().Add(10 * time.Second))
			if n, err := io.Copy(io.Discard, bufio.NewReader(io.LimitReader(nc, 1<<20))); isTimeout(err) || n == 1<<20 {
				t.Errorf("still there after %d bytes: %v", n, err)
			}
			eventually(t, "the log says so", func() bool { return strings.Contains(h.log.String(), "handshake failed") })
			waited := name == "a browser" || name == "another version" // for a line that could still come
			if why := h.log.String(); strings.Contains(why, "panic") || strings.Contains(why, "i/o timeout") != waited {
				t.Error(why)
			}
		})
	}
}

// What may stand between packets may do so only for as long as a handshake lasts.
func TestRemarksWithoutEnd(t *testing.T) {
	h := open(t, func(o *bastion.Options) { o.Limits.Handshake = 500 * time.Millisecond })
	nc := h.connect("127.0.0.1", []byte("SSH-2.0-x\r\n"))
	many := bytes.Repeat(packet(append([]byte{2}, lying(0, "")...)), 1000)
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	for {
		if _, err := nc.Write(many); err != nil {
			if isTimeout(err) {
				t.Error("still there")
			}
			return
		}
	}
}

// longKey has a type without end. What is refused goes into the log.
type longKey struct{ ssh.Signer }

func (k longKey) PublicKey() ssh.PublicKey          { return k }
func (longKey) Type() string                        { return strings.Repeat("x", 100<<10) }
func (k longKey) Marshal() []byte                   { return k.Signer.PublicKey().Marshal() }
func (longKey) Verify([]byte, *ssh.Signature) error { return nil }

func TestAStrangerFillsNoLog(t *testing.T) {
	h := open(t)
	var keys []ssh.Signer
	for range 19 {
		keys = append(keys, longKey{newKey(t)})
	}
	if _, err := h.dial("lobby", ssh.PublicKeys(keys...)); err == nil {
		t.Fatal("let in")
	}
	eventually(t, "the log says so", func() bool { return strings.Contains(h.log.String(), "handshake failed") })
	for line := range strings.Lines(h.log.String()) {
		if len(line) > 2000 {
			t.Errorf("a line of %d bytes: %.300s", len(line), line)
		}
	}
}

// Whoever has a large network of IPv6 has 65,536 addresses that look like as many people.
func TestANetworkOfStrangersDisturbsNoLogin(t *testing.T) {
	h := open(t, func(o *bastion.Options) {
		o.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.7/32")}
		o.Limits.AllStrangers = 6
	})
	h.desk.is(alice)
	logIn := func(from string, code func() string) (*ssh.Client, error) {
		nc := h.connect("127.0.0.7", header(t, 2, from))
		auth := ssh.KeyboardInteractive(func(string, string, []string, []bool) ([]string, error) { return []string{code()}, nil })
		conn, channels, requests, err := ssh.NewClientConn(nc, h.addr, clientConfig("lobby", auth))
		if err != nil {
			return nil, err
		}
		return ssh.NewClient(conn, channels, requests), nil
	}
	done := make(chan struct{})
	var strangers sync.WaitGroup
	defer strangers.Wait()
	end := sync.OnceFunc(func() { close(done) })
	defer end()
	c, err := logIn("[2001:db8:1::1]:1", func() string {
		asked := make(chan struct{}, 20)
		for i := range cap(asked) { // while she looks for her phone
			strangers.Go(func() {
				logIn(fmt.Sprintf("[2001:db8:bad:%x::1]:1", i), func() string { asked <- struct{}{}; <-done; return "no" })
			})
			receive(t, "the question", asked)
		}
		return "123456"
	})
	end()
	if err != nil {
		t.Fatal(err)
	}
	if out, _, _ := result(t, c, "whoami", nil); !strings.Contains(out, "alice") {
		t.Errorf("she reads %q", out)
	}
}

// Any number of browsers that keep a connection and ask for nothing: the first of them
// go, and whoever needs a page for their login gets it.
func TestIdleBrowsersGiveWay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := bastion.NewHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "page") }))
	go s.Serve(l) // ends with Close
	defer s.Close()
	var first, last net.Conn
	for i := range 600 {
		nc, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(i%7), 9)}}).Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		io.WriteString(nc, "GET / HTTP/1.1\r\nHost: b\r\n\r\n")
		if !strings.Contains(reply(nc), "page") {
			t.Fatalf("no page for browser %d", i)
		}
		if last = nc; first == nil {
			first = nc
		}
	}
	if !hungUp(first) {
		t.Error("the first of 600 is still there")
	}
	io.WriteString(last, "GET / HTTP/1.1\r\nHost: b\r\n\r\n")
	if !strings.Contains(reply(last), "page") {
		t.Error("the last of 600 is not")
	}
}

// reply is what a server has answered by now.
func reply(nc net.Conn) string {
	nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 4<<10)
	n, _ := nc.Read(buf)
	return string(buf[:n])
}
