package psql

import (
	"encoding/json"
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

// order is what the launcher is told, as JSON in its one argument. There is no
// secret in it: argv can be read by anyone on the machine.
type order struct {
	Psql, Loader string
	Args, Env    []string
	Off          bool
	ABI          int
	OwnUID       bool // nobody else runs as this user: it may have one process
}

// Main must be the first thing main does. In a process that was started as
// the launcher it never returns; in any other it returns false.
func Main() bool {
	if len(os.Args) != 2 || os.Args[0] != launcherName {
		return false
	}
	fmt.Fprintln(os.Stderr, "twokey: psql could not be caged:", launch(os.Args[1]))
	os.Exit(launcherStatus)
	return true
}

// launch returns only with an error.
func launch(text string) error {
	runtime.LockOSThread() // Landlock and seccomp are put on this thread, which then is psql
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	argv, err := syscall.SlicePtrFromStrings(o.Args)
	if err != nil {
		return err
	}
	envv, err := syscall.SlicePtrFromStrings(o.Env)
	if err != nil {
		return err
	}
	path, err := syscall.BytePtrFromString(o.Psql)
	if err != nil {
		return err
	}
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("closing descriptors: %w", err)
	}
	filter, err := program(seccompArch, os.Getpid())
	if err != nil {
		return err
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

// confine puts on everything but seccomp.
func confine(o order) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
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
