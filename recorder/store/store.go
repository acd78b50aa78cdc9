// Package store keeps the objects of recordings: segments, manifests and
// ledger entries, in an S3-compatible bucket or in a folder.
//
// Its one idea: an object is written once and never changed. Put refuses a name
// that is taken, so that a bug, a second bastion or a thief with the bastion's
// credentials can add but not rewrite. Only Remover deletes, for recordings whose
// time is over.
//
// It knows nothing of sessions, compression or signatures, and it does not
// retry: who calls knows how long it is worth trying.
package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrExists is returned by Put for a name that is taken, whatever it holds.
	ErrExists = errors.New("the object is already there")
	// ErrNotExist is returned by Get for an object that is not there.
	ErrNotExist = errors.New("no such object")
	// ErrTooLarge is returned by Get for an object longer than the caller takes.
	ErrTooLarge = errors.New("the object is larger than allowed")
	// ErrTooMany is returned by List and Traces for a folder that holds more than twokey
	// ever puts into one, or seems to go on without end.
	ErrTooMany = errors.New("it holds more names than twokey ever puts into one folder")
	// ErrBadName is returned for a name outside of the rules of CheckName.
	ErrBadName = errors.New("not a name for an object")
)

// MaxObject is the largest object Put takes, in bytes: objects go out whole,
// in one request, never in parts.
const MaxObject = 64 << 20

// Store keeps immutable objects by name. Names are paths with slashes (see
// CheckName). Every method may be called from any goroutine, gives up when ctx
// ends, and has a time limit of its own.
type Store interface {
	// Put stores a new object whole or not at all and returns its version,
	// which is empty where a store has none. ErrExists means that the name is
	// taken, perhaps by this very Put when a connection broke. After any other
	// error the object may be there or not: Put again. At ErrExists compare
	// what Get returns.
	Put(ctx context.Context, name string, data []byte) (version string, err error)

	// Get returns an object of at most limit bytes, and its version. An empty
	// version asks for the newest. Errors: ErrNotExist, ErrTooLarge, or the
	// store's own.
	Get(ctx context.Context, name, version string, limit int64) (data []byte, got string, err error)

	// List returns what lies directly in a folder ("" or a name that ends
	// with a slash), sorted by name: objects, and folders with a slash at the
	// end of their name and size 0. A folder that is not there is empty. What
	// somebody else has put there is listed, too, whatever it is called: such
	// names may break CheckName, and hold anything. Only those that begin with a dot are
	// left out, which an unfinished Put may leave and no * finds. Errors: ErrTooMany, or
	// the store's own.
	List(ctx context.Context, folder string) ([]Object, error)
}

// Remover is a Store from which objects can be taken out.
type Remover interface {
	// Remove takes out an object with all its versions, or says why it stays. One
	// that is not there is no error.
	Remove(ctx context.Context, name string) error

	// Kept returns until when the store itself refuses to remove an object: the
	// zero time when it does not, or there is none of that name.
	Kept(ctx context.Context, name string) (until time.Time, err error)
}

// Historian is a Store that may still have what was deleted or written over.
type Historian interface {
	// Traces returns the names directly in a folder at which more was done than one
	// Put, sorted by name, and the folders in it, also those of which only deleted
	// objects are left. Names are as in List. Errors: ErrTooMany, or the store's own.
	Traces(ctx context.Context, folder string) (list []Trace, folders []string, err error)
}

// Trace is what is left of deleting an object, or of writing over it.
type Trace struct {
	Name     string
	Deleted  bool      // a delete marker hides it
	Revived  bool      // a delete marker did, until something was put there again
	Versions int       // that are there, without delete markers
	Last     time.Time // when the newest version or delete marker was made
	First    string    // the oldest version that is there; "" when there is none
	first    time.Time // when that was made
	last     string    // the version that was counted last
}

// Object is an entry of a listing.
type Object struct {
	Name string // whole, not relative to the folder
	Size int64  // bytes
}

// Folder reports whether the entry is a folder.
func (o Object) Folder() bool { return strings.HasSuffix(o.Name, "/") }

// Base is the last part of the name, without a slash.
func (o Object) Base() string {
	name := strings.TrimSuffix(o.Name, "/")
	return name[strings.LastIndexByte(name, '/')+1:]
}

// hidden reports whether List leaves an entry out.
func hidden(o Object) bool { return strings.HasPrefix(o.Base(), ".") }

// Bounds of what one folder may hold before List gives up. A day's ledger, or a recording
// of a day with a segment each second, has a tenth of it.
const (
	maxListing = 1 << 20   // entries, ours or not
	maxNames   = 128 << 20 // bytes of their names
)

// room is what is left of these bounds.
type room struct {
	folder         string
	entries, bytes int
}

// take takes the room for an entry.
func (r *room) take(name string) error {
	if r.entries, r.bytes = r.entries-1, r.bytes-len(name); r.entries < 0 || r.bytes < 0 {
		return fmt.Errorf("%s: %w", r.folder, ErrTooMany)
	}
	return nil
}

// CheckName returns ErrBadName unless the name is one that every store can
// hold: parts of A-Z a-z 0-9 . _ - + @, divided by single slashes, none of
// them beginning with a dot, at most 512 bytes in all.
func CheckName(name string) error {
	if name == "" || len(name) > 512 {
		return fmt.Errorf("%w: %q", ErrBadName, name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || strings.ContainsFunc(part, notInName) {
			return fmt.Errorf("%w: %q", ErrBadName, name)
		}
	}
	return nil
}

func notInName(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("._-+@", r)
}

func checkFolder(folder string) error {
	if folder == "" {
		return nil
	}
	if !strings.HasSuffix(folder, "/") {
		return fmt.Errorf("%w: the folder %q does not end with a slash", ErrBadName, folder)
	}
	return CheckName(strings.TrimSuffix(folder, "/"))
}

// The one object Try leaves in a store.
const (
	tryName = "twokey-check"
	tryText = "twokey wrote this to see whether it can. It is never changed; leave it here.\n"
)

// Try finds out whether a store does what recordings need: taking an object,
// refusing to take it twice, and giving it back. It leaves one small object
// called twokey-check behind. The error is for an operator to read.
func Try(ctx context.Context, s Store) error {
	if _, err := s.Put(ctx, tryName, []byte(tryText)); err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("writing %s: %w", tryName, err)
	}
	switch _, err := s.Put(ctx, tryName, []byte(tryText)); {
	case err == nil:
		return fmt.Errorf("the store overwrites objects although it was told not to (If-None-Match: *): recordings are not safe in it")
	case !errors.Is(err, ErrExists):
		return fmt.Errorf("writing %s again: %w", tryName, err)
	}
	if bucket, ok := s.(*S3); ok {
		if err := bucket.checkLock(ctx); err != nil {
			return err
		}
	}
	data, _, err := s.Get(ctx, tryName, "", 1<<10)
	if err != nil {
		return fmt.Errorf("reading %s: %w", tryName, err)
	}
	if !bytes.Equal(data, []byte(tryText)) {
		return fmt.Errorf("the store gave back something else than was written to %s", tryName)
	}
	return nil
}
