package bastion

import (
	"errors"

	"github.com/twokey/twokey/session"
)

// Meter counts what happens, for operators. Its methods are called by many at
// once and never wait. What they are given holds no names.
type Meter interface {
	// Did hears of every deed, whether or not there is a ledger.
	Did(what session.DeedType)
	// Refused hears of everything that was refused: "connection" (by the limits), "crowd" (too
	// many logins from one address), "person" (too many connections of one), "certificate", "login",
	// a session.Code, or "other".
	Refused(cause string)
	// Ended hears of every session that has ended. Of the summary it takes no names.
	Ended(s session.Summary)
}

// What is refused before it is known who somebody is.
const (
	refusedConnection  = "connection"
	refusedCrowd       = "crowd"
	refusedPerson      = "person"
	refusedCertificate = "certificate"
	refusedLogin       = "login"
)

// causeOf is the word for an error of somebody who is known.
func causeOf(err error) string {
	var c session.Cause
	if errors.As(err, &c) {
		return string(c.Code)
	}
	return "other"
}

type noMeter struct{}

func (noMeter) Did(session.DeedType)  {}
func (noMeter) Refused(string)        {}
func (noMeter) Ended(session.Summary) {}
