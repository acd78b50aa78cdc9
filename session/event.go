package session

import "time"

// EventType says what an Event is. The words are the ones on the tape
// (recorder/FORMAT.md) and therefore a contract.
type EventType string

const (
	Output    EventType = "output"    // bytes psql printed, or a notice of twokey's, before the engineer sees them
	Errors    EventType = "stderr"    // the same for psql's standard error, which is apart when there is no terminal
	Input     EventType = "input"     // bytes the engineer typed, before psql gets them; empty with Hidden when psql reads a password
	Dropped   EventType = "dropped"   // the engineer typed while the gate was shut: N bytes went nowhere
	Resize    EventType = "resize"    // the engineer's terminal has a new size
	Statement EventType = "statement" // a statement, before the database gets it
	Result    EventType = "result"    // what became of it
	Join      EventType = "join"      // a shadow sat down
	Leave     EventType = "leave"     // a shadow got up, or was found gone
	Lost      EventType = "lost"      // a shadow stopped answering; still seated, not counted
	Back      EventType = "back"      // and answers again
	Hold      EventType = "hold"
	Release   EventType = "release"
	Say       EventType = "say"
	Asked     EventType = "ask"      // a statement waits for a shadow's yes or no; Ask says which
	Approved  EventType = "approve"  // a shadow said yes; Ask has its number
	Denied    EventType = "deny"     // a shadow said no, or nobody said anything in time; Text says why
	Withdrawn EventType = "withdraw" // nobody waits for the answer any more
	Kill      EventType = "kill"
	GateOpen  EventType = "gate-open" // Text is empty
	GateShut  EventType = "gate-shut" // Text says why
	Opened    EventType = "opened"    // psql started
	Alarm     EventType = "alarm"     // something an operator must look at, such as a backend that would not die
	End       EventType = "end"       // the last event; Cause says why
)

// Event is one thing that happened in a session. Which fields are set depends
// on Type. Events cross to viewers and to the tape; all of them can be written
// as JSON (Bytes apart, which the tape encodes by its own rules).
type Event struct {
	At   time.Duration `json:"-"` // since the session started, never decreasing
	Type EventType     `json:"type"`

	Bytes  []byte `json:"-"`                // Output, Errors, Input; not kept by any receiver after it returns
	Hidden bool   `json:"hidden,omitempty"` // Input that was not recorded: a password was being read
	N      int    `json:"n,omitempty"`      // Dropped: how many bytes

	Size Size `json:"size,omitzero"` // Resize

	Who  string `json:"who,omitempty"`  // name of the person who acted
	Text string `json:"text,omitempty"` // their words, or why

	// Identity is set on Join and Leave: whose key this is, for the manifest.
	Identity *Identity `json:"identity,omitempty"`

	Statement *StatementInfo `json:"statement,omitempty"` // Statement
	Ask       *AskInfo       `json:"ask,omitempty"`       // Asked; Approved, Denied and Withdrawn with the number alone
	Result    *ResultInfo    `json:"result,omitempty"`    // Result
	Cause     *Cause         `json:"cause,omitempty"`     // End
}

// Size is a terminal's, in character cells. The zero Size is "no terminal".
type Size struct {
	Cols int `json:"cols"`
	Rows int `json:"rows"`
}

// Clamp keeps a size within 20..500 x 5..200, the range that neither psql nor
// a screen model can be hurt with.
func (s Size) Clamp() Size {
	return Size{Cols: min(max(s.Cols, 20), 500), Rows: min(max(s.Rows, 5), 200)}
}

// StatementInfo is a statement as the database is about to receive it.
type StatementInfo struct {
	N        int      `json:"n"`                // counts from 1 within the session; a Result carries the same number
	Protocol string   `json:"protocol"`         // "simple", "parse", "execute", "copy"; "gateway" for its own COMMIT
	Text     string   `json:"text"`             // SQL, whole
	Name     string   `json:"name,omitempty"`   // of the prepared statement
	Params   []string `json:"params,omitempty"` // in text; binary ones as \x hex; NULL as the word null without quotes
	Database string   `json:"database,omitempty"`
	Conn     int      `json:"conn,omitempty"` // which connection of the session, from 1
	// Within is the transaction that the gateway puts around a statement on its
	// own: "read only" (rolled back after it), or "held" (until a shadow says
	// yes to its COMMIT, or no).
	Within string `json:"within,omitempty"`
	// Touches is what it seems to touch, a verb and a name each, or Catalogue
	// alone. It is left out when the text does not parse or the parser is not
	// quick enough. It is for people who read and search; nothing is decided by it.
	Touches []string `json:"touches,omitempty"`
}

// Catalogue is what a statement touches that only reads the system's
// catalogues, as clients do by themselves.
const Catalogue = "catalogue"

// AskInfo is what a shadow is asked to say yes or no to.
type AskInfo struct {
	N    int     `json:"n"`              // counts from 1 within the session
	Kind AskKind `json:"kind,omitempty"` // what the yes is for
	// What would run, in the words of StatementInfo.
	Text   string   `json:"text,omitempty"`
	Params []string `json:"params,omitempty"`
	Conn   int      `json:"conn,omitempty"`
	// Did is what the transaction has done so far, in order: the tag and the
	// beginning of each statement's text. Earlier ones are left out, and counted, when it is long.
	Did []string `json:"did,omitempty"`
	// All: the yes may be for everything else in this transaction too. On
	// Approved: it was.
	All bool `json:"all,omitempty"`
}

// AskKind says what a yes lets happen.
type AskKind string

const (
	AskRun    AskKind = "run"    // the statement is sent to the database
	AskCommit AskKind = "commit" // what the transaction did is kept
)

// ResultInfo is what became of a statement.
type ResultInfo struct {
	N        int           `json:"n"`
	Tag      string        `json:"tag,omitempty"` // CommandComplete, such as "UPDATE 3"; tags of a multi-statement text joined by "; "
	Rows     int64         `json:"rows"`          // DataRow messages sent to psql
	Bytes    int64         `json:"bytes"`         // of those
	Took     time.Duration `json:"took"`          // nanoseconds
	SQLState string        `json:"sqlstate,omitempty"`
	Message  string        `json:"message,omitempty"` // of the error
	Tx       string        `json:"tx,omitempty"`      // transaction state after it: "I", "T" or "E"
	CopySHA  string        `json:"copy_sha256,omitempty"`
}
