package recorder

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/twokey/twokey/recorder/store"
)

// This file removes recordings whose time is over, from stores that do not do
// that by themselves. A signed tombstone in the ledger comes first, with all that it
// takes to follow the chain of manifests through the gap: what is gone with one was
// removed, what is gone without one was stolen.

// mostPruned is how many recordings one tombstone names.
const mostPruned = 500

// Pruning says what is to be removed.
type Pruning struct {
	Before     time.Time // recordings whose session ended before it
	Unreviewed bool      // also those that somebody must still look at
	Really     bool      // else it is only said which they are
}

// Prune removes recordings, and calls gone with each. One that is not proven stays: it is
// evidence of something else than it was. So does one that was opened alone in an emergency and
// that nobody has signed off, and one about which somebody raised something: then ErrOwed is among
// the errors. They name what stays, or could not be removed; it is tried again the next time.
func (r *Recorder) Prune(ctx context.Context, which Pruning, gone func(id string)) error {
	remover, ok := r.o.Store.(store.Remover)
	if !ok {
		return errors.New("this store removes nothing")
	}
	a := r.archive()
	p := &pruner{
		r: r, archive: a, from: remover, which: which, gone: gone,
		tombstones: sync.OnceValues(func() (map[string]Pruned, error) { return a.buried(ctx) }),
		reviews:    sync.OnceValues(func() (map[string]Entry, error) { return a.reviewed(ctx) }),
	}
	err := p.all(ctx)
	return errors.Join(append(p.stays, err)...)
}

// pruner is one Prune.
type pruner struct {
	r          *Recorder
	archive    *Archive
	from       store.Remover
	which      Pruning
	gone       func(id string)
	tombstones func() (map[string]Pruned, error) // of all ledgers, by session; read when somebody asks
	reviews    func() (map[string]Entry, error)  // the last of each session; the same
	batch      []Pruned                          // for the next tombstone
	stays      []error                           // what does, and why
}

// all looks at every recording, and removes what is due.
func (p *pruner) all(ctx context.Context) error {
	for place, err := range p.archive.places(ctx) {
		if err != nil {
			return err
		}
		due, err := p.due(ctx, place)
		switch {
		case err != nil:
			p.stays = append(p.stays, fmt.Errorf("recording %s stays: %w", idOf(place), err))
			continue
		case due == nil:
			continue
		case !p.which.Really:
			p.gone(due.Session)
			continue
		}
		if p.batch = append(p.batch, *due); len(p.batch) == mostPruned {
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
	}
	return p.flush(ctx)
}

// due returns what a tombstone says of a recording that is to be removed; nil of one whose time is
// not over. The error is why one stays whose time is.
func (p *pruner) due(ctx context.Context, place string) (*Pruned, error) {
	due, glass, err := p.archive.prunable(ctx, idOf(place), p.which.Before)
	if err == nil && due != nil && !p.which.Unreviewed {
		err = owed(due.Session, glass, p.reviews)
	}
	if errors.Is(err, errNotProven) {
		due, err = half(due, err, p.tombstones)
	}
	if err == nil && due != nil {
		err = kept(ctx, p.from, place)
	}
	return due, err
}

// flush removes the batch, once a tombstone for it is in the store.
func (p *pruner) flush(ctx context.Context) error {
	if len(p.batch) == 0 {
		return nil
	}
	if err := p.r.bury(ctx, p.batch); err != nil {
		return err
	}
	for _, dead := range p.batch {
		if err := p.r.remove(ctx, p.from, dead.Session); err != nil {
			p.stays = append(p.stays, fmt.Errorf("recording %s: %w", dead.Session, err))
			continue
		}
		p.gone(dead.Session)
	}
	p.batch = nil
	return nil
}

// prunable returns what is to be said of a recording that may be removed, and whether glass was
// broken for it; nil of one whose time is not over.
func (a *Archive) prunable(ctx context.Context, id string, before time.Time) (p *Pruned, glass bool, err error) {
	if u, err := ulid.ParseStrict(id); err != nil || ulid.Time(u.Time()).After(before) {
		return nil, false, nil // it had not even begun
	}
	report, err := a.Check(ctx, id)
	switch {
	case err != nil:
		return nil, false, err
	case report.Manifest == nil || len(report.Findings) > 0:
		return &Pruned{Session: report.ID}, false, fmt.Errorf("%w: %s", errNotProven, strings.Join(report.Findings, "; "))
	case !report.Manifest.Ended.Before(before):
		return nil, false, nil
	}
	m := report.Manifest
	return &Pruned{
		Session: id, Node: m.sealer(), Sequence: m.Sequence, Manifest: report.hash, Previous: m.Previous, Engineer: person(m.Session.Engineer), Ended: m.Ended,
	}, m.Session.BreakGlass, nil
}

// ErrOwed is wrapped by the error of Prune for each recording that somebody must still look at.
var ErrOwed = errors.New("its review is owed")

// owed returns ErrOwed while nobody has signed a recording off who must: by the ledgers alone, as
// whoever prunes is not the bastion that remembers.
func owed(id string, glass bool, reviews func() (map[string]Entry, error)) error {
	all, err := reviews()
	last := all[id]
	switch {
	case err != nil:
		return err
	case last.What == ReviewRaise:
		return fmt.Errorf("%w: something was raised about it, and nobody has said ok since", ErrOwed)
	case glass && last.What != ReviewOK:
		return fmt.Errorf("%w: it was opened alone in an emergency, and nobody has signed it off", ErrOwed)
	}
	return nil
}

var errNotProven = errors.New("it is not proven")

// half returns what a tombstone says of a recording that is not proven since its removal was
// broken off, and otherwise the error.
func half(p *Pruned, why error, tombstones func() (map[string]Pruned, error)) (*Pruned, error) {
	all, err := tombstones()
	if buried, there := all[p.Session]; there {
		return &buried, nil
	}
	return nil, errors.Join(why, err)
}

// kept says until when the store keeps a recording, whoever wants to remove it.
func kept(ctx context.Context, by store.Remover, place string) error {
	until, err := by.Kept(ctx, place+manifestName)
	if err == nil && until.After(time.Now()) {
		err = fmt.Errorf("the store keeps it until %s (Object Lock)", until.UTC().Format(time.DateTime))
	}
	return err
}

// bury puts a tombstone into the ledger, and waits until the store has it.
func (r *Recorder) bury(ctx context.Context, list []Pruned) error {
	if err := r.books.add(Entry{Type: EntryPruned, Pruned: list}); err != nil {
		return err
	}
	number := r.books.entries()
	for {
		there, err := r.books.settled()
		if err != nil || there >= number {
			return err
		}
		select {
		case <-time.After(firstPause):
		case <-ctx.Done():
			return fmt.Errorf("the tombstone did not reach the store, and nothing was removed: %w", ctx.Err())
		}
	}
}

// remove takes a recording out of the store, its segments first.
func (r *Recorder) remove(ctx context.Context, from store.Remover, id string) error {
	place, err := folder(id)
	if err != nil {
		return err
	}
	objects, err := r.o.Store.List(ctx, place)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := from.Remove(ctx, o.Name); err != nil {
			return err
		}
	}
	return nil
}
