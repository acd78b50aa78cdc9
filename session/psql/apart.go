package psql

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// This file is a world of its own for psql (namespaces(7)), in which there are
// no other processes, no network, and no files but those it needs. Above all
// there are no sockets but its gateway's: those with a path, an agent's that
// holds the keys of the CA for one, Landlock does not forbid before socketABI.
// Root makes it; an ordinary user too, where the machine gives user namespaces
// (user_namespaces(7)) to everybody.

// own are the namespaces that a launcher makes.
const own = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// bornApart is how a launcher must be started to be able to make them: with
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
	try.Args = []string{launcherName} // without an order it only leaves
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

// leave is for a launcher that was born apart: this thread is then in
// namespaces of its own, and nothing it mounts is seen elsewhere.
func leave() error {
	if err := unix.Unshare(own); err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	return nil
}

// separate leaves the machine behind: the launcher is then in namespaces of
// its own, whose only files are the places of the order, read-only.
func separate(o order) error {
	if err := leave(); err != nil {
		return err
	}
	// Over the gateway's folder, as that is certain to be there; underneath,
	// in the old root, it stays what it is.
	if err := errors.Join(
		unix.Mount("psql", o.Socket, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=64k,nr_inodes=1k"),
		unix.Chdir(o.Socket), os.Mkdir("old", 0o700), unix.PivotRoot(".", "old"), unix.Chdir("/"),
	); err != nil {
		return fmt.Errorf("an empty root: %w", err)
	}
	for _, p := range o.Places {
		if p.Within {
			continue
		}
		if err := p.bind(); err != nil {
			return fmt.Errorf("%s in the empty root: %w", p.At, err)
		}
	}
	if err := errors.Join(unix.Unmount("/old", unix.MNT_DETACH), os.Remove("/old")); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	return unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID})
}

// bind shows a place of the old root at its place in the new one.
func (p place) bind() error {
	real := "/old" + p.At
	if p.Real != "" {
		real = "/old" + p.Real
	}
	var st unix.Stat_t
	if err := unix.Stat(real, &st); err != nil {
		return err
	}
	folder := st.Mode&unix.S_IFMT == unix.S_IFDIR
	point := p.At
	if !folder {
		point = filepath.Dir(p.At)
	}
	if err := os.MkdirAll(point, 0o755); err != nil {
		return err
	}
	if !folder {
		if err := unix.Mknod(p.At, unix.S_IFREG|0o444, 0); err != nil {
			return err
		}
	}
	return unix.Mount(real, p.At, "", unix.MS_BIND, "")
}
