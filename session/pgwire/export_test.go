package pgwire

import (
	"io"
	"net"
)

// Hello is the greeting, for fuzzing.
func Hello(conn net.Conn) (user, database string, err error) {
	s, _, err := hello(newReader(conn), io.Discard)
	if s == nil {
		return "", "", err
	}
	return s.user, s.name, err
}

// WithoutPassword is exported for its test table.
var WithoutPassword = withoutPassword
