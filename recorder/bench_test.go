package recorder_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// table is output as psql prints it.
func table(rows int) string {
	var b strings.Builder
	for i := range rows {
		fmt.Fprintf(&b, " %7d | %032x | 2026-11-%02d 12:%02d:%02d.%06d+00 | paid   |  %8.2f \r\n", i, i*2654435761, i%28+1, i%60, i*7%60, i*7919%1000000, float64(i)*1.17)
	}
	return b.String()
}

// BenchmarkVerify judges one recording: of output, in MB/s of what was on screen, and
// of statements, in MB/s of what the tape says of them. CPU is the processor time of
// all threads: what counts while others use the machine.
func BenchmarkVerify(b *testing.B) {
	text := table(500_000)
	b.Run("output", func(b *testing.B) {
		verifies(b, func(yield func(session.Event)) {
			for i := 0; i < len(text); i += 16 << 10 {
				yield(out(time.Duration(i), text[i:min(i+16<<10, len(text))]))
			}
		})
	})
	b.Run("statements", func(b *testing.B) {
		verifies(b, func(yield func(session.Event)) {
			for n := range 50_000 {
				at := time.Duration(n) * time.Millisecond
				yield(session.Event{At: at, Type: session.Statement, Statement: &session.StatementInfo{N: n, Protocol: "execute", Conn: 1,
					Text: "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2;", Params: []string{"-3117", "8123"}, Database: "orders",
					Touches: []string{"update pgbench_accounts"}}})
				yield(session.Event{At: at, Type: session.Result, Result: &session.ResultInfo{N: n, Tag: "UPDATE 1", Took: 123456, Tx: "T"}})
			}
		})
	})
}

func verifies(b *testing.B, events func(yield func(session.Event))) {
	s := storetest.NewMemory(b)
	r := newRecorder(b, options(memoryDir(b), s))
	want := request()
	tape := begin(b, r, want)
	events(func(e session.Event) { appendAll(b, tape, e) })
	sealTape(b, tape, want.ID, time.Hour)
	closed(b, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	stored := 0
	for _, name := range s.Names() {
		stored += len(s.Object(name))
	}
	plain := int64(0)
	report, err := a.Check(b.Context(), want.ID)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range report.Manifest.Segments {
		plain += s.Plain
	}
	b.SetBytes(plain)
	b.ReportMetric(float64(plain)/float64(stored), "times-smaller")
	before := processorTime(b)
	n := 0
	for b.Loop() {
		if report, err := a.Check(b.Context(), want.ID); err != nil || len(report.Findings) > 0 {
			b.Fatal(report, err)
		}
		n++
	}
	b.ReportMetric(float64(plain)*float64(n)/1e6/(processorTime(b)-before).Seconds(), "MB/CPU-s")
}

// processorTime is what this process has used of the processors.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
