package recorder_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/twokey/twokey/recorder"
)

// While one commit runs, those who come wait for the next, which is theirs all together. Who
// has a file that the disk does not take is told so, and nobody else; nobody waits for ever.
func TestGroupCommit(t *testing.T) {
	dir := t.TempDir()
	for _, whole := range []bool{true, false} {
		for _, callers := range []int{1, 2, 50} {
			g, err := recorder.NewGroup(dir, whole)
			if err != nil {
				t.Fatal(err)
			}
			release := g.Hold()
			errs := make([]error, callers)
			var all sync.WaitGroup
			for i := range callers {
				f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_CREATE|os.O_WRONLY, 0o600)
				if i == 0 {
					f, err = os.OpenFile("/dev/null", os.O_WRONLY, 0) // its fsync fails: there is nothing to make durable
				}
				if err != nil {
					t.Fatal(err)
				}
				all.Go(func() {
					errs[i] = errors.Join(g.Sync(f), f.Close())
				})
			}
			eventually(t, "all wait", func() bool { return g.Waiting() == callers+1 })
			release()
			all.Wait()
			together := whole && callers == 50 // then nobody's own file is asked
			for i, err := range errs {
				if want := i == 0 && !together; errors.Is(err, syscall.EINVAL) != want {
					t.Errorf("whole %v, %d callers: caller %d was told %v", whole, callers, i, err)
				}
			}
		}
	}
}

// The kernel says of a disk as a whole that a write failed once, to whoever asks first, and that
// may have been about a file of somebody who comes later: they are told all the same.
func TestADiskThatFailedOnceIsNotAskedAgain(t *testing.T) {
	dir := t.TempDir()
	g, err := recorder.NewGroup(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	crowd := func(device string) (errs []error) {
		const callers = 10
		release := g.Hold()
		errs = make([]error, callers)
		var all sync.WaitGroup
		var told atomic.Int64
		for i := range callers {
			path := filepath.Join(dir, "file")
			if i == 0 {
				path = device
			}
			f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				errs[i] = errors.Join(g.Sync(f), f.Close())
				told.Add(1)
			})
		}
		eventually(t, "all wait, or need not", func() bool { return g.Waiting() == callers+1 || told.Load() == callers })
		release()
		all.Wait()
		return errs
	}
	if err := errors.Join(crowd(filepath.Join(dir, "other"))...); err != nil {
		t.Fatal(err)
	}
	if err := g.Forget(dir); err != nil {
		t.Fatal(err)
	}
	if errs := crowd("/dev/null"); !errors.Is(errs[0], syscall.EINVAL) || errors.Join(errs[1:]...) != nil {
		t.Errorf("they were told %v", errs)
	}
}
