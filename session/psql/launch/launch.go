// Package launch is the launcher: this binary, run again as the process that
// will be psql, puts the cage on itself and executes psql in it.
//
// Its one idea: it starts before the rest of the program does. A hundred
// packages that psql has no use for would cost more than all of the cage when
// they make their tables, so this one imports next to nothing and acts in its
// init, which the order of initialization (Go specification, "Program
// initialization": by import path, as soon as what is imported is ready) lets
// come before nearly all of them. It is the one init of this house. Whatever
// imports package psql is a launcher when it is called by Name.
//
// Even so, to be born is what takes it longest. So it asks who it is for only
// when it can do nothing more without that, and twokey may have one wait there.
// No byte of a session has reached it by then, and it is not psql yet.
package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Name is the zeroth argument of a launcher.
const Name = "twokey-cage"

// Status is what the launcher exits with when it cannot cage psql.
const Status = 111

// Line is the descriptor on which a launcher is told what for.
const Line = 3

// Birth is what all psqls of a cage have in common, as JSON in the launcher's
// first argument.
type Birth struct {
	Psql   string
	Places []Place // all that every psql may open
	Off    bool
	ABI    int
	Apart  bool // in namespaces and an empty root of its own
}

// Order is what this psql is for, as JSON on the line, which ends with it. Beside
// its first byte come psql's descriptors 0, 1 and 2 (unix(7), SCM_RIGHTS).
type Order struct {
	Args     [][]byte // any bytes
	Env      []string
	Places   []Place // of this psql alone
	UID      int     // nobody else runs as this user; zero: as twokey
	Terminal bool    // descriptor 0 is the terminal of its session
}

// Place is a file or a folder with all in it.
type Place struct {
	At     string
	Real   string // where it is once no link is left; empty: the same
	Access uint64 // in Landlock's words
	Within bool   // another place holds it already
}

func init() {
	if os.Args[0] == Name {
		run(os.Args[1:])
	}
}

// run never returns.
func run(args []string) {
	runtime.LockOSThread() // namespaces, Landlock and seccomp are put on this thread, which then is psql
	if len(args) == 0 {    // it is only tried whether it may leave the machine
		if err := leave(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(Status)
		}
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, "twokey: psql could not be caged:", launch(args[0]))
	os.Exit(Status)
}

// launch returns only with an error. What is the same for every psql it does at
// once, so that one who waited for its order has it behind it.
func launch(birth string) error {
	var b Birth
	err := json.Unmarshal([]byte(birth), &b)
	if err == nil {
		err = prepare(b)
	}
	o, failed := await() // also to have somebody to tell why not
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	return execute(b, o)
}

// prepare leaves the machine behind as far as that needs no order.
func prepare(b Birth) error {
	if err := standBack(); err != nil {
		return fmt.Errorf("standing back: %w", err)
	}
	unix.Umask(0o022) // of a service, it may keep psql's user out of what follows
	if !b.Apart {
		return nil
	}
	if err := separate(b); err != nil {
		return fmt.Errorf("leaving the machine: %w", err)
	}
	return nil
}

// await takes the order and psql's descriptors. It does not return when twokey
// has ended, or has no use for this launcher.
func await() (o Order, err error) {
	first, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(3*4))
	n, r, _, _, err := unix.Recvmsg(Line, first, rights, unix.MSG_CMSG_CLOEXEC)
	for err == unix.EINTR {
		n, r, _, _, err = unix.Recvmsg(Line, first, rights, unix.MSG_CMSG_CLOEXEC)
	}
	if n == 0 || err != nil {
		os.Exit(Status)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:r])
	if err != nil || len(messages) != 1 {
		return o, errors.New("an order without descriptors")
	}
	given, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(given) != 3 {
		return o, errors.New("an order without psql's descriptors")
	}
	for to, from := range given {
		if err := unix.Dup3(from, to, 0); err != nil {
			return o, err
		}
	}
	text, err := io.ReadAll(os.NewFile(Line, "line"))
	if err != nil {
		return o, err
	}
	return o, json.Unmarshal(append(first, text...), &o)
}

// execute puts the rest of the cage on and becomes psql.
func execute(b Birth, o Order) error {
	argv, err1 := syscall.SlicePtrFromStrings(append([]string{b.Psql, "-X"}, texts(o.Args)...))
	envv, err2 := syscall.SlicePtrFromStrings(o.Env)
	path, err3 := syscall.BytePtrFromString(b.Psql)
	filter, err4 := program(seccompArch, os.Getpid())
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	for _, step := range steps {
		if err := step.take(b, o); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	if !b.Off {
		// From here to execve nothing but these two system calls: the
		// runtime would need some that are no longer allowed.
		fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if _, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog))); e != 0 {
			return fmt.Errorf("seccomp: %w", e)
		}
	}
	_, _, e := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])))
	return fmt.Errorf("running %s: %w", b.Psql, e)
}

func texts(args [][]byte) (s []string) {
	for _, a := range args {
		s = append(s, string(a))
	}
	return s
}

// steps are what the launcher does with its order. Each is for this thread,
// which alone lives on when it becomes psql.
var steps = []struct {
	what string
	take func(Birth, Order) error
}{
	{"closing descriptors", func(Birth, Order) error { return unix.CloseRange(Line, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) }},
	{"its terminal", func(_ Birth, o Order) error {
		if !o.Terminal {
			return nil
		}
		return unix.IoctlSetInt(0, unix.TIOCSCTTY, 0)
	}},
	{"leaving the machine", func(b Birth, o Order) error {
		if !b.Apart {
			return nil
		}
		return settle(o)
	}},
	{"privileges", forgo},
	{"user", become},
	{"landlock", func(b Birth, o Order) error {
		if b.Off {
			return nil
		}
		return landlock(b, o)
	}},
	{"limits", limit},
}

// How psql stands back: by how many steps of priority behind twokey (sched(7)), and
// that it goes first when the machine has no memory left (proc(5)).
const (
	niceness    = 5
	OOMScoreAdj = 1000
)

// standBack must come while /proc is there. Where the kernel shares processor
// time between terminal sessions first, psql's session stands back too; it takes
// that from users without privileges only now and then, and then psql's session
// has the share of any other.
func standBack() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", fmt.Append(nil, OOMScoreAdj), 0); err != nil {
		return err
	}
	err := os.WriteFile("/proc/self/autogroup", fmt.Append(nil, niceness), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EAGAIN) {
		return err
	}
	nice, err := Behind()
	if err != nil {
		return err
	}
	return unix.Setpriority(unix.PRIO_PROCESS, 0, nice)
}

// Behind is the priority of a process that stands back behind this one.
func Behind() (nice int, err error) {
	kernels, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // the system call's, from 40, the highest, to 1
	return min(20-kernels+niceness, 19), err
}

// forgo gives up what psql could inherit or win: the capability to leave the
// machine, those that a service manager gave to twokey, and those of programs
// that have more than their user. A user of psql's own is yet to be had, and
// its capabilities end with that.
func forgo(_ Birth, o Order) error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	if o.UID == 0 {
		none := [2]unix.CapUserData{}
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			return err
		}
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// become changes to psql's own user, if it has one, and sees to it that psql
// dies with twokey: a new user has to ask for that again. Should twokey die just
// before, psql finds nobody at its gateway and its input closed.
func become(_ Birth, o Order) error {
	if o.UID != 0 {
		id := uintptr(o.UID)
		for capability := uintptr(0); capability <= unix.CAP_LAST_CAP; capability++ {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil && err != unix.EINVAL { // one this kernel does not know
				return err
			}
		}
		for _, call := range [][4]uintptr{{unix.SYS_SETGROUPS, 0, 0, 0}, {unix.SYS_SETRESGID, id, id, id}, {unix.SYS_SETRESUID, id, id, id}} {
			if _, _, e := unix.RawSyscall(call[0], call[1], call[2], call[3]); e != 0 {
				return e
			}
		}
	}
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}

// limit sets the resource limits (getrlimit(2)). It comes last, and makes no call that
// the runtime might use to start a thread: with these limits it can not, and dies.
func limit(b Birth, o Order) error {
	if b.Off {
		return nil
	}
	type bound struct {
		what  int
		value uint64
	}
	limits := []bound{
		{unix.RLIMIT_FSIZE, 0}, {unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NOFILE, 64}, {unix.RLIMIT_AS, 512 << 20},
		{unix.RLIMIT_MEMLOCK, 0}, {unix.RLIMIT_MSGQUEUE, 0},
	}
	if o.UID != 0 {
		limits = append(limits, bound{unix.RLIMIT_NPROC, 1})
	}
	for _, l := range limits {
		if err := syscall.Setrlimit(l.what, &syscall.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("resource limit %d: %w", l.what, err)
		}
	}
	return nil
}
