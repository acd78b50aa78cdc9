package psql

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/psql/launch"
)

// This file is one running psql: its terminal or its pipes, and its end.

// Shell is a running psql. It implements session.Shell.
type Shell struct {
	*launcher
	in     *os.File // what psql reads; with a terminal the same as out
	out    *os.File
	errors *os.File // nil with a terminal
	tty    bool

	memory *memory // of what was typed; nil: none
	turned bool

	once sync.Once
	read time.Time  // when Read last returned
	kept chan error // what became of its history
}

var _ session.Shell = (*Shell)(nil)

// start has a launcher become psql. The memory may be nil.
func (c *Cage) start(o launch.Order, size session.Size, m *memory) (*Shell, error) {
	s := &Shell{tty: o.Terminal, memory: m, kept: make(chan error, 1)}
	var theirs [3]*os.File
	var err error
	if s.tty {
		theirs, err = s.openTerminal(size)
	} else {
		theirs, err = s.openPipes()
	}
	if err == nil {
		s.launcher, err = c.become(o, theirs)
	}
	for _, f := range theirs {
		f.Close() // of a nil one: an error
	}
	if err != nil {
		s.closeAll()
		return nil, fmt.Errorf("psql could not start: %w", err)
	}
	if m != nil {
		go m.listen() // ends with reap's keep
	}
	// Waited for by Remembered; it ends with psql.
	go s.reap()
	return s, nil
}

func (s *Shell) openTerminal(size session.Size) (theirs [3]*os.File, err error) {
	master, slave, err := pty.Open()
	if err != nil {
		return theirs, fmt.Errorf("no terminal for psql: %w", err)
	}
	defer master.Close()
	size = size.Clamp()
	if err := pty.Setsize(master, &pty.Winsize{Cols: uint16(size.Cols), Rows: uint16(size.Rows)}); err != nil {
		slave.Close()
		return theirs, err
	}
	// The master of creack/pty blocks: closing it would not end a read. A
	// non-blocking duplicate is served by the runtime's poller.
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		slave.Close()
		return theirs, err
	}
	if err := errors.Join(unix.SetNonblock(fd, true), eraseCharacters(fd)); err != nil {
		unix.Close(fd)
		slave.Close()
		return theirs, err
	}
	s.out = os.NewFile(uintptr(fd), "psql's terminal")
	s.in = s.out
	return [3]*os.File{slave, slave, slave}, nil
}

// eraseCharacters makes the line discipline erase whole UTF-8 characters: the
// one default of a new terminal that is wrong here (RFC 8160).
func eraseCharacters(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag |= unix.IUTF8
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

func (s *Shell) openPipes() (theirs [3]*os.File, err error) {
	inR, inW, err1 := os.Pipe()
	outR, outW, err2 := os.Pipe()
	errR, errW, err3 := os.Pipe()
	s.in, s.out, s.errors = inW, outR, errR
	theirs = [3]*os.File{inR, outW, errW}
	if err := errors.Join(err1, err2, err3); err != nil {
		return theirs, fmt.Errorf("no pipes for psql: %w", err)
	}
	return theirs, nil
}

func (s *Shell) reap() {
	<-s.gone
	var err error
	if s.memory != nil {
		err = s.memory.keep()
	}
	s.kept <- err
}

// Remembered waits until what was typed is kept, which is soon after psql's
// end, and returns why it could not be. It is called once.
func (s *Shell) Remembered() error { return <-s.kept }

func exitStatus(p *os.ProcessState) int {
	if ws, ok := p.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.ExitCode()
}

func (s *Shell) closeAll() {
	for _, f := range []*os.File{s.in, s.out, s.errors} {
		if f != nil {
			f.Close()
		}
	}
}

// Read is session.Shell's, for one reader. EIO is how Linux says that nobody has the terminal open any more.
func (s *Shell) Read(p []byte) (int, error) {
	n, err := s.out.Read(p)
	if err != nil && (errors.Is(err, syscall.EIO) || errors.Is(err, os.ErrClosed)) {
		err = io.EOF
	}
	if n > 0 && time.Since(s.read) < floodPause {
		n += s.gather(p[n:])
	}
	s.read = time.Now()
	if s.memory != nil && !s.turned {
		s.turn()
	}
	return n, err
}

// To a terminal psql writes line by line, and a terminal hands out 4 KiB at
// most. Who reads that as it comes is woken for each line, and psql waits for a
// processor. So output that comes right after other output is let gather; what
// answers a key is not.
const (
	floodPause = 2 * time.Millisecond
	gatherStep = 100 * time.Microsecond
	readMost   = 4 << 10
)

// gather reads on while more comes and there is room. It takes 100 µs for each
// 4 KiB of room at most.
func (s *Shell) gather(p []byte) (n int) {
	raw, err := s.out.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Control(func(fd uintptr) {
		for len(p)-n >= readMost {
			unix.Nanosleep(&unix.Timespec{Nsec: int64(gatherStep)}, nil) // the runtime's timers are too coarse
			m, err := unix.Read(int(fd), p[n:])
			if m <= 0 || err != nil {
				return // nothing now; if it is the end, the next Read says so
			}
			n += m
		}
	})
	return n
}

// Errors is session.Shell's.
func (s *Shell) Errors() io.Reader {
	if s.errors == nil {
		return nil
	}
	return s.errors
}

// Write is session.Shell's: one attempt that never waits.
func (s *Shell) Write(p []byte) (n int, err error) {
	raw, err := s.in.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		n, failed = unix.Write(int(fd), p)
		return true
	})
	if err == nil {
		err = failed
	}
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0, nil
	}
	return max(n, 0), err
}

// Writable is session.Shell's.
func (s *Shell) Writable() error {
	raw, err := s.in.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Write(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, _ := unix.Poll(p, 0)
		return n > 0
	})
}

// CloseInput is session.Shell's.
func (s *Shell) CloseInput() error {
	if s.tty {
		return nil
	}
	return s.in.Close()
}

// Secret is session.Shell's: the line discipline collects a line and shows
// nothing, which is how getpass(3) and psql ask for passwords. readline
// echoes by itself, and does so outside of canonical mode.
func (s *Shell) Secret() bool {
	if !s.tty {
		return false
	}
	t, err := s.termios()
	return err != nil || t.Lflag&unix.ICANON != 0 && t.Lflag&unix.ECHO == 0
}

// turn sees whether readline has begun, which leaves canonical mode for its
// first prompt and has read the history by then.
func (s *Shell) turn() {
	if t, err := s.termios(); err == nil && t.Lflag&unix.ICANON == 0 {
		s.memory.turn()
		s.turned = true
	}
}

func (s *Shell) termios() (t *unix.Termios, err error) {
	raw, err := s.out.SyscallConn()
	if err != nil {
		return nil, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { t, failed = unix.IoctlGetTermios(int(fd), unix.TCGETS) })
	return t, errors.Join(err, failed)
}

// Resize is session.Shell's.
func (s *Shell) Resize(size session.Size) error {
	raw, err := s.out.SyscallConn()
	if err != nil || !s.tty {
		return err
	}
	size = size.Clamp()
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(size.Cols), Row: uint16(size.Rows)})
	})
	return errors.Join(err, failed)
}

// Kill is session.Shell's.
func (s *Shell) Kill() {
	s.once.Do(func() {
		s.launcher.kill()
		s.closeAll()
	})
}

// Wait is session.Shell's.
func (s *Shell) Wait() int {
	<-s.gone
	return exitStatus(s.cmd.ProcessState)
}

// PID is psql's process, which the launcher became.
func (s *Shell) PID() int { return s.cmd.Process.Pid }
