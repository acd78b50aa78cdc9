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
	// List yields the sessions, newest first. It is asked to stop by the loop
	// breaking off. An error is about one session or the whole store and the
	// sequence may go on behind it: one bad recording never hides another.
	List(ctx context.Context) iter.Seq2[session.Summary, error]
	// Events yields what happened, in order, as far as it is stored; a
	// terminal's first size comes first, as a Resize. The bytes are kept
	// raw, and valid only until the next event. An error ends the sequence.
	Events(ctx context.Context, id string) iter.Seq2[session.Event, error]
	// Summary returns what listings show of one session.
	Summary(ctx context.Context, id string) (session.Summary, error)
	// Export writes one asciicast v2 file.
	Export(ctx context.Context, id string, w io.Writer) error
	// Judge verifies recordings and writes a line for each to w. The error is
	// session.Unproven when something was found, and else says why it could
	// not be done.
	Judge(ctx context.Context, how session.Verification, w io.Writer) error
	// Viewed puts into the books that a person looked: what is "replay",
	// "export", "verify" or "search", and id is empty for all. When it fails
	// they do not get to see it.
	Viewed(ctx context.Context, who session.Identity, what, id string) error
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
	// "raise", and why. Who has not replayed it since it ended is refused
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
