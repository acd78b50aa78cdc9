package house

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// This file starts a program, waits until it answers, and ends it.

// Part is a program that runs beside the demo.
type Part struct {
	name string
	log  string
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
}

// part starts a program.
func (h *House) part(name, program string, args ...string) (*Part, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = h.dir
	p, err := startPart(name, h.Path("log", name+".log"), cmd)
	if err != nil {
		return nil, err
	}
	h.parts = append(h.parts, p)
	return p, nil
}

// startPart starts a program with its output in a log. Its process group is
// its own, so that Ctrl-C reaches the demo alone, which then stops everything in
// order; it does not outlive a demo that is killed.
func startPart(name, log string, cmd *exec.Cmd) (*Part, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &Part{name: name, log: log, cmd: cmd, gone: make(chan struct{})}
	go func() { cmd.Wait(); close(p.gone) }() // End waits for it
	return p, nil
}

// Pid is its process ID.
func (p *Part) Pid() int { return p.cmd.Process.Pid }

// End sends a signal and waits; a program that does not listen is killed.
func (p *Part) End(s syscall.Signal) error {
	p.cmd.Process.Signal(s)
	select {
	case <-p.gone:
		return nil
	case <-time.After(20 * time.Second):
		p.cmd.Process.Kill()
		<-p.gone
		return fmt.Errorf("%s did not stop; its log is %s", p.name, p.log)
	}
}

// listens waits until the part answers at its address.
func (p *Part) listens(ctx context.Context, address string) error {
	return Within(ctx, Patience, func() (bool, error) {
		select {
		case <-p.gone:
			return false, fmt.Errorf("%s ended: %s", p.name, p.lastWords())
		default:
		}
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return false, nil
		}
		return true, c.Close()
	}, func() error { return fmt.Errorf("%s does not listen on %s: %s", p.name, address, p.lastWords()) })
}

// lastWords is the end of the part's log.
func (p *Part) lastWords() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	var last []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		last = append(last, lines.Text())
	}
	return strings.Join(last[max(0, len(last)-5):], "\n")
}

// Patience bounds every wait. Nothing that works takes as long.
const Patience = 20 * time.Second

// Within asks until it is so, or fails.
func Within(ctx context.Context, limit time.Duration, so func() (bool, error), late func() error) error {
	deadline := time.Now().Add(limit)
	for {
		if yes, err := so(); yes || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return late()
		}
		select {
		case <-ctx.Done():
			return errors.New("interrupted")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
