package house

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

// Size is a terminal's, in characters.
type Size struct{ Cols, Rows int }

func (s Size) winsize() *pty.Winsize { return &pty.Winsize{Cols: uint16(s.Cols), Rows: uint16(s.Rows)} }

// Terminal is one window of one person.
type Terminal struct {
	Title  string
	master *os.File
	shell  *exec.Cmd
	gone   chan struct{} // closed when the shell has ended

	mu     sync.Mutex
	screen *vt.Emulator
	came   bytes.Buffer
	read   int // how much of the text has been looked at
}

// shellStart makes the shell of the story: its ssh is OpenSSH's, with the
// person's own configuration, which everywhere else is found by itself. The
// prompt shows the exit status of what failed.
const shellStart = `PROMPT_COMMAND='s=$?; PS1="%[1]s$ "; [ $s = 0 ] || PS1="%[1]s [$s]$ "'; HISTFILE=; cd "$HOME"; ssh() { command ssh -F "$HOME/.ssh/%[2]s" "$@"; }; bind 'set enable-bracketed-paste off'`

func OpenTerminal(name, home, sshConfig string, s Size) (*Terminal, error) {
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
	t := &Terminal{Title: name, master: master, shell: shell, gone: make(chan struct{}), screen: vt.NewEmulator(s.Cols, s.Rows)}
	go io.Copy(io.Discard, t.screen) // the emulator's answers to questions; ends with Close
	go t.watch()
	return t, nil
}

// watch keeps the screen until the shell ends. close waits for it.
func (t *Terminal) watch() {
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

// Close hangs up, as when a window is closed.
func (t *Terminal) Close() {
	t.shell.Process.Signal(syscall.SIGHUP)
	syscall.Kill(-t.shell.Process.Pid, syscall.SIGHUP)
	t.master.Close()
	t.shell.Process.Kill()
	<-t.gone
	if answers, ok := t.screen.InputPipe().(io.Closer); ok { // its own Close races with its Read
		answers.Close()
	}
}

func (t *Terminal) Resize(s Size) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.screen.Resize(s.Cols, s.Rows)
	return pty.Setsize(t.master, s.winsize())
}

// Press sends keys as they are.
func (t *Terminal) Press(keys string) error {
	_, err := t.master.WriteString(keys)
	return err
}

// Text is everything that came, without escape sequences.
func (t *Terminal) text() string {
	return strings.ReplaceAll(ansi.Strip(t.came.String()), "\r", "")
}

// Reads waits until the pattern is in what came since it last read something,
// and returns its groups.
func (t *Terminal) Reads(ctx context.Context, pattern *regexp.Regexp) (groups []string, err error) {
	err = Within(ctx, Patience, func() (bool, error) {
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

// Sees waits until the pattern is on the screen as it stands.
func (t *Terminal) Sees(ctx context.Context, pattern *regexp.Regexp) error {
	return Within(ctx, Patience, func() (bool, error) {
		return pattern.MatchString(strings.Join(t.Lines(), "\n")), nil
	}, func() error { return t.missing(pattern) })
}

func (t *Terminal) missing(pattern *regexp.Regexp) error {
	t.mu.Lock()
	tail := t.text()
	t.mu.Unlock()
	return fmt.Errorf("%s does not show %q within %s; what came last:\n%s", t.Title, pattern, Patience, tail[max(0, len(tail)-1500):])
}

// Lines is the screen, without what is blank at its end.
func (t *Terminal) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimRight(t.screen.String(), "\n "), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \r")
	}
	return lines
}

func (t *Terminal) Width() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.screen.Width()
}
