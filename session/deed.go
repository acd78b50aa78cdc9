package session

import "time"

// Deed is what somebody did at the bastion, for its ledger: who came in, who was
// refused and why, who got a certificate, who killed what.
type Deed struct {
	Time    time.Time `json:"time"`
	What    DeedType  `json:"what"`
	Who     *Identity `json:"who,omitempty"`     // nil for somebody who was not known, or for the bastion itself
	From    string    `json:"from,omitempty"`    // address
	Session string    `json:"session,omitempty"` // which one it is about
	Serial  uint64    `json:"serial,omitempty"`  // of the certificate that was issued
	Text    string    `json:"text,omitempty"`    // the rest in words: a target, a cause
}

// DeedType says what was done. The words are those in the ledger.
type DeedType string

const (
	DeedCameIn      DeedType = "came-in"
	DeedCertificate DeedType = "certificate" // was issued to them
	DeedRefused     DeedType = "refused"
	DeedAsked       DeedType = "asked" // for a session
	DeedBrokeGlass  DeedType = "broke-glass"
	DeedSatDown     DeedType = "sat-down"
	DeedGotUp       DeedType = "got-up"
	DeedKilled      DeedType = "killed"
	DeedRevoked     DeedType = "revoked"
	DeedReinstated  DeedType = "reinstated"
	DeedViewed      DeedType = "viewed"
	DeedReviewed    DeedType = "reviewed"
	DeedEnded       DeedType = "ended"  // a session; Text is the cause
	DeedPruned      DeedType = "pruned" // recordings were removed, their time being over
)
