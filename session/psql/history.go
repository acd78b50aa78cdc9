package psql

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/psql/launch"
)

// This file keeps what people typed, for the up arrow of their next session.
//
// psql in its cage writes no file, so it gets two things by one name: when it
// starts, a file that it may only read; once it has read it, a pipe that it may
// only write to, and writes to when it ends. What comes out of the pipe is not
// trusted: it is bounded and made text again before it is kept, and it is only
// ever given back to a psql of the same person on the same target.

// Bounds of what one psql may say, and of what is kept of one person on one target.
const (
	historySaid  = 1 << 20
	historyBytes = 256 << 10
	historyLines = 1000
)

// History is a folder with a file for each person and target.
type History struct {
	dir string
	mu  sync.Mutex // of all files: two sessions of one person lose nothing
}

// OpenHistory makes the folder if it is not there.
func OpenHistory(dir string) (*History, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return &History{dir: dir}, nil
}

// Of is what this person typed on this target. It is nil, which is no history,
// when h is nil.
func (h *History) Of(who session.Identity, target string) *Past {
	if h == nil || !who.Valid() {
		return nil
	}
	sum := sha256.New()
	for _, part := range []string{who.Issuer, who.Subject, target} {
		fmt.Fprintf(sum, "%d %s", len(part), part)
	}
	return &Past{History: h, path: filepath.Join(h.dir, hex.EncodeToString(sum.Sum(nil)))}
}

// Past is what one person typed on one target: lines in readline's format.
type Past struct {
	*History
	path string
}

// read returns nothing for a person who is new here.
func (p *Past) read() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text, err := os.ReadFile(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return tidy(text), err
}

// add appends what a psql said, whole or not at all.
func (p *Past) add(said []byte) error {
	said = tidy(said)
	if len(said) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before, err := os.ReadFile(p.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(p.dir, "new-") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(tidy(append(before, said...)))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), p.path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// secret is a line that may hold a password. It is not kept, though whoever
// typed it would like it back.
var secret = regexp.MustCompile(`(?i)passw(or)?d|\bpwd\b|secret|identified\s+by`)

// tidy returns the newest lines that are text, do not look like a password and
// do not repeat the one before. Text has no control characters but TAB, and
// psql's \x01, a line's end within an entry; so what psql wrote can be nothing
// but history when the next psql reads it: no library, above all.
func tidy(text []byte) []byte {
	var lines [][]byte
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		repeats := len(lines) > 0 && bytes.Equal(lines[len(lines)-1], line)
		if len(bytes.TrimSpace(line)) > 0 && !repeats && utf8.Valid(line) && !secret.Match(line) && bytes.IndexFunc(line, strange) < 0 {
			lines = append(lines, line)
		}
	}
	size, first := 0, len(lines)
	for first > 0 && len(lines)-first < historyLines && size+len(lines[first-1])+1 <= historyBytes {
		first--
		size += len(lines[first]) + 1
	}
	var b bytes.Buffer
	for _, line := range lines[first:] {
		b.Write(line)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func strange(r rune) bool { return r != '\t' && r != '\x01' && unicode.IsControl(r) }

// memory is the history of one running psql: a file to read and a pipe to write
// to, in the folder of its gateway.
type memory struct {
	past       *Past
	file, pipe string
	read       *os.File // of the pipe
	open       *os.File // its writing end, so that it does not end before psql does
	said       chan []byte
}

// historyName is psql's name for it.
const historyName = "history"

// remember lays them out, for a psql that runs as uid.
func remember(past *Past, dir string, uid int) (m *memory, err error) {
	m = &memory{past: past, file: filepath.Join(dir, historyName), pipe: filepath.Join(dir, historyName+".pipe"), said: make(chan []byte, 1)}
	defer func() {
		if err != nil {
			m.close()
			err = fmt.Errorf("history: %w", err)
		}
	}()
	text, err := past.read()
	if err != nil {
		return m, err
	}
	if err = errors.Join(os.WriteFile(m.file, text, 0o400), unix.Mkfifo(m.pipe, 0o600)); err != nil {
		return m, err
	}
	if m.read, err = os.OpenFile(m.pipe, os.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
		return m, err
	}
	if m.open, err = os.OpenFile(m.pipe, os.O_WRONLY|unix.O_NONBLOCK, 0); err != nil {
		return m, err
	}
	return m, errors.Join(os.Chown(m.file, uid, -1), os.Chown(m.pipe, uid, -1), os.Chmod(m.pipe, 0o200))
}

// places are what psql may do with them.
func (m *memory) places() []launch.Place {
	return []launch.Place{{At: m.file, Access: readFile, Within: true}, {At: m.pipe, Access: unix.LANDLOCK_ACCESS_FS_WRITE_FILE, Within: true}}
}

// listen takes what psql writes until keep is called.
func (m *memory) listen() {
	said, _ := io.ReadAll(io.LimitReader(m.read, historySaid))
	io.Copy(io.Discard, m.read)
	m.said <- said
}

// turn must be called once psql has read the file: from now on it writes.
func (m *memory) turn() { os.Rename(m.pipe, m.file) }

// keep is called when psql is gone.
func (m *memory) keep() error {
	m.open.Close()
	m.read.SetReadDeadline(time.Now().Add(time.Second)) // without a cage a child of psql may still hold it
	said := <-m.said
	m.close()
	return m.past.add(said)
}

func (m *memory) close() {
	for _, f := range []*os.File{m.read, m.open} {
		if f != nil {
			f.Close()
		}
	}
	os.Remove(m.file)
	os.Remove(m.pipe)
}
