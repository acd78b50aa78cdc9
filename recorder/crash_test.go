package recorder_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// This file kills bastions: a child process that writes tapes is ended with
// SIGKILL at some moment, and what it had acknowledged must be in the store
// after the next start, byte for byte.

// TestMain turns this binary into the child when it is asked to.
func TestMain(m *testing.M) {
	if dir := os.Getenv("TWOKEY_TEST_CHILD"); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// child writes a tape for ever. On standard output it says each piece only
// after Append has returned, as a session shows it to the engineer.
func child(dir string) {
	s, err := store.NewFolder(filepath.Join(dir, "store"))
	check(err)
	o := options(filepath.Join(dir, "state"), s)
	o.SegmentEvery, o.SegmentBytes = 5*time.Millisecond, 2<<10
	r, err := recorder.New(o)
	check(err)
	want := request()
	fmt.Println(want.ID)
	tape, err := r.Begin(context.Background(), want)
	check(err)
	fmt.Println("begun")
	check(tape.Append(session.Event{Type: session.Join, Who: "bob", Identity: &bob}))
	for i := 0; ; i++ {
		text := fmt.Sprintf("row %d ü€😀 %s\r\n", i, strings.Repeat("x", i%200))
		cut := i % len(text) // runes are split, too
		at := time.Duration(i) * time.Millisecond
		for _, piece := range []string{text[:cut], text[cut:]} {
			check(tape.Append(out(at, piece)))
			os.Stdout.WriteString(fmt.Sprintf("%x\n", piece))
		}
		if i%10 == 0 {
			check(tape.Append(session.Event{At: at, Type: session.Statement, Statement: &session.StatementInfo{N: i, Protocol: "simple", Text: "select 1"}}))
		}
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// crash runs a child, kills it after so many lines and some time more, and
// returns the session's ID and what the engineer has seen.
func crash(t *testing.T, dir string, lines int, later time.Duration) (id string, seen []byte) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "TWOKEY_TEST_CHILD="+dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scan := bufio.NewScanner(pipe)
	for n := 0; scan.Scan(); n++ {
		switch n {
		case 0:
			id = scan.Text()
		case 1:
		default:
			piece := []byte{}
			fmt.Sscanf(scan.Text(), "%x", &piece)
			seen = append(seen, piece...)
		}
		if n == lines {
			time.AfterFunc(later, func() { cmd.Process.Kill() })
		}
	}
	cmd.Wait()
	if id == "" {
		t.Fatal("the child said nothing")
	}
	return id, seen
}

func TestKilledProcess(t *testing.T) {
	moments := []int{0, 1, 2, 3, 10, 50, 200, 1000, 3000}
	for i, lines := range moments {
		t.Run(fmt.Sprint("after line ", lines), func(t *testing.T) {
			dir := t.TempDir()
			id, seen := crash(t, dir, lines, time.Duration(i)*300*time.Microsecond)
			s, err := store.NewFolder(filepath.Join(dir, "store"))
			if err != nil {
				t.Fatal(err)
			}
			r := newRecorder(t, options(filepath.Join(dir, "state"), s))
			if err := r.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			closed(t, r)
			a := recorder.OpenArchive(s, trusted(), nil)
			if len(seen) == 0 {
				if err := a.Verify(t.Context(), nil, io.Discard); err != nil {
					t.Fatal(err)
				}
				return // killed before or in Begin: there may be nothing
			}
			report, err := a.Check(t.Context(), id)
			if err != nil || len(report.Findings) > 0 {
				t.Fatalf("%v, %v", report.Findings, err)
			}
			if m := report.Manifest; m.Cause.Code != session.Unclean || !slices.Contains(m.Flags, "unclean") || m.Seats[0].Who != "bob" {
				t.Fatalf("%+v", m)
			}
			taped := bytesOf(read(t, a, id), session.Output)
			if !bytes.HasPrefix(taped, seen) {
				t.Fatalf("%d bytes were seen, %d are on the tape, and they differ", len(seen), len(taped))
			}
			proven(t, a)
		})
	}
}

// Whatever a crash leaves of the last line is cut off, wherever it fell.
func TestEveryTornLine(t *testing.T) {
	s := storetest.NewFaulty(t)
	from := t.TempDir()
	o := options(from, s)
	o.SegmentEvery = time.Hour
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	appendAll(t, tape, story()...)
	appendAll(t, tape, out(20*time.Millisecond, "half a rune: \xe2\x82"))
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
			dir, copied := t.TempDir(), s.Memory.Clone()
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

// A crash between any two steps of bringing a recording to the store is
// completed by the next start. The steps are the objects that the store takes.
func TestCrashBetweenSteps(t *testing.T) {
	for step := range 12 {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			s := storetest.NewFaulty(t)
			dir := t.TempDir()
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
	o := options(t.TempDir(), s)
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
