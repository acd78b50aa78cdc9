package recorder_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// BenchmarkCrowd is what it costs to record 200 people at once for ten seconds, of which each
// types for three, five keys a second: processor time of the whole process, for each second of
// each session, and what a keystroke waits for. The spool is on a disk, and the store in memory.
func BenchmarkCrowd(b *testing.B) {
	const people, keys, pause = 200, 15, 200 * time.Millisecond
	for b.Loop() {
		s := storetest.NewMemory(b)
		o := options(b.TempDir(), s)
		o.SegmentEvery = time.Second
		r := newRecorder(b, o)
		tapes := make([]session.Tape, people)
		ids := make([]string, people)
		for i := range tapes {
			want := request()
			ids[i], tapes[i] = want.ID, begin(b, r, want)
		}
		before, began := processorTime(b), time.Now()
		var all sync.WaitGroup
		var mu sync.Mutex
		var waits []time.Duration
		for i, tape := range tapes {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 7 * time.Second / people)
				for range keys {
					at := time.Since(began)
					if tape.Append(session.Event{At: at, Type: session.Input, Bytes: []byte("x")}) != nil || tape.Append(out(at, "x")) != nil {
						b.Error("a tape is broken")
					}
					mu.Lock()
					waits = append(waits, time.Since(began)-at)
					mu.Unlock()
					time.Sleep(pause)
				}
			})
		}
		all.Wait()
		spent, seconds := processorTime(b)-before, time.Since(began).Seconds()
		b.ReportMetric(float64(spent.Microseconds())/seconds/people, "us-CPU/session-s")
		slices.Sort(waits)
		b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1000, "ms-p99")
		for i, tape := range tapes {
			sealTape(b, tape, ids[i], time.Hour)
		}
		closed(b, r)
	}
}
