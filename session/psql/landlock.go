package psql

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is Landlock (landlock(7)): which files psql may open, and that it
// may have no network and no signals. Everything this kernel can forbid is
// forbidden; what psql needs is allowed again.

// minABI has scopes for abstract unix sockets and signals (Linux 6.12).
// socketABI also forbids unix sockets that have a path (Linux 7.1); before it
// the private folders and the gateways' check of the process do.
const (
	minABI    = 6
	socketABI = 9
)

const (
	readFile = unix.LANDLOCK_ACCESS_FS_READ_FILE
	readDir  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	execute  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	device   = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

type place struct {
	path   string
	access uint64
}

// allowed is all that psql may open, besides itself and its loader. What is
// not there on this machine is left out.
var allowed = []place{
	{"/usr/lib", readDir}, {"/lib", readDir}, {"/lib64", readDir}, {"/usr/lib64", readDir},
	{"/usr/local/lib", readDir}, {"/etc/ld.so.cache", readFile},
	{"/usr/share/terminfo", readDir}, {"/etc/terminfo", readDir}, {"/usr/share/locale", readDir},
	{"/usr/share/zoneinfo", readDir}, {"/etc/localtime", readFile},
	{"/dev/null", device}, {"/dev/tty", device}, {"/dev/urandom", readFile},
}

func landlockABI() (int, error) {
	v, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0, fmt.Errorf("this kernel has no Landlock (%w): psql cannot be caged; use a kernel with it, or say `cage: off`", e)
	}
	return int(v), nil
}

func landlock(o order) error {
	attr := unix.LandlockRulesetAttr{
		Handled_access_fs:  unix.LANDLOCK_ACCESS_FS_IOCTL_DEV<<1 - 1, // execute is bit 0; ioctl_dev, of version 5, the last
		Handled_access_net: unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP,
		Scoped:             unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL,
	}
	if o.ABI >= socketABI {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX
	}
	fd, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if e != 0 {
		return e
	}
	defer unix.Close(int(fd))
	libraries := place{filepath.Join(filepath.Dir(o.Psql), "../lib"), readDir} // of a Postgres that keeps to itself
	for _, a := range append([]place{libraries}, allowed...) {
		if err := allow(int(fd), a); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	needed := []place{{o.Psql, execute}, {o.Loader, execute}}
	if o.ABI >= socketABI {
		needed = append(needed, place{o.Socket, unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX})
	}
	for _, a := range needed {
		if err := allow(int(fd), a); err != nil {
			return err
		}
	}
	if _, _, e := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); e != 0 {
		return e
	}
	return nil
}

func allow(ruleset int, p place) error {
	fd, err := unix.Open(p.path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", p.path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", p.path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		p.access &^= unix.LANDLOCK_ACCESS_FS_READ_DIR
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: p.access, Parent_fd: int32(fd)}
	_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if e != 0 {
		return fmt.Errorf("%s: %w", p.path, e)
	}
	return nil
}
