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
// namespaces of its own, and nothing it mounts is seen elsewhere. What the machine
// unmounts goes here too, as a launcher that waits must not keep it.
func leave() error {
	if err := unix.Unshare(own); err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	return nil
}

// separate leaves the machine behind: the launcher is then in namespaces of its
// own and a root that holds what every psql may open, and for now the old root.
func separate(b Birth) error {
	if err := leave(); err != nil {
		return err
	}
	// Over psql's folder, as that is certain to be there; underneath, in the
	// old root, it stays what it is.
	over := path.Dir(b.Psql)
	if err := errors.Join(
		unix.Mount("psql", over, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=64k,nr_inodes=1k"),
		unix.Chdir(over), os.Mkdir("old", 0o700), unix.PivotRoot(".", "old"), unix.Chdir("/"),
	); err != nil {
		return fmt.Errorf("an empty root: %w", err)
	}
	return bind(b.Places)
}

// settle adds what this psql alone may open, and shuts the door behind it: the
// old root is gone, what is there is read-only, and nothing that is mounted on the machine
// from here on appears in it.
func settle(o Order) error {
	if err := bind(o.Places); err != nil {
		return err
	}
	if err := errors.Join(unix.Unmount("/old", unix.MNT_DETACH), os.Remove("/old")); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	return unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID, Propagation: unix.MS_PRIVATE,
	})
}

func bind(places []Place) error {
	for _, p := range places {
		if p.Within {
			continue
		}
		if err := p.bind(); err != nil {
			return fmt.Errorf("%s in the empty root: %w", p.At, err)
		}
	}
	return nil
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
