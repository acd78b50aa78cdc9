package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/creack/pty"
	"github.com/oklog/ulid/v2"
	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
)

// This file measures what recording costs, beside asciinema and tlog: the same
// program prints the same tables in a terminal within a terminal, and somebody
// records what it prints. Nobody does in the first line.

const (
	printed       = 30 << 20 // bytes
	recordings    = 3        // rounds
	verified      = 8 * printed
	verifications = 5 // rounds
	recordedInput = "output.txt"
)

// inner is the argument with which this program is the terminal within: without
// a directory nobody records.
const inner = "terminal-within"

// recorderOf is one way to record a command's output.
type recorderOf struct {
	name    string
	command func(dir string) []string // dir takes what it writes
}

func recording(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "twokey-bench-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	input := filepath.Join(dir, recordedInput)
	if err := os.WriteFile(input, tables(printed), 0o600); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	show := "cat " + input
	ways := []recorderOf{
		{"nobody", func(string) []string { return []string{self, inner, input} }},
		{"twokey", func(out string) []string { return []string{self, inner, input, out} }},
		{"asciinema rec", func(out string) []string {
			return []string{"asciinema", "rec", "-q", "-c", show, filepath.Join(out, "x.cast")}
		}},
		{"tlog-rec", func(out string) []string {
			return []string{"tlog-rec", "--writer=file", "--file-path=" + filepath.Join(out, "x.json"), "cat", input}
		}},
	}
	if _, _, err := within(ctx, []string{"tlog-rec", "--writer=file", "--file-path=" + filepath.Join(dir, "try.json"), "cat", input}); err != nil {
		fmt.Fprintf(os.Stderr, "left out: %v (it needs the file /var/run/utmp)\n", err)
		ways = ways[:len(ways)-1]
	}
	speed, cpu, size := map[string][]float64{}, map[string][]float64{}, map[string]float64{}
	for range recordings {
		for _, way := range ways {
			out, err := os.MkdirTemp(dir, "out-*")
			if err != nil {
				return err
			}
			took, burnt, err := within(ctx, way.command(out))
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			speed[way.name] = append(speed[way.name], printed/1e6/took.Seconds())
			cpu[way.name] = append(cpu[way.name], float64(burnt.Microseconds())/1e3/(printed/1e6))
			if size[way.name], err = written(out); err != nil {
				return err
			}
		}
	}
	zipped, err := asciicastZipped(input)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nrecorded by\tMB/s\tof nobody's\tCPU ms/MB\tstored, of what was printed\t\n")
	for _, way := range ways {
		fmt.Fprintf(w, "%s\t%.1f\t%.2f\t%.1f\t%.3f\t\n", way.name, median(speed[way.name]), median(speed[way.name])/median(speed["nobody"]), median(cpu[way.name]), size[way.name]/printed)
	}
	fmt.Fprintf(w, "asciicast, gzipped\t\t\t\t%.3f\t\n", zipped/printed)
	if err := w.Flush(); err != nil {
		return err
	}
	out := filepath.Join(dir, "long")
	if err := errors.Join(os.WriteFile(input, tables(verified), 0o600), os.Mkdir(out, 0o700)); err != nil {
		return err
	}
	if _, _, err := within(ctx, []string{self, inner, input, out}); err != nil {
		return err
	}
	return verifying(ctx, out)
}

// tables are what psql prints, of so many bytes.
func tables(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, " %7d | %032x | 2026-11-%02d 12:%02d:%02d.%06d+00 | paid   |  %8.2f \n", i, i*2654435761, i%28+1, i%60, i*7%60, i*7919%1000000, float64(i)*1.17)
	}
	return b.Bytes()[:n]
}

// within runs a command in a terminal and reads what it prints.
func within(ctx context.Context, args []string) (took, burnt time.Duration, err error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color", "SHELL=/bin/sh")
	began := time.Now()
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 120})
	if err != nil {
		return 0, 0, err
	}
	defer terminal.Close()
	var tail bytes.Buffer
	n, _ := io.Copy(lastWords{&tail}, terminal) // EIO is its end
	if err := cmd.Wait(); err != nil || n < printed {
		return 0, 0, fmt.Errorf("%s: %w after %d bytes: %q", args[0], err, n, tail.Bytes())
	}
	return time.Since(began), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// lastWords keeps the last thing that was printed.
type lastWords struct{ tail *bytes.Buffer }

func (c lastWords) Write(p []byte) (int, error) {
	c.tail.Reset()
	c.tail.Write(p[max(0, len(p)-200):])
	return len(p), nil
}

// terminalWithin shows a file in a terminal of its own, and records that when there is
// a directory for it.
func terminalWithin(ctx context.Context, args []string) error {
	var tape session.Tape
	if len(args) > 1 {
		r, err := benchRecorder(args[1])
		if err != nil {
			return err
		}
		defer r.Close(ctx)
		want := session.Request{ID: ulid.Make().String(), Target: session.Target{Name: "orders"}, Started: time.Now()}
		if tape, err = r.Begin(ctx, want); err != nil {
			return err
		}
		defer func() {
			tape.Append(session.Event{At: time.Since(want.Started), Type: session.End, Cause: &session.Cause{Code: session.Quit}})
			tape.Seal(session.Summary{ID: want.ID})
		}()
	}
	began := time.Now()
	cmd := exec.Command("cat", args[0])
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 120})
	if err != nil {
		return err
	}
	defer terminal.Close()
	read := make([]byte, 32<<10)
	for {
		n, err := terminal.Read(read)
		if n > 0 && tape != nil {
			if err := tape.Append(session.Event{At: time.Since(began), Type: session.Output, Bytes: read[:n]}); err != nil {
				return err
			}
		}
		if _, failed := os.Stdout.Write(read[:n]); failed != nil {
			return failed
		}
		if err != nil {
			return cmd.Wait()
		}
	}
}

func benchRecorder(dir string) (*recorder.Recorder, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, err
	}
	s, err := store.NewFolder(filepath.Join(dir, "store"))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "recording.pub"), ssh.MarshalAuthorizedKey(signer.PublicKey()), 0o600); err != nil {
		return nil, err
	}
	return recorder.New(recorder.Options{Dir: filepath.Join(dir, "state"), Store: s, Signer: signer, MaxLagBytes: 1 << 40, MaxLagTime: time.Hour})
}

// written is how many bytes lie in a directory, without what is there to work.
func written(dir string) (bytes float64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "state" {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		bytes += float64(info.Size())
		return err
	})
	return bytes, err
}

// asciicastZipped is how long asciinema's recording of a file is, gzipped.
func asciicastZipped(input string) (bytes float64, err error) {
	out := filepath.Join(filepath.Dir(input), "zipped.cast")
	cmd := exec.Command("script", "-qec", fmt.Sprintf("asciinema rec -q -c 'cat %s' %s", input, out), "/dev/null")
	cmd.Stdin = nil
	if text, err := cmd.Output(); err != nil {
		return 0, fmt.Errorf("asciinema: %w: %.200q", err, text)
	}
	cast, err := os.ReadFile(out)
	if err != nil {
		return 0, err
	}
	n := &length{}
	z := gzip.NewWriter(n)
	_, err = z.Write(cast)
	return float64(n.bytes), errors.Join(err, z.Close())
}

type length struct{ bytes int }

func (l *length) Write(p []byte) (int, error) { l.bytes += len(p); return len(p), nil }

// verifying measures how fast what twokey recorded is proven, which is long enough for
// the start of a process not to count, beside what standard
// tools take to read it at all: zstd and sha256sum in a pipe, and sha256sum alone of
// what is stored, which is as fast as it comes from the disk.
func verifying(ctx context.Context, dir string) error {
	a, err := archiveIn(dir)
	if err != nil {
		return err
	}
	segments, err := filepath.Glob(filepath.Join(dir, "store", "sessions", "*", "*", "*", "*", "*.zst"))
	if err != nil {
		return err
	}
	shell := func(script string) func() error {
		return func() error {
			return exec.CommandContext(ctx, "sh", append([]string{"-c", script, "sh"}, segments...)...).Run()
		}
	}
	ways := []struct {
		name string
		do   func() error
	}{
		{"twokey, all of it proven", func() error { return a.Verify(ctx, nil, io.Discard) }},
		{"zstd -dc | sha256sum", shell(`zstd -dcq "$@" | sha256sum`)},
		{"zstd -dc, thrown away", shell(`zstd -dcq "$@" > /dev/null`)},
		{"cat | sha256sum, as stored", shell(`cat "$@" | sha256sum`)},
	}
	speed := make([][]float64, len(ways))
	for range verifications {
		for i, way := range ways {
			began := time.Now()
			if err := way.do(); err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			speed[i] = append(speed[i], verified/1e9/time.Since(began).Seconds())
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nverified, on all cores\tGB/s of what was printed\tof twokey's\taim\t\n")
	for i, way := range ways {
		aim := ""
		if i == 0 {
			aim = "1, or the disk"
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%s\t\n", way.name, median(speed[i]), median(speed[i])/median(speed[0]), aim)
	}
	return w.Flush()
}

// archiveIn is what benchRecorder recorded in a directory.
func archiveIn(dir string) (*recorder.Archive, error) {
	s, err := store.NewFolder(filepath.Join(dir, "store"))
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "recording.pub"))
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, err
	}
	return recorder.OpenArchive(s, []ssh.PublicKey{key}, nil), nil
}
