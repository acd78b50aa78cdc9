package index

import (
	"fmt"
	"syscall"
)

// room returns an error when the disk is needed for something else.
func (x *Index) room() error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(x.o.Dir, &disk); err != nil {
		return err
	}
	if free := int64(disk.Bavail) * int64(disk.Bsize); free < x.o.KeepFree {
		return fmt.Errorf("%s has %d MiB left, which are kept for recordings: what is new is not indexed", x.o.Dir, free>>20)
	}
	return nil
}
