package launch

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// This file leaves the machine behind: namespaces (namespaces(7)) and an empty root.

// own are the namespaces that a launcher makes; it was born with others.
const own = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

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
func separate(o Order) error {
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
func (p Place) bind() error {
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
		point = path.Dir(p.At)
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
