package recorder_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/minio/minio-go/v7"
	"github.com/oklog/ulid/v2"
	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// This file is the thief: somebody who can do anything to the store, and in
// some cases even has the key.

// loot is a store with three recordings of four segments or so, made by one
// node, and a thief's copy of it.
type loot struct {
	*storetest.Memory
	ids    []string
	places []string  // folders in the store
	began  time.Time // about when
}

func record(t testing.TB, n int) *loot {
	s := storetest.NewMemory(t)
	l := &loot{Memory: s, began: time.Now()}
	r := newRecorder(t, options(memoryDir(t), s))
	for range n {
		want := request()
		want.Started = want.Started.Add(-time.Hour)
		tape := begin(t, r, want)
		events := append(story(), out(18*time.Millisecond, "this is "+want.ID))
		for part := range slices.Chunk(events, (len(events)+1)/2) {
			appendAll(t, tape, part...)
			eventually(t, "stored", func() bool { return tape.Health().Bytes == 0 })
		}
		sealTape(t, tape, want.ID, 20*time.Millisecond)
		l.ids = append(l.ids, want.ID)
		eventually(t, "the manifest is there", func() bool {
			return slices.ContainsFunc(s.Names(), func(n string) bool { return strings.HasSuffix(n, want.ID+"/manifest.json") })
		})
	}
	closed(t, r)
	for _, id := range l.ids {
		i := slices.IndexFunc(s.Names(), func(n string) bool { return strings.Contains(n, id) })
		l.places = append(l.places, s.Names()[i][:strings.Index(s.Names()[i], id)+len(id)+1])
	}
	return l
}

func (l *loot) copy() *loot {
	return &loot{Memory: l.Memory.Clone(), ids: l.ids, places: l.places, began: l.began}
}

func (l *loot) segment(rec, n int) string {
	return fmt.Sprintf("%s%08d.cast.zst", l.places[rec], n)
}

// announce lets the ledger say that a recording began in another way.
func (l *loot) announce(entry string) {
	name := l.find(entry)
	var e recorder.Entry
	check(json.Unmarshal(l.Object(name), &e))
	e.First = sha([]byte("another"))
	data, err := json.Marshal(e)
	check(err)
	sig, err := recorder.Sign(testKey('k'), recorder.LedgerNamespace, data)
	check(err)
	l.Tamper(name, data)
	l.Tamper(name+".sig", sig)
}

func (l *loot) find(suffix string) string {
	names := l.Names()
	return names[slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, suffix) })]
}

// resign changes the manifest of recording 0 as somebody would who has the key.
func (l *loot) resign(key ssh.Signer, change func(*recorder.Manifest)) {
	var m recorder.Manifest
	name := l.places[0] + "manifest.json"
	if err := json.Unmarshal(l.Object(name), &m); err != nil {
		panic(err)
	}
	change(&m)
	data, _ := json.MarshalIndent(m, "", " ")
	sig, err := recorder.Sign(key, recorder.ManifestNamespace, data)
	if err != nil {
		panic(err)
	}
	l.Tamper(name, data)
	l.Tamper(name+".sig", sig)
}

// replace swaps the contents of a segment of recording 0 and makes every hash
// in the manifest fit, as only somebody could who has the key.
func (l *loot) replace(n int, plain []byte) {
	z, _ := zstd.NewWriter(nil)
	stored := z.EncodeAll(plain, nil)
	l.Tamper(l.segment(0, n), stored)
	l.resign(testKey('k'), func(m *recorder.Manifest) {
		s := &m.Segments[n-1]
		s.Sum, s.Size, s.Plain = sha(stored)+"  "+s.Name(), int64(len(stored)), int64(len(plain))
		rechain(m)
	})
}

func rechain(m *recorder.Manifest) {
	link := sha([]byte(m.Session.ID))
	for _, s := range m.Segments {
		link = sha(append(unhex(link), unhex(s.SHA256())...))
	}
	m.Chain = link
}

func (l *loot) plain(n int) []byte {
	z, _ := zstd.NewReader(nil)
	plain, err := z.DecodeAll(l.Object(l.segment(0, n)), nil)
	if err != nil {
		panic(err)
	}
	return plain
}

var tampers = []struct {
	name string
	do   func(l *loot)
	say  string // words of the finding
}{
	{"a segment is cut short", func(l *loot) { b := l.Object(l.segment(0, 2)); l.Tamper(l.segment(0, 2), b[:len(b)-1]) }, "00000002.cast.zst was cut short"},
	{"a segment is emptied", func(l *loot) { l.Tamper(l.segment(0, 2), []byte{}) }, "was cut short"},
	{"the first segment is gone", func(l *loot) { l.Tamper(l.segment(0, 1), nil) }, "00000001.cast.zst is missing"},
	{"a middle segment is gone", func(l *loot) { l.Tamper(l.segment(0, 2), nil) }, "00000002.cast.zst is missing"},
	{"the last segment is gone", func(l *loot) { l.Tamper(l.segment(0, 4), nil) }, "00000004.cast.zst is missing"},
	{"two segments change places", func(l *loot) {
		a, b := l.Object(l.segment(0, 2)), l.Object(l.segment(0, 3))
		l.Tamper(l.segment(0, 2), b)
		l.Tamper(l.segment(0, 3), a)
	}, "00000002.cast.zst"},
	{"a segment is there twice", func(l *loot) { l.Tamper(l.segment(0, 3), l.Object(l.segment(0, 2))) }, "00000003.cast.zst"},
	{"a segment comes from another session", func(l *loot) { l.Tamper(l.segment(0, 3), l.Object(l.segment(1, 3))) }, "00000003.cast.zst"},
	{"a segment is added at the end", func(l *loot) { l.Tamper(l.segment(0, 5), l.Object(l.segment(0, 4))) }, "its manifest does not name: 00000005"},
	{"something lies beside it", func(l *loot) { l.Tamper(l.places[0]+"notes.txt", []byte("x")) }, "does not name: notes.txt"},
	{"a folder lies beside it", func(l *loot) { l.Tamper(l.places[0]+"more/x", []byte("x")) }, "does not name: more"},
	{"a name that no store of ours has lies beside it", func(l *loot) { l.Tamper(l.places[0]+"00000005 .cast.zst", []byte("x")) }, `does not name: "00000005 .cast.zst"`},
	{"a name that writes lines and drives terminals lies beside it", func(l *loot) {
		l.Tamper(l.places[0]+"x\n"+l.ids[1]+"  proven: all is well\x1b]0;driven\a", []byte("x"))
	}, `does not name: "x\n`},
	{"garbage after a segment", func(l *loot) { l.Tamper(l.segment(0, 2), append(l.Object(l.segment(0, 2)), 0)) }, "is longer than the"},
	{"a segment is compressed again", func(l *loot) {
		z, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderCRC(false))
		l.Tamper(l.segment(0, 2), z.EncodeAll(l.plain(2), nil))
	}, "00000002.cast.zst"},
	{"the manifest is gone", func(l *loot) { l.Tamper(l.places[0]+"manifest.json", nil) }, "it has no manifest"},
	{"the signature is gone", func(l *loot) { l.Tamper(l.places[0]+"manifest.json.sig", nil) }, "not signed"},
	{"the manifest of another session", func(l *loot) {
		for _, n := range []string{"manifest.json", "manifest.json.sig"} {
			l.Tamper(l.places[0]+n, l.Object(l.places[1]+n))
		}
	}, "that of another session"},
	{"the signature of another session", func(l *loot) {
		l.Tamper(l.places[0]+"manifest.json.sig", l.Object(l.places[1]+"manifest.json.sig"))
	}, "does not fit"},
	{"a whole recording under another name", func(l *loot) {
		for _, n := range l.Names() {
			if rest, of := strings.CutPrefix(n, l.places[1]); of {
				l.Tamper(l.places[0]+rest, l.Object(n))
			}
		}
	}, "that of another session"},
	{"a space after the manifest", func(l *loot) {
		n := l.places[0] + "manifest.json"
		l.Tamper(n, append(l.Object(n), ' '))
	}, "does not fit"},
	{"a line after the signature", func(l *loot) {
		n := l.places[0] + "manifest.json.sig"
		l.Tamper(n, append(l.Object(n), '\n'))
	}, "added to it"},
	{"a line before the signature", func(l *loot) {
		n := l.places[0] + "manifest.json.sig"
		l.Tamper(n, append([]byte("hello\n"), l.Object(n)...))
	}, "added to it"},
	{"signed with another key", func(l *loot) { l.resign(testKey('x'), func(*recorder.Manifest) {}) }, "not one of those trusted"},
	{"signed for another purpose", func(l *loot) {
		n := l.places[0] + "manifest.json"
		sig, _ := recorder.Sign(testKey('k'), recorder.LedgerNamespace, l.Object(n))
		l.Tamper(n+".sig", sig)
	}, "does not fit"},
	{"a huge manifest", func(l *loot) { l.Tamper(l.places[0]+"manifest.json", make([]byte, 33<<20)) }, "larger than a manifest can be"},

	// From here on the key itself lies.
	{"the end is left out, signed", func(l *loot) {
		l.Tamper(l.segment(0, 4), nil)
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Segments = m.Segments[:3]; rechain(m) })
	}, "the tape has no end"},
	{"the beginning is left out, signed", func(l *loot) {
		l.replace(1, l.plain(2))
	}, "line 1 of the tape"},
	{"unclean dressed as clean, signed", func(l *loot) {
		last := bytes.Replace(l.plain(4), []byte(`\"code\":\"quit\"`), []byte(`\"code\":\"unclean\"`), 1)
		l.replace(4, last)
	}, `by the tape "unclean" is true`},
	{"killed dressed as quit, signed", func(l *loot) {
		l.replace(4, bytes.Replace(l.plain(4), []byte(`\"code\":\"quit\"`), []byte(`\"code\":\"killed\"`), 1))
	}, `the tape says "killed"`},
	{"a statement is left out, signed", func(l *loot) {
		var kept [][]byte
		for line := range bytes.Lines(l.plain(2)) {
			if !bytes.Contains(line, []byte(`\"statement\"`)) {
				kept = append(kept, line)
			}
		}
		l.replace(2, bytes.Join(kept, nil))
	}, "the manifest counts"},
	{"the statements are counted wrong, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Totals.Statements++ })
	}, "the manifest counts"},
	{"a shadow is left out, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Seats = nil })
	}, "who watched"},
	{"another engineer, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Session.Engineer.Subject = "3" })
	}, "who asked for what"},
	{"opened alone, and not said, signed", func(l *loot) {
		l.replace(1, bytes.Replace(l.plain(1), []byte(`\"quorum\":[{\"count\":1,\"groups\":[\"dba\"]}]`), []byte(`\"quorum\":null`), 1))
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Session.Quorum = nil })
	}, `by the tape "alone" is true`},
	{"glass that nobody broke, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Flags = append(m.Flags, "break-glass") })
	}, `by the tape "break-glass" is false`},
	{"glass that was broken by the manifest alone, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) {
			m.Flags = append(m.Flags, "break-glass")
			m.Session.BreakGlass = true
		})
	}, "do not agree on who asked for what"},
	{"lengths that lie, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Segments[1].Plain++ })
	}, "decompresses to something else"},
	{"times that lie, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Segments[1].To += 5 })
	}, "it ends at"},
	{"an end that lies, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Ended = m.Ended.Add(time.Hour) })
	}, "the session ended at"},
	{"a chain that lies, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Chain = sha(unhex(m.Chain)) })
	}, "the chain of hashes"},
	{"a chain left out, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Chain = "" })
	}, "the chain of hashes"},
	{"a sum that lies, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) {
			m.Segments[1].Sum = m.Segments[0].SHA256() + "  " + m.Segments[1].Name()
			rechain(m)
		})
	}, "00000002.cast.zst is not what was recorded"},
	{"a segment named twice, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Segments[1] = m.Segments[0]; rechain(m) })
	}, "has the name"},
	{"no sum, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Segments[1].Sum = "" })
	}, "has the name"},
	{"a name without a hash, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Segments[1].Sum = "  " + m.Segments[1].Name() })
	}, "has no hash"},
	{"half a hash, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Segments[1].Sum = m.Segments[1].Sum[32:] })
	}, "has no hash"},
	{"words behind a sum, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Segments[1].Sum += "  " + m.Segments[2].Sum })
	}, "has the name"},
	{"names that climb, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) {
			m.Segments[1].Sum = m.Segments[1].SHA256() + "  ../" + m.Segments[1].Name()
		})
	}, "has the name"},
	{"sizes that are impossible, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Segments[1].Size = 1 << 40 })
	}, "impossible size"},
	{"a bomb, signed", func(l *loot) { l.replace(2, make([]byte, 150<<20)) }, "impossible size"},
	{"a bomb that says it is none, signed", func(l *loot) {
		l.replace(2, make([]byte, 150<<20))
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Segments[1].Plain = 100 })
	}, "decompressed"},
	{"something after the end, signed", func(l *loot) {
		l.replace(4, append(l.plain(4), "[99.000000,\"o\",\"more\"]\n"...))
	}, "comes after the end"},
	{"time goes backwards, signed", func(l *loot) {
		l.replace(3, append([]byte("[99.000000,\"o\",\"more\"]\n"), l.plain(3)...))
	}, "segment 00000003"},
	{"no line at all, signed", func(l *loot) { l.replace(2, []byte("hello\n")) }, "not a line of a recording"},
	{"a later format, signed", func(l *loot) {
		l.resign(testKey('k'), func(m *recorder.Manifest) { m.Format = 2 })
	}, "this twokey reads 1"},
}

func TestTampering(t *testing.T) {
	original := record(t, 2)
	if len(original.segment(0, 4)) == 0 || original.Object(original.segment(0, 4)) == nil {
		t.Fatalf("want four segments: %v", original.Names())
	}
	proven(t, recorder.OpenArchive(original, trusted(), nil), original.ids...)
	for _, c := range tampers {
		t.Run(c.name, func(t *testing.T) {
			l := original.copy()
			c.do(l)
			a := recorder.OpenArchive(l, trusted(), nil)
			report, err := a.Check(t.Context(), l.ids[0])
			if err != nil || !strings.Contains(strings.Join(report.Findings, "\n"), c.say) {
				t.Fatalf("%q, %v; want %q", report.Findings, err, c.say)
			}
			if err := a.Verify(t.Context(), l.ids[:1], io.Discard); err == nil {
				t.Error("Verify of one says nothing")
			}
			if err := a.Verify(t.Context(), nil, io.Discard); err == nil {
				t.Error("Verify of all says nothing")
			}
			for range a.Events(t.Context(), l.ids[0]) { // must not hang or panic
			}
		})
	}
}

func TestEveryFlippedByte(t *testing.T) {
	l := record(t, 1).copy()
	a := recorder.OpenArchive(l, trusted(), nil)
	n := 0
	for _, name := range l.Names() {
		whole := l.Object(name)
		for i := range whole {
			changed := bytes.Clone(whole)
			changed[i] ^= 1 << (i % 8)
			l.Tamper(name, changed)
			if strings.HasPrefix(name, "sessions/") {
				if r, err := a.Check(t.Context(), l.ids[0]); err != nil || len(r.Findings) == 0 {
					t.Fatalf("%s: byte %d: %v, %v", name, i, r.Findings, err)
				}
			} else if i%7 == 0 || thoroughness(t) > 1 { // judging the whole store takes longer
				if err := a.Verify(t.Context(), nil, io.Discard); err == nil {
					t.Fatalf("%s: byte %d was changed, and nobody noticed", name, i)
				}
			}
			n++
		}
		l.Tamper(name, whole)
	}
	proven(t, a)
	t.Logf("%d bytes flipped", n)
}

// What is gone as a whole shows in the books.
func TestMissingWithoutATrace(t *testing.T) {
	original := record(t, 3)
	gone := func(l *loot, prefix string) {
		for _, n := range l.Names() {
			if strings.HasPrefix(n, prefix) {
				l.Tamper(n, nil)
			}
		}
	}
	for _, c := range []struct {
		name string
		do   func(l *loot)
		say  []string
	}{
		{"the first recording", func(l *loot) { gone(l, l.places[0]) },
			[]string{"recording number 1 is missing before " + original.ids[1], "recording " + original.ids[0] + " is in the ledger, and missing"}},
		{"the middle recording", func(l *loot) { gone(l, l.places[1]) },
			[]string{"recording number 2 is missing before " + original.ids[2], original.ids[1] + " is in the ledger"}},
		{"the last recording", func(l *loot) { gone(l, l.places[2]) }, []string{original.ids[2] + " is in the ledger"}},
		{"a recording and its line in the ledger", func(l *loot) {
			gone(l, l.places[1])
			gone(l, strings.TrimSuffix(l.find("0000000005-sealed.json"), ".json"))
		}, []string{"recording number 2 is missing", "1 entries are missing before number 6"}},
		{"the whole ledger", func(l *loot) { gone(l, "ledger/") }, []string{"the ledger does not know the end of recording " + original.ids[0]}},
		{"the end of the ledger", func(l *loot) {
			gone(l, strings.TrimSuffix(l.find("0000000007-sealed.json"), ".json"))
			gone(l, strings.TrimSuffix(l.find("0000000008-stopped.json"), ".json"))
		}, []string{"the ledger does not know the end of recording " + original.ids[2]}},
		{"a recording, and the ledger from its end on", func(l *loot) {
			gone(l, l.places[2])
			gone(l, strings.TrimSuffix(l.find("0000000007-sealed.json"), ".json"))
			gone(l, strings.TrimSuffix(l.find("0000000008-stopped.json"), ".json"))
		}, []string{"recording " + original.ids[2] + " began by the ledger, and there is nothing of it"}},
		{"another first segment than was announced", func(l *loot) {
			l.announce("0000000006-begun.json")
		}, []string{original.ids[2] + "  NOT PROVEN", "it does not begin with what the ledger of "}},
		{"a signature in the ledger", func(l *loot) { gone(l, l.find("0000000005-sealed.json")+".sig") }, []string{"0000000005-sealed.json is not what was signed"}},
		{"an entry with another number", func(l *loot) {
			a, b := l.find("0000000003-sealed.json"), l.find("0000000005-sealed.json")
			l.Tamper(a, l.Object(b))
			l.Tamper(a+".sig", l.Object(b+".sig"))
		}, []string{"is an entry that belongs to"}},
		{"something in the ledger", func(l *loot) { l.Tamper("ledger/x/2026/notes", []byte("x")) }, []string{"does not belong there"}},
		{"a name in the ledger that no store of ours has", func(l *loot) {
			l.Tamper("ledger/a b\n/2026/11/29/0000000001-started.json", []byte("x"))
			l.Tamper("ledger/loose.json", []byte("x"))
			l.Tamper(path.Dir(l.find("-stopped.json"))+"/x y", []byte("x"))
			l.Tamper("sessions/a b/c d/e f/g", []byte("x"))
		}, []string{`does not belong there: "ledger/a b\n/"`, "does not belong there: ledger/loose.json", `/x y"`}},
		{"another manifest, signed", func(l *loot) {
			l.resign(testKey('k'), func(m *recorder.Manifest) { m.Flags = append(m.Flags, "fine") })
		},
			[]string{"has another manifest than the ledger says", "does not continue the one before"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := original.copy()
			c.do(l)
			var w strings.Builder
			err := recorder.OpenArchive(l, trusted(), nil).Verify(t.Context(), nil, &w)
			if err == nil {
				t.Fatal("nobody noticed")
			}
			for _, words := range c.say {
				if !strings.Contains(w.String(), words) {
					t.Errorf("want %q in\n%s", words, w.String())
				}
			}
		})
	}
}

// A bastion that verifies its own store knows where its ledger ends.
func TestTheEndOfOnesOwnLedger(t *testing.T) {
	s := storetest.NewMemory(t)
	r := newRecorder(t, options(memoryDir(t), s))
	want := request()
	sealTape(t, begin(t, r, want), want.ID, 1)
	last := func() string {
		return s.Names()[slices.IndexFunc(s.Names(), func(n string) bool { return strings.HasSuffix(n, "-sealed.json") })]
	}
	eventually(t, "the ledger is stored", func() bool {
		return slices.ContainsFunc(s.Names(), func(n string) bool { return strings.HasSuffix(n, "-sealed.json") })
	})
	a := recorder.OpenArchive(s, trusted(), r)
	eventually(t, "all is proven", func() bool { return a.Verify(t.Context(), nil, io.Discard) == nil })
	robbed := s.Clone()
	robbed.Tamper(last()+".sig", nil)
	robbed.Tamper(last(), nil)
	var w strings.Builder
	if err := recorder.OpenArchive(robbed, trusted(), r).Verify(t.Context(), nil, &w); err == nil || !strings.Contains(w.String(), "the ledger ends at number 2, and this bastion has brought it to 3: its end is gone") {
		t.Errorf("%v\n%s", err, w.String())
	}
	bare := s.Clone()
	for _, name := range bare.Names() {
		bare.Tamper(name, nil)
	}
	w.Reset()
	if err := recorder.OpenArchive(bare, trusted(), r).Verify(t.Context(), nil, &w); err == nil || !strings.Contains(w.String(), "the ledger ends at number 0, and this bastion has brought it to 3: its end is gone") {
		t.Errorf("nothing is left, and it says %v\n%s", err, w.String())
	}
	closed(t, r)
}

// growing is a store to whose ledger something is added whenever an entry is read.
type growing struct {
	*storetest.Memory
	add func()
}

func (g growing) Get(ctx context.Context, name, version string, limit int64) ([]byte, string, error) {
	if strings.HasPrefix(name, "ledger/") {
		g.add()
	}
	return g.Memory.Get(ctx, name, version, limit)
}

// A ledger that grows while it is verified has lost nothing.
func TestALedgerThatGrows(t *testing.T) {
	s := storetest.NewMemory(t)
	r := newRecorder(t, options(memoryDir(t), s))
	want := request()
	sealTape(t, begin(t, r, want), want.ID, 1)
	eventually(t, "all is proven", func() bool { return recorder.OpenArchive(s, trusted(), r).Verify(t.Context(), nil, io.Discard) == nil })
	entries := func() int {
		return len(slices.DeleteFunc(s.Names(), func(n string) bool { return !strings.HasPrefix(n, "ledger/") || !strings.HasSuffix(n, ".json") }))
	}
	add := func() {
		for range 2 { // with the second there, the recorder knows that the first is
			n := entries()
			if err := r.Viewed(t.Context(), session.Identity{Issuer: "https://idp", Subject: "dave"}, "verify", ""); err != nil {
				t.Error(err)
			}
			eventually(t, "the store has the entry", func() bool { return entries() > n })
		}
	}
	var w strings.Builder
	if err := recorder.OpenArchive(growing{s, sync.OnceFunc(add)}, trusted(), r).Verify(t.Context(), nil, &w); err != nil {
		t.Errorf("%v\n%s", err, w.String())
	}
	closed(t, r)
}

// A signing key is replaced: recordings of the old one stay proven as long as
// its public half is trusted.
// Somebody makes up a whole store with a key of their own: every chain in it fits, and
// nothing of it is proven; nor is it beside what is.
func TestAStoreThatSignsItself(t *testing.T) {
	forge := func(s *storetest.Memory) string {
		o := options(memoryDir(t), s)
		o.Signer = testKey('x')
		r := newRecorder(t, o)
		want := request()
		sealTape(t, begin(t, r, want), want.ID, 1)
		closed(t, r)
		return want.ID
	}
	s := storetest.NewMemory(t)
	id := forge(s)
	if err := recorder.OpenArchive(s, []ssh.PublicKey{testKey('x').PublicKey()}, nil).Verify(t.Context(), nil, io.Discard); err != nil {
		t.Fatal(err) // by its own key, all fits
	}
	real := record(t, 1)
	mixed := real.copy()
	for name, c := range map[string]struct {
		store store.Store
		id    string
		words string
	}{"alone": {s, id, "1 recordings, 1 not proven"}, "beside a real one": {mixed, forge(mixed.Memory), "2 recordings, 1 not proven"}} {
		var w strings.Builder
		var found session.Unproven
		err := recorder.OpenArchive(c.store, trusted(), nil).Verify(t.Context(), nil, &w)
		if !errors.As(err, &found) || !strings.Contains(w.String(), c.words) || !strings.Contains(w.String(), c.id+"  NOT PROVEN\n    its manifest is not what was signed") ||
			!strings.Contains(w.String(), "-begun.json is not what was signed") {
			t.Errorf("%s: %v\n%s", name, err, w.String())
		}
	}
}

func TestKeyRotation(t *testing.T) {
	s, dir := storetest.NewMemory(t), memoryDir(t)
	var ids []string
	for _, key := range []byte("ko") {
		o := options(dir, s)
		o.Signer = testKey(key)
		r := newRecorder(t, o)
		want := request()
		ids = append(ids, want.ID)
		sealTape(t, begin(t, r, want), want.ID, 1)
		closed(t, r)
	}
	both := append(trusted(), testKey('o').PublicKey())
	proven(t, recorder.OpenArchive(s, both, nil))
	if r, err := recorder.OpenArchive(s, both[1:], nil).Check(t.Context(), ids[0]); err != nil || len(r.Findings) == 0 {
		t.Fatal("a key that is not trusted proves")
	}
	if err := recorder.OpenArchive(s, nil, nil).Verify(t.Context(), nil, io.Discard); err == nil {
		t.Fatal("no keys prove everything")
	}
}

// On a real S3 server, a file that was changed behind the server's back.
func TestChangedOnTheServer(t *testing.T) {
	v := storetest.StartVersity(t)
	s := v.Store()
	r := newRecorder(t, options(memoryDir(t), s))
	want := request()
	tape := begin(t, r, want)
	appendAll(t, tape, story()...)
	sealTape(t, tape, want.ID, time.Second)
	closed(t, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	proven(t, a)
	list, err := filepath.Glob(filepath.Join(v.Dir(), "sessions/*/*/*", want.ID, "00000002.cast.zst"))
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if err := os.WriteFile(list[0], []byte("other bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := a.Check(t.Context(), want.ID)
	if err != nil || len(report.Findings) == 0 {
		t.Fatalf("%v, %v", report, err)
	}
}

// On a real S3 server that keeps versions, a thief with the bastion's own
// credentials deletes, and writes over, and takes the newest recording with the end
// of the ledger: all of it shows, and what was recorded can still be read.
func TestDeletedAndWrittenOverOnTheServer(t *testing.T) {
	v := storetest.StartVersity(t)
	v.Lock("compliance", 1)
	s, client := v.Store(), v.Client()
	r := newRecorder(t, options(memoryDir(t), s))
	var ids []string
	for range 3 {
		want := request()
		tape := begin(t, r, want)
		appendAll(t, tape, story()...)
		eventually(t, "stored", func() bool { return tape.Health().Bytes == 0 })
		sealTape(t, tape, want.ID, time.Second)
		ids = append(ids, want.ID)
		eventually(t, "there", func() bool {
			rep, err := recorder.OpenArchive(s, trusted(), nil).Check(t.Context(), want.ID)
			return err == nil && len(rep.Findings) == 0
		})
	}
	closed(t, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	said := proven(t, a)
	if n := strings.Count(said, "proven: "); n != 3 {
		t.Fatalf("%d are proven:\n%s", n, said)
	}
	var names []string
	for o := range client.ListObjects(t.Context(), v.Config.Bucket, minio.ListObjectsOptions{Recursive: true}) {
		names = append(names, o.Key)
	}
	remove := func(part string) {
		for _, name := range names {
			if strings.Contains(name, part) {
				if err := client.RemoveObject(t.Context(), v.Config.Bucket, name, minio.RemoveObjectOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	over := func(part, text string) {
		n := slices.IndexFunc(names, func(name string) bool { return strings.Contains(name, part) })
		if _, err := client.PutObject(t.Context(), v.Config.Bucket, names[n], strings.NewReader(text), int64(len(text)), minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	over(ids[0]+"/00000002", "something else")
	remove(ids[1] + "/manifest.json")
	remove(ids[2])
	remove("0000000007-") // its end
	remove("0000000006-") // its beginning
	remove("0000000008-") // stopped
	for _, name := range []string{"ledger/a b/2026/x", "sessions/a b/c d/x", "sessions/2026/13/45/" + ids[0] + "/x"} {
		if _, err := client.PutObject(t.Context(), v.Config.Bucket, path.Join(v.Config.Prefix, name), strings.NewReader("x"), 1, minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var w strings.Builder
	var found session.Unproven
	if err := a.Verify(t.Context(), nil, &w); !errors.As(err, &found) {
		t.Errorf("%v\n%s", err, w.String())
	}
	for _, want := range []string{
		"segment 00000002.cast.zst was cut short", "somebody wrote over sessions/", "is still in the store and intact",
		ids[1] + "/manifest.json at ", ids[2] + "/manifest.json.sig at ", "somebody deleted ledger/" + r.Node(),
		`does not belong there: "ledger/a b/"`,
	} {
		if !strings.Contains(w.String(), want) {
			t.Errorf("want %q in\n%s", want, w.String())
		}
	}
	for i, words := range []string{"somebody wrote over", "somebody deleted", "somebody deleted"} {
		if rep, err := a.Check(t.Context(), ids[i]); err != nil || !strings.Contains(strings.Join(rep.Findings, "\n"), words) {
			t.Errorf("%s alone: %q, %v", ids[i], rep.Findings, err)
		}
	}
	if got := bytesOf(read(t, a, ids[0]), session.Output); !bytes.Contains(got, []byte("€😀")) {
		t.Errorf("what was recorded can not be read any more: %q", got)
	}
}

// recipes are the commands with which the README proves and plays a recording
// without twokey, as they stand there.
func recipes(t *testing.T) (lines []string) {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "## Prove a recording without twokey\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for i, block := range strings.Split(section, "```\n") {
		if i%2 == 1 {
			lines = append(lines, strings.Split(strings.TrimSpace(block), "\n")...)
		}
	}
	if len(lines) != 5 {
		t.Fatalf("the README has %d lines to type: %q", len(lines), lines)
	}
	return lines
}

// What the README says can be typed, and proves and plays; encrypted or not.
func TestWithStandardTools(t *testing.T) {
	lines := recipes(t)
	me := identity(t)
	for name, c := range map[string]struct {
		to    []recorder.Recipient
		lines []string
	}{"plain": {nil, lines[:4]}, "encrypted": {[]recorder.Recipient{me.Recipient()}, slices.Concat(lines[:3], lines[4:])}} {
		t.Run(name, func(t *testing.T) {
			place, exported := recordedFolder(t, c.to, me)
			key := filepath.Join(place, "..", "recording.pub")
			if err := errors.Join(os.WriteFile(key, ssh.MarshalAuthorizedKey(testKey('k').PublicKey()), 0o600),
				os.WriteFile(filepath.Join(place, "identity.txt"), []byte(me.String()+"\n"), 0o600)); err != nil {
				t.Fatal(err)
			}
			sh := func(script string) (string, error) {
				cmd := exec.Command("bash", "-o", "pipefail", "-ec", strings.ReplaceAll(script, "/etc/twokey/keys/recording.pub", key))
				cmd.Dir = place
				cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm", "SHELL=/bin/bash", "HOME="+t.TempDir())
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			for _, line := range c.lines[:3] {
				if out, err := sh(line); err != nil {
					t.Errorf("%s: %v\n%s", line, err, out)
				}
			}
			for _, line := range []string{c.lines[3], strings.Replace(c.lines[3], "asciinema play", "asciinema cat", 1)} {
				script := filepath.Join(place, "..", "play") // a player wants a terminal
				if err := os.WriteFile(script, []byte(line), 0o700); err != nil {
					t.Fatal(err)
				}
				out, err := sh("script -qec 'bash -eo pipefail ../play' /dev/null </dev/null")
				if err != nil || !strings.Contains(out, "orders=>") || !strings.Contains(out, "€😀") {
					t.Errorf("%s: %v\n%q", line, err, out)
				}
			}
			if out, err := sh(c.lines[2]); err != nil || strings.Contains(out, "00000099") {
				t.Errorf("a reason vouches for a segment: %v\n%s", err, out)
			}
			pipe, _, _ := strings.Cut(c.lines[3], " | asciinema")
			if out, err := sh(pipe); err != nil || out != string(exported) {
				t.Errorf("zstd and Export differ: %v", err)
			}
			playersTakeEveryLine(t, exported)
			second, err := filepath.Glob(filepath.Join(place, "00000002.cast.zst*"))
			if err != nil || len(second) != 1 || os.WriteFile(second[0], []byte("other"), 0o600) != nil {
				t.Fatal(second, err)
			}
			if out, err := sh(c.lines[2]); err == nil || !strings.Contains(out, filepath.Base(second[0])+": FAILED") {
				t.Errorf("sha256sum does not notice: %v\n%s", err, out)
			}
		})
	}
}

func TestFormatHasTheRecipe(t *testing.T) {
	format, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range recipes(t)[1:] {
		if !bytes.Contains(format, []byte("\n    "+line+"\n")) {
			t.Errorf("FORMAT.md does not have the recipe %s", line)
		}
	}
}

// planted is what an engineer may give as a reason: a line of sha256sum's, for a
// segment that somebody who can write to the store adds later.
var planted = sha([]byte("planted")) + "  00000099.cast.zst"

// recordedFolder makes a recording in a folder.
func recordedFolder(t *testing.T, to []recorder.Recipient, me recorder.Identity) (place string, exported []byte) {
	t.Helper()
	dir := memoryDir(t)
	s, err := store.NewFolder(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	o := options(filepath.Join(dir, "state"), s)
	o.Recipients = to
	r := newRecorder(t, o)
	want := request()
	want.Reason, want.Args = planted, []string{planted, `"sum": "` + planted + `",`}
	tape := begin(t, r, want)
	for part := range slices.Chunk(story(), 7) {
		appendAll(t, tape, part...)
		eventually(t, "stored", func() bool { return tape.Health().Bytes == 0 })
	}
	sealTape(t, tape, want.ID, 20*time.Millisecond)
	closed(t, r)
	list, err := filepath.Glob(filepath.Join(dir, "store/sessions/*/*/*", want.ID))
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	var cast bytes.Buffer
	a := recorder.OpenArchive(s, trusted(), nil)
	a.Open([]recorder.Identity{me})
	if err := a.Export(t.Context(), want.ID, &cast); err != nil {
		t.Fatal(err)
	}
	return list[0], cast.Bytes()
}

// playersTakeEveryLine checks what the strictest player, asciinema 3, insists
// on: three elements, the third always a string.
func playersTakeEveryLine(t *testing.T, cast []byte) {
	t.Helper()
	n := 0
	for line := range bytes.Lines(cast) {
		if n++; n == 1 {
			continue
		}
		var e []any
		if err := json.Unmarshal(line, &e); err != nil || len(e) != 3 {
			t.Fatalf("line %d: %v", n, err)
		}
		if _, is := e[2].(string); !is {
			t.Fatalf("line %d: the data is a %T", n, e[2])
		}
	}
}

// A running session can be read as far as it is stored.
func TestEventsOfARunningSession(t *testing.T) {
	s := storetest.NewMemory(t)
	r := newRecorder(t, options(memoryDir(t), s))
	want := request()
	tape := begin(t, r, want)
	appendAll(t, tape, out(1, "hello"))
	eventually(t, "stored", func() bool { return tape.Health().Bytes == 0 })
	a := recorder.OpenArchive(s, trusted(), nil)
	if got := string(bytesOf(read(t, a, want.ID), session.Output)); got != "hello" {
		t.Fatalf("%q", got)
	}
	report, err := a.Check(t.Context(), want.ID)
	if err != nil || len(report.Findings) != 1 || !report.Running {
		t.Fatalf("%+v, %v", report, err)
	}
	if err := a.Verify(t.Context(), nil, io.Discard); err != nil {
		t.Fatalf("a running session is no finding for the whole store: %v", err)
	}
	sealTape(t, tape, want.ID, time.Second)
	closed(t, r)
}

// An ID says when its session began, and anybody can draw one of the year 2099: what
// lies there does not run for ever.
func TestNothingRunsInTheFuture(t *testing.T) {
	l := record(t, 1).copy()
	id, err := ulid.New(ulid.Timestamp(time.Now().AddDate(70, 0, 0)), ulid.DefaultEntropy())
	check(err)
	place := "sessions/" + ulid.Time(id.Time()).UTC().Format("2006/01/02/") + id.String() + "/"
	l.Tamper(place+"00000001.cast.zst", l.Object(l.segment(0, 1)))
	var w strings.Builder
	err = recorder.OpenArchive(l, trusted(), nil).Verify(t.Context(), nil, &w)
	if !errors.As(err, &session.Unproven{}) || !strings.Contains(w.String(), id.String()+"  NOT PROVEN") {
		t.Errorf("%v\n%s", err, w.String())
	}
}

func sha(p []byte) string { return recorder.Hash(p) }

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// Before there is a manifest nobody has vouched for the size of anything: an
// object that no segment can be is refused without being read.
func TestHugeObjectThatNobodySignedFor(t *testing.T) {
	dir := memoryDir(t)
	s, err := store.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	id := ulid.Make()
	place := filepath.Join(dir, "sessions", ulid.Time(id.Time()).UTC().Format("2006/01/02"), id.String())
	segment := filepath.Join(place, "00000001.cast.zst")
	if err := errors.Join(os.MkdirAll(place, 0o700), os.WriteFile(segment, nil, 0o600), os.Truncate(segment, 2<<30)); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = nil
	for _, err = range recorder.OpenArchive(s, trusted(), nil).Events(t.Context(), id.String()) {
	}
	runtime.ReadMemStats(&after)
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("%v, want ErrTooLarge", err)
	}
	if read := after.TotalAlloc - before.TotalAlloc; read > 16<<20 {
		t.Errorf("%d MiB were taken for it", read>>20)
	}
}

// While a session runs, each checkpoint says how far the store has its tape. Whoever takes
// back the end of it, or puts something else in its place, is seen at once, not
// when the recording should have been sealed.
func TestTheTailOfARunningSessionIsHeldAgainstTheLedger(t *testing.T) {
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	o.CheckpointEvery = 20 * time.Millisecond
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	l := &loot{Memory: s, ids: []string{want.ID}, places: []string{fmt.Sprintf("sessions/%s/%s/", want.Started.UTC().Format("2006/01/02"), want.ID)}}
	last := func(l *loot) (segments int) {
		for _, name := range l.Names() {
			var e recorder.Entry
			if strings.HasSuffix(name, "-checkpoint.json") && json.Unmarshal(l.Object(name), &e) == nil && len(e.Live) == 1 {
				segments = e.Live[0].Segments
			}
		}
		return segments
	}
	for n := 1; last(l) < 4; n++ {
		before := last(l)
		appendAll(t, tape, out(time.Duration(n), fmt.Sprint("part ", n)))
		eventually(t, "a checkpoint knows of it", func() bool { return last(l) > before && tape.Health().Bytes == 0 })
	}
	now := l.copy()
	n := last(now)
	lost := fmt.Sprintf("its first %d segments are not those", n)
	proven(t, recorder.OpenArchive(now, trusted(), nil))
	for name, c := range map[string]struct {
		do   func(*loot)
		want string
	}{
		"the last segment is gone": {func(l *loot) { l.Tamper(l.segment(0, n), nil) }, lost},
		"one in the middle":        {func(l *loot) { l.Tamper(l.segment(0, 2), nil) }, lost},
		"the first":                {func(l *loot) { l.Tamper(l.segment(0, 1), nil) }, "it does not begin with what the ledger"},
		"another in its place":     {func(l *loot) { l.Tamper(l.segment(0, n), l.Object(l.segment(0, 2))) }, lost},
		"another beginning":        {func(l *loot) { l.Tamper(l.segment(0, 1), l.Object(l.segment(0, 2))) }, "it does not begin with what the ledger"},
		"a changed one":            {func(l *loot) { l.Tamper(l.segment(0, n), []byte("x")) }, lost},
		"all of them": {func(l *loot) {
			for i := range n {
				l.Tamper(l.segment(0, i+1), nil)
			}
			l.Tamper(l.segment(0, n+1), nil) // if it is there already
		}, "there is nothing of it"},
	} {
		t.Run(name, func(t *testing.T) {
			l := now.copy()
			c.do(l)
			var w strings.Builder
			var found session.Unproven
			if err := recorder.OpenArchive(l, trusted(), nil).Verify(t.Context(), nil, &w); !errors.As(err, &found) || !strings.Contains(w.String(), c.want) {
				t.Errorf("%v\n%s", err, w.String())
			}
		})
	}
	sealTape(t, tape, want.ID, time.Second)
	closed(t, r)
	proven(t, recorder.OpenArchive(s, trusted(), nil))
}

// crowd is a store in which somebody has filled a folder.
type crowd struct {
	*storetest.Memory
	folder string
}

func (c crowd) List(ctx context.Context, folder string) ([]store.Object, error) {
	if folder == c.folder {
		return nil, store.ErrTooMany
	}
	return c.Memory.List(ctx, folder)
}

// A folder that is filled until it can not be listed is a finding, and hides nothing of
// what lies elsewhere.
func TestAFolderThatIsFilled(t *testing.T) {
	l := record(t, 3).copy()
	l.Tamper(l.segment(1, 1), []byte("x"))
	day := strings.TrimSuffix(l.places[0], l.ids[0]+"/")
	ledger, _, _ := strings.Cut(l.find("-begun.json"), "00000")
	for folder, want := range map[string][]string{
		"sessions/2020/":  nil,
		day:               {day + " holds more names than", "is in the ledger, and missing"},
		l.places[0]:       {l.ids[0] + "  NOT PROVEN", "its folder holds more names", l.ids[1] + "  NOT PROVEN", l.ids[2] + "  proven", "3 recordings, 2 not proven"},
		ledger:            {ledger + " holds more names than", l.ids[0] + "  proven", "3 recordings, 1 not proven"},
		"ledger/":         {"ledger/ holds more names than", l.ids[0] + "  proven", "3 recordings, 1 not proven"},
		"ledger/nothing/": nil,
	} {
		c := crowd{l.Memory, folder}
		if want == nil { // there is such a folder only now
			c.Memory = l.Clone()
			c.Tamper(folder+"x/x", []byte("x"))
			want = []string{folder + " holds more names than", l.ids[0] + "  proven", "3 recordings, 1 not proven"}
		}
		var w strings.Builder
		var found session.Unproven
		err := recorder.OpenArchive(c, trusted(), nil).Verify(t.Context(), nil, &w)
		if !errors.As(err, &found) {
			t.Errorf("%s: %v\n%s", folder, err, w.String())
		}
		for _, text := range want {
			if !strings.Contains(w.String(), text) {
				t.Errorf("%s: not said: %q\n%s", folder, text, w.String())
			}
		}
	}
	// Who decides what to sign does not go on with half of the ledger.
	r := newRecorder(t, options(memoryDir(t), crowd{l.Memory, ledger}))
	defer closed(t, r)
	if err := r.Prune(t.Context(), recorder.Pruning{Before: time.Now()}, func(string) {}); !errors.Is(err, store.ErrTooMany) {
		t.Errorf("prune: %v", err)
	}
}
