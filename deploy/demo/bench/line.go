package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/creack/pty"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file is a terminal that only counts: a screen would be the slowest part.

// tailSize is how much of what came is kept, in bytes.
const tailSize = 16 << 10

// line is an ssh client in a pseudo-terminal.
type line struct {
	master *os.File
	cmd    *exec.Cmd
	gone   chan struct{} // closed when ssh has ended
	heard  chan struct{} // gets something when bytes came

	mu    sync.Mutex
	tail  []byte
	total int64
}

func dial(cmd *exec.Cmd) (*line, error) {
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm-256color", "LANG=C.UTF-8", "HOME=" + os.Getenv("HOME")}
	master, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: 100, Rows: 30})
	if err != nil {
		return nil, err
	}
	l := &line{master: master, cmd: cmd, gone: make(chan struct{}), heard: make(chan struct{}, 1)}
	go l.listen() // hangUp waits for it
	return l, nil
}

func (l *line) listen() {
	defer close(l.gone)
	buf := make([]byte, 64<<10)
	for {
		n, err := l.master.Read(buf)
		l.mu.Lock()
		l.total += int64(n)
		l.tail = append(l.tail, buf[max(0, n-tailSize):n]...)
		l.tail = append([]byte(nil), l.tail[max(0, len(l.tail)-tailSize):]...)
		l.mu.Unlock()
		select {
		case l.heard <- struct{}{}:
		default:
		}
		if err != nil {
			break
		}
	}
	l.cmd.Wait()
}

// forget drops what came so far.
func (l *line) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail, l.total = nil, 0
	select {
	case <-l.heard:
	default:
	}
}

func (l *line) press(keys string) error {
	_, err := l.master.WriteString(keys)
	return err
}

// await waits until all the texts are in what came since forget.
func (l *line) await(ctx context.Context, limit time.Duration, texts ...string) error {
	late := time.After(limit)
	for {
		l.mu.Lock()
		missing := ""
		for _, t := range texts {
			if !bytes.Contains(l.tail, []byte(t)) {
				missing = t
			}
		}
		tail := string(l.tail[max(0, len(l.tail)-800):])
		l.mu.Unlock()
		if missing == "" {
			return nil
		}
		select {
		case <-l.heard:
		case <-l.gone:
			return fmt.Errorf("ssh ended before %q came: %q", missing, tail)
		case <-late:
			return fmt.Errorf("%q did not come within %s: %q", missing, limit, tail)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// say presses keys and waits for the answer.
func (l *line) say(ctx context.Context, keys string, answers ...string) error {
	l.forget()
	if err := l.press(keys); err != nil {
		return err
	}
	return l.await(ctx, house.Patience, answers...)
}

func (l *line) bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// text is the end of what came since forget.
func (l *line) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.tail)
}

func (l *line) hangUp() {
	l.cmd.Process.Kill()
	<-l.gone
	l.master.Close()
}
