package launch

import "golang.org/x/sys/unix"

const seccompArch = unix.AUDIT_ARCH_X86_64

// archCalls are those that only this architecture has: the older forms.
var archCalls = []uint32{
	unix.SYS_OPEN, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_NEWFSTATAT, unix.SYS_ACCESS, unix.SYS_READLINK,
	unix.SYS_PIPE, unix.SYS_SELECT, unix.SYS_POLL, unix.SYS_DUP2, unix.SYS_GETPGRP, unix.SYS_ALARM, unix.SYS_TIME,
	unix.SYS_ARCH_PRCTL,
}
