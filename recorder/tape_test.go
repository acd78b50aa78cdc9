package recorder_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

var (
	alice = session.Identity{Issuer: "https://idp", Subject: "1", Name: "alice", Groups: []string{"engineering"}}
	bob   = session.Identity{Issuer: "https://idp", Subject: "2", Name: "bob", Groups: []string{"dba"},
		Credential: session.Credential{Key: "SHA256:bob", Serial: 7}}
)

// testKey returns the same key for the same letter.
func testKey(letter byte) ssh.Signer {
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{letter}, ed25519.SeedSize)))
	if err != nil {
		panic(err)
	}
	return key
}

func trusted() []ssh.PublicKey { return []ssh.PublicKey{testKey('k').PublicKey()} }

func options(dir string, s store.Store) recorder.Options {
	return recorder.Options{
		Dir: dir, Store: s, Signer: testKey('k'), Node: "test", Version: "v0-test",
		SegmentEvery: 20 * time.Millisecond, Log: slog.New(slog.NewTextHandler(logTo(), nil)),
	}
}

func newRecorder(t testing.TB, o recorder.Options) *recorder.Recorder {
	t.Helper()
	r, err := recorder.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// closed ends a recorder and fails the test when not everything arrived.
func closed(t testing.TB, r *recorder.Recorder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func request() session.Request {
	return session.Request{
		ID: ulid.Make().String(), Code: "ABCDE", Engineer: alice, Target: session.Target{Name: "orders"},
		Mode:   session.Mode{Name: "write", Shadows: session.Quorum{{Count: 1, Groups: []string{"dba"}}}},
		Reason: "ticket 12", Size: session.Size{Cols: 100, Rows: 30}, Term: "xterm-256color",
		Started: time.Now(), Cage: "landlock 7, seccomp",
	}
}

func begin(t testing.TB, r *recorder.Recorder, want session.Request) session.Tape {
	t.Helper()
	tape, err := r.Begin(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	return tape
}

func appendAll(t testing.TB, tape session.Tape, events ...session.Event) {
	t.Helper()
	for _, e := range events {
		if err := tape.Append(e); err != nil {
			t.Fatal(err)
		}
	}
}

func out(at time.Duration, text string) session.Event {
	return session.Event{At: at, Type: session.Output, Bytes: []byte(text)}
}

var quit = session.Cause{Code: session.Quit}

// ending is the last event and the summary of a session that ends well.
func ending(id string, at time.Duration) (session.Event, session.Summary) {
	return session.Event{At: at, Type: session.End, Cause: &quit}, session.Summary{ID: id, Cause: &quit, State: session.Ended}
}

func sealTape(t testing.TB, tape session.Tape, id string, at time.Duration) {
	t.Helper()
	e, s := ending(id, at)
	appendAll(t, tape, e)
	if err := tape.Seal(s); err != nil {
		t.Fatal(err)
	}
}

// story is a session with an event of every kind.
func story() []session.Event {
	ms := time.Millisecond
	return []session.Event{
		{At: 1 * ms, Type: session.Join, Who: "bob", Identity: &bob},
		{At: 2 * ms, Type: session.GateOpen},
		{At: 2 * ms, Type: session.Opened},
		out(3*ms, "psql (15.18)\r\norders=> "),
		{At: 4 * ms, Type: session.Input, Bytes: []byte("select 'ü';\r")},
		{At: 5 * ms, Type: session.Statement, Statement: &session.StatementInfo{N: 1, Protocol: "simple", Text: "select 'ü' -- \"q\" <&>\n;", Database: "orders", Conn: 1}},
		{At: 6 * ms, Type: session.Result, Result: &session.ResultInfo{N: 1, Tag: "SELECT 1", Rows: 1, Bytes: 2, Took: 1234, Tx: "I"}},
		out(7*ms, "\x1b[1m ü \x1b[0m\x00\x7f\u2028\u2029\u0085€😀\t\"\\/"),
		{At: 8 * ms, Type: session.Resize, Size: session.Size{Cols: 120, Rows: 40}},
		{At: 9 * ms, Type: session.Input, Hidden: true},
		{At: 10 * ms, Type: session.Hold, Who: "bob", Text: "wait"},
		{At: 10 * ms, Type: session.GateShut, Text: "held by bob"},
		{At: 11 * ms, Type: session.Dropped, N: 3},
		{At: 12 * ms, Type: session.Release, Who: "bob"},
		{At: 13 * ms, Type: session.Errors, Bytes: []byte("ERROR: é\n")},
		{At: 13 * ms, Type: session.Errors, Bytes: []byte("ERROR: \xe9\n")},
		{At: 14 * ms, Type: session.Statement, Statement: &session.StatementInfo{N: 2, Protocol: "execute", Text: "select '\xe9'", Params: []string{"1", "null"}}},
		{At: 15 * ms, Type: session.Result, Result: &session.ResultInfo{N: 2, SQLState: "22021", Message: "invalid byte sequence"}},
		{At: 16 * ms, Type: session.Say, Who: "bob", Text: "what was that?"},
		{At: 17 * ms, Type: session.Leave, Who: "bob"},
	}
}

func read(t testing.TB, a *recorder.Archive, id string) (events []session.Event) {
	t.Helper()
	for e, err := range a.Events(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		e.Bytes = bytes.Clone(e.Bytes)
		events = append(events, e)
	}
	return events
}

// bytesOf joins the bytes of one stream.
func bytesOf(events []session.Event, typ session.EventType) (all []byte) {
	for _, e := range events {
		if e.Type == typ {
			all = append(all, e.Bytes...)
		}
	}
	return all
}

func proven(t testing.TB, a *recorder.Archive, ids ...string) string {
	t.Helper()
	var w strings.Builder
	if err := a.Verify(t.Context(), ids, &w); err != nil {
		t.Fatalf("%v\n%s", err, w.String())
	}
	return w.String()
}

func TestRoundTrip(t *testing.T) {
	s := storetest.NewMemory(t)
	r := newRecorder(t, options(memoryDir(t), s))
	want := request()
	tape := begin(t, r, want)
	appendAll(t, tape, story()...)
	sealTape(t, tape, want.ID, 20*time.Millisecond)
	closed(t, r)

	a := recorder.OpenArchive(s, trusted(), nil)
	proven(t, a, want.ID)
	got := read(t, a, want.ID)
	if got[0].Type != session.Resize || got[0].Size != want.Size {
		t.Fatalf("the first event is %+v, want the terminal's size", got[0])
	}
	end, _ := ending(want.ID, 20*time.Millisecond)
	if wanted := append(story(), end); !reflect.DeepEqual(got[1:], wanted) {
		for i, e := range got[1:] {
			if i >= len(wanted) || !reflect.DeepEqual(e, wanted[i]) {
				t.Fatalf("event %d is %+v\nwant %+v", i, e, wanted[min(i, len(wanted)-1)])
			}
		}
		t.Fatalf("%d events, want %d", len(got)-1, len(wanted))
	}
	summary, err := a.Sealed(t.Context(), want.ID)
	if err != nil || summary.ID != want.ID || summary.Statements != 2 || summary.Cause.Code != session.Quit ||
		!slices.Equal(summary.Shadows, []string{"bob"}) || summary.Engineer != "alice" || summary.Reason != "ticket 12" {
		t.Fatalf("%+v, %v", summary, err)
	}
	if err := a.Verify(t.Context(), nil, io.Discard); err != nil {
		t.Fatal(err)
	}
}

// Two shadows of one name, and one of them twice: each has their own times, in
// whatever order they leave.
func TestSeatsOfOneName(t *testing.T) {
	twin, again := bob, bob
	twin.Subject = "3"
	again.Credential.From = "192.0.2.7:4711"
	people := []*session.Identity{&bob, &twin, &again}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {2, 0}, {1}} {
		s := storetest.NewMemory(t)
		r := newRecorder(t, options(memoryDir(t), s))
		want := request()
		tape := begin(t, r, want)
		var seats []recorder.Seat
		at := time.Duration(0)
		for i, who := range people {
			at += time.Second
			appendAll(t, tape, session.Event{At: at, Type: session.Join, Who: "bob", Identity: who})
			seats = append(seats, recorder.Seat{Who: "bob", Identity: who, From: float64(i + 1), To: 60})
		}
		for _, i := range order {
			at += time.Second
			appendAll(t, tape, session.Event{At: at, Type: session.Leave, Who: "bob", Identity: people[i]})
			seats[i].To = at.Seconds()
		}
		sealTape(t, tape, want.ID, time.Minute)
		closed(t, r)
		a := recorder.OpenArchive(s, trusted(), nil)
		proven(t, a, want.ID)
		report, err := a.Check(t.Context(), want.ID)
		if err != nil || !reflect.DeepEqual(report.Manifest.Seats, seats) {
			t.Fatalf("they left in the order %v: %v, %+v", order, err, report.Manifest.Seats)
		}
	}
}

// Times are decimals on the tape, numbers in the manifest and durations here,
// and the same to the microsecond in all three.
func TestTimes(t *testing.T) {
	s := storetest.NewMemory(t)
	r := newRecorder(t, options(memoryDir(t), s))
	want := request()
	tape := begin(t, r, want)
	var at time.Duration
	for us := range time.Duration(2000) {
		at += time.Millisecond + us*time.Microsecond
		appendAll(t, tape, session.Event{At: at, Type: session.Join, Who: "bob", Identity: &bob})
		at += time.Millisecond - us/3*time.Microsecond
		appendAll(t, tape, session.Event{At: at, Type: session.Leave, Who: "bob"})
	}
	sealTape(t, tape, want.ID, at+51*time.Microsecond)
	closed(t, r)
	proven(t, recorder.OpenArchive(s, trusted(), nil), want.ID)
}

// However psql's output is cut into reads, the bytes come back exactly, and a
// player sees whole runes.
func TestRunesSplitBetweenReads(t *testing.T) {
	text := "ä€😀\xff\xfe┌──┐\xe2\x82"
	for size := 1; size <= len(text); size++ {
		var events []session.Event
		for i := 0; i < len(text); i += size {
			events = append(events, out(0, text[i:min(i+size, len(text))]))
			events = append(events, session.Event{Type: session.Input, Bytes: []byte(text[i:min(i+size, len(text))])})
			events = append(events, session.Event{Type: session.Say, Text: "between"})
		}
		lines := recorder.Encode(events)
		got, err := recorder.Decode(lines)
		if err != nil {
			t.Fatal(err)
		}
		for _, typ := range []session.EventType{session.Output, session.Input} {
			if b := bytesOf(got, typ); string(b) != text {
				t.Fatalf("reads of %d: %s is %q", size, typ, b)
			}
		}
		if shown := string(lines); !strings.Contains(shown, "😀") || strings.Contains(shown, "�") {
			t.Fatalf("reads of %d: %s", size, shown)
		}
	}
}

func FuzzBytesRoundTrip(f *testing.F) {
	f.Add([]byte("hello\x00\xff\u2028"), 3)
	f.Add([]byte("ä€😀\xf0\x9f\x98"), 1)
	f.Add(bytes.Repeat([]byte{'a', 0xff}, 50), 64)
	f.Fuzz(func(t *testing.T, p []byte, size int) {
		size = max(1, min(size, len(p)))
		var events []session.Event
		for chunk := range slices.Chunk(p, size) {
			events = append(events, session.Event{Type: session.Output, Bytes: chunk}, session.Event{Type: session.Input, Bytes: chunk})
		}
		got, err := recorder.Decode(recorder.Encode(events))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bytesOf(got, session.Output), p) || !bytes.Equal(bytesOf(got, session.Input), p) {
			t.Fatalf("%q became %q", p, bytesOf(got, session.Output))
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(recorder.Encode(story()))
	f.Add([]byte("[0.1,\"r\",\"1x1\"]\n[1e9,\"o\",\"\"]\n"))
	f.Add([]byte("[0.1,\"e\",\"{\\\"type\\\":\\\"raw\\\",\\\"base64\\\":\\\"!\\\"}\"]\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		events, _ := recorder.Decode(p)
		var at time.Duration
		for _, e := range events {
			if e.At < at || e.Type == "" {
				t.Fatalf("%+v after %v", e, at)
			}
			at = e.At
		}
	})
}

// What is counted as events pass by is what a reader of the tape would count.
func TestTheAccountIsThatOfTheTape(t *testing.T) {
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	o.SegmentBytes = 300
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	for i := range 200 {
		at := time.Duration(i) * 1234567
		appendAll(t, tape, session.Event{At: at, Type: session.Output, Bytes: []byte("é€😀\xff\xf0\x9f")[i%7 : 7+i%6]}, session.Event{At: at, Type: session.Input, Bytes: []byte("😀")[i%4 : i%4+1]})
		for _, e := range slices.Concat(story(), spoken()) {
			if e.At = at; e.Type != session.End {
				appendAll(t, tape, e)
			}
		}
		if i%40 == 39 { // else the next segments grow
			eventually(t, "all is stored", func() bool { return tape.Health().Bytes == 0 })
		}
	}
	kept, read := recorder.Accounts(tape, s.Object)
	if len(kept) < 5 {
		t.Errorf("%d segments", len(kept))
	}
	for i := range kept {
		if kept[i] != read[i] {
			t.Errorf("segment %d:\n%s\n%s", i+1, kept[i], read[i])
		}
	}
	sealTape(t, tape, want.ID, time.Hour)
	closed(t, r)
	proven(t, recorder.OpenArchive(s, trusted(), nil), want.ID)
}

func TestSegmentsArriveWhileTheSessionRuns(t *testing.T) {
	s := storetest.NewMemory(t)
	r := newRecorder(t, options(memoryDir(t), s))
	want := request()
	tape := begin(t, r, want)
	tapes := func() []string { // without the ledger
		return slices.DeleteFunc(slices.Clone(s.Names()), func(n string) bool { return !strings.HasPrefix(n, "sessions/") })
	}
	if names := tapes(); len(names) != 1 || !strings.HasSuffix(names[0], "/00000001.cast.zst") {
		t.Fatalf("after Begin the store has %v", names)
	}
	for i := range 3 {
		appendAll(t, tape, out(time.Duration(i)*time.Millisecond, "more"))
		eventually(t, "the store has the segment", func() bool { return len(tapes()) == i+2 })
	}
	eventually(t, "nothing waits", func() bool { return tape.Health().Bytes == 0 })
	if n := len(tapes()); n != 4 {
		t.Fatalf("%d objects although nothing happened", n)
	}
	sealTape(t, tape, want.ID, time.Second)
	closed(t, r)
	names := tapes()
	if n := slices.IndexFunc(names, func(s string) bool { return strings.HasSuffix(s, want.ID+"/manifest.json") }); n != len(names)-1 ||
		!strings.HasSuffix(names[n-1], "/manifest.json.sig") {
		t.Fatalf("the manifest is not last: %v", names)
	}
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestBeginRefuses(t *testing.T) {
	cause := func(t *testing.T, r *recorder.Recorder, want session.Request, words string) {
		t.Helper()
		tape, err := r.Begin(t.Context(), want)
		var c session.Cause
		if tape != nil || !errors.As(err, &c) || c.Code != session.NoRecorder || !strings.Contains(c.Text, words) {
			t.Fatalf("%v; want a cause that says %q", err, words)
		}
	}
	t.Run("the store is gone", func(t *testing.T) {
		for _, fault := range storetest.Faults {
			s := storetest.NewFaulty(t)
			s.Break(fault, "")
			r := newRecorder(t, options(memoryDir(t), s))
			if fault == storetest.LosesAnswers || fault == storetest.StoredButError {
				begin(t, r, request()) // the next attempt finds it there
				continue
			}
			cause(t, r, request(), "no session opens without a recording")
			s.Heal()
			closed(t, r)
			if err := recorder.OpenArchive(s, trusted(), nil).Verify(t.Context(), nil, io.Discard); err != nil {
				t.Errorf("%s: what the refused session left behind: %v", fault, err)
			}
		}
	})
	t.Run("the spool can not be written", func(t *testing.T) {
		dir := memoryDir(t)
		r := newRecorder(t, options(dir, storetest.NewMemory(t)))
		os.RemoveAll(filepath.Join(dir, "spool"))
		os.WriteFile(filepath.Join(dir, "spool"), nil, 0o600)
		cause(t, r, request(), "the spool can not be written")
	})
	t.Run("an ID that is none", func(t *testing.T) {
		r := newRecorder(t, options(memoryDir(t), storetest.NewMemory(t)))
		want := request()
		want.ID = "../../etc"
		cause(t, r, want, "no ULID")
	})
	t.Run("the same ID twice", func(t *testing.T) {
		r := newRecorder(t, options(memoryDir(t), storetest.NewMemory(t)))
		want := request()
		begin(t, r, want)
		cause(t, r, want, "knows this session already")
	})
}

func TestTwoProcessesOneDirectory(t *testing.T) {
	dir := memoryDir(t)
	r := newRecorder(t, options(dir, storetest.NewMemory(t)))
	if _, err := recorder.New(options(dir, storetest.NewMemory(t))); err == nil || !strings.Contains(err.Error(), "in use by another twokey") {
		t.Fatal(err)
	}
	closed(t, r)
	closed(t, newRecorder(t, options(dir, storetest.NewMemory(t))))
}

// The disk is full: the tape breaks and stays broken, and what was on it
// before is stored with the cause.
func TestDiskFull(t *testing.T) {
	s := storetest.NewMemory(t)
	r := newRecorder(t, options(memoryDir(t), s))
	want := request()
	tape := begin(t, r, want)
	appendAll(t, tape, out(time.Millisecond, "before"))
	eventually(t, "it is stored", func() bool { return tape.Health().Bytes == 0 })
	recorder.FillDisk(tape)
	for range 2 {
		if err := tape.Append(out(2*time.Millisecond, "after")); err == nil || !strings.Contains(err.Error(), "no space left on device") {
			t.Fatal(err)
		}
	}
	if h := tape.Health(); h.Err == nil {
		t.Fatal("a broken tape is healthy")
	}
	cause := session.Cause{Code: session.NoRecorder, Text: "the recording could not be written"}
	if err := tape.Seal(session.Summary{ID: want.ID, Cause: &cause}); err == nil {
		t.Fatal("Seal of a broken tape says nothing")
	}
	closed(t, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	proven(t, a, want.ID)
	events := read(t, a, want.ID)
	if last := events[len(events)-1]; string(bytesOf(events, session.Output)) != "before" || last.Cause == nil || *last.Cause != cause {
		t.Fatalf("%+v", events)
	}
}

// The store is gone in the middle: the session goes on, then the tape is not
// to be relied on any more; the store comes back, and nothing is missing.
func TestStoreGoneInTheMiddle(t *testing.T) {
	for _, fault := range append(slices.Clone(storetest.Faults), storetest.Silent, storetest.StoredButSilent, storetest.ReadFails) {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			s := storetest.NewFaulty(t)
			o := options(memoryDir(t), s)
			o.MaxLagTime = 300 * time.Millisecond
			r := newRecorder(t, o)
			want := request()
			tape := begin(t, r, want)
			s.Break(fault, "")
			var all []byte
			more := func(i int) {
				text := fmt.Sprintf("line %d\r\n", i)
				all = append(all, text...)
				appendAll(t, tape, out(time.Duration(i)*time.Millisecond, text))
			}
			for i := range 100 {
				more(i)
			}
			if fault != storetest.LosesAnswers && fault != storetest.StoredButError && fault != storetest.ReadFails {
				eventually(t, "the tape says that the store is behind", func() bool { return tape.Health().Err != nil })
				if h := tape.Health(); !strings.Contains(h.Err.Error(), "nothing could be stored for") || h.Lag < o.MaxLagTime || h.Bytes == 0 {
					t.Fatalf("%+v", h)
				}
			}
			more(100)
			s.Heal()
			eventually(t, "everything is stored", func() bool { h := tape.Health(); return h.Bytes == 0 && h.Err == nil })
			more(101)
			sealTape(t, tape, want.ID, time.Second)
			closed(t, r)
			a := recorder.OpenArchive(s, trusted(), nil)
			if got := bytesOf(read(t, a, want.ID), session.Output); !bytes.Equal(got, all) {
				t.Fatalf("%q\nwant %q", got, all)
			}
			proven(t, a)
		})
	}
}

// The store is down for ten minutes, with the bounds that everybody has: for a minute nobody
// notices, then nothing goes on, and seconds after it is back all is there.
func TestStoreDownForTenMinutes(t *testing.T) {
	s, dir := storetest.NewFaulty(t), memoryDir(t)
	synctest.Test(t, func(t *testing.T) {
		o := options(dir, s)
		o.SegmentEvery = 0
		r := newRecorder(t, o)
		want := request()
		tape := begin(t, r, want)
		s.Break(storetest.Refusing, "")
		var all []byte
		for i := range 600 {
			text := fmt.Sprintf("line %d\r\n", i)
			all = append(all, text...)
			appendAll(t, tape, out(time.Duration(i)*time.Second, text))
			time.Sleep(time.Second)
			if err := tape.Health().Err; (err != nil) != (i >= 60) {
				t.Fatalf("after %d s: %v", i+1, err)
			}
		}
		s.Heal()
		time.Sleep(5 * time.Second)
		if h := tape.Health(); h.Bytes > 0 || h.Err != nil {
			t.Errorf("5 s after the store came back: %+v", h)
		}
		sealTape(t, tape, want.ID, 20*time.Minute)
		closed(t, r)
		a := recorder.OpenArchive(s, trusted(), nil)
		proven(t, a)
		if got := bytesOf(read(t, a, want.ID), session.Output); !bytes.Equal(got, all) {
			t.Errorf("%d bytes of %d", len(got), len(all))
		}
	})
}

// One recording that can not be stored holds up no other, nor the ledger.
func TestOneBadRecordingBlocksNoOther(t *testing.T) {
	s := storetest.NewFaulty(t)
	dir := memoryDir(t)
	r := newRecorder(t, options(dir, s))
	bad, good := request(), request()
	badTape, goodTape := begin(t, r, bad), begin(t, r, good)
	s.Break(storetest.Unavailable, bad.ID)
	appendAll(t, badTape, out(1, "x"))
	appendAll(t, goodTape, out(1, "y"))
	sealTape(t, badTape, bad.ID, 2)
	sealTape(t, goodTape, good.ID, 2)
	a := recorder.OpenArchive(s, trusted(), nil)
	eventually(t, "the good one is proven", func() bool { r, err := a.Check(t.Context(), good.ID); return err == nil && r.Findings == nil })
	s.Heal()
	closed(t, r)
	proven(t, a)
}

// The bastion stops while the store is away: the next process brings it there.
func TestCloseWhileTheStoreIsAway(t *testing.T) {
	s := storetest.NewFaulty(t)
	dir := memoryDir(t)
	r := newRecorder(t, options(dir, s))
	want := request()
	tape := begin(t, r, want)
	appendAll(t, tape, story()...)
	s.Break(storetest.Unavailable, "")
	sealTape(t, tape, want.ID, time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := r.Close(ctx); err == nil || !strings.Contains(err.Error(), "not in the store yet") {
		t.Fatal(err)
	}
	s.Heal()
	r = newRecorder(t, options(dir, s))
	if err := r.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed(t, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	proven(t, a)
	report, err := a.Check(t.Context(), want.ID)
	if err != nil || slices.Contains(report.Manifest.Flags, "unclean") || slices.Contains(report.Manifest.Flags, "recovered") {
		t.Fatalf("%+v, %v", report.Manifest, err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "spool")); len(left) != 0 {
		t.Fatalf("left in the spool: %v", left)
	}
}

func TestViewedIsInTheLedger(t *testing.T) {
	s := storetest.NewMemory(t)
	r := newRecorder(t, options(memoryDir(t), s))
	want := request()
	sealTape(t, begin(t, r, want), want.ID, 1)
	a := recorder.OpenArchive(s, trusted(), r)
	if err := a.Viewed(t.Context(), bob, "replay", want.ID); err != nil {
		t.Fatal(err)
	}
	closed(t, r)
	proven(t, a)
	found := false
	for _, name := range s.Names() {
		found = found || strings.HasSuffix(name, "-viewed.json") && bytes.Contains(s.Object(name), []byte(want.ID)) &&
			bytes.Contains(s.Object(name), []byte(`"what": "replay"`))
	}
	if !found {
		t.Fatalf("no entry: %v", s.Names())
	}
}

func TestWhatIsNotThere(t *testing.T) {
	a := recorder.OpenArchive(storetest.NewMemory(t), trusted(), nil)
	for _, id := range []string{ulid.Make().String(), "nonsense", ""} {
		if _, err := a.Check(t.Context(), id); !errors.Is(err, recorder.ErrNoRecording) {
			t.Errorf("Check %q: %v", id, err)
		}
		if err := a.Export(t.Context(), id, io.Discard); !errors.Is(err, recorder.ErrNoRecording) {
			t.Errorf("Export %q: %v", id, err)
		}
	}
	if err := a.Viewed(t.Context(), bob, "replay", ""); err == nil {
		t.Error("noted in no ledger")
	}
}

func BenchmarkAppend(b *testing.B) {
	for name, e := range map[string]session.Event{
		"key":       {Type: session.Input, Bytes: []byte("s")},
		"screen":    {Type: session.Output, Bytes: []byte(strings.Repeat("| 1234 | some text of a row | 2026-11-23 |\r\n", 90))},
		"statement": story()[5],
	} {
		b.Run(name, func(b *testing.B) {
			o := options(memoryDir(b), storetest.NewMemory(b))
			o.SegmentEvery, o.MaxLagBytes = time.Second, 1<<40
			r := newRecorder(b, o)
			want := request()
			tape, err := r.Begin(context.Background(), want)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(e.Bytes)))
			for b.Loop() {
				e.At += time.Microsecond
				if err := tape.Append(e); err != nil {
					b.Fatal(err)
				}
			}
			sealTape(b, tape, want.ID, e.At)
			closed(b, r)
		})
	}
}

// logTo is standard error when TWOKEY_TEST_LOG is set.
func logTo() io.Writer {
	if os.Getenv("TWOKEY_TEST_LOG") != "" {
		return os.Stderr
	}
	return io.Discard
}

// The quick way through a line comes to what the strict one does, or leaves it to that.
func FuzzScan(f *testing.F) {
	for _, line := range []string{
		`[1.000002,"o","a\u001b[0m\r\n"]`, `[0.000000,"i",""]`, `[1.500000,"o","\ud83d\ude00"]`, `[01.000000,"o","x"]`, `[1e3,"o","x"]`, `[1.000000,"o","\x"]`,
		`[1.000000,"o","a"b"]`, `[1.000000,"o","\"]`, `[1.000000,"m","12345678é\/\b\f\t\u00e9\uFFFD"]`, "[1.000000,\"o\",\"\x01\"]", "[1.000000,\"o\",\"1234567\xff\"]",
		`[1.000000,"o","x"] `, `[.500000,"o","x"]`, `[999999999.999999,"e","{\"a\":1}"]`, `[9999999999.000000,"o",""]`, `[1.0000001,"o","x"]`, `[1.000000,"\"","x"]`,
		"[1.000000,\"o\",\"1234567\x7f!\x1f\"]", `[1.000000,"o","!\"#]\\[^^"]`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		at, code, data, ok := recorder.Scan(line)
		skimmed := recorder.Skim(line)
		also, alike, same, err := recorder.Split(line)
		if ok && !skimmed || skimmed && err != nil {
			t.Fatalf("%q: scanned %v, skimmed %v, read %v", line, ok, skimmed, err)
		}
		if !ok {
			return
		}
		if err != nil || also != at || alike != code || !bytes.Equal(same, data) {
			t.Fatalf("%q is scanned as %v, %q, %q, and read as %v, %q, %q, %v", line, at, code, data, also, alike, same, err)
		}
	})
}

// What the verifier sees at a glance is what a general reader of JSON sees.
func FuzzGlance(f *testing.F) {
	for _, e := range spoken() {
		data, err := json.Marshal(e)
		check(err)
		f.Add(data)
		f.Add(bytes.Replace(data, []byte(`"n":`), []byte(`"N":`), 1))
		f.Add(bytes.Replace(data, []byte(`}}`), []byte(`},"base64":"eA=="}`), 1))
		f.Add(bytes.Replace(data, []byte(`}}`), []byte(`}} `), 1))
	}
	f.Add([]byte(`{"type":"result","result":{"n":01,"rows":1,"bytes":-1,"took":1e3}}`))
	f.Add([]byte(`{"type":"result","result":{"n":1,"rows":999999999999999999,"bytes":0,"took":0,"rows":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		seen, ok := recorder.Glance(data)
		if !ok {
			return
		}
		var all struct {
			session.Event
			Base64 json.RawMessage `json:"base64"`
		}
		if err := json.Unmarshal(data, &all); err != nil || all.Type != seen.Type || all.Base64 != nil || !utf8.Valid(data) {
			t.Fatalf("%q: %v", data, err)
		}
		if s := seen.Statement; s != nil && s.Protocol != all.Statement.Protocol {
			t.Errorf("%q: %+v", data, *s)
		}
		if r := seen.Result; r != nil && (r.Rows != all.Result.Rows || r.Bytes != all.Result.Bytes || r.SQLState != all.Result.SQLState) {
			t.Errorf("%q: %+v", data, *r)
		}
	})
}

// spoken is a statement and a result with everything, and one of each with nothing.
func spoken() []session.Event {
	return []session.Event{
		{Type: session.Statement, Statement: &session.StatementInfo{}}, {Type: session.Result, Result: &session.ResultInfo{}},
		{Type: session.Statement, Statement: &session.StatementInfo{N: 7, Protocol: "execute", Text: "select \"é\"\n\x00", Name: "s", Params: []string{"a", "\\b"},
			Database: "orders", Conn: 2, Within: "held", Touches: []string{"delete shop.orders"}}},
		{Type: session.Result, Result: &session.ResultInfo{N: 7, Tag: "SELECT 1", Rows: 1, Bytes: 20, Took: 3, SQLState: "42P01", Message: "no \"x\"", Tx: "E", CopySHA: sha(nil)}},
	}
}

// What the recorder writes of statements and results is seen at a glance: else
// verifying is slow, and nobody notices.
func TestTheUsualIsSeenAtAGlance(t *testing.T) {
	for _, e := range spoken() {
		line := bytes.TrimSuffix(bytes.SplitAfter(recorder.Encode([]session.Event{e}), []byte("\n"))[0], []byte("\n"))
		_, _, data, ok := recorder.Scan(line)
		if _, glanced := recorder.Glance(data); !ok || !glanced {
			t.Errorf("%s: scanned %v, seen at a glance %v", line, ok, glanced)
		}
	}
}

// Each byte, wherever it stands among others, is taken as the strict way takes it.
func TestScanKnowsEveryByte(t *testing.T) {
	for c := range 256 {
		for before := range 17 {
			line := []byte("[1.000000,\"o\",\"" + strings.Repeat("x", before) + string([]byte{byte(c)}) + "0123456789\"]")
			_, _, data, ok := recorder.Scan(line)
			_, _, same, err := recorder.Split(line)
			if ok != (err == nil) || !bytes.Equal(data, same) {
				t.Errorf("%q: scanned %v %q, read %q, %v", line, ok, data, same, err)
			}
		}
	}
}

// thoroughness is how often everything random is done: 1, or $TWOKEY_PROVE.
func thoroughness(t testing.TB) int {
	text := os.Getenv("TWOKEY_PROVE")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("TWOKEY_PROVE=%q is no number", text)
	}
	return n
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// memoryDir is a directory for one test. It is in memory where the system has
// such a place: what these tests take away is the process, never the machine, and
// a real disk would have them wait a thousand times for what they do not look at.
func memoryDir(t testing.TB) string {
	t.Helper()
	const memory = "/dev/shm"
	if _, err := os.Stat(memory); err != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "twokey-test-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
