package bastion_test

import (
	"net"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// tunnel is a network that can be cut: then nothing arrives any more, in
// either direction, and nobody is told.
type tunnel struct {
	to string

	mu   sync.Mutex
	dead bool
	once sync.Cond
}

func (n *tunnel) cut()  { n.set(true) }
func (n *tunnel) mend() { n.set(false) }
func (n *tunnel) set(dead bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead = dead
	n.once.Broadcast()
}

// pass waits while the network is cut.
func (n *tunnel) pass() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.dead {
		n.once.Wait()
	}
}

// dial connects through the tunnel.
func (n *tunnel) dial(t *testing.T, config *ssh.ClientConfig) *ssh.Client {
	t.Helper()
	n.once.L = &n.mu
	nc, err := net.Dial("tcp", n.to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.mend(); nc.Close() })
	conn, chans, requests, err := ssh.NewClientConn(&cuttable{Conn: nc, net: n}, n.to, config)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.NewClient(conn, chans, requests)
}

type cuttable struct {
	net.Conn
	net *tunnel
}

func (c *cuttable) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.net.pass()
	return n, err
}

func (c *cuttable) Write(p []byte) (int, error) {
	c.net.pass()
	return c.Conn.Write(p)
}
