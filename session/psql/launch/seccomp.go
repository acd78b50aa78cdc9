package launch

import (
	"errors"

	"golang.org/x/sys/unix"
)

// This file is the seccomp filter (seccomp(2)), an allow-list in classic BPF.
// A call that is not on it fails with EPERM; a call of another architecture
// kills. It is in force before psql is executed, so execve is allowed:
// Landlock lets it run psql itself and its loader, nothing else, and without
// fork that would only be psql again.

// Offsets in struct seccomp_data.
const (
	offNumber = 0
	offArch   = 4
	offArg0   = 16 // low half, on the little-endian machines that we run on
	offArg1   = 24
)

// x32 is the bit of the other system call table of x86-64.
const x32 = 0x40000000

// ioctls are what psql, readline and libc ask of a terminal. TIOCSTI, which
// types on it, and TIOCLINUX are not among them.
var ioctls = []uint32{
	unix.TCGETS, unix.TCSETS, unix.TCSETSW, unix.TCSETSF, unix.TIOCGWINSZ, unix.TIOCSWINSZ,
	unix.TIOCGPGRP, unix.TIOCSPGRP, unix.TIOCINQ, unix.TCFLSH, unix.TCXONC,
	0x5421, // FIONBIO
}

// program compiles the filter for this process.
func program(arch uint32, pid int) ([]unix.SockFilter, error) {
	if arch == 0 {
		return nil, errors.New("seccomp: no list of system calls for this architecture")
	}
	const (
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		atLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		answer  = unix.BPF_RET | unix.BPF_K
	)
	var p []unix.SockFilter
	add := func(code uint16, jt, jf uint8, k uint32) {
		p = append(p, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
	}
	deny := uint32(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	add(load, 0, 0, offArch)
	add(equal, 1, 0, arch)
	add(answer, 0, 0, unix.SECCOMP_RET_KILL_PROCESS)
	add(load, 0, 0, offNumber)
	add(atLeast, 0, 1, x32)
	add(answer, 0, 0, deny)
	for _, nr := range calls {
		add(equal, 0, 1, nr)
		add(answer, 0, 0, unix.SECCOMP_RET_ALLOW)
	}
	// A call whose argument must be one of some values; the check ends the program.
	among := func(nr uint32, offset uint32, values ...uint32) {
		add(equal, 0, uint8(2+2*len(values)), nr)
		add(load, 0, 0, offset)
		for _, v := range values {
			add(equal, 0, 1, v)
			add(answer, 0, 0, unix.SECCOMP_RET_ALLOW)
		}
		add(answer, 0, 0, deny)
	}
	among(unix.SYS_SOCKET, offArg0, unix.AF_UNIX)
	among(unix.SYS_IOCTL, offArg1, ioctls...)
	for _, nr := range []uint32{unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL} {
		among(nr, offArg0, uint32(pid)) // itself: raise(3), abort(3), readline after Ctrl-C
	}
	among(unix.SYS_PRLIMIT64, offArg0, 0, uint32(pid)) // another of the same user, twokey itself, could be starved
	add(answer, 0, 0, deny)
	return p, nil
}

// calls are allowed whatever their arguments, on every architecture.
var calls = append(archCalls,
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_CLOSE,
	unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_LSEEK, unix.SYS_OPENAT, unix.SYS_READLINKAT, unix.SYS_GETDENTS64,
	unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_GETCWD, unix.SYS_CHDIR, unix.SYS_UMASK, unix.SYS_FCNTL, unix.SYS_DUP, unix.SYS_DUP3,
	unix.SYS_PIPE2, unix.SYS_PSELECT6, unix.SYS_PPOLL,
	unix.SYS_MMAP, unix.SYS_MPROTECT, unix.SYS_MUNMAP, unix.SYS_BRK, unix.SYS_MREMAP, unix.SYS_MADVISE,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGTIMEDWAIT, unix.SYS_RT_SIGSUSPEND, unix.SYS_RT_SIGPENDING,
	unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY, unix.SYS_TIMES,
	unix.SYS_SETITIMER,
	unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
	unix.SYS_GETPGID, unix.SYS_GETSID, unix.SYS_GETRESUID, unix.SYS_GETRESGID,
	unix.SYS_CONNECT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT,
	unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SHUTDOWN,
	unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETRANDOM, unix.SYS_GETRLIMIT, unix.SYS_GETRUSAGE,
	unix.SYS_FUTEX, unix.SYS_SET_TID_ADDRESS, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_EXECVE, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
)
