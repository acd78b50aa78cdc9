package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file measures a script: a gigabyte that \copy writes to a pipe, and what
// the server's memory grows by meanwhile.

const (
	gigabyte  = 1 << 30
	copyItAll = `"\copy (select repeat('x', 1023) from generate_series(1, 1048576)) to stdout"` // quoted for sh
)

func script(ctx context.Context, h *house.House, plain *sshd) ([]row, error) {
	before, err := peak(h.Bastion.Pid())
	if err != nil {
		return nil, err
	}
	var ours, theirs []float64
	for range transfers {
		a, err := drained(viaTwokey(h, "alice", false, "orders@bastion", "--", "-c", copyItAll))
		if err != nil {
			return nil, err
		}
		b, err := drained(plain.ssh(h, false, "-c", copyItAll))
		if err != nil {
			return nil, err
		}
		ours, theirs = append(ours, a), append(theirs, b)
	}
	after, err := peak(h.Bastion.Pid())
	return []row{
		{"a gigabyte of \\copy to a pipe", "MB/s", median(ours), median(theirs), "0.8 or more"},
		{what: "memory that this took at its most", unit: "MB", twokey: after - before, aim: "however long it is"},
	}, err
}

// drained is how fast a command prints a gigabyte, in MB/s.
func drained(cmd *exec.Cmd) (speed float64, err error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, out)
	if failed := cmd.Wait(); failed != nil || err != nil {
		return 0, fmt.Errorf("%s: %w, %v", cmd, failed, err)
	}
	if n != gigabyte {
		return 0, fmt.Errorf("%s printed %d bytes, not %d", cmd, n, gigabyte)
	}
	return float64(n) / 1e6 / time.Since(began).Seconds(), nil
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peak is the most memory that a process has ever had resident.
func peak(pid int) (megabytes float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	found := highWater.FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("process %d says nothing of its memory", pid)
	}
	kilobytes, err := strconv.Atoi(string(found[1]))
	return float64(kilobytes) / 1024, err
}
