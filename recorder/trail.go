package recorder

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/twokey/twokey/session"
)

// This file reads the audit trail: what people did, by the ledgers.

// enteredWithin is how long after a deed its entry may be, unless the bastion died.
const enteredWithin = time.Minute

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
	nodes, err := u.listed(u.ctx, "ledger/")
	if err != nil {
		return nil, err
	}
	for _, node := range nodes {
		names, err := u.entries(node+day.Format("2006/01/02/"), 0)
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
