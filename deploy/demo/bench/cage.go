package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/twokey/twokey/deploy/demo/house"
	"github.com/twokey/twokey/session/psql"
)

// This file measures what the cage costs at start: psql that says its version
// and ends, in the cage and as a plain child.

const starts = 40

func cageCost(context.Context, *house.House, *sshd) ([]row, error) {
	cage, err := psql.NewCage(psql.CageOptions{})
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-cage")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var caged, plain, more []float64
	for i := range starts + 1 {
		a, err := startCaged(cage, dir)
		if err != nil {
			return nil, err
		}
		b, err := startPlain(cage.Path())
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first pair warms up
			caged, plain, more = append(caged, a), append(plain, b), append(more, a-b)
		}
	}
	return []row{
		{what: "start to end of psql, caged and plain", unit: "ms", twokey: median(caged), sshd: median(plain)},
		{what: "what the cage adds to it", unit: "ms", twokey: median(more), aim: "10 or less"},
	}, nil
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
