package launch

import (
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is Landlock (landlock(7)): which files psql may open, and that it
// may have no network and no signals. Everything this kernel can forbid is
// forbidden; what psql needs is allowed again.

// MinABI has scopes for abstract unix sockets and signals (Linux 6.12).
// SocketABI also forbids unix sockets that have a path (Linux 7.1); before it
// the private folders and the gateways' check of the process do.
const (
	MinABI    = 6
	SocketABI = 9
)

// LandlockABI is the version that this kernel has, or why it has none.
func LandlockABI() (int, error) {
	v, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0, fmt.Errorf("this kernel has no Landlock (%w): psql cannot be caged; use a kernel with it, or say `cage: off`", e)
	}
	return int(v), nil
}

func landlock(b Birth, o Order) error {
	attr := unix.LandlockRulesetAttr{
		Handled_access_fs:  unix.LANDLOCK_ACCESS_FS_IOCTL_DEV<<1 - 1, // execute is bit 0; ioctl_dev, of version 5, the last
		Handled_access_net: unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP,
		Scoped:             unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL,
	}
	if b.ABI >= SocketABI {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX
	}
	fd, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if e != 0 {
		return e
	}
	defer unix.Close(int(fd))
	for _, p := range slices.Concat(b.Places, o.Places) {
		if p.Access == 0 {
			continue
		}
		if err := allow(int(fd), p); err != nil {
			return err
		}
	}
	if _, _, e := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); e != 0 {
		return e
	}
	return nil
}

func allow(ruleset int, p Place) error {
	fd, err := unix.Open(p.At, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", p.At, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", p.At, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		p.Access &^= unix.LANDLOCK_ACCESS_FS_READ_DIR
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: p.Access, Parent_fd: int32(fd)}
	_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if e != 0 {
		return fmt.Errorf("%s: %w", p.At, e)
	}
	return nil
}
