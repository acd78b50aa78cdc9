package session

import "fmt"

// Code names why a session was refused or ended. The words are a contract:
// manifest, log and listing carry them.
type Code string

const (
	Quit         Code = "quit"          // psql ended by itself
	Disconnected Code = "disconnected"  // the engineer's connection went away
	Abandoned    Code = "abandoned"     // the engineer gave up waiting
	Killed       Code = "killed"        // by a shadow or an admin
	NobodyCame   Code = "nobody-came"   // no quorum within the wait
	ShadowGone   Code = "shadow-gone"   // the quorum did not come back within the grace time
	TooLong      Code = "too-long"      // duration limit
	Idle         Code = "idle"          // idle limit
	TooManyRows  Code = "too-many-rows" // rows limit, and no shadow there who could release more
	Revoked      Code = "revoked"       // an admin revoked the engineer, or the identity provider does not stand by their login any more
	Expired      Code = "expired"       // the engineer's certificate ended
	Refused      Code = "refused"       // by policy, before anything opened
	NoRecorder   Code = "no-recorder"   // the tape could not be written, or lagged too far behind
	NoDatabase   Code = "no-database"   // the database refused or went away
	NoShell      Code = "no-shell"      // psql or its cage could not start
	ShellCrashed Code = "shell-crashed" // psql was ended by a signal that was not ours
	Drained      Code = "drained"       // the bastion is stopping
	Unclean      Code = "unclean"       // the bastion died; written by recovery, never by a session
	NodeLost     Code = "lost"          // the bastion and its disk are gone; written by another one that sealed what had reached the store
	Broken       Code = "broken"        // a bug of ours: a panic was caught
)

// Codes are all of them.
func Codes() []Code {
	return []Code{Quit, Disconnected, Abandoned, Killed, NobodyCame, ShadowGone, TooLong, Idle, TooManyRows, Revoked, Expired, Refused,
		NoRecorder, NoDatabase, NoShell, ShellCrashed, Drained, Unclean, NodeLost, Broken}
}

// Cause is the one reason a session was refused or ended. It is an error, so
// that context.Cause carries it.
type Cause struct {
	Code Code   `json:"code"`
	By   string `json:"by,omitempty"`   // the person, for Killed
	Text string `json:"text,omitempty"` // one sentence for a tired colleague, no line break
}

func (c Cause) Error() string {
	switch {
	case c.By != "" && c.Text != "":
		return fmt.Sprintf("%s by %s: %s", c.Code, c.By, c.Text)
	case c.By != "":
		return fmt.Sprintf("%s by %s", c.Code, c.By)
	case c.Text != "":
		return fmt.Sprintf("%s: %s", c.Code, c.Text)
	}
	return string(c.Code)
}

// Sentence is the cause for the person who reads it: without the code, where
// there are words.
func (c Cause) Sentence() string {
	if c.By == "" && c.Text != "" {
		return c.Text
	}
	return c.Error()
}

// ExitStatus is what ssh returns to the engineer's shell, unless psql itself
// returned a status: 77 refused by policy (sysexits EX_NOPERM), 75 nobody came
// (EX_TEMPFAIL), 137 killed (128+SIGKILL), 69 for a part that is missing
// (EX_UNAVAILABLE), 70 for a bug.
func (c Cause) ExitStatus() int {
	switch c.Code {
	case Refused, Revoked:
		return 77
	case NobodyCame:
		return 75
	case Killed:
		return 137
	case Abandoned:
		return 130
	case NoRecorder, NoDatabase, NoShell, Drained:
		return 69
	case Broken:
		return 70
	}
	return 1
}
