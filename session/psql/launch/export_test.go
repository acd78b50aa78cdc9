package launch

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock puts this layer alone on this thread, with nothing allowed.
func Landlock() error {
	abi, err := LandlockABI()
	if err != nil {
		return err
	}
	return landlock(Birth{ABI: abi}, Order{})
}

// Seccomp puts this layer alone on this thread.
func Seccomp() error {
	filter, err := program(seccompArch, os.Getpid())
	if err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog))); e != 0 {
		return e
	}
	return nil
}
