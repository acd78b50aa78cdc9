// Package recorder is the tape: it turns the events of a session into a
// recording that survives this process, reaches the store within a second or
// so, and can be proven afterwards (FORMAT.md).
//
// Its one idea: the local disk comes first and is the only truth of what is
// still to be done. An event is on the spool before it takes effect; what lies
// in the spool is on its way to the store, whoever put it there. Ending a session properly,
// coming back after a crash, and a store that was away for an hour are the same
// work (finish.go), done from what lies on disk.
//
// Archive (archive.go) reads recordings back and judges them (verify.go). That
// half trusts nothing of this half: it shares the types of format.go alone.
//
// It does not decide what happens in a session, knows no terminals and no
// screens, and leaves talking to stores to package store.
package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/oklog/ulid/v2"
	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
)

// Options is what a Recorder needs.
type Options struct {
	Dir    string      // the state directory: spool, books and the node's name. One process at a time
	Store  store.Store // where recordings go
	Signer ssh.Signer  // the recording key
	Node   string      // what this bastion is called; letters, digits and dashes. "node" when empty
	// Version of twokey, for the manifest.
	Version string
	Log     *slog.Logger // nil: nothing is logged

	// A segment is cut this long after its first event, or when it has this
	// many bytes. 1 s and 256 KiB when zero.
	SegmentEvery time.Duration
	SegmentBytes int64
	// How far the store may be behind before Health has an error. 60 s and 64
	// MiB when zero.
	MaxLagTime  time.Duration
	MaxLagBytes int64
	// Trusted are earlier public halves of Signer, and those of other bastions on
	// the same store: what they have signed is taken for true.
	Trusted []ssh.PublicKey
	// CheckpointEvery is how often a checkpoint is put into the ledger while
	// anything happens. 1 min when zero.
	CheckpointEvery time.Duration
	// Synced: a statement waits until the disk says that it is durable, and not
	// only until the kernel has it. Then no power loss takes away what the
	// database got, and each statement costs an fsync.
	Synced bool
	// Recipients, when there are any, are the only ones who can read recordings:
	// this process can not, once a segment is cut.
	Recipients []Recipient
}

func (o *Options) fill() {
	if o.Node == "" {
		o.Node = "node"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	fill := func(v *int64, normal int64) {
		if *v <= 0 {
			*v = normal
		}
	}
	fill((*int64)(&o.SegmentEvery), int64(time.Second))
	fill(&o.SegmentBytes, 256<<10)
	fill((*int64)(&o.MaxLagTime), int64(60*time.Second))
	fill((*int64)(&o.CheckpointEvery), int64(time.Minute))
	fill(&o.MaxLagBytes, 64<<20)
}

// Recorder makes tapes and brings them to the store.
type Recorder struct {
	o       Options
	node    string
	lock    *os.File
	disk    group // makes the spool durable
	books   *books
	reviews *reviews
	deeds   *deeds
	zstd    *zstd.Encoder // EncodeAll may be called by many

	ctx     context.Context // ends when Close gives up; uploads stop
	stop    context.CancelFunc
	work    sync.WaitGroup // tapes that run, and recordings that have ended
	clerk   sync.WaitGroup // sendBooks and keepBooks
	last    chan struct{}  // closed when nobody adds to the books any more
	uploads chan struct{}  // tokens: how many finished recordings upload at once

	mu     sync.Mutex
	closed bool
	busy   map[string]*Tape // what a tape or finish is working on, by ID; nil of another process's
}

// The patience of Begin with the store, and how many recordings that have ended
// are brought to the store at once (running ones are not limited).
const (
	beginPatience = 5 * time.Second
	uploadsAtOnce = 8
)

// New opens the state directory. Nothing reaches out to the store yet. It fails
// when another process holds the directory or it can not be written.
func New(o Options) (*Recorder, error) {
	o.fill()
	if o.Store == nil || o.Signer == nil || o.Dir == "" {
		return nil, errors.New("a recorder needs a directory, a store and a key")
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, "spool"), 0o700); err != nil {
		return nil, fmt.Errorf("the state directory: %w", err)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	r := &Recorder{
		o: o, lock: lock, busy: map[string]*Tape{}, uploads: make(chan struct{}, uploadsAtOnce), last: make(chan struct{}),
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	if err := r.open(); err != nil {
		r.stop()
		lock.Close()
		return nil, err
	}
	r.clerk.Go(r.sendBooks)
	r.clerk.Go(r.keepBooks)
	return r, nil
}

func (r *Recorder) open() (err error) {
	// The fastest level: in a flood of output the usual one takes a third of the
	// bastion's processor, for which the engineers wait, to save the store little.
	// A small window: this level finds nearer matches in it, so that tables become a
	// twentieth smaller than with its usual 4 MiB, and an encoder holds 1 MB in place of 8.
	if r.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(2), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(64<<10)); err != nil {
		return err
	}
	if err = r.disk.open(r.spool()); err != nil {
		return fmt.Errorf("the spool: %w", err)
	}
	if r.node, err = nodeName(r.o.Dir, r.o.Node); err != nil {
		return err
	}
	if r.reviews, err = openReviews(r.o.Dir); err != nil {
		return err
	}
	if r.books, err = openBooks(r.o.Dir, r.node, r.o.Signer); err != nil {
		return err
	}
	if err := r.books.add(Entry{Type: EntryStarted, Note: strings.TrimSpace("twokey " + r.o.Version)}); err != nil {
		return err
	}
	r.deeds, err = openDeeds(r.books)
	return err
}

// Node returns the name under which this bastion keeps its books: the one
// configured, and a few letters that are drawn once for each state directory.
func (r *Recorder) Node() string { return r.node }

// Begin starts the tape of a session. When it returns without an error, the
// beginning of the tape is on the spool and in the store: both can be relied
// on. Otherwise the error is a session.Cause with the code NoRecorder, for the
// engineer to read. It takes at most about five seconds.
func (r *Recorder) Begin(ctx context.Context, want session.Request) (session.Tape, error) {
	tape, err := r.begin(ctx, want)
	if err != nil {
		r.o.Log.Error("recording refused", "session", want.ID, "error", err)
		return nil, session.Cause{Code: session.NoRecorder, Text: "no session opens without a recording: " + oneLine(err)}
	}
	return tape, nil
}

func (r *Recorder) begin(ctx context.Context, want session.Request) (*Tape, error) {
	if _, err := ulid.ParseStrict(want.ID); err != nil {
		return nil, fmt.Errorf("the session ID %.40q is no ULID", want.ID)
	}
	if err := r.books.intact(); err != nil {
		return nil, err
	}
	if !r.take(want.ID) {
		return nil, errors.New("the recorder is stopping, or knows this session already")
	}
	t, err := newTape(r, r.about(want))
	if err != nil {
		r.release(want.ID)
		return nil, fmt.Errorf("the spool can not be written: %w", err)
	}
	r.mu.Lock()
	r.busy[want.ID] = t
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, beginPatience)
	defer cancel()
	err = t.first(ctx)
	if err == nil {
		err = r.books.add(Entry{Type: EntryBegun, Session: want.ID, First: t.began})
	}
	if err == nil && want.BreakGlass {
		err = r.reviews.owe(want)
	}
	if err != nil {
		t.giveUp(err)
		return nil, err
	}
	t.start()
	return t, nil
}

func (r *Recorder) about(want session.Request) About {
	return About{
		ID: want.ID, Code: want.Code, Engineer: want.Engineer,
		Target: want.Target.Name, Mode: want.Mode.Name, Quorum: want.Mode.Shadows, Reason: want.Reason, BreakGlass: want.BreakGlass,
		Args: want.Args, Size: want.Size, Term: want.Term, Env: want.Env, Cage: want.Cage,
		Started: want.Started.Round(0).UTC(), Node: r.node, Version: r.o.Version,
	}
}

// take makes the caller the only one to work on the recording.
func (r *Recorder) take(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.busy[id]; r.closed || taken {
		return false
	}
	r.busy[id] = nil
	return true
}

func (r *Recorder) release(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, id)
}

// Recover takes care of what an earlier process left in the spool: recordings
// without an end are cut to their last whole line and ended as unclean; then
// everything is brought to the store in the background. Call it once, after
// New. It returns when the local part is done. An error names recordings that
// could not be repaired; they stay where they are and are tried again, the
// others are not affected, and the bastion may serve.
func (r *Recorder) Recover(ctx context.Context) error {
	entries, err := os.ReadDir(r.spool())
	if err != nil {
		return fmt.Errorf("the spool: %w", err)
	}
	var failed []error
	for _, e := range entries {
		id := e.Name()
		if strings.HasSuffix(id, doneSuffix) || strings.HasSuffix(id, adoptingSuffix) {
			os.RemoveAll(filepath.Join(r.spool(), id)) // a crash came in between
			continue
		}
		if _, err := ulid.ParseStrict(id); err != nil || !e.IsDir() {
			r.o.Log.Warn("something in the spool is not ours", "name", id)
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := r.recover(id); err != nil {
			r.o.Log.Error("recording not repaired", "session", id, "error", err)
			failed = append(failed, fmt.Errorf("recording %s: %w", id, err))
		}
	}
	return errors.Join(failed...)
}

// recover takes care of one recording, unless this process works on it
// already.
func (r *Recorder) recover(id string) error {
	if !r.take(id) {
		return nil
	}
	rec, err := r.repair(id, nil)
	if rec == nil && err == nil {
		r.release(id)
		return nil // it never began
	}
	r.work.Go(func() { r.finish(id, nil) })
	return err
}

// Close waits until everything that has ended is in the store, or until ctx
// ends; what is missing then is brought there by the next process. Tapes that
// are still open are left to Recover.
func (r *Recorder) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	done := make(chan struct{})
	// Waited for below: stop ends everything that is counted.
	go func() {
		r.work.Wait()
		r.closeBooks()
		close(r.last)
		r.clerk.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("some recordings are not in the store yet; they are in %s and follow at the next start", r.o.Dir)
	}
	r.stop()
	<-done
	r.zstd.Close()
	return errors.Join(err, r.disk.close(), r.lock.Close())
}

// Viewed puts into the books that a person looked at a recording: what is
// replay, export or verify, and id is empty for all recordings. It returns once
// that is on disk here; the store gets it in the background.
func (r *Recorder) Viewed(_ context.Context, who session.Identity, what, id string) error {
	return r.books.add(Entry{Type: EntryViewed, Who: &who, What: what, Session: id})
}

func (r *Recorder) spool() string { return filepath.Join(r.o.Dir, "spool") }

// folder is where the recording lies in the store. The day is that of the ID,
// in UTC, so that the ID alone finds it.
func folder(id string) (string, error) {
	u, err := ulid.ParseStrict(id)
	if err != nil {
		return "", fmt.Errorf("%.40q is no session ID", id)
	}
	return "sessions/" + ulid.Time(u.Time()).UTC().Format("2006/01/02/") + u.String() + "/", nil
}
