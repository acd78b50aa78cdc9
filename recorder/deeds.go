package recorder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/twokey/twokey/session"
)

// This file is the part of the ledger that comes often or by the clock: what
// people do at the bastion, gathered for a second into one entry, and the
// checkpoints. A deed is on this disk when it is noted, so that the death of the
// process loses none.

const (
	gatherDeeds = time.Second
	mostDeeds   = 200 // in one entry
	deedsName   = "deeds.jsonl"
	maxDeed     = 2 << 10 // bytes of its text
)

// deeds are those that are in no entry yet.
type deeds struct {
	books *books
	wake  chan struct{}

	mu      sync.Mutex
	file    *os.File
	waiting []session.Deed
}

// openDeeds puts what an earlier process noted into the ledger.
func openDeeds(b *books) (*deeds, error) {
	d := &deeds{books: b, wake: make(chan struct{}, 1)}
	path := filepath.Join(b.dir, deedsName)
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range bytes.Lines(data) {
		var one session.Deed
		if json.Unmarshal(line, &one) == nil { // the last may have been cut short
			d.waiting = append(d.waiting, one)
		}
	}
	if d.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	return d, d.enter()
}

// add notes a deed.
func (d *deeds) add(one session.Deed) error {
	one.Text = session.OneLine(one.Text, maxDeed)
	line, err := json.Marshal(one)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// A line that a crash cut short must not swallow this one.
	if _, err := d.file.Write(slices.Concat([]byte{'\n'}, line, []byte{'\n'})); err != nil {
		return fmt.Errorf("the ledger can not be written: %w", err)
	}
	failpoint("written", deedsName)
	d.waiting = append(d.waiting, one)
	if len(d.waiting) == 1 {
		poke(d.wake)
	}
	return nil
}

// enter makes entries of what waits. A crash in the middle enters some twice
// rather than none.
func (d *deeds) enter() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for some := range slices.Chunk(d.waiting, mostDeeds) {
		if err := d.books.add(Entry{Type: EntryDeeds, Deeds: some}); err != nil {
			return err
		}
	}
	if len(d.waiting) == 0 {
		return nil
	}
	d.waiting = nil
	return d.file.Truncate(0)
}

// Note puts what somebody did into the ledger. When it returns nil, that is on
// the disk here.
func (r *Recorder) Note(d session.Deed) error {
	d.Time = time.Now().UTC()
	return r.deeds.add(d)
}

// keepBooks enters deeds a second after they were noted, and a checkpoint every
// minute in which anything happened. It returns when the recorder stops or closes.
func (r *Recorder) keepBooks() {
	gather := time.NewTimer(gatherDeeds)
	check := time.NewTicker(r.o.CheckpointEvery)
	defer check.Stop()
	seen := r.books.entries()
	for {
		select {
		case <-r.deeds.wake:
			gather.Reset(gatherDeeds)
		case <-gather.C:
			if err := r.deeds.enter(); err != nil {
				r.o.Log.Error("deeds are not in the ledger yet", "error", err)
				gather.Reset(gatherDeeds)
			}
		case <-check.C:
			if live := r.unfinished(); len(live) > 0 || r.books.entries() != seen {
				if err := r.books.add(Entry{Type: EntryCheckpoint, Live: live}); err != nil {
					r.o.Log.Error("no checkpoint in the ledger", "error", err)
				}
				seen = r.books.entries()
			}
		case <-r.last:
			return
		case <-r.ctx.Done():
			return
		}
	}
}

// closeBooks writes the last lines of a bastion that stops in good order.
func (r *Recorder) closeBooks() {
	if r.ctx.Err() != nil {
		return
	}
	if err := errors.Join(r.deeds.enter(), r.books.add(Entry{Type: EntryStopped})); err != nil {
		r.o.Log.Error("the ledger has no end", "error", err)
	}
}

// unfinished are the recordings that have begun and are not sealed yet.
func (r *Recorder) unfinished() (list []Running) {
	r.mu.Lock()
	busy := maps.Clone(r.busy)
	r.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(busy)) {
		if t := busy[id]; t != nil {
			list = append(list, t.running())
		} else {
			list = append(list, Running{Session: id})
		}
	}
	return list
}

// entries counts what this node has entered into its ledger.
func (b *books) entries() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.head.Ledger.Sequence
}

// Viewed puts into the books that a person looked. See Recorder.Viewed.
func (a *Archive) Viewed(ctx context.Context, who session.Identity, what, id string) error {
	if a.books == nil {
		return errNoBooks
	}
	return a.books.Viewed(ctx, who, what, id)
}

// Shown puts into the books that a replay showed a person all there is: from then
// on they may review it, if it is whole.
func (a *Archive) Shown(ctx context.Context, who session.Identity, id string) error {
	if err := a.Viewed(ctx, who, ViewShown, id); err != nil {
		return err
	}
	if _, err := a.Asked(ctx, id); err != nil {
		return nil // it still runs
	}
	return a.books.reviews.saw(id, who)
}

// unsent are the entries that wait for the store here, and the deeds that are in
// no entry yet, as if they were one.
func (a *Archive) unsent() (list []Entry, err error) {
	if a.books == nil {
		return nil, nil
	}
	d, b := a.books.deeds, a.books.books
	d.mu.Lock()
	waiting := slices.Clone(d.waiting)
	d.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	names, err := b.waiting()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		var e Entry
		if there, err := readJSON(filepath.Join(b.ledger(), name), &e); err != nil {
			return nil, err
		} else if there { // not sent meanwhile
			list = append(list, e)
		}
	}
	return append(list, Entry{Type: EntryDeeds, Time: time.Now(), Deeds: waiting}), nil
}

// Note is Recorder's.
func (a *Archive) Note(d session.Deed) error {
	if a.books == nil {
		return errNoBooks
	}
	return a.books.Note(d)
}
