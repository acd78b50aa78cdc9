package recorder_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// Each way in which a real S3 server and the line to it fail, in the middle of a
// session: the tape says what is wrong and that it lags, nothing is lost, nothing
// is written twice, and when the store is well again the recording is whole.
func TestFaultsOfTheWire(t *testing.T) {
	v := storetest.StartVersity(t)
	for fault, says := range map[storetest.WireFault]string{
		storetest.WireDown: "cannot be reached", storetest.WireUnavailable: "it was told to", storetest.WireErrorNotStored: "it was told to",
		storetest.WireReset: "cannot be reached", storetest.WireTaken: "no such object", storetest.WireSkewed: "its clock and the one of this machine are too far apart",
		storetest.WireStoredButError: "", storetest.WireStoredButReset: "", storetest.WireSlow: "",
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			wire := storetest.NewWire(t, v.Config.Endpoint)
			config := v.Config
			config.Endpoint, config.OpTimeout = wire.URL, time.Second
			s, err := store.NewS3(config)
			if err != nil {
				t.Fatal(err)
			}
			o := options(memoryDir(t), s)
			o.MaxLagTime = 300 * time.Millisecond
			r := newRecorder(t, o)
			want := request()
			tape := begin(t, r, want)
			wire.Break(fault)
			all := noise(3 << 10) // at 1 KB/s longer than one operation may take
			appendAll(t, tape, out(1, all))
			eventually(t, "the fault was met", func() bool { return wire.Hits() > 0 })
			if says != "" {
				eventually(t, "the tape says so", func() bool {
					err := tape.Health().Err
					return err != nil && strings.Contains(err.Error(), says)
				})
				if _, err := r.Begin(t.Context(), request()); err == nil {
					t.Error("a session began without a store")
				}
			}
			if fault != storetest.WireSlow { // that gets through as it is
				wire.Break(storetest.WireGood)
			}
			eventually(t, "everything is stored", func() bool { return tape.Health().Bytes == 0 })
			wire.Break(storetest.WireGood)
			sealTape(t, tape, want.ID, time.Second)
			closed(t, r)
			a := recorder.OpenArchive(s, trusted(), nil)
			proven(t, a, want.ID)
			if got := bytesOf(read(t, a, want.ID), session.Output); !bytes.Equal(got, []byte(all)) {
				t.Errorf("%d bytes were recorded, and %d are stored", len(all), len(got))
			}
		})
	}
}

// noise is text that does not compress.
func noise(n int) string {
	var b strings.Builder
	rng := rand.New(rand.NewPCG(5, 5))
	for b.Len() < n {
		b.WriteByte(byte(' ' + rng.IntN(95)))
	}
	return b.String()
}
