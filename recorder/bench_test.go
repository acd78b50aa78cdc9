package recorder_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store/storetest"
)

// table is output as psql prints it.
func table(rows int) string {
	var b strings.Builder
	for i := range rows {
		fmt.Fprintf(&b, " %7d | %032x | 2026-11-%02d 12:%02d:%02d.%06d+00 | paid   |  %8.2f \r\n", i, i*2654435761, i%28+1, i%60, i*7%60, i*7919%1000000, float64(i)*1.17)
	}
	return b.String()
}

// BenchmarkVerify judges one recording of output; MB/s of what was on screen.
func BenchmarkVerify(b *testing.B) {
	s := storetest.NewMemory(b)
	r := newRecorder(b, options(memoryDir(b), s))
	want := request()
	tape := begin(b, r, want)
	text := table(500_000)
	for i := 0; i < len(text); i += 16 << 10 {
		appendAll(b, tape, out(time.Duration(i), text[i:min(i+16<<10, len(text))]))
	}
	sealTape(b, tape, want.ID, time.Hour)
	closed(b, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	stored := 0
	for _, name := range s.Names() {
		stored += len(s.Object(name))
	}
	b.SetBytes(int64(len(text)))
	b.ReportMetric(float64(len(text))/float64(stored), "times-smaller")
	for b.Loop() {
		if report, err := a.Check(b.Context(), want.ID); err != nil || len(report.Findings) > 0 {
			b.Fatal(report, err)
		}
	}
}
