package psql

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/twokey/twokey/session/psql/launch"
)

// This file is a world of its own for psql (namespaces(7)), in which there are
// no other processes, no network, and no files but those it needs. Above all
// there are no sockets but its gateway's: those with a path, an agent's that
// holds the keys of the CA for one, Landlock does not forbid before socketABI.
// Root makes it; an ordinary user too, where the machine gives user namespaces
// (user_namespaces(7)) to everybody.

// bornApart is how a launcher must be started to be able to leave the machine: with
// process ids of its own, and, as an ordinary user, with the one capability that
// it takes, which is worth nothing outside of its user namespace.
func bornApart() *syscall.SysProcAttr {
	born := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	if uid := os.Getuid(); uid != 0 {
		born.Cloneflags |= unix.CLONE_NEWUSER
		born.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		born.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		born.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
	}
	return born
}

// namespaces reports why this machine gives none, as containers that were not
// given CAP_SYS_ADMIN do not, nor some distributions to ordinary users.
func namespaces() error {
	try := exec.Command("/proc/self/exe")
	try.Args = []string{launch.Name} // without an order it only leaves
	try.SysProcAttr = bornApart()
	_, err := try.Output()
	var number syscall.Errno
	var exit *exec.ExitError
	switch {
	case errors.As(err, &number):
		return number
	case errors.As(err, &exit):
		return errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
