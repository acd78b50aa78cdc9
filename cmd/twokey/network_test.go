package main

import (
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// This file is a network between an actor and the bastion in which packets get
// lost. What the bastion sends is dropped by the kernel, with a packet filter on
// the actor's end, so that it is never acknowledged: the bastion's side of the
// connection is half-open as after a pulled cable. It takes no privileges. What
// the actor sends is kept back until the network is there again.

type network struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	there *sync.Cond
	lost  bool
	ends  []*net.TCPConn // towards the bastion
}

func newNetwork(to string) (*network, error) {
	l, err := net.Listen("tcp", freeAddr())
	if err != nil {
		return nil, err
	}
	n := &network{listener: l, to: to}
	n.there = sync.NewCond(&n.mu)
	go n.serve() // ends when the listener is closed
	return n, nil
}

func (n *network) serve() {
	for {
		actor, err := n.listener.Accept()
		if err != nil {
			return
		}
		bastion, err := net.Dial("tcp", n.to)
		if err != nil {
			actor.Close()
			continue
		}
		n.mu.Lock()
		n.ends = append(n.ends, bastion.(*net.TCPConn))
		n.mu.Unlock()
		go n.carry(bastion, actor) // both end with the connection
		go n.carry(actor, bastion)
	}
}

func (n *network) carry(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		k, err := from.Read(buf)
		n.mu.Lock()
		for n.lost {
			n.there.Wait()
		}
		n.mu.Unlock()
		if _, e := to.Write(buf[:k]); e != nil || err != nil {
			return
		}
	}
}

// drop loses every packet from now on.
func (n *network) drop() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost = true
	none := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}} // keep no byte of any packet
	return n.each(func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &none[0]})
	})
}

// mend ends the loss. The bastion's kernel sends again what was lost, the later
// the longer it took.
func (n *network) mend() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost = false
	n.there.Broadcast()
	return n.each(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
}

func (n *network) each(do func(fd int) error) error {
	for _, c := range n.ends {
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var failed error
		if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
			continue // the connection is over
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

func (n *network) close() {
	n.listener.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost = false
	n.there.Broadcast()
	for _, c := range n.ends {
		c.Close()
	}
}
