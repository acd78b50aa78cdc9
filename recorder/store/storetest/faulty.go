package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder/store"
)

// Fault is a way in which stores fail.
type Fault string

const (
	Healthy          Fault = ""
	Unavailable      Fault = "unavailable"         // 503 at once, nothing stored
	Refusing         Fault = "refusing"            // connection refused
	Silent           Fault = "silent"              // no answer until Patience or the context ends, nothing stored
	Slow             Fault = "slow"                // works, after Delay
	StoredButError   Fault = "stored-but-error"    // stored, and the answer says 500
	StoredButSilent  Fault = "stored-but-silent"   // stored, and no answer until Patience or the context ends
	ErrorNotStored   Fault = "error-not-stored"    // 500, nothing stored
	ResetInTheMiddle Fault = "reset-in-the-middle" // connection reset, nothing stored
	Denied           Fault = "denied"              // 403
	ReadFails        Fault = "read-fails"          // Put works, Get and List do not
	LosesAnswers     Fault = "loses-answers"       // every second Put is stored but the connection is reset
)

// Faults are all faults under which nothing or something is stored and an
// error comes back, and which a recorder must outlive.
var Faults = []Fault{Unavailable, Refusing, StoredButError, ErrorNotStored, ResetInTheMiddle, Denied, LosesAnswers}

// Faulty is a store in memory with faults that can be turned on and off.
type Faulty struct {
	*Memory
	Delay    time.Duration // of Slow
	Patience time.Duration // after which Silent operations give up by themselves

	mu    sync.Mutex
	fault Fault
	only  string // names that contain it; "" is all
	calls int
	left  int // Puts that still work before the fault sets in
}

// NewFaulty returns an empty, healthy store.
func NewFaulty(t testing.TB) *Faulty {
	return &Faulty{Memory: NewMemory(t), Delay: 50 * time.Millisecond, Patience: 200 * time.Millisecond}
}

// Break makes operations fail from now on, those on names that contain only.
func (f *Faulty) Break(fault Fault, only string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.only, f.left = fault, only, 0
}

// BreakAfter makes every Put after the next n unavailable.
func (f *Faulty) BreakAfter(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.only, f.left = Unavailable, "", n
}

// Heal is Break with Healthy.
func (f *Faulty) Heal() { f.Break(Healthy, "") }

// Calls returns how many Puts were tried.
func (f *Faulty) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *Faulty) now(name string, put bool) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if put {
		f.calls++
	}
	switch {
	case put && f.left > 0:
		f.left--
		return Healthy
	case !strings.Contains(name, f.only):
		return Healthy
	case f.fault == LosesAnswers && f.calls%2 == 0:
		return Healthy
	}
	return f.fault
}

// Put is Store's, with the fault.
func (f *Faulty) Put(ctx context.Context, name string, data []byte) (string, error) {
	switch fault := f.now(name, true); fault {
	case Healthy, ReadFails:
		return f.Memory.Put(ctx, name, data)
	case Slow:
		select {
		case <-time.After(f.Delay):
			return f.Memory.Put(ctx, name, data)
		case <-ctx.Done():
			return "", ctx.Err()
		}
	case Silent:
		return "", f.hang(ctx)
	case StoredButSilent:
		f.Memory.Put(ctx, name, data)
		return "", f.hang(ctx)
	case StoredButError, LosesAnswers:
		if _, err := f.Memory.Put(ctx, name, data); errors.Is(err, store.ErrExists) {
			return "", err
		}
		return "", fault.err()
	default:
		return "", fault.err()
	}
}

// Get is Store's, with the fault.
func (f *Faulty) Get(ctx context.Context, name, version string, limit int64) ([]byte, string, error) {
	if err := f.reading(ctx, name); err != nil {
		return nil, "", err
	}
	return f.Memory.Get(ctx, name, version, limit)
}

// List is Store's, with the fault.
func (f *Faulty) List(ctx context.Context, folder string) ([]store.Object, error) {
	if err := f.reading(ctx, folder); err != nil {
		return nil, err
	}
	return f.Memory.List(ctx, folder)
}

func (f *Faulty) reading(ctx context.Context, name string) error {
	switch fault := f.now(name, false); fault {
	case Healthy, Slow, StoredButError, StoredButSilent, LosesAnswers, ErrorNotStored, ResetInTheMiddle:
		return nil
	case Silent:
		return f.hang(ctx)
	default:
		return fault.err()
	}
}

func (f *Faulty) hang(ctx context.Context) error {
	select {
	case <-time.After(f.Patience):
		return context.DeadlineExceeded
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f Fault) err() error {
	switch f {
	case Refusing:
		return fmt.Errorf("dial tcp 192.0.2.1:443: %w", syscall.ECONNREFUSED)
	case ResetInTheMiddle, LosesAnswers:
		return fmt.Errorf("write tcp 192.0.2.1:443: %w", syscall.ECONNRESET)
	case Denied:
		return errors.New("403 Access Denied")
	case Unavailable:
		return errors.New("503 Slow Down")
	}
	return errors.New("500 Internal Error")
}
