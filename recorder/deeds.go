package recorder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

	enteredWithin = time.Minute // a deed is in an entry, unless the bastion died or its disk was full
	maxDeed       = 2 << 10     // bytes of its text
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

// Deeds yields what people did from one moment to another, by the ledgers of all
// nodes, oldest first, as far as it has reached the store, and what this node has
// not brought there yet. An entry that is not proven is an error, and the
// sequence goes on behind it. Texts are as the store has them: clean them before a
// terminal sees them.
func (a *Archive) Deeds(ctx context.Context, since, until time.Time) iter.Seq2[session.Deed, error] {
	return func(yield func(session.Deed, error) bool) {
		u := &auditor{Archive: a, ctx: ctx}
		here, err := a.unsent()
		if err != nil && !yield(session.Deed{}, err) {
			return
		}
		// A deed of the last second of a day is in an entry of the next.
		for day := since.UTC().Truncate(24 * time.Hour); !day.After(until.Add(enteredWithin)); day = day.Add(24 * time.Hour) {
			list, err := u.deedsOf(day, here)
			for _, p := range u.problems {
				err = errors.Join(err, errors.New(p))
			}
			u.problems = nil
			if err != nil && !yield(session.Deed{}, err) {
				return
			}
			for _, d := range list {
				if !d.Time.Before(since) && !d.Time.After(until) && !yield(d, nil) {
					return
				}
			}
		}
	}
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

// deedsOf reads one day of all ledgers. here are entries that may not be there yet.
func (u *auditor) deedsOf(day time.Time, here []Entry) (list []session.Deed, err error) {
	type place struct {
		node   string
		number int64
	}
	seen := map[place]bool{}
	for _, e := range here {
		if e.Time.UTC().Truncate(24 * time.Hour).Equal(day) {
			seen[place{e.Node, e.Sequence}] = true
			list = append(list, e.deeds()...)
		}
	}
	nodes, err := u.store.List(u.ctx, "ledger/")
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if !n.Folder() {
			continue
		}
		names, err := u.entries(n.Name+day.Format("2006/01/02/"), 0)
		if err != nil {
			return list, err
		}
		for _, name := range names {
			e, _, err := u.entry(name)
			if err != nil {
				return list, err
			}
			if e != nil && !seen[place{e.Node, e.Sequence}] {
				list = append(list, e.deeds()...)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b session.Deed) int { return a.Time.Compare(b.Time) })
	return list, nil
}

// deeds are what people did, by an entry.
func (e Entry) deeds() []session.Deed {
	d := session.Deed{Time: e.Time, Who: e.Who, Session: e.Session, Text: strings.TrimSpace(e.What + " " + e.Note)}
	switch e.Type {
	case EntryDeeds:
		return e.Deeds
	case EntryViewed:
		d.What = session.DeedViewed
	case EntryReviewed:
		d.What = session.DeedReviewed
	case EntryPruned:
		d.What, d.Text = session.DeedPruned, fmt.Sprintf("%d recordings", len(e.Pruned))
	case EntryStarted, EntryStopped:
		d.What, d.Text = session.DeedType(e.Type), e.Node
	default:
		return nil
	}
	return []session.Deed{d}
}

// Note is Recorder's.
func (a *Archive) Note(d session.Deed) error {
	if a.books == nil {
		return errNoBooks
	}
	return a.books.Note(d)
}
