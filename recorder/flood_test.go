package recorder_test

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder"
)

// A manifest is taken apart before anything else, also one that nobody signed: a
// bastion that follows its store must not be brought down by what lies there.
func TestManifestThatGrowsInMemory(t *testing.T) {
	original := record(t, 1)
	for name, body := range map[string]string{"seats": `{},`, "segments": `{},`, "flags": `"",`} {
		t.Run(name, func(t *testing.T) {
			l := original.copy()
			var m bytes.Buffer
			m.WriteString(`{"format":1,"` + name + `":[`)
			m.Write(bytes.Repeat([]byte(body), (31<<20)/len(body)))
			m.Truncate(m.Len() - 1)
			m.WriteString(`]}`)
			l.Tamper(l.places[0]+"manifest.json", m.Bytes())
			for what, keys := range map[string]*recorder.Archive{
				"with keys": recorder.OpenArchive(l, trusted(), nil), "without": recorder.OpenArchive(l, nil, nil),
			} {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				began := time.Now()
				if _, err := keys.Sealed(t.Context(), l.ids[0]); err == nil {
					t.Errorf("%s: it was taken for a manifest", what)
				}
				runtime.ReadMemStats(&after)
				if took := after.TotalAlloc - before.TotalAlloc; took > 256<<20 {
					t.Errorf("%s: %d MiB were taken for it in %v", what, took>>20, time.Since(began))
				}
			}
		})
	}
}
