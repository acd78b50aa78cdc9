package bastion

import (
	"context"
	"time"
)

// This file asks every client that is in whether it is still there, for as long as
// its connection lasts and whatever runs on it: its network may have gone without a word.

// pinger asks the client whether it is there.
type pinger interface {
	SendRequest(name string, wantReply bool, payload []byte) (bool, []byte, error)
}

// goneMisses is how many questions in a row a client may leave unanswered
// before it counts as gone. A shadow's seat has counted it out before (seat.go)
// and stays a little longer, as networks come back; so does a connection on which
// nothing runs.
const (
	goneMisses        = 3
	goneMissesPatient = 24
)

// keepalive ends a connection whose client does not answer any more.
func (c *connection) keepalive() {
	defer c.caught()
	ask(c.ctx, c.peer, c.server.Limits.Keepalive, c.missed)
}

// missed is told how many questions in a row are unanswered.
func (c *connection) missed(misses int) {
	most, v := goneMissesPatient, c.visit.Load()
	if v != nil {
		if p := v.seated.Load(); p != nil {
			p.missed(misses)
		} else {
			most = goneMisses
		}
	}
	if misses < most {
		return
	}
	if v != nil {
		v.end(disconnected("the client does not answer"))
	}
	c.hangUp()
}

// ask sends a keepalive with reply every interval until ctx ends, and reports
// after each how many in a row are unanswered (0: it answered). There is never
// more than one on its way: the next is sent when the last came back. Until there is a
// peer nobody is asked.
func ask(ctx context.Context, peer func() pinger, every time.Duration, heard func(misses int)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	answers := make(chan error, 1)
	waiting, misses := false, 0
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-answers:
			waiting = false
			if err != nil {
				return // the connection is gone, which others notice
			}
			misses = 0
			heard(0)
		case <-tick.C:
			p := peer()
			if waiting {
				misses++
				heard(misses)
			}
			if waiting || p == nil {
				continue
			}
			waiting = true
			// Comes back with the answer or with the end of the connection.
			go func() {
				_, _, err := p.SendRequest("keepalive@openssh.com", true, nil)
				answers <- err
			}()
		}
	}
}
