package bastion

import (
	"net"
	"os"
	"syscall"
)

// socketPair is two ends of a unix stream socket (socketpair(2)).
func socketPair() (near, far *net.UnixConn, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if near, err = unixConn(fds[0]); err != nil {
		syscall.Close(fds[1])
		return nil, nil, err
	}
	if far, err = unixConn(fds[1]); err != nil {
		near.Close()
		return nil, nil, err
	}
	return near, far, nil
}

func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "socketpair")
	defer f.Close() // FileConn has its own
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}
