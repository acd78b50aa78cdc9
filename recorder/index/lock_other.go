//go:build !linux

package index

import "os"

// lock on a system without flock(2): the file is there for whoever looks, and the
// database has a lock of its own.
func (x *Index) lock() (unlock func(), err error) {
	f, err := os.OpenFile(x.file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}
