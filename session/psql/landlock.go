package psql

import (
	"errors"
	"fmt"
	"io/fs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is Landlock (landlock(7)): which files psql may open, and that it
// may have no network and no signals. Everything this kernel can forbid is
// forbidden; what psql needs is allowed again.

// minABI has scopes for abstract unix sockets and signals (Linux 6.12).
const minABI = 6

const (
	readFile = unix.LANDLOCK_ACCESS_FS_READ_FILE
	readDir  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	execute  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	device   = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// allowed is all that psql may open, besides itself and its loader. What is
// not there on this machine is left out.
var allowed = []struct {
	path   string
	access uint64
}{
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
		Handled_access_fs:  1<<16 - 1, // every right of version 5: execute (bit 0) to ioctl_dev (bit 15)
		Handled_access_net: unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP,
		Scoped:             unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL,
	}
	fd, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if e != 0 {
		return e
	}
	defer unix.Close(int(fd))
	for _, a := range allowed {
		if err := allow(int(fd), a.path, a.access); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, program := range []string{o.Psql, o.Loader} {
		if err := allow(int(fd), program, execute); err != nil {
			return err
		}
	}
	if _, _, e := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); e != 0 {
		return e
	}
	return nil
}

func allow(ruleset int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &^= unix.LANDLOCK_ACCESS_FS_READ_DIR
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if e != 0 {
		return fmt.Errorf("%s: %w", path, e)
	}
	return nil
}
