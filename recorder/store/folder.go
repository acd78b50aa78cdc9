package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// This file is the store for one machine: files under a directory. It exists
// for trying twokey out, for tests, and for those who copy a bucket to a
// laptop to look at it.

// Folder is a Store in a directory. An object appears under its name by a hard
// link, which unlike a rename never replaces, after its bytes are on disk.
type Folder struct {
	dir string
}

// NewFolder returns the store in dir, an absolute or relative path, and makes
// the directory if it is not there.
func NewFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the folder for recordings: %w", err)
	}
	return &Folder{dir: dir}, nil
}

// enter opens a folder of the store, "." for its top; with create it is made, each part on
// disk in its parent before anything is put into it. No link is followed: whoever can write to the
// store could have us read, list, write and remove anywhere else.
func (f *Folder) enter(folder string, create bool) (*os.Root, error) {
	at, err := os.OpenRoot(f.dir)
	if err != nil {
		return nil, fmt.Errorf("the folder for recordings can not be opened: %v", err) // also when it is not there
	}
	for part := range strings.SplitSeq(path.Clean(folder), "/") {
		next, err := step(at, part, create)
		at.Close()
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

// step opens a directory in a directory.
func step(at *os.Root, part string, create bool) (*os.Root, error) {
	info, err := at.Lstat(part)
	if create && errors.Is(err, fs.ErrNotExist) {
		if err = at.Mkdir(part, 0o700); err == nil || errors.Is(err, fs.ErrExist) {
			err = syncDir(at)
		}
		if err == nil {
			info, err = at.Lstat(part)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("%s is a link, and the store follows none: mount there what it leads to, or remove it", filepath.Join(at.Name(), part))
	case !info.IsDir():
		return nil, fmt.Errorf("%s is no folder: %w", filepath.Join(at.Name(), part), fs.ErrNotExist)
	}
	return at.OpenRoot(part)
}

// Put is Store's. The version is always empty.
func (f *Folder) Put(ctx context.Context, name string, data []byte) (string, error) {
	if err := errors.Join(CheckName(name), ctx.Err()); err != nil {
		return "", err
	}
	if len(data) > MaxObject {
		return "", ErrTooLarge
	}
	dir, err := f.enter(path.Dir(name), true)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	return "", linkNew(dir, path.Base(name), data)
}

// linkNew writes a file that was not there, whole and durable, or not at all.
func linkNew(dir *os.Root, name string, data []byte) error {
	if _, err := dir.Lstat(name); err == nil {
		return ErrExists
	}
	tmp := ".new-" + rand.Text()
	file, err := dir.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer dir.Remove(tmp)
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	if err := dir.Link(tmp, name); errors.Is(err, fs.ErrExist) {
		return ErrExists
	} else if err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get is Store's.
func (f *Folder) Get(ctx context.Context, name, version string, limit int64) ([]byte, string, error) {
	if err := errors.Join(CheckName(name), ctx.Err()); err != nil {
		return nil, "", err
	}
	if version != "" {
		return nil, "", fmt.Errorf("version %q of %s: %w", version, name, ErrNotExist)
	}
	dir, err := f.enter(path.Dir(name), false)
	if err == nil {
		defer dir.Close()
	}
	var file *os.File
	var size int64
	if err == nil {
		file, size, err = openRegular(dir, path.Base(name))
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotExist
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, err)
	}
	defer file.Close()
	data, err := readAtMost(file, size, limit)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, err)
	}
	return data, "", nil
}

// openRegular opens a file and returns its size. It waits for nobody: whoever can
// write to the folder can put a named pipe there, at which a plain open would
// stand until somebody writes to it.
func openRegular(dir *os.Root, name string) (*os.File, int64, error) {
	if info, err := dir.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, 0, errIrregular
	}
	file, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = fs.ErrNotExist // a folder of that name is no object
	case !info.Mode().IsRegular():
		err = errIrregular
	default:
		return file, info.Size(), nil
	}
	file.Close()
	return nil, 0, err
}

var errIrregular = errors.New("what lies there is no regular file; nothing of twokey's put it there")

// readAtMost reads everything, or returns ErrTooLarge: at once when there are
// said to be too many bytes, and otherwise when there are. It makes room for what is
// said to be there, within reason: an object that grows while it is read costs twice.
func readAtMost(r io.Reader, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, ErrTooLarge
	}
	const believed = 16 << 20
	data := bytes.NewBuffer(make([]byte, 0, bytes.MinRead+max(0, min(size, believed))))
	_, err := data.ReadFrom(io.LimitReader(r, limit+1))
	if err == nil && int64(data.Len()) > limit {
		err = ErrTooLarge
	}
	return data.Bytes(), err
}

// Remove is Remover's. Folders that are empty then go, too.
func (f *Folder) Remove(ctx context.Context, name string) error {
	if err := errors.Join(CheckName(name), ctx.Err()); err != nil {
		return err
	}
	if err := f.remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for folder := path.Dir(name); folder != "." && f.remove(folder) == nil; folder = path.Dir(folder) {
	}
	return nil
}

// remove removes a file or an empty folder.
func (f *Folder) remove(name string) error {
	dir, err := f.enter(path.Dir(name), false)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Remove(path.Base(name))
}

// Kept is Remover's: a folder keeps nothing from who can write to it.
func (f *Folder) Kept(_ context.Context, name string) (time.Time, error) {
	return time.Time{}, CheckName(name)
}

// List is Store's.
func (f *Folder) List(ctx context.Context, folder string) ([]Object, error) {
	if err := errors.Join(checkFolder(folder), ctx.Err()); err != nil {
		return nil, err
	}
	dir, err := f.enter(folder, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := namesIn(dir, &room{folder, maxListing, maxNames})
	if err != nil {
		return nil, err
	}
	var list []Object
	for _, name := range names {
		o := Object{Name: folder + name}
		if hidden(o) {
			continue
		}
		switch info, err := dir.Lstat(name); {
		case err != nil:
			continue // gone meanwhile
		case info.IsDir():
			o.Name += "/"
		case info.Mode().IsRegular():
			o.Size = info.Size()
		}
		list = append(list, o)
	}
	sortByName(list)
	return list, nil
}

// namesIn returns what lies in a directory, read in portions: it may be full.
func namesIn(dir *os.Root, room *room) (names []string, err error) {
	d, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	for {
		some, err := d.Readdirnames(1 << 12)
		for _, name := range some {
			if err := room.take(name); err != nil {
				return nil, err
			}
		}
		names = append(names, some...)
		if err == io.EOF {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
