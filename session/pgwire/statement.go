package pgwire

import (
	"context"
	"encoding/binary"

	"github.com/twokey/twokey/session"
)

// This file numbers statements.

// number puts a statement on the tape with the next number, once the gate is
// open. One statement at a time, so that the tape counts up.
func (g *Gateway) number(ctx context.Context, info *session.StatementInfo) (int, error) {
	select {
	case g.numbering <- struct{}{}:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	defer func() { <-g.numbering }()
	info.N = g.statements + 1
	if err := g.door.Pass(ctx, &session.Event{Type: session.Statement, Statement: info}); err != nil {
		return 0, err
	}
	g.statements++
	return info.N, nil
}

// putLength writes the length of a message with a body of n bytes.
func putLength(at []byte, n int) { binary.BigEndian.PutUint32(at, uint32(n+4)) }
