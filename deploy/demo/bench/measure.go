package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file holds the measurements. Each takes turns between the two, so that
// what else the machine does hits both.

// How often each is measured.
const (
	openings  = 15
	transfers = 3
	rounds    = 4
	keysEach  = 100 // keystrokes in a round
	openLines = 25  // sessions open at once, for memory
)

// opening is the time from starting ssh to its end, for select 1.
func opening(ctx context.Context, h *house.House, plain *sshd) ([]row, error) {
	var ours, theirs []float64
	for i := range openings + 1 {
		a, err := timed(viaTwokey(h, "alice", false, "orders@bastion", "--", "-At", "-c", "'select 1'"))
		if err != nil {
			return nil, err
		}
		b, err := timed(plain.ssh(h, false, "-At", "-c", "'select 1'"))
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first pair warms up
			ours, theirs = append(ours, a), append(theirs, b)
		}
	}
	return []row{{"ssh to the end of select 1", "ms", median(ours), median(theirs), "0.35 or less"}}, nil
}

func timed(cmd *exec.Cmd) (milliseconds float64, err error) {
	began := time.Now()
	out, err := cmd.Output()
	took := time.Since(began)
	if err != nil || strings.TrimSpace(string(out)) != "1" {
		return 0, fmt.Errorf("%s: %w: %q", cmd, err, out)
	}
	return took.Seconds() * 1000, nil
}

// pair is alice in a psql by twokey, recorded and with bob watching, and a psql by sshd.
type pair struct {
	ours, theirs, bob *line
}

var liveCode = regexp.MustCompile(`shadow ([0-9A-Z]{5})\b`)

func openPair(ctx context.Context, h *house.House, plain *sshd) (p pair, err error) {
	defer func() {
		if err != nil {
			p.hangUp()
		}
	}()
	code := ""
	if p.ours, code, err = askToWrite(ctx, h); err != nil {
		return p, err
	}
	if p.bob, err = dial(viaTwokey(h, "bob", true, "bastion", "shadow", code)); err != nil {
		return p, err
	}
	if p.theirs, err = dial(plain.ssh(h, true)); err != nil {
		return p, err
	}
	for _, l := range []*line{p.ours, p.theirs} {
		if err := l.await(ctx, house.Patience, "orders=> "); err != nil {
			return p, err
		}
		if err := l.say(ctx, "\\pset pager off\r", "Pager usage is off", "orders=> "); err != nil {
			return p, err
		}
	}
	return p, nil
}

// askToWrite is alice asking for write access, up to the code for her shadow.
func askToWrite(ctx context.Context, h *house.House) (alice *line, code string, err error) {
	if alice, err = dial(viaTwokey(h, "alice", true, "orders+write@bastion")); err != nil {
		return nil, "", err
	}
	if err := alice.await(ctx, house.Patience, "Reason: "); err != nil {
		return alice, "", err
	}
	if err := alice.press("bench\r"); err != nil {
		return alice, "", err
	}
	code, err = alice.waits(ctx)
	return alice, code, err
}

// waits is a session waiting for its shadow, up to the code for them.
func (l *line) waits(ctx context.Context) (code string, err error) {
	if err := l.await(ctx, house.Patience, "psql has not started"); err != nil {
		return "", err
	}
	said := l.text()
	found := liveCode.FindStringSubmatch(said)
	if found == nil {
		return "", fmt.Errorf("no code to shadow: %q", said)
	}
	return found[1], nil
}

func (p pair) hangUp() {
	for _, l := range []*line{p.ours, p.theirs, p.bob} {
		if l != nil {
			l.hangUp()
		}
	}
}

// throughput is MB/s of a million rows on a terminal, from Enter to the prompt.
func throughput(ctx context.Context, h *house.House, plain *sshd) ([]row, error) {
	p, err := openPair(ctx, h, plain)
	if err != nil {
		return nil, err
	}
	defer p.hangUp()
	var ours, theirs []float64
	for range transfers {
		for l, to := range map[*line]*[]float64{p.ours: &ours, p.theirs: &theirs} {
			speed, err := flood(ctx, l)
			if err != nil {
				return nil, err
			}
			*to = append(*to, speed)
		}
	}
	return []row{{"a million rows through a terminal", "MB/s", median(ours), median(theirs), "1.0 or more"}}, nil
}

func flood(ctx context.Context, l *line) (speed float64, err error) {
	l.forget()
	began := time.Now()
	if err := l.press("select n, md5(n::text) from generate_series(1,1000000) n;\r"); err != nil {
		return 0, err
	}
	err = l.await(ctx, 2*time.Minute, "(1000000 rows)", "orders=> ")
	return float64(l.bytes()) / 1e6 / time.Since(began).Seconds(), err
}

// echo is the time from a key to its echo, at psql's prompt.
func echo(ctx context.Context, h *house.House, plain *sshd) ([]row, error) {
	p, err := openPair(ctx, h, plain)
	if err != nil {
		return nil, err
	}
	defer p.hangUp()
	var ours, theirs []float64
	for range rounds {
		a, errA := strokes(ctx, p.ours)
		b, errB := strokes(ctx, p.theirs)
		if err := errors.Join(errA, errB); err != nil {
			return nil, err
		}
		ours, theirs = append(ours, a...), append(theirs, b...)
	}
	return []row{
		{"echo of a key, p50", "ms", percentile(ours, 50), percentile(theirs, 50), "1.0 or less"},
		{"echo of a key, p99", "ms", percentile(ours, 99), percentile(theirs, 99), "1.0 or less"},
	}, nil
}

func strokes(ctx context.Context, l *line) (milliseconds []float64, err error) {
	for i := range keysEach {
		if i%40 == 0 {
			if err := l.say(ctx, "\x15 ", " "); err != nil { // an empty line again
				return nil, err
			}
			time.Sleep(20 * time.Millisecond) // let what else readline draws pass by
		}
		l.forget()
		began := time.Now()
		if err := l.press("x"); err != nil {
			return nil, err
		}
		if err := l.await(ctx, house.Patience, "x"); err != nil {
			return nil, err
		}
		milliseconds = append(milliseconds, time.Since(began).Seconds()*1000)
		time.Sleep(5 * time.Millisecond) // as nobody types faster than that
	}
	return milliseconds, nil
}

// memory is what one more open session takes in the server, psql apart: its
// proportional set size, which counts shared pages once.
func memory(ctx context.Context, h *house.House, plain *sshd) ([]row, error) {
	ours, err := perLine(ctx, h.Bastion.Pid(), "twokey", func() *exec.Cmd { return viaTwokey(h, "alice", true, "orders@bastion") })
	if err != nil {
		return nil, err
	}
	theirs, err := perLine(ctx, plain.Pid(), "sshd", func() *exec.Cmd { return plain.ssh(h, true) })
	if err != nil {
		return nil, err
	}
	return []row{{"memory of an open session", "MB", ours, theirs, "0.2 or less"}}, nil
}

func perLine(ctx context.Context, pid int, program string, cmd func() *exec.Cmd) (megabytes float64, err error) {
	first, err := dial(cmd()) // what is needed once is not counted
	if err != nil {
		return 0, err
	}
	defer first.hangUp()
	if err := first.await(ctx, house.Patience, "orders=> "); err != nil {
		return 0, err
	}
	before, err := memoryOf(pid, program)
	if err != nil {
		return 0, err
	}
	for range openLines {
		l, err := dial(cmd())
		if err != nil {
			return 0, err
		}
		defer l.hangUp()
		if err := l.await(ctx, house.Patience, "orders=> "); err != nil {
			return 0, err
		}
	}
	after, err := memoryOf(pid, program)
	return (after - before) / openLines, err
}

var pss = regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB`)

// memoryOf adds up a process and those of its descendants that run the same program.
func memoryOf(pid int, program string) (megabytes float64, err error) {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || strings.TrimSpace(string(name)) != program {
		return 0, nil // gone meanwhile, or a psql
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	if m := pss.FindSubmatch(text); m != nil {
		kilobytes, err := strconv.Atoi(string(m[1]))
		if err != nil {
			return 0, err
		}
		megabytes = float64(kilobytes) / 1024
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		children, _ := os.ReadFile(list) // a thread that has ended has none
		for _, child := range strings.Fields(string(children)) {
			id, err := strconv.Atoi(child)
			if err != nil {
				return 0, err
			}
			more, err := memoryOf(id, program)
			if err != nil {
				return 0, err
			}
			megabytes += more
		}
	}
	return megabytes, nil
}
