package recorder_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// This file breaks the bastion's disk. What a recording says about its end must
// be true all the same: that bob killed the session, not that a bastion died.

var killedByBob = session.Cause{Code: session.Killed, By: "bob", Text: "stop it"}

func killedSummary(id string) session.Summary {
	return session.Summary{ID: id, Cause: &killedByBob, State: session.Ended, Ended: time.Now(), Flags: []string{"killed"}}
}

// saysKilled checks that the recording is proven and tells how the session
// ended.
func saysKilled(t *testing.T, a *recorder.Archive, id string) {
	t.Helper()
	proven(t, a, id)
	report, err := a.Check(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if m := report.Manifest; m.Cause != killedByBob || !slices.Equal(m.Flags, []string{"killed"}) {
		t.Fatalf("the manifest says %v, flags %v", m.Cause, m.Flags)
	}
	events := read(t, a, id)
	if last := events[len(events)-1]; last.Cause == nil || *last.Cause != killedByBob {
		t.Fatalf("the tape ends with %+v", last)
	}
}

// Nothing can be written any more, not even how the session ended: the process
// that lives on knows it.
func TestCauseOfTheEndWithoutADisk(t *testing.T) {
	s := storetest.NewMemory(t)
	dir := memoryDir(t)
	r := newRecorder(t, options(dir, s))
	want := request()
	tape := begin(t, r, want)
	recorder.FillDisk(tape)
	if err := os.Mkdir(filepath.Join(dir, "spool", want.ID, "sealed.json"), 0o700); err != nil { // no file can appear there
		t.Fatal(err)
	}
	if err := tape.Seal(killedSummary(want.ID)); err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Fatalf("Seal says %v", err)
	}
	closed(t, r)
	saysKilled(t, recorder.OpenArchive(s, trusted(), nil), want.ID)
}

// The disk is full to the last byte when bob kills the session: how it ended is
// on the disk all the same, for the next process should this one die, and with
// room on the disk the recording is completed, by either.
func TestCauseOfTheEndOnAFullDisk(t *testing.T) {
	if !mayMount(t) {
		return
	}
	disk := smallDisk(t)
	s := storetest.NewMemory(t)
	o := options(filepath.Join(disk, "state"), s)
	o.SegmentEvery = time.Hour // the disk is full of slices
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	quiet(t, o.Dir)
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	var full error
	for i := 0; full == nil && i < 10000; i++ {
		full = tape.Append(out(time.Duration(i)*time.Microsecond, strings.Repeat("x", 1000)))
	}
	if !errors.Is(full, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", full)
	}
	died, store := memoryDir(t), s.Clone()
	if err := os.CopyFS(died, os.DirFS(o.Dir)); err != nil {
		t.Fatal(err)
	}
	tape.Seal(killedSummary(want.ID)) // an error or none: the tape may have had room for its end

	sealed := filepath.Join("spool", want.ID, "sealed.json")
	text, err := os.ReadFile(filepath.Join(o.Dir, sealed))
	if err != nil {
		t.Fatalf("how it ended is not on the disk: %v", err)
	}
	if err := os.WriteFile(filepath.Join(died, sealed), text, 0o600); err != nil {
		t.Fatal(err)
	}
	next := newRecorder(t, options(died, store))
	if err := next.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed(t, next)
	saysKilled(t, recorder.OpenArchive(store, trusted(), nil), want.ID)

	os.Remove(ballast)
	closed(t, r)
	saysKilled(t, recorder.OpenArchive(s, trusted(), nil), want.ID)
}

// mayMount reports whether this process can mount what a test needs, as root does. For anybody
// else the test runs in a process that is root of mounts of its own (user_namespaces(7)), and this
// is false when that has passed. Only a kernel that gives nobody such a namespace leaves it untried,
// and never in CI.
func mayMount(t *testing.T) bool {
	t.Helper()
	if os.Getuid() == 0 {
		return true
	}
	own := exec.Command(os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	own.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := own.CombinedOutput()
	var failed *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &failed) && os.Getenv("CI") == "":
		t.Skip("NOT TRIED: only root can mount here: ", err)
	case err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Fatalf("in a namespace of its own: %v\n%s", err, out)
	}
	return false
}

// smallDisk mounts a file system of 1 MiB.
func smallDisk(t *testing.T) string {
	dir := memoryDir(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// A write fails with EIO: the tape is broken for good, and what it has is stored
// with the cause that the session ended with.
func TestFailedWriteIsFinal(t *testing.T) {
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	o.SegmentEvery = time.Hour
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	appendAll(t, tape, out(1, "before"))
	recorder.BreakDisk(tape)
	for range 2 {
		if err := tape.Append(out(2, "after")); !errors.Is(err, syscall.EIO) || !errors.Is(tape.Health().Err, syscall.EIO) {
			t.Fatalf("Append: %v, Health: %v", err, tape.Health().Err)
		}
	}
	tape.Seal(killedSummary(want.ID))
	closed(t, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	saysKilled(t, a, want.ID)
	if text := bytesOf(read(t, a, want.ID), session.Output); string(text) != "before" {
		t.Fatalf("%q", text)
	}
}

// The disk becomes read-only, as file systems do after an error: no session begins,
// the one that runs stops, and what it has is stored once the disk is back.
func TestDiskReadOnly(t *testing.T) {
	if !mayMount(t) {
		return
	}
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	back := readOnly(t, o.Dir)
	appendAll(t, tape, out(1, "before")) // this file was open
	eventually(t, "the tape knows that no slice can follow", func() bool { return errors.Is(tape.Health().Err, syscall.EROFS) })
	if err := tape.Append(out(2, "after")); !errors.Is(err, syscall.EROFS) {
		t.Errorf("Append: %v", err)
	}
	if _, err := r.Begin(t.Context(), request()); err == nil || !strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("a session began without a spool: %v", err)
	}
	tape.Seal(killedSummary(want.ID))
	back()
	closed(t, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	saysKilled(t, a, want.ID)
	if text := bytesOf(read(t, a, want.ID), session.Output); string(text) != "before" {
		t.Errorf("%q", text)
	}
}

// A disk that has become read-only takes nothing any more, whatever syncfs says of it.
func TestAReadOnlyDiskIsNotSynced(t *testing.T) {
	if !mayMount(t) {
		return
	}
	dir := memoryDir(t)
	if err := recorder.SyncDisk(dir); err != nil {
		t.Fatal(err)
	}
	readOnly(t, dir)
	if err := recorder.SyncDisk(dir); !errors.Is(err, syscall.EROFS) {
		t.Errorf("it is synced: %v", err)
	}
}

// readOnly makes a directory read-only, with what is mounted there, until back or the test's end.
func readOnly(t *testing.T, dir string) (back func()) {
	t.Helper()
	var is syscall.Statfs_t
	if err := errors.Join(syscall.Mount(dir, dir, "", syscall.MS_BIND, ""), syscall.Statfs(dir, &is)); err != nil {
		t.Fatal(err)
	}
	back = sync.OnceFunc(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	t.Cleanup(back)
	kept := uintptr(is.Flags) & (syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC) // which only the machine's root may take away
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY|kept, ""); err != nil {
		t.Fatal(err)
	}
	return back
}

// The place of an entry is on the disk before the entry leaves it for the store: else a
// crash would give the same place to another one.
func TestNothingLeavesBeforeItsPlaceIsOnTheDisk(t *testing.T) {
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	r := newRecorder(t, o)
	a := recorder.OpenArchive(s, trusted(), r)
	stored := func(part string) bool {
		return slices.ContainsFunc(s.Names(), func(n string) bool { return strings.Contains(n, part) })
	}
	eventually(t, "the ledger is stored", func() bool { return stored("0000000001-started.json") })
	obstacle := filepath.Join(o.Dir, "books.json.new")
	if err := os.Mkdir(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := a.Viewed(t.Context(), bob, "export", ""); err == nil {
		t.Fatal("noted, without a place in the books")
	}
	time.Sleep(100 * time.Millisecond) // it would be there
	if stored("-viewed.json") {
		t.Error("it is in the store, and its place is not on the disk")
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	if err := a.Viewed(t.Context(), bob, "export", ""); err != nil {
		t.Fatal(err)
	}
	closed(t, r)
	if !stored("0000000002-viewed.json") || !stored("0000000003-viewed.json") {
		t.Errorf("the store has %q", s.Names())
	}
	proven(t, recorder.OpenArchive(s, trusted(), nil))
}

// An fsync failed: the kernel has said so once and forgotten what it could not
// write. The tape is broken for good, whatever later ones say.
func TestFailedFsyncIsFinal(t *testing.T) {
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	o.SegmentEvery = time.Hour
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	appendAll(t, tape, out(1, "before"))
	heal := recorder.FailSync(tape)
	appendAll(t, tape, out(2, "never on the disk"))
	eventually(t, "the tape knows that its fsync failed", func() bool { return tape.Health().Err != nil })
	heal()
	for range 2 {
		if err := tape.Append(out(3, "after")); !errors.Is(err, syscall.EINVAL) || !errors.Is(tape.Health().Err, syscall.EINVAL) {
			t.Fatalf("Append: %v, Health: %v", err, tape.Health().Err)
		}
	}
	if err := tape.Seal(killedSummary(want.ID)); !errors.Is(err, syscall.EINVAL) {
		t.Fatalf("Seal: %v", err)
	}
	closed(t, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	saysKilled(t, a, want.ID)
	if text := bytesOf(read(t, a, want.ID), session.Output); string(text) != "before" {
		t.Fatalf("%q", text)
	}
}

// The same, when it is the fsync of Seal: the end of the tape is lost with it.
func TestFailedFsyncOfSeal(t *testing.T) {
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	o.SegmentEvery = time.Hour
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	recorder.FailSync(tape)
	if err := tape.Seal(killedSummary(want.ID)); !errors.Is(err, syscall.EINVAL) {
		t.Fatalf("Seal: %v", err)
	}
	if err := tape.Health().Err; !errors.Is(err, syscall.EINVAL) {
		t.Fatalf("Health: %v", err)
	}
	closed(t, r)
	saysKilled(t, recorder.OpenArchive(s, trusted(), nil), want.ID)
}

// A cause too long for the room that is kept for it is kept in a file of its own.
func TestLongCauseOutlivesTheProcess(t *testing.T) {
	s := storetest.NewFaulty(t)
	dir := memoryDir(t)
	r := newRecorder(t, options(dir, s))
	want := request()
	tape := begin(t, r, want)
	recorder.FillDisk(tape) // the end is not on the tape
	cause := session.Cause{Code: session.Killed, By: "bob", Text: strings.Repeat("no, ", 10000)}
	s.Break(storetest.Unavailable, "")
	tape.Seal(session.Summary{ID: want.ID, Cause: &cause})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r.Close(ctx)
	s.Heal()
	r = newRecorder(t, options(dir, s))
	if err := r.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed(t, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	proven(t, a, want.ID)
	if report, err := a.Check(t.Context(), want.ID); err != nil || report.Manifest.Cause != cause || slices.Contains(report.Manifest.Flags, "recovered") {
		t.Fatalf("%v, %+v", err, report.Manifest)
	}
}

// With durability: synced, no statement goes on before the disk has it; without,
// the kernel is enough, and the next fsync finds out.
func TestAStatementWaitsForTheDisk(t *testing.T) {
	for _, synced := range []bool{false, true} {
		s := storetest.NewMemory(t)
		o := options(memoryDir(t), s)
		o.Synced, o.SegmentEvery = synced, time.Hour
		r := newRecorder(t, o)
		want := request()
		tape := begin(t, r, want)
		statement := story()[5]
		if err := tape.Append(statement); err != nil {
			t.Fatal(err)
		}
		heal := recorder.FailSync(tape)
		if err := tape.Append(out(statement.At, "not a statement")); err != nil {
			t.Errorf("synced %v: output: %v", synced, err)
		}
		if err := tape.Append(statement); (err != nil) != synced {
			t.Errorf("synced %v: a statement that the disk did not take: %v", synced, err)
		}
		heal()
		end, summary := ending(want.ID, time.Second)
		tape.Append(end)
		tape.Seal(summary)
		closed(t, r)
	}
}

// The fsync that a statement waits for may be the keeper's, or that of a cut: when it
// fails, the statement does not go on either.
func TestAStatementHearsOfAnothersFsync(t *testing.T) {
	for name, fails := range map[string]func(t *testing.T, tape session.Tape, wait func()){
		"the keeper's": func(t *testing.T, tape session.Tape, wait func()) {
			release := recorder.Busy(tape)
			wait()
			recorder.FailBusy(tape, syscall.EIO)
			release()
		},
		"a cut's": func(t *testing.T, tape session.Tape, wait func()) {
			recorder.FailSync(tape)
			release := recorder.Busy(tape)
			cut := make(chan error)
			go func() { cut <- recorder.Cut(tape) }()
			time.Sleep(20 * time.Millisecond) // the cut is the first in the line
			wait()
			release()
			if err := <-cut; !errors.Is(err, syscall.EINVAL) {
				t.Errorf("the cut: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(memoryDir(t), storetest.NewMemory(t))
			o.Synced, o.SegmentEvery = true, time.Hour
			r := newRecorder(t, o)
			want := request()
			tape := begin(t, r, want)
			eventually(t, "the beginning is stored", func() bool { return tape.Health().Bytes == 0 })
			told := make(chan error, 1)
			fails(t, tape, func() {
				go func() { told <- tape.Append(story()[5]) }()
				eventually(t, "the statement is written", func() bool { return tape.Health().Bytes > 0 })
				time.Sleep(20 * time.Millisecond) // and waits
			})
			if err := <-told; err == nil {
				t.Error("a statement went on that the disk did not take")
			}
			tape.Seal(killedSummary(want.ID))
			closed(t, r)
		})
	}
}

// There is no room for the line that says that the store has a segment: the segment stays
// until there is.
func TestASegmentStaysUntilItIsNoted(t *testing.T) {
	s := storetest.NewFaulty(t)
	dir := memoryDir(t)
	r := newRecorder(t, options(dir, s))
	want := request()
	tape := begin(t, r, want)
	s.Break(storetest.Unavailable, "")
	appendAll(t, tape, story()...)
	tape.Seal(killedSummary(want.ID))
	spool := filepath.Join(dir, "spool", want.ID)
	left := func(suffix string) int {
		list, err := filepath.Glob(filepath.Join(spool, "*"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	eventually(t, "all of it waits for the store", func() bool { return left(".cast") == 0 && left(".cast.zst") > 0 })
	journal, aside := filepath.Join(spool, "segments.jsonl"), filepath.Join(dir, "aside")
	if err := errors.Join(os.Rename(journal, aside), os.Symlink("/dev/full", journal)); err != nil {
		t.Fatal(err)
	}
	waiting, before := left(".cast.zst"), len(s.Names())
	s.Heal()
	eventually(t, "the store has a segment", func() bool { return len(s.Names()) > before })
	time.Sleep(50 * time.Millisecond) // it would be gone
	if n := left(".cast.zst"); n != waiting {
		t.Errorf("%d segments waited, and %d are there", waiting, n)
	}
	if err := os.Rename(aside, journal); err != nil {
		t.Fatal(err)
	}
	closed(t, r)
	saysKilled(t, recorder.OpenArchive(s, trusted(), nil), want.ID)
}

// Statements, and the segments that are cut meanwhile, get along.
func TestSyncedStatementsAndCuts(t *testing.T) {
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	o.Synced, o.SegmentEvery = true, time.Millisecond
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	for i := range 200 {
		appendAll(t, tape, session.Event{At: time.Duration(i) * time.Microsecond, Type: session.Statement, Statement: &session.StatementInfo{N: i + 1, Protocol: "simple", Text: "select 1"}})
	}
	sealTape(t, tape, want.ID, time.Second)
	closed(t, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	proven(t, a)
	if n := len(read(t, a, want.ID)); n < 201 {
		t.Errorf("%d events are on the tape", n)
	}
}
