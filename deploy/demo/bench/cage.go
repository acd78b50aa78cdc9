package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twokey/twokey/deploy/demo/house"
	"github.com/twokey/twokey/session/psql"
)

// This file measures what the cage costs at start: psql that says its version
// and ends, as a plain child, in the cage as a bastion starts it, whose launcher
// was there before, and in a cage where none waited; as root and as an ordinary user.

const (
	starts = 30
	// rest is until the next launcher waits: with it the measure is of one
	// engineer, not of thirty in a row.
	rest = 800 * time.Millisecond
)

// cageWithin is the argument with which this program measures as the user that it is.
const cageWithin = "cage-within"

// nobody is the ordinary user.
const nobody = 65534

// startTimes are what each start took, in milliseconds.
type startTimes struct{ Plain, Ready, Born []float64 }

func cageCost(ctx context.Context, _ *house.House, _ *sshd) (table []row, err error) {
	for _, user := range []struct {
		name string
		id   uint32
	}{{"root", 0}, {"a user", nobody}} {
		s, err := startsAs(ctx, user.id)
		if err != nil {
			return nil, fmt.Errorf("the cage as %s: %w", user.name, err)
		}
		table = append(table,
			row{what: "start to end of psql, caged and plain, as " + user.name, unit: "ms", twokey: median(s.Ready), sshd: median(s.Plain)},
			row{what: "what the cage adds to it", unit: "ms", twokey: median(differences(s.Ready, s.Plain)), aim: "10 or less"},
			row{what: "and where no launcher waited", unit: "ms", twokey: median(differences(s.Born, s.Plain))})
	}
	return table, nil
}

func differences(a, b []float64) (d []float64) {
	for i := range a {
		d = append(d, a[i]-b[i])
	}
	return d
}

// startsAs runs a copy of this program, which that user may read, as that user.
func startsAs(ctx context.Context, id uint32) (s startTimes, err error) {
	dir, err := os.MkdirTemp("", "bench-cage")
	if err != nil {
		return s, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "bench")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return s, err
	}
	if err := errors.Join(os.WriteFile(program, self, 0o755), os.Chmod(dir, 0o755), os.Chown(dir, int(id), int(id))); err != nil {
		return s, err
	}
	measure := exec.CommandContext(ctx, program, cageWithin)
	measure.Dir, measure.Env, measure.Stderr = dir, []string{"TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}, os.Stderr
	if int(id) != os.Getuid() {
		measure.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	}
	out, err := measure.Output()
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// measureStarts writes startTimes as JSON.
func measureStarts(ctx context.Context, to io.Writer) error {
	ready, err := psql.NewCage(psql.CageOptions{})
	if err != nil {
		return err
	}
	born, err := psql.NewCage(psql.CageOptions{})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() { defer close(kept); ready.KeepReady(ctx) }()
	defer func() { stop(); <-kept }()
	dir, err := os.MkdirTemp("", "gateway")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var s startTimes
	for i := range starts + 1 {
		time.Sleep(rest)
		a, err1 := startCaged(ready, dir)
		b, err2 := startPlain(ready.Path())
		c, err3 := startCaged(born, dir)
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
		if i > 0 { // the first ones warm up
			s.Ready, s.Plain, s.Born = append(s.Ready, a), append(s.Plain, b), append(s.Born, c)
		}
	}
	return json.NewEncoder(to).Encode(s)
}

func startCaged(cage *psql.Cage, dir string) (milliseconds float64, err error) {
	uid, release, err := cage.Reserve()
	if err != nil {
		return 0, err
	}
	defer release()
	began := time.Now()
	shell, err := cage.Start(psql.Options{Socket: dir, UID: uid, Args: []string{"--version"}})
	if err != nil {
		return 0, err
	}
	defer shell.Kill()
	out, _ := io.ReadAll(shell)
	if len(out) == 0 {
		out, _ = io.ReadAll(shell.Errors()) // why not
	}
	shell.Wait()
	return sinceVersion(began, out)
}

func startPlain(path string) (milliseconds float64, err error) {
	began := time.Now()
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return 0, err
	}
	return sinceVersion(began, out)
}

func sinceVersion(began time.Time, out []byte) (milliseconds float64, err error) {
	if !strings.HasPrefix(string(out), "psql ") {
		return 0, fmt.Errorf("psql said %q", out)
	}
	return time.Since(began).Seconds() * 1000, nil
}
