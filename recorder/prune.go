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

// Prune removes the recordings whose session ended before a moment, and calls
// gone with each; unless really is true, it only says which they are. One that is not proven stays: it is evidence of something else
// than it was. The error names what could not be removed; it is tried again the
// next time.
func (r *Recorder) Prune(ctx context.Context, before time.Time, really bool, gone func(id string)) error {
	remover, ok := r.o.Store.(store.Remover)
	if !ok {
		return errors.New("this store removes nothing")
	}
	a := r.archive()
	tombstones := sync.OnceValues(func() (map[string]Pruned, error) { return a.buried(ctx) })
	var failed []error
	var batch []Pruned
	bury := func() error {
		if len(batch) == 0 {
			return nil
		}
		if err := r.bury(ctx, batch); err != nil {
			return err
		}
		for _, p := range batch {
			if err := r.remove(ctx, remover, p.Session); err != nil {
				failed = append(failed, fmt.Errorf("recording %s: %w", p.Session, err))
				continue
			}
			gone(p.Session)
		}
		batch = nil
		return nil
	}
	for place, err := range a.places(ctx) {
		if err != nil {
			return err
		}
		p, err := a.prunable(ctx, idOf(place), before)
		if errors.Is(err, errNotProven) {
			p, err = half(p, err, tombstones)
		}
		if err == nil && p != nil {
			err = kept(ctx, remover, place)
		}
		switch {
		case err != nil:
			failed = append(failed, fmt.Errorf("recording %s stays: %w", idOf(place), err))
			continue
		case p == nil:
			continue
		case !really:
			gone(p.Session)
			continue
		}
		if batch = append(batch, *p); len(batch) == mostPruned {
			if err := bury(); err != nil {
				return err
			}
		}
	}
	return errors.Join(append(failed, bury())...)
}

// prunable returns what is to be said of a recording that may be removed; nil of
// one whose time is not over.
func (a *Archive) prunable(ctx context.Context, id string, before time.Time) (*Pruned, error) {
	if u, err := ulid.ParseStrict(id); err != nil || ulid.Time(u.Time()).After(before) {
		return nil, nil // it had not even begun
	}
	report, err := a.Check(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case report.Manifest == nil || len(report.Findings) > 0:
		return &Pruned{Session: report.ID}, fmt.Errorf("%w: %s", errNotProven, strings.Join(report.Findings, "; "))
	case !report.Manifest.Ended.Before(before):
		return nil, nil
	}
	m := report.Manifest
	return &Pruned{
		Session: id, Node: m.sealer(), Sequence: m.Sequence, Manifest: report.hash, Previous: m.Previous, Engineer: m.Session.Engineer, Ended: m.Ended,
	}, nil
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
