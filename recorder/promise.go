package recorder

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/twokey/twokey/recorder/store"
)

// This file asks the ledgers about one thing, without reading all of them: what a
// bastion promised of a recording before it was lost, which recordings were
// buried, and what was said of them in reviews.

// longest is how many days a recording can touch, from the one it began on.
const longest = 3

// promises returns what the ledger of a node says of a recording that began
// there at a time: the SHA-256 of its first segment, "" when nobody announced it, and
// how far the store had it at the last checkpoint that names it.
func (a *Archive) promises(ctx context.Context, node, id string, started time.Time) (begun string, last Running, err error) {
	u := &auditor{Archive: a, ctx: ctx}
	if store.CheckName(node) != nil || strings.Contains(node, "/") {
		return "", last, nil // no node has such a name
	}
	var names []string
	for day := range longest {
		some, err := u.entries("ledger/"+node+started.UTC().AddDate(0, 0, day).Format("/2006/01/02/"), 0)
		if err != nil {
			return "", last, err
		}
		names = append(names, some...)
	}
	first := slices.IndexFunc(names, func(name string) bool {
		e := u.typed(name, EntryBegun, &err)
		if e == nil || e.Session != id {
			return false
		}
		begun = e.First
		return true
	})
	if err != nil || first < 0 {
		return "", last, err
	}
	for _, name := range slices.Backward(names[first:]) {
		e := u.typed(name, EntryCheckpoint, &err)
		if e == nil {
			continue
		}
		if n := slices.IndexFunc(e.Live, func(s Running) bool { return s.Session == id }); n >= 0 {
			return begun, e.Live[n], err
		}
	}
	return begun, last, err
}

// typed gets a proven entry of a type; nil for every other, and after an error.
func (u *auditor) typed(name, kind string, failed *error) *Entry {
	if *failed != nil || !strings.HasSuffix(name, "-"+kind+".json") {
		return nil
	}
	e, _, err := u.entry(name)
	*failed = errors.Join(*failed, err)
	return e
}

// buried returns the tombstones of all ledgers, by session.
func (a *Archive) buried(ctx context.Context) (map[string]Pruned, error) {
	u := &auditor{Archive: a, ctx: ctx}
	names, err := u.entries("ledger/", 4)
	all := map[string]Pruned{}
	for _, name := range names {
		if e := u.typed(name, EntryPruned, &err); e != nil {
			for _, p := range e.Pruned {
				all[p.Session] = p
			}
		}
	}
	return all, err
}

// reviewed returns the last review of each recording that has one, by all ledgers: the last one of
// each ledger by its number, as clocks are set back.
func (a *Archive) reviewed(ctx context.Context) (map[string]Entry, error) {
	u := &auditor{Archive: a, ctx: ctx}
	names, err := u.entries("ledger/", 4)
	last := map[string]Entry{}
	for _, name := range names {
		e := u.typed(name, EntryReviewed, &err)
		if e == nil {
			continue
		}
		if l := last[e.Session]; l.Node == e.Node && l.Sequence < e.Sequence || l.Node != e.Node && l.Time.Before(e.Time) {
			last[e.Session] = *e
		}
	}
	return last, err
}
