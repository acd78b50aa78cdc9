package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twokey/twokey/recorder/store"
)

// This file is the way to the store: one object, again and again until it is
// there. Nothing is skipped and nothing is given up; each recording waits for
// itself alone.

// The pauses between attempts, which double from the first to the last. The
// last is short: behind it an engineer may be waiting at a shut gate for the
// store to come back, and one small request in two seconds harms no store.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// errTaken is wrapped by put for a name under which other bytes lie: for ever, as no
// object is ever changed.
var errTaken = errors.New("the store holds something else")

// put stores an object. That the very same bytes are there already is success:
// an earlier attempt arrived without our hearing of it.
func (r *Recorder) put(ctx context.Context, name string, data []byte) (version string, err error) {
	failpoint("putting", name)
	version, err = r.o.Store.Put(ctx, name, data)
	failpoint("put", name)
	if !errors.Is(err, store.ErrExists) {
		return version, err
	}
	there, version, err := r.o.Store.Get(ctx, name, "", int64(len(data)))
	switch {
	case errors.Is(err, store.ErrTooLarge), err == nil && !bytes.Equal(there, data):
		return "", fmt.Errorf("%w under the name %s", errTaken, name)
	case err != nil:
		return "", err
	}
	return version, nil
}

// retry does it until it works. It reports false when the recorder stops first.
func (r *Recorder) retry(what string, do func() error) bool {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil {
			return true
		}
		if r.ctx.Err() != nil {
			return false
		}
		r.o.Log.Warn("not stored yet", "what", what, "attempt", attempt, "error", err)
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-r.ctx.Done():
			return false
		}
		pause = min(2*pause, lastPause)
	}
}

// oneLine is an error on one line, for people.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
