package pgwire

import (
	"context"
	"encoding/binary"
	"regexp"
	"strings"

	"github.com/twokey/twokey/session"
)

// This file numbers statements, and looks at the few whose text must not be
// kept as it is. It labels; it never decides.

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

var (
	// secretive are statements that set a role's password, anywhere in the text.
	secretive = regexp.MustCompile(`(?is)\b(alter|create)\s+(role|user)\b.*\bpassword\b`)
	// plain is the one form whose password can be cut out for certain: the one
	// that psql's \password sends, with nothing behind it. No quote comes before
	// the literal, and no backslash is in it, so that it ends where we think,
	// whatever standard_conforming_strings says.
	plain = regexp.MustCompile(`(?is)^(\s*(?:alter|create)\s+(?:role|user)\s+(?:"[^"]*"|\w+)\s[\w\s]*\bpassword\s+')(?:[^'\\]|'')*('[\s;]*)$`)
)

// withoutPassword cuts the password out of a statement that sets one, and
// reports whether it may be such a statement at all. It hides nothing but
// what is a string literal for certain: SQL must not hide behind a password.
func withoutPassword(sql string) (text string, secret bool) {
	if !strings.Contains(strings.ToLower(sql), "password") || !secretive.MatchString(sql) {
		return sql, false
	}
	return plain.ReplaceAllString(sql, "${1}[password]${2}"), true
}

// putLength writes the length of a message with a body of n bytes.
func putLength(at []byte, n int) { binary.BigEndian.PutUint32(at, uint32(n+4)) }
