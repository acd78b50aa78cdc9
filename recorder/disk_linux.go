package recorder

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
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

// wholeDisks are file systems of one disk that syncfs makes durable as a whole,
// and that tell it about a write that failed.
var wholeDisks = []int64{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC}

// openDisk opens a directory for syncDisk. It is nil, without an error, where
// syncfs can not be relied on: on other file systems, and before Linux 5.17, whose
// syncfs forgets errors of the file system itself, and before 5.8 (syncfs(2)) all.
func openDisk(dir string) (*os.File, error) {
	var fs unix.Statfs_t
	var u unix.Utsname
	var major, minor int
	if unix.Statfs(dir, &fs) != nil || !slices.Contains(wholeDisks, int64(fs.Type)) || unix.Uname(&u) != nil {
		return nil, nil
	}
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); n < 2 || major < 5 || major == 5 && minor < 17 {
		return nil, nil
	}
	return os.Open(dir)
}

// syncDisk makes everything durable that was written to the file system. Of one that has
// become read-only, as btrfs does after an error, Linux syncs nothing, and calls that success.
func syncDisk(disk *os.File) error {
	if err := unix.Syncfs(int(disk.Fd())); err != nil {
		return err
	}
	var fs unix.Statfs_t
	err := unix.Fstatfs(int(disk.Fd()), &fs)
	if err == nil && fs.Flags&unix.ST_RDONLY != 0 {
		err = unix.EROFS
	}
	return err
}
