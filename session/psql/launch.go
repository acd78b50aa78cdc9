package psql

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is the launcher: this binary, run again as the process that will
// be psql, puts the cage on itself and executes psql in it.

const launcherName = "twokey-cage"

// launcherStatus is what the launcher exits with when it cannot cage psql.
const launcherStatus = 111

// order is what the launcher is told, as JSON in its first argument; psql's own
// follow. There is no secret in it: argv can be read by anyone on the machine.
type order struct {
	Psql, Loader string
	Env          []string
	Socket       string // the gateway's folder
	Off          bool
	ABI          int
	OwnUID       bool // nobody else runs as this user: it may have one process
}

// Main must be the first thing main does. In a process that was started as
// the launcher it never returns; in any other it returns false.
func Main() bool {
	if len(os.Args) < 2 || os.Args[0] != launcherName {
		return false
	}
	fmt.Fprintln(os.Stderr, "twokey: psql could not be caged:", launch(os.Args[1], os.Args[2:]))
	os.Exit(launcherStatus)
	return true
}

// launch returns only with an error.
func launch(text string, args []string) error {
	runtime.LockOSThread() // Landlock and seccomp are put on this thread, which then is psql
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	argv, err1 := syscall.SlicePtrFromStrings(append([]string{o.Psql, "-X"}, args...))
	envv, err2 := syscall.SlicePtrFromStrings(o.Env)
	path, err3 := syscall.BytePtrFromString(o.Psql)
	filter, err4 := program(seccompArch, os.Getpid())
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("closing descriptors: %w", err)
	}
	if err := forgo(); err != nil {
		return fmt.Errorf("privileges: %w", err)
	}
	if !o.Off {
		if err := confine(o); err != nil {
			return err
		}
		// From here to execve nothing but these two system calls: the
		// runtime would need some that are no longer allowed.
		fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if _, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog))); e != 0 {
			return fmt.Errorf("seccomp: %w", e)
		}
	}
	_, _, e := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])))
	return fmt.Errorf("running %s: %w", o.Psql, e)
}

// forgo gives up what psql could inherit or win: capabilities that a service
// manager gave to twokey, and those of programs that have more than their user.
func forgo() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// confine puts on Landlock and the limits.
func confine(o order) error {
	if err := landlock(o); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return limit(o)
}

// limit sets the resource limits (getrlimit(2)).
func limit(o order) error {
	limits := []struct {
		what  int
		value uint64
	}{
		{unix.RLIMIT_FSIZE, 0}, {unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NOFILE, 64}, {unix.RLIMIT_AS, 512 << 20},
		{unix.RLIMIT_MEMLOCK, 0}, {unix.RLIMIT_MSGQUEUE, 0},
	}
	if o.OwnUID {
		limits = append(limits, struct {
			what  int
			value uint64
		}{unix.RLIMIT_NPROC, 1})
	}
	for _, l := range limits {
		if err := syscall.Setrlimit(l.what, &syscall.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("resource limit %d: %w", l.what, err)
		}
	}
	return nil
}
