package psql_test

import (
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/psql"
)

// This file takes it that somebody runs code of their own inside psql, as a
// database that corrupts its memory could. A program of the attacker's takes
// psql's place and asks the kernel for what a way out would need.

// wants are the attacker's system calls: C expressions that are not negative
// when the kernel gives it.
var wants = map[string]string{
	"fork":                     `fork_()`,
	"thread":                   `clone_thread()`,
	"TCP socket":               `socket(AF_INET, SOCK_STREAM, 0)`,
	"UDP socket":               `socket(AF_INET, SOCK_DGRAM, 0)`,
	"IPv6 socket":              `socket(AF_INET6, SOCK_STREAM, 0)`,
	"netlink socket":           `socket(AF_NETLINK, SOCK_RAW, 0)`,
	"pair of sockets":          `socketpair(AF_UNIX, SOCK_STREAM, 0, pair)`,
	"listen":                   `serve()`,
	"memory file":              `syscall(SYS_memfd_create, "x", 0)`,
	"trace":                    `trace()`,
	"signal to its group":      `kill(0, 0)`,
	"another's memory":         `peek()`,
	"io_uring":                 `syscall(SYS_io_uring_setup, 4, ring)`,
	"change of namespace":      `unshare(CLONE_FS)`,
	"folder":                   `mkdir("DIR/made", 0777)`,
	"link":                     `symlink("/etc/passwd", "DIR/symlink")`,
	"pipe with a name":         `mkfifo("DIR/fifo", 0666)`,
	"new file":                 `open("DIR/new", O_CREAT | O_WRONLY, 0666)`,
	"file for writing":         `open("DIR/script", O_WRONLY)`,
	"file for truncating":      `truncate("DIR/service", 0)`,
	"file for reading":         `open("/etc/passwd", O_RDONLY)`,
	"folder for reading":       `open("/etc", O_RDONLY)`,
	"own memory as a file":     `open("/proc/self/mem", O_RDWR)`,
	"new name":                 `rename("DIR/openssl.cnf", "DIR/renamed")`,
	"new mode":                 `mine()`,
	"shared memory":            `shmget(IPC_PRIVATE, 4096, 0600)`,
	"message queue":            `msgget(IPC_PRIVATE, 0600)`,
	"semaphores":               `semget(IPC_PRIVATE, 1, 0600)`,
	"personality":              `personality(ADDR_NO_RANDOMIZE)`,
	"inotify":                  `inotify_init()`,
	"file handle":              `handle()`,
	"key":                      `syscall(SYS_keyctl, 0, -3, 1)`,
	"abstract socket's caller": `call()`,
	"socket with a path":       `dial()`,
	"more memory":              `big()`,
	"file in /dev/shm":         `open("/dev/shm", O_RDONLY)`,
}

const attacker = `#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stddef.h>
#include <unistd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
static int pair[2];
static char ring[256];
static int fork_(void) { int p = fork(); if (p == 0) _exit(0); if (p > 0) waitpid(p, 0, 0); return p; }
static int nothing(void *x) { return 0; }
static char stack[65536];
static int clone_thread(void) { return clone(nothing, stack + sizeof stack, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD, 0); }
static int trace(void) {
	int status, p = fork();
	if (p < 0) return ptrace(PTRACE_TRACEME, 0, 0, 0);
	if (p == 0) _exit(ptrace(PTRACE_TRACEME, 0, 0, 0) < 0);
	waitpid(p, &status, 0);
	return status == 0 ? 0 : -1;
}
static int serve(void) {
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(s, (void *)&a, sizeof(sa_family_t))) return -1;
	return listen(s, 1);
}
static int call(void) {
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	const char *name = "ABSTRACT/.s.PGSQL.5432";
	memcpy(a.sun_path + 1, name + 1, strlen(name) - 1);
	return connect(s, (void *)&a, offsetof(struct sockaddr_un, sun_path) + strlen(name));
}
static int dial(void) {
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "DIR/.s.PGSQL.5432" };
	return connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&a, sizeof a);
}
static int peek(void) {
	char from = 'x', to;
	struct iovec a = { &from, 1 }, b = { &to, 1 };
	return syscall(SYS_process_vm_readv, getpid(), &b, 1, &a, 1, 0);
}
static int handle(void) {
	struct { struct file_handle h; char room[128]; } f = { .h.handle_bytes = 128 };
	int mount;
	return name_to_handle_at(AT_FDCWD, "/", &f.h, &mount, 0);
}
static int mine(void) { int fd = open("DIR/mine", O_CREAT | O_WRONLY, 0600); return fd < 0 ? -1 : fchmod(fd, 0644) + 1; }
static int big(void) { return mmap(0, 1L << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0; }
int main(void) {
	signal(SIGPIPE, SIG_IGN);
WANTS	fflush(stdout);
	execl("/bin/echo", "echo", "got: another program", (char *)0);
	return 0;
}
`

func TestNativeCode(t *testing.T) {
	// All run the same program; the one that is free must get all it wants.
	got := func(o psql.CageOptions, together, tty bool) []string {
		w := newOutside(t)
		var asks strings.Builder
		for _, name := range slices.Sorted(maps.Keys(wants)) {
			asks.WriteString("\tif ((" + wants[name] + ") >= 0) puts(\"got: " + name + "\");\n")
		}
		source := w.fill(strings.ReplaceAll(attacker, "WANTS", asks.String()))
		o.Psql = compile(t, "attacker", source)
		c, err := psql.NewCage(o)
		if err != nil {
			t.Fatal(err)
		}
		if together {
			c = c.Together()
		}
		options := toCluster()
		if tty {
			options.Size = session.Size{Cols: 80, Rows: 24}
		}
		var list []string
		for line := range strings.Lines(converse(t, c, options, "")) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "got: "); ok {
				list = append(list, name)
			}
		}
		return list
	}
	for _, tty := range []bool{false, true} {
		free := got(psql.CageOptions{Off: true}, false, tty)
		for name := range wants {
			if !slices.Contains(free, name) {
				t.Errorf("%s is not to be had even without a cage", name)
			}
		}
		if !slices.Contains(free, "another program") {
			t.Error("another program cannot be run even without a cage")
		}
		if caged := got(psql.CageOptions{}, false, tty); len(caged) > 0 {
			t.Errorf("code inside psql got %q", caged)
		}
		if caged := got(psql.CageOptions{}, true, tty); len(caged) > 1 || len(caged) == 1 && caged[0] != "socket with a path" {
			t.Errorf("without namespaces code inside psql got %q", caged)
		}
	}
}

// A descriptor can send signals too (fcntl(2), F_SETOWN), to any process of the
// same user: twokey. No filter of system calls sees to whom.
const signaller = `#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
	int p[2];
	pipe(p);
	fcntl(p[0], F_SETOWN, PID);
	fcntl(p[0], F_SETSIG, SIGUSR1);
	fcntl(p[0], F_SETFL, O_ASYNC);
	write(p[1], "x", 1);
	puts("done");
	return 0;
}
`

func TestNoSignalLeavesTheCage(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("psql has a user of its own")
	}
	program := compile(t, "signaller", strings.ReplaceAll(signaller, "PID", fmt.Sprint(os.Getpid())))
	sends := func(o psql.CageOptions, together bool) bool {
		o.Psql = program
		c, err := psql.NewCage(o)
		if err != nil {
			t.Fatal(err)
		}
		if together {
			c = c.Together()
		}
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGUSR1)
		defer signal.Stop(signals)
		if out := converse(t, c, toCluster(), ""); out != "done\n" {
			t.Fatal(out)
		}
		time.Sleep(100 * time.Millisecond) // it was sent before the program ended
		return len(signals) > 0
	}
	if !sends(psql.CageOptions{Off: true}, false) {
		t.Error("the program sends no signal even without a cage")
	}
	for _, together := range []bool{false, true} {
		if sends(psql.CageOptions{}, together) {
			t.Errorf("psql sent twokey a signal (without namespaces: %v)", together)
		}
	}
}
