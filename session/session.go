package session

import (
	"context"
	"log/slog"
)

// New makes a session that has not begun. Run runs it.
func New(want Request, tape Tape, opener Opener, log *slog.Logger) *Session { panic("soon") }

// Session is one engineer's time on one target and mode.
type Session struct{}

// Run lives as long as the session: it waits for the quorum, opens the parts
// behind the gate, moves bytes, and ends everything. It returns the exit
// status for ssh and the one cause, after the tape is sealed.
func (s *Session) Run(ctx context.Context, t Terminal) (status int, cause Cause) { panic("soon") }

// Request returns what was asked for. It never changes.
func (s *Session) Request() Request { panic("soon") }

// Summary returns the session as it is now.
func (s *Session) Summary() Summary { panic("soon") }

// Gate returns whether the gate is open now, and if not why, in words.
func (s *Session) Gate() (open bool, why string) { panic("soon") }

// Health is the tape's.
func (s *Session) Health() Health { panic("soon") }

// Done is closed when the session has ended and its tape is sealed.
func (s *Session) Done() <-chan struct{} { panic("soon") }

// Sit seats a shadow, or says why not in words for them. The person is judged
// by the verified identity given here, each time they sit down.
func (s *Session) Sit(who Identity, size Size) (*Seat, error) { panic("soon") }

// Kill ends the session at once. It waits for nothing. The caller has checked
// that this person may.
func (s *Session) Kill(by Identity, reason string) { panic("soon") }

// Follow returns the feed of events from the one after those already on the
// tape. Called before Run it yields the whole session.
func (s *Session) Follow() *Feed { panic("soon") }

// Feed is one reader of a live session's events.
type Feed struct{}

// Next returns the events since the last call, at least one, waiting for
// them; their Bytes may be kept. The error is io.EOF after the End event, or
// ctx's. The session's output waits for a feed that is more than 256 KiB
// or 250 ms behind, and drops one that takes nothing for five seconds: Next
// then returns ErrTooSlow.
func (f *Feed) Next(ctx context.Context) ([]Event, error) { panic("soon") }

// Close stops following.
func (f *Feed) Close() { panic("soon") }

// Seat is a shadow's place at a session.
type Seat struct{}

// Session returns the session this seat is at.
func (x *Seat) Session() *Session { panic("soon") }

// Answering tells the session whether the shadow is alive on the network.
func (x *Seat) Answering(bool) { panic("soon") }

// Resize tells the session the size of the shadow's terminal. One that is too
// small to watch in (under 40 x 10) does not count.
func (x *Seat) Resize(Size) { panic("soon") }

// Hold closes the gate until Release.
func (x *Seat) Hold() { panic("soon") }

// Release takes this seat's hold back.
func (x *Seat) Release() { panic("soon") }

// Say shows a line to the engineer and every shadow.
func (x *Seat) Say(text string) { panic("soon") }

// Kill ends the session at once.
func (x *Seat) Kill(reason string) { panic("soon") }

// Leave gets up. The seat counts no more when Leave returns. Calling it twice is fine.
func (x *Seat) Leave(why string) { panic("soon") }

// Registry holds the live sessions of this bastion.
type Registry struct{}

// Add registers a session from now until it is Done; it fails with a Drained
// Cause once Drain was called.
func (r *Registry) Add(s *Session) error { panic("soon") }

// Live returns the live sessions, oldest first.
func (r *Registry) Live() []*Session { panic("soon") }

// Find returns the live session with this ID or short code (any case).
func (r *Registry) Find(idOrCode string) (*Session, bool) { panic("soon") }

// Drain refuses new sessions, tells the live ones, and waits for them to end until
// ctx ends; then it ends them with Drained and waits for their tapes to be sealed.
func (r *Registry) Drain(ctx context.Context) { panic("soon") }
