package psql

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/twokey/twokey/session/psql/launch"
)

// This file says what psql may open: itself, its libraries, what it needs to
// know of terminals and languages, a few devices. Landlock allows these and
// nothing else, and the empty root holds these and nothing else.

const (
	readFile = unix.LANDLOCK_ACCESS_FS_READ_FILE
	readDir  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	execute  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	device   = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	gateway  = unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX
)

// useful is what psql works better with. What is not there on this machine is left out.
var useful = []launch.Place{
	{At: "/etc/ld.so.cache", Access: readFile}, {At: "/etc/localtime", Access: readFile},
	{At: "/usr/share/terminfo", Access: readDir}, {At: "/lib/terminfo", Access: readDir}, {At: "/etc/terminfo", Access: readDir},
	{At: "/usr/share/locale", Access: readDir}, {At: "/usr/lib/locale", Access: readDir},
	{At: "/dev/null", Access: device}, {At: "/dev/tty", Access: device}, {At: "/dev/urandom", Access: readFile},
}

// needed finds all that this psql has to open.
func needed(psql string) ([]launch.Place, error) {
	loader, err := interpreter(psql)
	if err != nil {
		return nil, err
	}
	libraries, err := libraries(loader, psql)
	if err != nil {
		return nil, err
	}
	places := []launch.Place{{At: psql, Access: execute}, {At: loader, Access: execute}}
	optional := append([]launch.Place{{At: filepath.Join(filepath.Dir(psql), "../share/locale"), Access: readDir}}, useful...)
	for _, path := range libraries {
		places = append(places, launch.Place{At: path, Access: readFile})
		if strings.HasPrefix(filepath.Base(path), "libc.") { // other character sets than UTF-8
			optional = append(optional, launch.Place{At: filepath.Join(filepath.Dir(path), "gconv"), Access: readDir})
		}
	}
	for i := range places {
		if places[i].Real, err = filepath.EvalSymlinks(places[i].At); err != nil {
			return nil, fmt.Errorf("what psql needs: %w", err)
		}
	}
	for _, p := range optional {
		if p.Real, err = filepath.EvalSymlinks(p.At); err == nil {
			places = append(places, p)
		}
	}
	return places, nil
}

// interpreter returns the dynamic loader that a program names.
func interpreter(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s is not the real psql: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name := make([]byte, min(p.Filesz, 4096))
			if _, err := p.ReadAt(name, 0); err != nil {
				return "", err
			}
			return strings.TrimRight(string(name), "\x00"), nil
		}
	}
	return "", fmt.Errorf("%s names no dynamic loader", path)
}

// libraries asks the dynamic loader which libraries a program is made of, as
// ldd(1) does.
func libraries(loader, path string) ([]string, error) {
	list := exec.Command(loader, "--list", path)
	list.Env = []string{"PATH=/usr/bin:/bin"}
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("the libraries of %s: %w", path, err)
	}
	var paths []string
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		_, at, found := strings.Cut(s.Text(), "=> ")
		at, _, _ = strings.Cut(at, " (")
		if found && filepath.IsAbs(at) && at != loader {
			paths = append(paths, at)
		} else if found && !filepath.IsAbs(at) {
			return nil, fmt.Errorf("psql cannot run here: %s", strings.TrimSpace(s.Text()))
		}
	}
	return paths, nil
}
