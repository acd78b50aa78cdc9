package bastion_test

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/bastion"
)

// behindProxy is a bastion that takes the PROXY protocol from 127.0.0.7.
func behindProxy(t *testing.T) *house {
	return open(t, func(o *bastion.Options) { o.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.7/32")} })
}

// connect makes a connection from an address and writes first.
func (h *house) connect(from string, first []byte) net.Conn {
	h.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	nc, err := d.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { nc.Close() })
	if _, err := nc.Write(first); err != nil {
		h.t.Fatal(err)
	}
	return nc
}

func header(t *testing.T, version byte, from string) []byte {
	t.Helper()
	a := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))
	text, err := proxyproto.HeaderProxyFromAddrs(version, a, &net.TCPAddr{IP: a.IP, Port: 22}).Format()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// greeted reports whether the server speaks SSH on this connection.
func greeted(nc net.Conn) bool {
	nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 4)
	_, err := nc.Read(buf)
	return err == nil && string(buf) == "SSH-"
}

// hungUp reports whether the server ends this connection.
func hungUp(nc net.Conn) bool {
	nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := io.Copy(io.Discard, nc)
	return !isTimeout(err)
}

func TestAProxySaysWhereAClientComesFrom(t *testing.T) {
	h := behindProxy(t)
	for _, from := range []string{"203.0.113.9:4711", "[2001:db8::9]:4711"} {
		nc := h.connect("127.0.0.7", header(t, 2, from))
		conn, channels, requests, err := ssh.NewClientConn(nc, h.addr, clientConfig("lobby", ssh.PublicKeys(h.ca.certify(alice))))
		if err != nil {
			t.Fatal(err)
		}
		c := ssh.NewClient(conn, channels, requests)
		if out, _, _ := result(t, c, "whoami", nil); !strings.Contains(out, "alice") {
			t.Errorf("alice reads %q", out)
		}
		eventually(t, "the log has her address", func() bool {
			return strings.Contains(h.log.String(), "from="+from) || strings.Contains(h.log.String(), `from="`+from+`"`)
		})
	}
}

func TestWhatAProxyMustSay(t *testing.T) {
	h := behindProxy(t)
	for _, c := range []struct {
		what, from string
		first      []byte
		in         bool
	}{
		{"version 1 is refused", "127.0.0.7", header(t, 1, "203.0.113.9:4711"), false},
		{"no header is refused", "127.0.0.7", []byte("SSH-2.0-x\r\n"), false},
		{"garbage is refused", "127.0.0.7", []byte("\r\n\r\n\x00\r\nQUIT\n\x21\xff\xff\xff"), false},
		{"a health check of the proxy's own is served", "127.0.0.7", []byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"), true},
		{"an address of no kind is refused", "127.0.0.7", []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00"), false},
		{"a path is refused", "127.0.0.7", append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8"), make([]byte, 216)...), false},
		{"UDP is refused", "127.0.0.7", append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x12\x00\x0c"), 203, 0, 113, 9, 203, 0, 113, 1, 1, 1, 0, 22), false},
		{"nowhere is refused", "127.0.0.7", append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), make([]byte, 12)...), false},
		{"an address cut short is refused", "127.0.0.7", append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x04"), 203, 0, 113, 9), false},
		{"what else a proxy says is passed over", "127.0.0.7", append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x10"), 203, 0, 113, 9, 203, 0, 113, 1, 1, 1, 0, 22, 0xee, 0, 1, 'x'), true},
		{"anybody else comes without", "127.0.0.1", nil, true},
	} {
		if got := greeted(h.connect(c.from, c.first)); got != c.in {
			t.Errorf("%s: greeted %v", c.what, got)
		}
	}
	// What somebody else calls a header is only what they send before SSH.
	forged := h.connect("127.0.0.1", header(t, 2, "203.0.113.66:1"))
	forged.Close()
	eventually(t, "the handshake has failed", func() bool { return strings.Contains(h.log.String(), "handshake failed") })
	if strings.Contains(h.log.String(), "203.0.113.66") {
		t.Error("an address was taken from somebody who is no proxy")
	}
}

// A proxy that says nothing keeps nobody waiting, and the limits are those of
// the addresses that it tells.
func TestASilentProxy(t *testing.T) {
	h := open(t, func(o *bastion.Options) {
		o.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.7/32")}
		o.Limits.Strangers = 2
	})
	for range 5 {
		h.connect("127.0.0.7", nil)
	}
	var first net.Conn
	for _, from := range []string{"203.0.113.1:1", "203.0.113.1:2", "203.0.113.2:1", "203.0.113.1:3"} {
		nc := h.connect("127.0.0.7", header(t, 2, from))
		if !greeted(nc) {
			t.Errorf("%s was not let in", from)
		}
		if first == nil {
			first = nc
		}
	}
	if !hungUp(first) {
		t.Error("a third stranger from one address took nobody's place")
	}
}
