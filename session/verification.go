package session

import "fmt"

// Verification says how recordings are verified.
type Verification struct {
	IDs      []string              // of sessions; empty: all, and the ledgers
	JSON     bool                  // a JSON object a line, for programs
	Progress func(done, total int) // called as it goes on; may be nil
}

// Unproven is the error of a verification that could be done, and found
// something. Every other error means that it could not be done.
type Unproven struct {
	Recordings int // that are not proven
	Of         int // so many that were verified
	Ledger     int // findings in the ledgers
}

func (u Unproven) Error() string {
	switch {
	case u.Recordings == 0:
		return fmt.Sprintf("%d findings in the ledger", u.Ledger)
	case u.Of == 1:
		return "this recording is not proven"
	}
	return fmt.Sprintf("%d of %d recordings are not proven", u.Recordings, u.Of)
}
