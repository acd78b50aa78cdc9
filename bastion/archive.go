package bastion

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/twokey/twokey/session"
)

// This file says what the bastion asks of the recordings. It knows no formats
// and no store: those are the archive's.

// Archive holds the sessions that have ended (and may hold those that run).
// Its methods may be called by many at once; each stops when ctx ends. Errors
// are sentences for people; an ID it does not hold is session.ErrNoRecording, wrapped.
// IDs are ULIDs in upper case, already checked for their form.
type Archive interface {
	// Events yields what happened, in order, as far as it is stored; a
	// terminal's first size comes first, as a Resize. The bytes are kept
	// raw, and valid only until the next event. An error ends the sequence.
	Events(ctx context.Context, id string) iter.Seq2[session.Event, error]
	// Tape yields the events of Events that are not before a time, without
	// reading much of what is. With follow it waits for what is yet to be stored, until the
	// session's end.
	Tape(ctx context.Context, id string, from time.Duration, follow bool) iter.Seq2[session.Event, error]
	// Summary returns what listings show of one session.
	Summary(ctx context.Context, id string) (session.Summary, error)
	// Export writes one asciicast v2 file.
	Export(ctx context.Context, id string, w io.Writer) error
	// Judge verifies recordings and writes a line for each to w. The error is
	// session.Unproven when something was found, and else says why it could
	// not be done.
	Judge(ctx context.Context, how session.Verification, w io.Writer) error
	// Viewed puts into the books that a person looked: what is "replay",
	// "follow", "export", "verify" or "search", and id is empty for all. When it fails
	// they do not get to see it.
	Viewed(ctx context.Context, who session.Identity, what, id string) error
	// Shown puts into the books that a replay showed a person all statements of a
	// session and its end.
	Shown(ctx context.Context, who session.Identity, id string) error
}

// Index finds sessions that have ended, newest first. What it says is not proven:
// that is for the archive to do.
type Index interface {
	// Freshen has it look for what is new in the store, and with contents also for
	// what is in the recordings, as far as that is done in no time. An error says
	// why it could not, and what is known is as old as Indexed says.
	Freshen(ctx context.Context, contents bool) error
	// Indexed says how much of the store it knows.
	Indexed(ctx context.Context) (session.Indexed, error)
	// Find yields the sessions that are looked for. An error ends the sequence.
	Find(ctx context.Context, q session.Query) iter.Seq2[session.Found, error]
	// Search yields every place that has the text of the question. An error ends
	// the sequence.
	Search(ctx context.Context, q session.Query) iter.Seq2[session.Hit, error]
	// Within is the same for one session that still runs, as far as it is stored; of
	// the session only the place is known. Errors: session.ErrNoRecording and
	// session.ErrUnreadable, wrapped, or others.
	Within(ctx context.Context, id string, q session.Query) iter.Seq2[session.Hit, error]
}

// Reviews says who owes a review, and takes reviews. IDs and errors are as
// those of Archive.
type Reviews interface {
	// Asked returns who asked for what, as the recording proves it; of the rules of
	// the mode only who must watch. A recording that is not whole yet is
	// session.ErrNoRecording, wrapped.
	Asked(ctx context.Context, id string) (session.Request, error)
	// Owes returns the sessions that this person opened alone and that must be
	// signed off before they may do that again. On an error they may not.
	Owes(who session.Identity) ([]string, error)
	// Review puts into the books what a person says of a recording: "ok" or
	// "raise", and why. Who has not been Shown it since it ended is refused
	// with a session.Cause. Whether they may review it has been asked before.
	Review(ctx context.Context, who session.Identity, id, what, note string) error
	// Reviewed returns the last review of a session and whose it is; nothing
	// when there is none.
	Reviewed(id string) (what, by string)
}

// Ledger takes down what people do, and tells it to auditors.
type Ledger interface {
	// Note puts a deed into the ledger; its Time is set there. An error means that
	// it may be lost.
	Note(d session.Deed) error
	// Deeds yields what people did in a time, oldest first. An error is about a
	// part of it, and the sequence may go on behind it.
	Deeds(ctx context.Context, since, until time.Time) iter.Seq2[session.Deed, error]
}
