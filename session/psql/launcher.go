package psql

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/twokey/twokey/session/psql/launch"
)

// This file is twokey's side of a launcher: it is born, told what for, and
// becomes psql. To be born takes it longer than all the rest, so one is there
// before anybody asks: it knows of no session, and is not psql before it is told.

// launcher is a process that is to become psql, or has.
type launcher struct {
	cmd   *exec.Cmd
	line  *net.UnixConn
	group *group        // nil: it has none
	over  chan struct{} // closed when it has ended: its number may soon be another's
	gone  chan struct{} // closed when nothing of it is left, its control group neither
}

// Patience with a launcher, and how long until the next one is born: those who
// open a session just now go first.
const (
	tellTime  = 10 * time.Second
	nextBirth = 500 * time.Millisecond
)

// KeepReady sees to it that a launcher waits for the next psql, until ctx ends.
// Without it one is born when a psql is asked for, which only takes longer.
func (c *Cage) KeepReady(ctx context.Context) {
	for ctx.Err() == nil {
		if l, err := c.born(); err == nil { // when it is not, whoever asks next reads why
			select {
			case c.ready <- l:
			case <-l.gone: // killed while it waited
				l.end()
			case <-ctx.Done():
				l.end()
			}
		}
		select {
		case <-time.After(nextBirth):
		case <-ctx.Done():
		}
	}
}

// become has a launcher become psql: the one that waits, or a new one.
func (c *Cage) become(o launch.Order, files [3]*os.File) (*launcher, error) {
	select {
	case l := <-c.ready:
		if l.tell(o, files) == nil {
			return l, nil
		}
		l.kill() // it has died while it waited
	default:
	}
	l, err := c.born()
	if err != nil {
		return nil, err
	}
	if err := l.tell(o, files); err != nil {
		l.kill()
		return nil, err
	}
	return l, nil
}

// born starts a launcher, which knows nothing yet of the psql that it will be.
func (c *Cage) born() (*launcher, error) {
	birth, err := json.Marshal(launch.Birth{Psql: c.psql, Places: c.places, Off: c.off, ABI: c.abi, Apart: c.apart})
	if err != nil {
		return nil, err
	}
	ours, theirs, err := line()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	l := &launcher{cmd: exec.Command("/proc/self/exe"), line: ours, over: make(chan struct{}), gone: make(chan struct{})}
	l.cmd.Args = []string{launch.Name, string(birth)}
	l.cmd.Env = []string{"GOMAXPROCS=1", "GOGC=off"} // not psql's
	l.cmd.Dir = "/"
	l.cmd.ExtraFiles = []*os.File{theirs} // launch.Line
	l.cmd.SysProcAttr = &syscall.SysProcAttr{}
	if c.apart {
		l.cmd.SysProcAttr = bornApart()
	}
	l.cmd.SysProcAttr.Setsid = true
	if err = l.start(c.groups); err != nil {
		ours.Close()
		return nil, err
	}
	// Waited for by whoever reads gone; it ends with the process.
	go func() {
		l.cmd.Wait()
		close(l.over)
		if l.group != nil {
			l.group.end()
		}
		close(l.gone)
	}()
	return l, nil
}

// start starts it, in a control group of its own if there are any: not for a
// moment is it in twokey's.
func (l *launcher) start(g *groups) (err error) {
	if err := spare(); err != nil {
		return err
	}
	if g != nil {
		if l.group, err = g.new(); err != nil {
			return err
		}
		l.cmd.SysProcAttr.UseCgroupFD, l.cmd.SysProcAttr.CgroupFD = true, int(l.group.Fd())
	}
	if err = l.cmd.Start(); err != nil && g != nil {
		l.group.end()
	}
	return err
}

// line is a pair of sockets, of which the second is for the launcher.
func line() (ours *net.UnixConn, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	f := os.NewFile(uintptr(pair[0]), "line")
	defer f.Close()
	theirs = os.NewFile(uintptr(pair[1]), "line")
	conn, err := net.FileConn(f)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

// spare finds out whether there are descriptors enough to start a process: with
// a user namespace, Go (1.26) leaves a pipe open when it runs out of them on
// the way, and whoever starts again and again would never have any again.
func spare() error {
	const enough = 10 // three of /dev/null, two pipes, the pid's, and a map of users
	for range enough {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		defer f.Close()
	}
	return nil
}

// tell gives a launcher its order and psql's descriptors 0, 1 and 2: from here
// on it is psql.
func (l *launcher) tell(o launch.Order, files [3]*os.File) error {
	defer l.line.Close()
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	var numbers []int
	for _, f := range files {
		numbers = append(numbers, int(f.Fd()))
	}
	l.line.SetDeadline(time.Now().Add(tellTime))
	_, _, err = l.line.WriteMsgUnix(text[:1], unix.UnixRights(numbers...), nil)
	if err == nil {
		_, err = l.line.Write(text[1:])
	}
	if err != nil {
		return fmt.Errorf("its launcher takes no order: %w", err)
	}
	return nil
}

// end is for a launcher that nobody has told anything: it leaves when its line ends.
func (l *launcher) end() {
	l.line.Close()
	<-l.gone
}

// kill ends it and waits, also as psql. It leads a process group of its own.
func (l *launcher) kill() {
	select {
	case <-l.over:
	default:
		unix.Kill(-l.cmd.Process.Pid, unix.SIGKILL)
		if l.group != nil {
			write(l.group.Name(), "cgroup.kill", "1") // also what has left its process group
		}
	}
	<-l.gone
}
