package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// This file is a terminal with a shell in it: what a person sees is kept as a
// screen, as a real terminal would show it, and as the text that came.

// size is a terminal's, in characters.
type size struct{ cols, rows int }

func (s size) winsize() *pty.Winsize { return &pty.Winsize{Cols: uint16(s.cols), Rows: uint16(s.rows)} }

// terminal is one window of one person.
type terminal struct {
	title  string
	master *os.File
	shell  *exec.Cmd
	gone   chan struct{} // closed when the shell has ended

	mu     sync.Mutex
	screen *vt.Emulator
	came   bytes.Buffer
	read   int // how much of the text has been looked at
}

// shellStart makes the shell of the story: its ssh is OpenSSH's, with the
// person's own configuration, which everywhere else is found by itself.
const shellStart = `PS1='%[1]s$ '; PS2='> '; HISTFILE=; cd "$HOME"; ssh() { command ssh -F "$HOME/.ssh/%[2]s" "$@"; }; bind 'set enable-bracketed-paste off'`

func openTerminal(name, home, sshConfig string, s size) (*terminal, error) {
	rc, err := os.CreateTemp(home, ".start")
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(rc, shellStart+"\n", name, sshConfig)
	if err := rc.Close(); err != nil {
		return nil, err
	}
	shell := exec.Command("bash", "--noprofile", "--rcfile", rc.Name(), "-i")
	shell.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TERM=xterm-256color", "LANG=C.UTF-8"}
	shell.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGHUP}
	master, err := pty.StartWithSize(shell, s.winsize())
	if err != nil {
		return nil, err
	}
	t := &terminal{title: name, master: master, shell: shell, gone: make(chan struct{}), screen: vt.NewEmulator(s.cols, s.rows)}
	go io.Copy(io.Discard, t.screen) // the emulator's answers to questions; ends with close
	go t.watch()
	return t, nil
}

// watch keeps the screen until the shell ends. close waits for it.
func (t *terminal) watch() {
	defer close(t.gone)
	buf := make([]byte, 32<<10)
	for {
		n, err := t.master.Read(buf)
		t.mu.Lock()
		t.came.Write(buf[:n])
		t.screen.Write(buf[:n])
		t.mu.Unlock()
		if err != nil {
			break
		}
	}
	t.shell.Wait()
}

// close hangs up, as when a window is closed.
func (t *terminal) close() {
	t.shell.Process.Signal(syscall.SIGHUP)
	syscall.Kill(-t.shell.Process.Pid, syscall.SIGHUP)
	t.master.Close()
	t.shell.Process.Kill()
	<-t.gone
	t.screen.Close()
}

func (t *terminal) resize(s size) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.screen.Resize(s.cols, s.rows)
	return pty.Setsize(t.master, s.winsize())
}

// press sends keys as they are.
func (t *terminal) press(keys string) error {
	_, err := t.master.WriteString(keys)
	return err
}

// text is everything that came, without escape sequences.
func (t *terminal) text() string {
	return strings.ReplaceAll(ansi.Strip(t.came.String()), "\r", "")
}

// reads waits until the pattern is in what came since it last read something,
// and returns its groups.
func (t *terminal) reads(ctx context.Context, pattern *regexp.Regexp) (groups []string, err error) {
	err = within(ctx, patience, func() (bool, error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		all := t.text()
		fresh := all[min(t.read, len(all)):]
		at := pattern.FindStringSubmatchIndex(fresh)
		if at == nil {
			return false, nil
		}
		groups = pattern.FindStringSubmatch(fresh)
		t.read = len(all) - len(fresh) + at[1]
		return true, nil
	}, func() error { return t.missing(pattern) })
	return groups, err
}

// sees waits until the pattern is on the screen as it stands.
func (t *terminal) sees(ctx context.Context, pattern *regexp.Regexp) error {
	return within(ctx, patience, func() (bool, error) {
		return pattern.MatchString(strings.Join(t.lines(), "\n")), nil
	}, func() error { return t.missing(pattern) })
}

func (t *terminal) missing(pattern *regexp.Regexp) error {
	t.mu.Lock()
	tail := t.text()
	t.mu.Unlock()
	return fmt.Errorf("%s does not show %q within %s; what came last:\n%s", t.title, pattern, patience, tail[max(0, len(tail)-1500):])
}

// lines is the screen, without what is blank at its end.
func (t *terminal) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimRight(t.screen.String(), "\n "), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \r")
	}
	return lines
}

func (t *terminal) width() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.screen.Width()
}
