package launch_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/twokey/twokey/session/psql/launch"
)

// This file tries each layer with no other beside it: in the whole cage one may
// hide that another has a hole.

// layerKey names the layer that this test binary, run again, puts on before it tries.
const layerKey = "TWOKEY_LAYER"

func TestMain(m *testing.M) {
	if layer, alone := os.LookupEnv(layerKey); alone {
		if err := tries(layer); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// attempts are what is tried, on the terminal at descriptor 0, with the caller's port.
var attempts = []struct {
	what string
	call func(port int) syscall.Errno
}{
	{"connect", func(port int) syscall.Errno { return network(unix.SYS_CONNECT, port) }},
	{"bind", func(int) syscall.Errno { return network(unix.SYS_BIND, 0) }},
	{"abstract", abstract},
	{"signal", func(int) syscall.Errno {
		return raw(unix.SYS_KILL, uintptr(os.Getppid()), 0, 0)
	}},
	{"open", func(int) syscall.Errno {
		path := []byte("/etc/passwd\x00")
		return raw(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(&path[0])), unix.O_RDONLY)
	}},
	{"type", func(int) syscall.Errno {
		key := byte('x')
		return raw(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&key)))
	}},
	{"console", func(int) syscall.Errno {
		ask := byte(2)
		return raw(unix.SYS_IOCTL, 0, unix.TIOCLINUX, uintptr(unsafe.Pointer(&ask)))
	}},
	{"process", func(int) syscall.Errno { return raw(unix.SYS_UNSHARE, unix.CLONE_FS, 0, 0) }},
}

// tries puts a layer on and says what the kernel answers, a line each.
func tries(layer string) error {
	runtime.LockOSThread()
	var port int
	if _, err := fmt.Sscan(os.Args[1], &port); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	wear := map[string]func() error{"landlock": launch.Landlock, "seccomp": launch.Seccomp, "": func() error { return nil }}[layer]
	if err := wear(); err != nil {
		return err
	}
	var b strings.Builder
	for _, a := range attempts {
		fmt.Fprintf(&b, "%s %d\n", a.what, a.call(port))
	}
	text := []byte(b.String())
	raw(unix.SYS_WRITE, 1, uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)))
	unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	return nil
}

func raw(number, a, b, c uintptr) syscall.Errno {
	_, _, e := unix.RawSyscall(number, a, b, c)
	return e
}

// network makes a socket of TCP and calls for 127.0.0.1 with it.
func network(call uintptr, port int) syscall.Errno {
	fd, _, e := unix.RawSyscall(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)
	if e != 0 {
		return e
	}
	at := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: uint16(port>>8 | port<<8&0xff00), Addr: [4]byte{127, 0, 0, 1}}
	return raw(call, fd, uintptr(unsafe.Pointer(&at)), unsafe.Sizeof(at))
}

// abstract calls the parent's socket that has no path.
func abstract(port int) syscall.Errno {
	fd, _, e := unix.RawSyscall(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if e != 0 {
		return e
	}
	at := unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	name := fmt.Sprintf("\x00twokey-layers-%d", port)
	for i := range len(name) {
		at.Path[i] = int8(name[i])
	}
	return raw(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&at)), uintptr(2+len(name)))
}

// Without a layer all of it works, or fails as it would not because of one.
func TestEachLayerAlone(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	port := tcp.Addr().(*net.TCPAddr).Port
	unixes, err := net.Listen("unix", fmt.Sprintf("@twokey-layers-%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer unixes.Close()
	const no, denied = int(unix.EPERM), int(unix.EACCES)
	for layer, forbids := range map[string]map[string]int{
		"":         {},
		"landlock": {"connect": denied, "bind": denied, "abstract": no, "signal": no, "open": denied},
		"seccomp":  {"connect": no, "bind": no, "signal": no, "type": no, "console": no, "process": no},
	} {
		got := under(t, layer, port)
		for _, a := range attempts {
			want, forbidden := forbids[a.what]
			switch is, tried := got[a.what]; {
			case !tried:
				t.Errorf("under %q %s was not tried", layer, a.what)
			case forbidden && is != want:
				t.Errorf("under %q %s: %v, not %v", layer, a.what, syscall.Errno(is), syscall.Errno(want))
			case !forbidden && (is == no || is == denied):
				t.Errorf("under %q %s is forbidden: %v", layer, a.what, syscall.Errno(is))
			}
		}
	}
}

// under runs the attempts under a layer, on a terminal of their own.
func under(t *testing.T, layer string, port int) map[string]int {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	child := exec.Command("/proc/self/exe", fmt.Sprint(port))
	child.Env = []string{layerKey + "=" + layer}
	child.Stdin = slave
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	out, err := child.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := map[string]int{}
	for line := range strings.Lines(string(out)) {
		var what string
		var number int
		if _, err := fmt.Sscan(line, &what, &number); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got[what] = number
	}
	return got
}
