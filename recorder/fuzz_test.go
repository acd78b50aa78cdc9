package recorder_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// This file hands the verifier what only somebody with the key could have signed, or what
// nobody signs at all. It must say something sensible about all of it: never
// panic, never hang, and never call proven what was not recorded.

// signedObject puts bytes, signed, in the place of an object.
func (l *loot) signedObject(name, namespace string, data []byte) {
	sig, err := recorder.Sign(testKey('k'), namespace, data)
	check(err)
	l.Tamper(name, data)
	l.Tamper(name+".sig", sig)
}

// fuzzed is a recording that the fuzzer shares with its workers, which are
// processes of their own: against one that each made for itself, everything that
// the fuzzer sends would be of another session, and refused before it is looked at.
func fuzzed(f *testing.F) *loot {
	const place = "TWOKEY_FUZZED"
	var kept struct {
		IDs, Places, Names []string
		Began              time.Time
		Objects            [][]byte
	}
	if os.Getenv(place) == "" {
		l := record(f, 1)
		kept.IDs, kept.Places, kept.Names, kept.Began = l.ids, l.places, l.Names(), l.began
		for _, name := range kept.Names {
			kept.Objects = append(kept.Objects, l.Object(name))
		}
		data, err := json.Marshal(kept)
		check(err)
		f.Setenv(place, filepath.Join(f.TempDir(), "recording.json"))
		check(os.WriteFile(os.Getenv(place), data, 0o600))
	}
	data, err := os.ReadFile(os.Getenv(place))
	check(err)
	check(json.Unmarshal(data, &kept))
	l := &loot{Memory: storetest.NewMemory(f), ids: kept.IDs, places: kept.Places, began: kept.Began}
	for i, name := range kept.Names {
		_, err := l.Put(f.Context(), name, kept.Objects[i])
		check(err)
	}
	return l
}

// FuzzManifest signs any manifest.
func FuzzManifest(f *testing.F) {
	original := fuzzed(f)
	name := original.places[0] + "manifest.json"
	f.Add(original.Object(name))
	f.Add([]byte(`{"format":1,"segments":[{"sum":"` + sha(nil) + `  00000001.cast.zst","size":9223372036854775807}]}`))
	f.Add([]byte(`{"format":1,"session":{"id":"` + original.ids[0] + `"},"segments":[{"sum":"00000001.cast.zst"}],"chain":""}`))
	f.Add([]byte(`[]`))
	var was recorder.Manifest
	check(json.Unmarshal(original.Object(name), &was))
	want, err := json.Marshal(was)
	check(err)
	f.Fuzz(func(t *testing.T, data []byte) {
		l := original.copy()
		l.signedObject(name, recorder.ManifestNamespace, data)
		a := recorder.OpenArchive(l, trusted(), nil)
		report, err := a.Check(t.Context(), l.ids[0])
		if err != nil {
			t.Fatal(err)
		}
		for range a.Events(t.Context(), l.ids[0]) {
		}
		if _, err := a.Sealed(t.Context(), l.ids[0]); err == nil && report.Manifest == nil {
			t.Errorf("listed, and not read: %q", report.Findings)
		}
		if len(report.Findings) > 0 {
			return
		}
		// What no tape knows, the manifest alone says: flags, its place in the chain.
		m := *report.Manifest
		m.Flags, m.Sequence, m.Previous, m.SealedBy = was.Flags, was.Sequence, was.Previous, was.SealedBy
		for i := range m.Segments {
			m.Segments[i].Version = was.Segments[i].Version
		}
		if got, err := json.Marshal(m); err != nil || string(got) != string(want) {
			t.Errorf("proven, and it is not what was recorded:\n%s\n%s", got, want)
		}
	})
}

// FuzzLedger signs any entry.
func FuzzLedger(f *testing.F) {
	original := fuzzed(f)
	for _, name := range original.Names() {
		if strings.HasPrefix(name, "ledger/") && strings.HasSuffix(name, ".json") {
			f.Add(original.Object(name))
		}
	}
	name := original.find("-sealed.json")
	was := string(original.Object(name))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := original.copy()
		l.signedObject(name, recorder.LedgerNamespace, data)
		a := recorder.OpenArchive(l, trusted(), nil)
		var found session.Unproven
		if err := a.Verify(t.Context(), nil, io.Discard); string(data) != was && !errors.As(err, &found) {
			t.Errorf("%q in the place of an entry: %v", data, err) // the one behind it knows better
		}
		for range a.Deeds(t.Context(), l.began, l.began.AddDate(0, 0, 1)) {
		}
	})
}

// vouched is what a manifest says of a segment: whoever has the key may sign other
// words, as many, and no other times, statements, results, shadows or end.
func vouched(plain []byte) string {
	var all []any
	first, last := "", ""
	for line := range bytes.Lines(plain) {
		if line[0] == '{' {
			continue
		}
		var parts []json.RawMessage
		var code, data string
		check(json.Unmarshal(line, &parts))
		check(errors.Join(json.Unmarshal(parts[1], &code), json.Unmarshal(parts[2], &data)))
		if last = string(parts[0]); first == "" {
			first = last
		}
		if code != "e" {
			continue
		}
		var e session.Event
		check(json.Unmarshal([]byte(data), &e))
		switch e.Type {
		case session.Statement:
			if e.Statement != nil && e.Statement.Protocol != "parse" {
				all = append(all, e.Type)
			}
		case session.Result:
			if r := e.Result; r != nil {
				all = append(all, e.Type, r.Rows, r.Bytes, r.SQLState != "")
			}
		case session.Join, session.Leave, session.End:
			all = append(all, last, e.Type, e.Who, e.Identity, e.Cause)
		case session.Alarm:
			all = append(all, e.Type)
		}
	}
	text, err := json.Marshal(append(all, first, last, len(plain)))
	check(err)
	return string(text)
}

// FuzzVerifier puts any bytes in the place of a segment, with every hash in the
// manifest made to fit.
func FuzzVerifier(f *testing.F) {
	original := fuzzed(f)
	for n := 1; n <= 4; n++ {
		f.Add(n, original.Object(original.segment(0, n)))
	}
	f.Add(2, []byte("\x28\xb5\x2f\xfd\x00\x58\x51\x00\x00"))
	f.Fuzz(func(t *testing.T, n int, stored []byte) {
		l := original.copy()
		n = 1 + int(uint(n)%4)
		l.Tamper(l.segment(0, n), stored)
		l.resign(testKey('k'), func(m *recorder.Manifest) {
			m.Segments[n-1].Sum, m.Segments[n-1].Size = sha(stored)+"  "+m.Segments[n-1].Name(), int64(len(stored))
			rechain(m)
		})
		a := recorder.OpenArchive(l, trusted(), nil)
		report, err := a.Check(t.Context(), l.ids[0])
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Findings) > 0 {
			return
		}
		if now, was := vouched(l.plain(n)), vouched(original.plain(n)); now != was {
			t.Errorf("segment %d: proven, and it is not what its manifest says:\n%s\n%s", n, now, was)
		}
		for range a.Events(t.Context(), l.ids[0]) {
		}
	})
}
