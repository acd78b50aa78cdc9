package recorder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
)

// This file seals what a bastion left in the store when it was lost with its
// disk. Before it is sealed, only the lost bastion's ledger proves an orphan: it
// says with which segment the recording began, and at each checkpoint how far
// the store had it. What contradicts that is not sealed; what no ledger
// announced is not sealed by the clock, as anybody who can write to the store may
// have put it there.

// An orphan is younger than neither a session can be nor the upload of its end:
// a recording that is still being made must not be sealed by somebody else.
const orphanAge = maxAge + time.Hour

// Orphans says which recordings are to be sealed for others.
type Orphans struct {
	// Since: those whose session began then or later.
	Since time.Time
	// Node: those of this node, of which you know that it is gone, whatever
	// their age. Empty: those of every node that are older than a session can be, 26 h.
	Node string
}

// SealOrphans seals recordings that have no manifest, as lost, and returns
// their IDs. They are in the store when the recorder closes. One that could not be
// adopted is among the errors, and tried again the next time.
func (r *Recorder) SealOrphans(ctx context.Context, which Orphans) (adopted []string, err error) {
	var failed []error
	for place, err := range OpenArchive(r.o.Store, nil, nil).places(ctx) {
		if err != nil {
			return adopted, err
		}
		id := idOf(place)
		u, err := ulid.ParseStrict(id)
		if err != nil {
			continue
		}
		began := ulid.Time(u.Time())
		if began.Before(which.Since) {
			break // newest first
		}
		if which.Node == "" && time.Since(began) < orphanAge {
			continue
		}
		is, err := r.adopt(ctx, id, place, which.Node)
		if err != nil {
			failed = append(failed, fmt.Errorf("recording %s: %w", id, err))
		}
		if is {
			adopted = append(adopted, id)
		}
	}
	return adopted, errors.Join(failed...)
}

// adopt puts a recording into the spool as it lies in the store, as if this node
// had made it, and has it finished. It is false when it is no orphan.
func (r *Recorder) adopt(ctx context.Context, id, place, node string) (is bool, err error) {
	objects, err := r.o.Store.List(ctx, place)
	if err != nil || slices.ContainsFunc(objects, func(o store.Object) bool { return o.Base() == manifestName }) {
		return false, err
	}
	if !r.take(id) {
		return false, nil // it is ours
	}
	defer func() {
		if !is {
			r.release(id)
		}
	}()
	cuts, err := r.lostCuts(ctx, place, objects)
	switch {
	case err != nil:
		return false, err
	case len(cuts) == 0:
		return false, errors.New("nothing of it can be read")
	case node != "" && cuts[0].Digest.About.Node != node:
		return false, nil
	}
	announced, err := r.promised(ctx, id, cuts)
	switch {
	case err != nil:
		return false, err
	case !announced && node == "":
		return false, errors.New("no ledger says that it began, so that anybody may have put it there; " +
			"if you know that it is real, seal it with twokey recordings seal --orphans --node " + cuts[0].Digest.About.Node)
	}
	dir := filepath.Join(r.spool(), id) + adoptingSuffix
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return false, err
	}
	cause := session.Cause{Code: session.NodeLost, Text: fmt.Sprintf("the bastion %s is gone; %s sealed what had reached the store", cuts[0].Digest.About.Node, r.node)}
	for _, c := range cuts {
		err = errors.Join(err, noteSegment(dir, c))
	}
	err = errors.Join(err, writeSealed(dir, session.Summary{ID: id, Cause: &cause, Flags: lostFlags(cuts, announced)}))
	if err == nil {
		err = os.Rename(dir, filepath.Join(r.spool(), id)) // now it is one that has ended, and not before
	}
	if err != nil {
		return false, errors.Join(err, os.RemoveAll(dir))
	}
	r.work.Go(func() { r.finish(id, nil) })
	return true, nil
}

// lostCuts describes the segments in the store, up to the first that is missing
// or not what a segment is.
func (r *Recorder) lostCuts(ctx context.Context, place string, objects []store.Object) (cuts []cut, err error) {
	var carry map[string][]byte
	for _, o := range objects {
		n := segmentNumber(o.Base())
		if n != len(cuts)+1 {
			if n == 0 {
				continue
			}
			break
		}
		stored, version, err := r.o.Store.Get(ctx, o.Name, "", maxStored)
		if err != nil {
			return nil, err
		}
		var plain []byte
		var s slice
		if secret := encrypted(o.Base()); !secret {
			whole := 0
			if plain, err = decompress(stored, nil); err == nil {
				s, whole = account(plain, carry)
			}
			if err != nil || whole < len(plain) || n == 1 && s.About == nil {
				break
			}
			carry = s.Carry
		}
		c := newCut(n, s, plain, stored, encrypted(o.Base()))
		c.Version, c.Stored = version, true
		if len(cuts) > 0 && encrypted(o.Base()) { // when it happened is for its recipients
			c.From, c.To = cuts[0].To, seconds(time.Since(cuts[0].Digest.About.Started))
		}
		cuts = append(cuts, c)
	}
	return cuts, nil
}

// lostFlags says what the sealer could not know.
func lostFlags(cuts []cut, announced bool) (flags []string) {
	if slices.ContainsFunc(cuts, func(c cut) bool { return encrypted(c.Name()) }) {
		flags = append(flags, "unread")
	}
	if !announced {
		flags = append(flags, "unannounced")
	}
	return flags
}

// promised reports whether the ledger of the node that recorded it says that the
// recording began with this segment. An error says in what the ledger and the
// store contradict each other.
func (r *Recorder) promised(ctx context.Context, id string, cuts []cut) (announced bool, err error) {
	about := cuts[0].Digest.About
	begun, last, err := r.archive().promises(ctx, about.Node, id, about.Started)
	switch {
	case err != nil:
		return false, err
	case begun != "" && begun != cuts[0].SHA256():
		return false, errors.New("it does not begin with what the ledger of its bastion says; it stays as it is")
	case last.Segments > len(cuts):
		return false, fmt.Errorf("by the ledger of its bastion the store had %d segments of it, and %d can be read; it stays as it is", last.Segments, len(cuts))
	}
	link := hash([]byte(id))
	for _, c := range cuts[:last.Segments] {
		link = chain(link, c.SHA256())
	}
	if last.Segments > 0 && link != last.Chain {
		return false, fmt.Errorf("its first %d segments are not those that the ledger of its bastion says; it stays as it is", last.Segments)
	}
	return begun != "", nil
}

// archive reads with the keys that this bastion trusts.
func (r *Recorder) archive() *Archive {
	return OpenArchive(r.o.Store, append(slices.Clone(r.o.Trusted), r.o.Signer.PublicKey()), nil)
}
