package bastion

import (
	"io"
	"time"

	"github.com/twokey/twokey/session"
)

// For the tests of what a client's bytes are read as.
var (
	ParsePTY    = parsePTY
	ParseWindow = parseWindow
	ParseEnv    = parseEnv
	ParseExec   = parseExec
	SessionID   = sessionID
)

// Route reads an SSH user name: the target and mode it asks for, both empty for the lobby.
func Route(user string, targets []session.Target) (target, mode, note string, err error) {
	w, err := route(user, targets)
	return w.target.Name, w.mode.Name, w.note, err
}

// PsqlArguments reads the command of an engineer.
func PsqlArguments(command string) (args []string, reason string, err error) {
	o, err := readOrder(command)
	return o.args, o.reason, err
}

// BreaksGlass reports whether a command asks to open a mode alone.
func BreaksGlass(command string) bool {
	o, err := readOrder(command)
	return err == nil && o.breakGlass
}

// Words splits a command.
func Words(command string) []string { return texts(split(command)) }

// Watched is a seated shadow's writer.
func Watched(seat *session.Seat, limit time.Duration, w io.Writer) io.Writer {
	return (&presence{seat: seat, limit: limit}).watched(w)
}

// BreakView ends what shadows see of a session, as a mistake in the model would.
func (s *Server) BreakView(of *session.Session) {
	b, _ := s.seats.at(of)
	b.view.Close()
}

// NewPace is how long each exchange of keys on one connection waits.
func NewPace() func(now time.Time) time.Duration { return new(pace).next }
