package store

import (
	"bytes"
	"context"
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

// Put is Store's. The version is always empty.
func (f *Folder) Put(ctx context.Context, name string, data []byte) (string, error) {
	if err := errors.Join(CheckName(name), ctx.Err()); err != nil {
		return "", err
	}
	if len(data) > MaxObject {
		return "", ErrTooLarge
	}
	target := f.path(name)
	if _, err := os.Lstat(target); err == nil {
		return "", ErrExists
	}
	if err := makeDirs(f.dir, path.Dir(name)); err != nil {
		return "", err
	}
	return "", linkNew(target, data)
}

// makeDirs makes the directories of a name, each on disk in its parent before
// anything is put into it.
func makeDirs(root, name string) error {
	dir := root
	for part := range strings.SplitSeq(name, "/") {
		parent := dir
		dir = filepath.Join(dir, part)
		err := os.Mkdir(dir, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := syncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

// linkNew writes a file that was not there, whole and durable, or not at all.
func linkNew(target string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(target), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), target); errors.Is(err, fs.ErrExist) {
		return ErrExists
	} else if err != nil {
		return err
	}
	return syncDir(filepath.Dir(target))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
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
	file, size, err := openRegular(f.path(name))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, "", fmt.Errorf("%s: %w", name, ErrNotExist)
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
func openRegular(name string) (*os.File, int64, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = fs.ErrNotExist // a folder of that name is no object
	case !info.Mode().IsRegular():
		err = errors.New("what lies there is no regular file; nothing of twokey's put it there")
	default:
		return file, info.Size(), nil
	}
	file.Close()
	return nil, 0, err
}

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
	if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for dir := path.Dir(name); dir != "." && os.Remove(f.path(dir)) == nil; dir = path.Dir(dir) {
	}
	return nil
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
	entries, err := os.ReadDir(f.path(folder))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(entries) > maxListing {
		return nil, fmt.Errorf("%s holds more than %d entries", folder, maxListing)
	}
	var list []Object
	for _, e := range entries {
		o := Object{Name: folder + e.Name()}
		if hidden(o) {
			continue
		}
		switch info, err := e.Info(); {
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

func (f *Folder) path(name string) string {
	return filepath.Join(f.dir, filepath.FromSlash(name))
}
