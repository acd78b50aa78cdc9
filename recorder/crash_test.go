package recorder_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// This file leaves recordings in the middle of things: of a line, of the steps
// to the store, of a store. kill_test.go does it to whole processes.

// Whatever a crash leaves of the last line is cut off, wherever it fell.
func TestEveryTornLine(t *testing.T) {
	s := storetest.NewFaulty(t)
	from := memoryDir(t)
	o := options(from, s)
	o.SegmentEvery = time.Hour
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	appendAll(t, tape, story()...)
	appendAll(t, tape, out(20*time.Millisecond, "half a rune: \xe2\x82"))
	quiet(t, from)
	slice := filepath.Join("spool", want.ID, "00000002.cast")
	whole, err := os.ReadFile(filepath.Join(from, slice))
	if err != nil {
		t.Fatal(err)
	}
	var cuts []int
	for n := 0; n < len(whole); n += 19 {
		cuts = append(cuts, n)
	}
	for i, n := range append(cuts, len(whole)-2, len(whole)-1, len(whole), len(whole)) {
		for _, tail := range []string{"", "\x00\x00\x00"}[i%2 : i%2+1] {
			dir, copied := memoryDir(t), s.Memory.Clone()
			if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, slice), append(whole[:n:n], tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			r2 := newRecorder(t, options(dir, copied))
			if err := r2.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			closed(t, r2)
			a := recorder.OpenArchive(copied, trusted(), nil)
			proven(t, a, want.ID)
			if n == len(whole) {
				if text := bytesOf(read(t, a, want.ID), session.Output); !bytes.HasSuffix(text, []byte("rune: \xe2\x82")) {
					t.Fatalf("%q", text)
				}
			}
		}
	}
	sealTape(t, tape, want.ID, time.Second)
	closed(t, r)
}

// quiet waits until the store has the ledger of a bastion that runs: until then its state
// directory changes while it is copied.
func quiet(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "the ledger is in the store", func() bool {
		waiting, err := os.ReadDir(filepath.Join(dir, "ledger"))
		return err == nil && len(waiting) == 0
	})
}

// hundredLines is a store, a bastion's directory as it is while a session of a hundred lines runs
// there, and the session's ID. The session ends with the test.
func hundredLines(t *testing.T) (s *storetest.Faulty, dir, id string) {
	t.Helper()
	s, dir = storetest.NewFaulty(t), memoryDir(t)
	o := options(dir, s)
	o.SegmentEvery = time.Hour
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	for i := range 100 {
		appendAll(t, tape, out(time.Duration(i)*time.Millisecond, fmt.Sprintf("line %d\r\n", i)))
	}
	quiet(t, dir)
	t.Cleanup(func() {
		sealTape(t, tape, want.ID, time.Second)
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s, dir, want.ID
}

// recovered starts a bastion on what another left: the recording must be proven, unclean, and
// damaged or not.
func recovered(t *testing.T, dir string, s store.Store, id string, damaged bool) *recorder.Archive {
	t.Helper()
	r := newRecorder(t, options(dir, s))
	if err := r.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed(t, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	proven(t, a, id)
	report, err := a.Check(t.Context(), id)
	if err != nil || slices.Contains(report.Manifest.Flags, "damaged") != damaged || !slices.Contains(report.Manifest.Flags, "unclean") {
		t.Errorf("%v, %v", report.Manifest.Flags, err)
	}
	return a
}

// What no crash leaves, a bad disk does: a line in the middle that is none. What stands before it is
// sealed, and the manifest says that there was more.
func TestDamageInTheMiddleIsSaid(t *testing.T) {
	s, from, id := hundredLines(t)
	slice := filepath.Join("spool", id, "00000002.cast")
	whole, err := os.ReadFile(filepath.Join(from, slice))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change  func([]byte) []byte
		damaged bool
		nothing bool // stands before it
	}{
		"nothing":             {func(b []byte) []byte { return b }, false, false},
		"the last line torn":  {func(b []byte) []byte { return b[:len(b)-3] }, false, false},
		"zeros at the end":    {func(b []byte) []byte { return append(b, 0, 0, 0) }, false, false},
		"a flipped bit":       {func(b []byte) []byte { b[len(b)/2-bytes.IndexByte(b[len(b)/2:], '[')] ^= 0x80; return b }, true, false},
		"zeros in the middle": {func(b []byte) []byte { clear(b[len(b)/2 : len(b)/2+200]); return b }, true, false},
		"a hole of lines":     {func(b []byte) []byte { return append(b[:len(b)/2], b[len(b)/2+100:]...) }, true, false},
		"the first line":      {func(b []byte) []byte { b[0] ^= 0x80; return b }, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, copied := memoryDir(t), s.Memory.Clone()
			if err := errors.Join(os.CopyFS(dir, os.DirFS(from)), os.WriteFile(filepath.Join(dir, slice), c.change(bytes.Clone(whole)), 0o600)); err != nil {
				t.Fatal(err)
			}
			a := recovered(t, dir, copied, id, c.damaged)
			if got := bytesOf(read(t, a, id), session.Output); !c.nothing && (!bytes.HasPrefix(got, []byte("line 0\r\nline 1\r\n")) || len(got) < 200) {
				t.Errorf("what stood before it: %q", got)
			}
		})
	}
}

// A power loss takes from a slice what had not reached the disk, and may leave the one after it:
// also when that begins where a line does, the manifest says that there was more.
func TestASliceThatLostItsLinesIsSaid(t *testing.T) {
	s, from, id := hundredLines(t)
	spool := filepath.Join("spool", id)
	whole, err := os.ReadFile(filepath.Join(from, spool, "00000002.cast"))
	if err != nil {
		t.Fatal(err)
	}
	line := len(whole)/2 + bytes.IndexByte(whole[len(whole)/2:], '\n') + 1
	note := func(plain int) string {
		return fmt.Sprintf(`{"n":2,"sum":"%064d  00000002.cast.zst","size":1,"plain_size":%d,"digest":{}}`+"\n", 0, plain)
	}
	for name, c := range map[string]struct {
		second, third []byte
		noted         string
		damaged       bool
	}{
		"nothing is lost":        {whole[:line], whole[line:], "", false},
		"nothing that was noted": {whole[:line], whole[line:], note(line), false},
		"all of the second":      {nil, whole[line:], "", true},
		"the end of the second":  {whole[:bytes.IndexByte(whole, '\n')+1], whole[line:], note(line), true},
		"all of the third":       {whole[:line], nil, note(line), false},
		"all after a part":       {whole[:bytes.IndexByte(whole, '\n')+1], nil, note(line), true},
		"all that was noted":     {nil, nil, note(line), true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, copied := memoryDir(t), s.Memory.Clone()
			journal, err := os.ReadFile(filepath.Join(from, spool, "segments.jsonl"))
			if err := errors.Join(err, os.CopyFS(dir, os.DirFS(from)),
				os.WriteFile(filepath.Join(dir, spool, "00000002.cast"), c.second, 0o600), os.WriteFile(filepath.Join(dir, spool, "00000003.cast"), c.third, 0o600),
				os.WriteFile(filepath.Join(dir, spool, "segments.jsonl"), append(journal, c.noted...), 0o600)); err != nil {
				t.Fatal(err)
			}
			recovered(t, dir, copied, id, c.damaged)
		})
	}
}

// A recording of which a bad disk has left nothing that can be finished stays where it is, is
// named, and holds up no other.
func TestABadSpoolIsNamed(t *testing.T) {
	s := storetest.NewFaulty(t)
	dir := memoryDir(t)
	var ids []string
	r := newRecorder(t, options(dir, s))
	s.BreakAfter(100)
	for range 4 {
		want := request()
		tape := begin(t, r, want)
		appendAll(t, tape, story()...)
		eventually(t, "stored", func() bool { return tape.Health().Bytes == 0 })
		ids = append(ids, want.ID)
		s.Break(storetest.Unavailable, "manifest")
		sealTape(t, tape, want.ID, time.Second)
		s.Heal()
		s.Break(storetest.Unavailable, "manifest")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	r.Close(ctx)
	s.Heal()
	file := func(n int, name string) string { return filepath.Join(dir, "spool", ids[n], name) }
	huge := append(bytes.Repeat([]byte{'x'}, 33<<20), '\n')
	if err := errors.Join(os.WriteFile(file(0, "segments.jsonl"), huge, 0o600), os.WriteFile(file(1, "sealed.json"), []byte("garbage"), 0o600),
		os.Remove(file(2, "segments.jsonl")), os.WriteFile(filepath.Join(dir, "spool", "notes.txt"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	r = newRecorder(t, options(dir, s))
	err := r.Recover(t.Context())
	for n, id := range ids {
		if named := err != nil && strings.Contains(err.Error(), id); named != (n < 2) {
			t.Errorf("recording %d: %v", n, err)
		}
	}
	a := recorder.OpenArchive(s, trusted(), nil)
	eventually(t, "the good one is proven", func() bool {
		report, err := a.Check(t.Context(), ids[3])
		return err == nil && len(report.Findings) == 0
	})
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := r.Close(ctx); err == nil {
		t.Error("it closes as if all were in the store")
	}
}

// A crash between any two steps of bringing a recording to the store is
// completed by the next start. The steps are the objects that the store takes.
func TestCrashBetweenSteps(t *testing.T) {
	for step := range 12 {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			s := storetest.NewFaulty(t)
			dir := memoryDir(t)
			var ids []string
			for range 2 { // twice, for the chains
				r := newRecorder(t, options(dir, s))
				want := request()
				ids = append(ids, want.ID)
				tape := begin(t, r, want)
				appendAll(t, tape, story()...)
				s.BreakAfter(step)
				sealTape(t, tape, want.ID, time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				r.Close(ctx)
				cancel()
				s.Heal()
			}
			r := newRecorder(t, options(dir, s))
			if err := r.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			closed(t, r)
			a := recorder.OpenArchive(s, trusted(), nil)
			proven(t, a)
			proven(t, a, ids...)
		})
	}
}

// A real S3 server dies, and freezes, in the middle of a session.
func TestS3DiesInTheMiddle(t *testing.T) {
	v := storetest.StartVersity(t)
	v.Config.OpTimeout = 500 * time.Millisecond
	s := v.Store()
	o := options(memoryDir(t), s)
	o.MaxLagTime = 300 * time.Millisecond
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	var all []byte
	for i, disturb := range []func(){func() {}, v.Kill, v.Start, v.Freeze, v.Thaw} {
		disturb()
		away := i == 1 || i == 3
		for j := range 20 {
			text := fmt.Sprintf("%d/%d\r\n", i, j)
			all = append(all, text...)
			appendAll(t, tape, out(time.Duration(i*20+j)*time.Millisecond, text))
		}
		eventually(t, "the tape knows how the store is", func() bool { return (tape.Health().Err != nil) == away })
		if !away {
			eventually(t, "everything is stored", func() bool { return tape.Health().Bytes == 0 })
		}
	}
	v.Kill()
	if _, err := r.Begin(t.Context(), request()); err == nil || !strings.Contains(err.Error(), "the store cannot be reached") {
		t.Fatalf("a session began without a store: %v", err)
	}
	v.Start()
	sealTape(t, tape, want.ID, time.Second)
	closed(t, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	if got := bytesOf(read(t, a, want.ID), session.Output); !bytes.Equal(got, all) {
		t.Fatalf("%q", got)
	}
	proven(t, a)
}
