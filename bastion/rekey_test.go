package bastion_test

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/bastion"
)

// counted is a key that counts what it signs.
type counted struct {
	ssh.Signer
	n *atomic.Int64
}

func (k counted) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	k.n.Add(1)
	return k.Signer.Sign(random, data)
}

// A client that wants new keys after each few bytes gets them, the more slowly the more
// it wants, and somebody else is served as ever.
func TestNewKeysAllTheTime(t *testing.T) {
	var n atomic.Int64
	h := open(t, func(o *bastion.Options) { o.HostSigners = []ssh.Signer{counted{newKey(t), &n}} })
	config := clientConfig("lobby", ssh.PublicKeys(h.ca.certify(alice)))
	config.RekeyThreshold = 256
	began := time.Now()
	c, err := ssh.Dial("tcp", h.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for time.Since(began) < time.Second || n.Load() < 50 {
		if _, _, err := c.SendRequest("keepalive@x", true, nil); err != nil {
			t.Fatal(err)
		}
	}
	got := n.Load() // before the clock: one more may come in between
	if most := 101 + int64(time.Since(began)/(50*time.Millisecond)); got > most {
		t.Errorf("%d exchanges of keys, more than %d", got, most)
	}
	if out, _, _ := result(t, c, "whoami", nil); !strings.Contains(out, "alice") {
		t.Errorf("in between she reads %q", out)
	}
	if out, _, _ := h.run(bob, "lobby", "whoami"); !strings.Contains(out, "bob") {
		t.Error("bob was disturbed")
	}
}

func TestThePaceOfNewKeys(t *testing.T) {
	now := time.Now()
	next := bastion.NewPace()
	for range 3 {
		for i := range 100 {
			if wait := next(now); wait != 0 {
				t.Fatalf("exchange %d waits %v", i, wait)
			}
		}
		for i := range 5 {
			if wait, want := next(now), time.Duration(i+1)*50*time.Millisecond; wait != want {
				t.Fatalf("exchange %d waits %v, want %v", 100+i, wait, want)
			}
		}
		now = now.Add(time.Hour) // in which nobody wants any
	}
}
