package recorder_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/oklog/ulid/v2"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// lose records the beginning of a session, on a bastion that is then gone with
// its disk.
func lose(t testing.TB, o recorder.Options, want session.Request) (node string) {
	t.Helper()
	r := newRecorder(t, o)
	tape := begin(t, r, want)
	appendAll(t, tape, story()...)
	eventually(t, "all of it is stored", func() bool { return tape.Health().Bytes == 0 })
	s := o.Store.(*storetest.Memory)
	eventually(t, "the ledger, too", func() bool {
		return slices.ContainsFunc(s.Names(), func(n string) bool { return strings.HasSuffix(n, "-begun.json") })
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Close(ctx) // without an end of the session
	return r.Node()
}

func adopt(t testing.TB, o recorder.Options, which recorder.Orphans) []string {
	t.Helper()
	r := newRecorder(t, o)
	ids, err := r.SealOrphans(t.Context(), which)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, r)
	return ids
}

// A bastion is lost with its disk: another one seals what had reached the store,
// and nothing of that is missing.
func TestOrphans(t *testing.T) {
	me := identity(t)
	for name, recipients := range map[string][]recorder.Recipient{"plain": nil, "encrypted": {me.Recipient()}} {
		t.Run(name, func(t *testing.T) {
			s := storetest.NewMemory(t)
			o := options(memoryDir(t), s)
			o.Recipients = recipients
			want := request()
			node := lose(t, o, want)
			o.Dir = memoryDir(t)
			if ids := adopt(t, o, recorder.Orphans{Node: "another"}); len(ids) != 0 {
				t.Fatalf("adopted %v of another node", ids)
			}
			if ids := adopt(t, o, recorder.Orphans{}); len(ids) != 0 {
				t.Fatalf("adopted %v, which may still be running", ids)
			}
			if ids := adopt(t, o, recorder.Orphans{Node: node}); !slices.Equal(ids, []string{want.ID}) {
				t.Fatalf("adopted %v", ids)
			}
			if ids := adopt(t, o, recorder.Orphans{Node: node}); len(ids) != 0 {
				t.Fatalf("adopted %v twice", ids)
			}
			a := recorder.OpenArchive(s, trusted(), nil)
			proven(t, a)
			a.Open([]recorder.Identity{me})
			proven(t, a)
			report, err := a.Check(t.Context(), want.ID)
			if err != nil || report.Manifest == nil {
				t.Fatal(report, err)
			}
			m := report.Manifest
			if m.Cause.Code != session.NodeLost || m.SealedBy == "" || m.Session.Node != node || !slices.Contains(m.Flags, "lost") ||
				slices.Contains(m.Flags, "unannounced") || slices.Contains(m.Flags, "unread") != (recipients != nil) {
				t.Errorf("the manifest says %v, %v, sealed by %q", m.Cause, m.Flags, m.SealedBy)
			}
			var all []byte
			for _, e := range story() {
				if e.Type == session.Output {
					all = append(all, e.Bytes...)
				}
			}
			if got := bytesOf(read(t, a, want.ID), session.Output); string(got) != string(all) {
				t.Errorf("the output is %q\nwant %q", got, all)
			}
		})
	}
}

// What is older than a session can be is sealed without being told whose it was.
// What no ledger announced is sealed only for who says whose it was, and says so.
func TestAnOldOrphanNobodyAnnounced(t *testing.T) {
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	want := request()
	want.Started = time.Now().Add(-27 * time.Hour)
	id, err := ulid.New(ulid.Timestamp(want.Started), ulid.DefaultEntropy())
	if err != nil {
		t.Fatal(err)
	}
	want.ID = id.String()
	node := lose(t, o, want)
	forged := s.Clone()
	for _, name := range forged.Names() {
		if strings.HasPrefix(name, "ledger/") {
			forged.Tamper(name, nil)
		}
	}
	o.Dir, o.Store = memoryDir(t), forged
	if ids := adopt(t, o, recorder.Orphans{Since: time.Now().Add(-26 * time.Hour)}); len(ids) != 0 {
		t.Fatalf("adopted %v from before", ids)
	}
	r := newRecorder(t, o)
	if ids, err := r.SealOrphans(t.Context(), recorder.Orphans{}); len(ids) != 0 || err == nil || !strings.Contains(err.Error(), "no ledger says that it began") {
		t.Fatalf("adopted %v, %v", ids, err)
	}
	closed(t, r)
	if ids := adopt(t, o, recorder.Orphans{Node: node}); !slices.Equal(ids, []string{want.ID}) {
		t.Fatalf("adopted %v", ids)
	}
	a := recorder.OpenArchive(forged, trusted(), nil)
	report, err := a.Check(t.Context(), want.ID)
	if err != nil || report.Manifest == nil || !slices.Contains(report.Manifest.Flags, "unannounced") {
		t.Errorf("%+v, %v", report, err)
	}
	if err := a.Verify(t.Context(), nil, io.Discard); err != nil {
		t.Error(err)
	}
}

// Between the loss of a bastion and the sealing of what it left, a thief cuts the
// tape, or writes another: the last checkpoint knows better, and nobody signs that.
func TestOrphansThatContradictTheLedger(t *testing.T) {
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	o.CheckpointEvery = 10 * time.Millisecond
	want := request()
	r := newRecorder(t, o)
	tape := begin(t, r, want)
	for _, text := range []string{"one", "two", "three"} {
		appendAll(t, tape, out(1, text))
		eventually(t, "it is stored", func() bool { return tape.Health().Bytes == 0 })
	}
	count := func() (n int) {
		for _, name := range s.Names() {
			if strings.HasSuffix(name, "-checkpoint.json") {
				n++
			}
		}
		return n
	}
	before := count()
	eventually(t, "a checkpoint knows of all of it", func() bool { return count() > before+2 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Close(ctx)

	segment := func(s *storetest.Memory, n string) string {
		return s.Names()[slices.IndexFunc(s.Names(), func(name string) bool { return strings.HasSuffix(name, n+".cast.zst") })]
	}
	for name, c := range map[string]struct {
		do  func(s *storetest.Memory)
		say string
	}{
		"nothing":             {func(*storetest.Memory) {}, ""},
		"the tape is cut":     {func(s *storetest.Memory) { s.Tamper(segment(s, "4"), nil) }, "the store had 4 segments of it, and 3 can be read"},
		"the middle is gone":  {func(s *storetest.Memory) { s.Tamper(segment(s, "3"), nil) }, "the store had 4 segments of it, and 2 can be read"},
		"another middle":      {func(s *storetest.Memory) { s.Tamper(segment(s, "3"), s.Object(segment(s, "2"))) }, "its first 4 segments are not those"},
		"another beginning":   {func(s *storetest.Memory) { s.Tamper(segment(s, "1"), recompressed(s.Object(segment(s, "1")))) }, "does not begin with what the ledger"},
		"something else at 2": {func(s *storetest.Memory) { s.Tamper(segment(s, "2"), []byte("x")) }, "the store had 4 segments of it, and 1 can be read"},
	} {
		t.Run(name, func(t *testing.T) {
			robbed := s.Clone()
			c.do(robbed)
			o := o
			o.Dir, o.Store = memoryDir(t), robbed
			other := newRecorder(t, o)
			ids, err := other.SealOrphans(t.Context(), recorder.Orphans{Node: r.Node()})
			closed(t, other)
			if c.say == "" {
				proven(t, recorder.OpenArchive(robbed, trusted(), nil), want.ID)
			} else if err == nil || !strings.Contains(err.Error(), c.say) || len(ids) > 0 {
				t.Errorf("sealed %v, %v; want %q", ids, err, c.say)
			}
		})
	}
}

// recompressed is the same text in other bytes.
func recompressed(stored []byte) []byte {
	d, err := zstd.NewReader(nil)
	check(err)
	plain, err := d.DecodeAll(stored, nil)
	check(err)
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	check(err)
	return e.EncodeAll(append(plain, []byte(`[0.000000,"o","x"]`+"\n")...), nil)
}
