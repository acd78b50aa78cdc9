package bastion

import (
	"errors"
	"regexp"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/session"
)

// This file reads the payloads of channel requests (RFC 4254 6). gliderlabs/ssh
// has a parser of its own, which a length of 0xFFFFFFFE makes panic; ours is
// ssh.Unmarshal, with bounds on what comes out.

// What a client may send before its shell starts.
const (
	maxCommand = 128 << 10 // bytes of an exec request
	maxEnv     = 32        // variables
)

// ptyRequest is RFC 4254 6.2.
type ptyRequest struct {
	Term          string
	Columns, Rows uint32
	Width, Height uint32 // pixels; nobody's business
	Modes         string // nor these: the PTY is ours
}

// windowChange is RFC 4254 6.7.
type windowChange struct{ Columns, Rows, Width, Height uint32 }

// envRequest is RFC 4254 6.4.
type envRequest struct{ Name, Value string }

// execRequest is RFC 4254 6.5.
type execRequest struct{ Command string }

// signalRequest is RFC 4254 6.9.
type signalRequest struct{ Name string }

// exitStatus is RFC 4254 6.10.
type exitStatus struct{ Status uint32 }

func parsePTY(payload []byte) (term string, size session.Size, err error) {
	var r ptyRequest
	if err := ssh.Unmarshal(payload, &r); err != nil {
		return "", session.Size{}, err
	}
	term = r.Term
	if !termName.MatchString(term) {
		term = "dumb"
	}
	return term, sizeOf(r.Columns, r.Rows), nil
}

func parseWindow(payload []byte) (session.Size, error) {
	var r windowChange
	if err := ssh.Unmarshal(payload, &r); err != nil {
		return session.Size{}, err
	}
	return sizeOf(r.Columns, r.Rows), nil
}

// sizeOf is never the zero Size, which would mean that there is no terminal. A
// client that does not know its size says 0 (RFC 4254 6.2); the usual one stands in.
func sizeOf(columns, rows uint32) session.Size {
	size := session.Size{Cols: int(min(columns, 1<<16)), Rows: int(min(rows, 1<<16))}
	if size.Cols == 0 {
		size.Cols = 80
	}
	if size.Rows == 0 {
		size.Rows = 24
	}
	return size.Clamp()
}

var (
	termName = regexp.MustCompile(`^[A-Za-z0-9._+-]{1,64}$`)
	envName  = regexp.MustCompile(`^(LANG|TERM|NO_COLOR|LC_[A-Z]{1,24})$`)
	envValue = regexp.MustCompile(`^[A-Za-z0-9._@+-]{1,64}$`)
)

var errNotAllowed = errors.New("not on the list")

func parseEnv(payload []byte) (envRequest, error) {
	var r envRequest
	if err := ssh.Unmarshal(payload, &r); err != nil {
		return envRequest{}, err
	}
	if !envName.MatchString(r.Name) || !envValue.MatchString(r.Value) {
		return envRequest{}, errNotAllowed
	}
	return r, nil
}

func parseExec(payload []byte) (string, error) {
	if len(payload) > maxCommand {
		return "", errors.New("the command is too long")
	}
	var r execRequest
	if err := ssh.Unmarshal(payload, &r); err != nil {
		return "", err
	}
	return r.Command, nil
}
