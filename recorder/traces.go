package recorder

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twokey/twokey/recorder/store"
)

// This file looks at what a store still has of what was deleted or written over.
// twokey writes each object once, and what it removes, it removes with all
// versions: any other trace is somebody else's. It is what shows even the loss of
// the newest recordings together with the newest entries of the ledger.

// traces returns a sentence for each trace directly in a folder.
func (a *Archive) traces(ctx context.Context, folder string) (said []string, err error) {
	s, keeps := a.store.(store.Historian)
	if !keeps {
		return nil, nil
	}
	list, _, err := s.Traces(ctx, folder)
	if err != nil {
		return nil, fmt.Errorf("what was deleted or written over: %w", err)
	}
	for _, t := range list {
		said = append(said, traceText(t))
	}
	return said, nil
}

// folders lists the folders in a folder that may be ours, also those of which only
// deleted objects are left.
func (a *Archive) folders(ctx context.Context, folder string) (names []string, err error) {
	if s, keeps := a.store.(store.Historian); keeps {
		_, names, err = s.Traces(ctx, folder)
		return slices.DeleteFunc(names, foreign), err
	}
	return a.listed(ctx, folder)
}

// foreign reports whether nothing of ours has such a name, with or without a slash
// at its end.
func foreign(name string) bool { return store.CheckName(strings.TrimSuffix(name, "/")) != nil }

// shown is a name from a listing, which may hold anything, as sentences have it.
func shown(name string) string {
	if foreign(name) {
		return fmt.Sprintf("%.200q", name)
	}
	return name
}

func traceText(t store.Trace) string {
	last := t.Last.UTC().Format(time.DateTime)
	t.Name = shown(t.Name)
	switch {
	case t.Deleted && t.Versions > 0:
		return fmt.Sprintf("somebody deleted %s at %s; its version %s is still in the store", t.Name, last, t.First)
	case t.Deleted:
		return fmt.Sprintf("somebody deleted %s at %s", t.Name, last)
	case t.Revived:
		return fmt.Sprintf("somebody deleted %s, and something was put there again, last at %s; its oldest version in the store is %s", t.Name, last, t.First)
	}
	return fmt.Sprintf("somebody wrote over %s at %s; its version %s is still in the store", t.Name, last, t.First)
}
