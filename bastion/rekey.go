package bastion

import (
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// This file slows a client that wants new keys all the time (RFC 4253 9): each exchange
// costs the bastion a third of a millisecond of its processor, as often as a client likes,
// whoever it is. An honest one wants them once in an hour, or a gigabyte.

const (
	rekeysAtOnce = 100
	rekeysEvery  = 50 * time.Millisecond // after those
)

// paced is the host's key for one connection, of which each exchange takes one
// signature. What waits for it is that connection alone.
type paced struct {
	ssh.Signer
	pace *pace
}

func (p paced) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	time.Sleep(p.pace.next(time.Now()))
	return p.Signer.Sign(random, data)
}

// pace is how fast one goes. The zero one has not begun.
type pace struct {
	mu  sync.Mutex
	due time.Time // when the next one would be, if they came evenly
}

// next is how long the next one has to wait.
func (p *pace) next(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if earliest := now.Add(-rekeysAtOnce * rekeysEvery); p.due.Before(earliest) {
		p.due = earliest
	}
	p.due = p.due.Add(rekeysEvery)
	return max(0, p.due.Sub(now))
}
