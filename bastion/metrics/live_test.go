package metrics_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/twokey/twokey/bastion/metrics"
	"github.com/twokey/twokey/session"
)

// disk is a tape whose disk can hang.
type disk struct {
	mu    sync.Mutex
	hung  chan struct{} // nil: it answers
	asked int
}

func (d *disk) Append(session.Event) error { return nil }
func (d *disk) Seal(session.Summary) error { return nil }
func (d *disk) Health() session.Health {
	d.mu.Lock()
	d.asked++
	hung := d.hung
	d.mu.Unlock()
	if hung != nil {
		<-hung
	}
	return session.Health{Bytes: 7}
}

func (d *disk) set(hung chan struct{}) (asked int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hung = hung
	return d.asked
}

// Operators look at the metrics above all when a disk hangs.
func TestAHungDiskHidesNothing(t *testing.T) {
	good, bad := &disk{}, &disk{}
	all := &session.Registry{}
	for _, d := range []*disk{bad, good} {
		if err := all.Add(session.New(session.Request{}, d, nil, slog.New(slog.DiscardHandler))); err != nil {
			t.Fatal(err)
		}
	}
	m := metrics.New(metrics.Options{Sessions: all})
	expect(t, scrape(t, m), `twokey_sessions{state="waiting"} 2`, `twokey_sessions{state="stuck"} 0`, `twokey_recording_unstored_bytes 14`)

	hung := make(chan struct{})
	before := bad.set(hung)
	for range 3 {
		expect(t, scrape(t, m), `twokey_sessions{state="waiting"} 1`, `twokey_sessions{state="stuck"} 1`,
			`twokey_recording_trouble 1`, `twokey_recording_unstored_bytes 7`)
	}
	if asked := bad.set(nil) - before; asked != 1 {
		t.Errorf("a disk that hangs was asked %d times", asked)
	}
	close(hung)
	for range 100 { // the look that was under way ends by itself
		if scrapes := scrape(t, m); strings.Contains(scrapes, `twokey_sessions{state="waiting"} 2`) {
			return
		}
	}
	t.Error("a session that answers again is still stuck")
}
