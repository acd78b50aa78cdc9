package recorder

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockDir makes sure that nobody else works in the directory. The lock goes
// with the process, however it dies.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "recorder.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the state directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("the state directory %s is in use by another twokey", dir)
	}
	return f, nil
}
