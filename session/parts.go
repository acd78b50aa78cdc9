package session

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// Tape is the recording of one session. Its methods are called by the session
// alone, one at a time, except Health, which anyone may call at any time.
type Tape interface {
	// Append puts the event on the tape. When it returns nil the event has
	// left this process (it survives a SIGKILL); it keeps nothing of the
	// event's Bytes. An error is final: the session ends with NoRecorder.
	Append(Event) error
	// Health says how far behind the store is.
	Health() Health
	// Seal writes what is left, closes the tape and returns once the end is
	// on local disk; the last upload and the manifest follow by themselves,
	// now or after a restart.
	Seal(Summary) error
}

// Health is the state of a tape.
type Health struct {
	Stored time.Duration // the tape is in the store up to this point of the session
	Lag    time.Duration // age of the oldest event that is not
	Bytes  int64         // of those events, before compression
	Err    error         // not nil: the tape can not be relied on and the gate is shut, in words for people
}

// Gateway is the database side of a session.
type Gateway interface {
	// Kill cancels what runs, terminates every backend of the session, closes
	// the sockets and returns once the database confirms that the backends
	// are gone. It gives up when ctx ends and says so. Calling it with no
	// backend left, or twice, is fine.
	Kill(ctx context.Context) error
	// Serve serves a client that the Opener has greeted, until it leaves or
	// Kill ends it.
	Serve(Client)
}

// Client is a program of the engineer's own, on a forwarded port.
type Client interface {
	// Tell shows a line of twokey's when the client takes it. It never waits.
	Tell(line string)
	// Wait waits for ready, and reports whether it has come: not when the
	// client leaves before, or when ctx ends, which the client is told.
	Wait(ctx context.Context, ready <-chan struct{}) bool
	// End says why Kill is about to be called.
	End(why Cause)
}

// Shell is psql in its cage.
type Shell interface {
	// Read returns what psql prints; io.EOF when it is gone.
	io.Reader
	// Errors is psql's standard error; nil on a terminal, where there is only one stream.
	Errors() io.Reader
	// Write gives psql bytes as far as it takes them at once: it never waits,
	// and n < len(p) with a nil error means that psql is not reading now.
	Write(p []byte) (n int, err error)
	// Writable waits until Write would take something, or psql is gone.
	Writable() error
	// CloseInput ends psql's standard input (without a terminal).
	CloseInput() error
	// Secret reports whether psql is reading a password (canonical mode, no echo).
	Secret() bool
	Resize(Size) error
	// Kill ends psql at once and for certain. Calling it twice is fine.
	Kill()
	// Wait returns psql's exit status once it is gone; 128+n for signal n.
	Wait() int
}

// Opener starts the parts behind the gate. It is called once, the first time
// the gate opens.
type Opener interface {
	// Open starts the gateway and psql. The door is where the gateway asks
	// for every message. An error is a Cause or is wrapped into NoShell. When
	// it fails it leaves nothing behind. The shell is nil when the request is
	// for forwarded clients alone.
	Open(ctx context.Context, door Door, want Request) (Gateway, Shell, error)
	// Greet hears a client out, at any time, whether or not Open was called. An
	// error means that it is none, and has been told.
	Greet(conn net.Conn) (Client, error)
}

// Door is what the gateway asks. The session is one.
type Door interface {
	// Pass waits until the gate is open, puts the event on the tape and
	// returns nil: the message may go to the database now. Any error means it
	// must not go, ever; the session is ending. The event's At is filled in.
	// A nil event asks the gate for a message that is not on the tape by itself
	// (Bind, Describe, Sync, a COPY chunk).
	Pass(ctx context.Context, e *Event) error
	// Note puts something that already happened on the tape (Result, Alarm).
	// The gate is not asked. An error means nothing more may be shown.
	Note(e Event) error
	// Ask waits until a shadow says yes or no; nobody saying anything in time is
	// a no. An error means that there is no answer and never will be: ctx has
	// ended, or the session. A yes is no pass: the gate is asked again.
	Ask(ctx context.Context, what AskInfo) (Answer, error)
	// Rows returns how many more rows may be shown, at least one, waiting
	// until some may be. What was returned counts as shown.
	Rows(ctx context.Context) (int, error)
}

// Answer is what came of an Ask.
type Answer struct {
	Yes bool
	All bool   // and to everything else in this transaction
	By  string // the shadow; empty when nobody answered
	Why string // of a no, in words
}

// Terminal is the engineer's end: an SSH channel, in the bastion. Out and Err
// may block for as long as the engineer's terminal does.
type Terminal struct {
	In     io.Reader
	Out    io.Writer
	Err    io.Writer   // psql's standard error and twokey's notices when there is no terminal; the same as Out on a terminal
	Resize <-chan Size // nil without a terminal
	// Restore returns what gives the terminal back after all that was written to
	// it, before the last words. May be nil.
	Restore func() string
	// Aside returns what goes before a line of twokey's own and what goes behind
	// it, so that it stands above the line that is being typed. It is called
	// between two writes to Out. May be nil.
	Aside func() (before, after string)
	// Hangup closes the channel, so that In, Out and Err return. May be nil when they never block.
	Hangup func()
}

// Approve is what waits for a yes in this session: what the mode says, and
// nothing when the glass was broken, as nobody may be there to say it.
func (r Request) Approve() Approve {
	if r.BreakGlass {
		return ApproveNone
	}
	return r.Mode.Approve
}

// Request is what an engineer asks for, after authentication and routing.
type Request struct {
	ID       string // ULID
	Code     string // five Crockford letters, unique among live sessions
	Engineer Identity
	Target   Target
	Mode     Mode
	Reason   string
	// BreakGlass: opened in an emergency without the shadows that the mode asks for.
	BreakGlass bool
	// NoShell: without psql, for the engineer's own clients on a forwarded port.
	NoShell bool
	Join    string   // what a colleague types to sit down
	Args    []string // psql arguments; nil with a terminal
	Size    Size     // zero without a terminal
	Term    string   // TERM, checked against [A-Za-z0-9._+-]
	Env     []string // LANG and LC_*, checked
	Started time.Time
	Cage    string // what is in force around psql, for the manifest
}

// Quorum is who must watch this session: what the mode asks for, and nobody
// when the glass was broken.
func (r Request) Quorum() Quorum {
	if r.BreakGlass {
		return nil
	}
	return r.Mode.Shadows
}

// ErrNoRecording means that there is no recording of a session, and ErrEncrypted
// that there is one which can not be read here.
var (
	ErrNoRecording = errors.New("no such recording")
	ErrEncrypted   = errors.New("it is encrypted, and there is no identity here that opens it")
)

// Summary is a session as listings and the manifest show it. Its JSON names are a contract.
type Summary struct {
	ID         string    `json:"id"`
	Code       string    `json:"code,omitempty"`
	Engineer   string    `json:"engineer"`
	Target     string    `json:"target"`
	Mode       string    `json:"mode"`
	Reason     string    `json:"reason,omitempty"`
	State      State     `json:"state"`
	Needs      []Need    `json:"needs,omitempty"` // what the quorum still misses
	Shadows    []string  `json:"shadows,omitempty"`
	Started    time.Time `json:"started"`
	Opened     time.Time `json:"opened,omitzero"` // when the gate first opened
	Ended      time.Time `json:"ended,omitzero"`
	Cause      *Cause    `json:"cause,omitempty"`
	Statements int       `json:"statements"`
	Flags      []string  `json:"flags,omitempty"`  // alone, break-glass, killed, unclean, alarm
	Stored     float64   `json:"stored,omitempty"` // seconds of the session that are in the store
}

// State of a session as listings show it.
type State string

const (
	Waiting State = "waiting" // for its first quorum
	Open    State = "open"
	Shut    State = "shut" // was open; the gate is shut for now
	Ended   State = "ended"
)
