package recorder

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/twokey/twokey/session"
)

// This file is the spool on disk. Each recording has a directory there:
//
//	00000004.cast       the slice that is being written
//	00000003.cast       one that is a segment on its way to the store, in memory
//	00000002.cast.zst   a segment that has to wait for the store; .age behind it when it is encrypted
//	segments.jsonl      a line for each segment when it is cut, and another when the store has it
//	sealed.room         room on the disk for the next line, taken when the tape begins
//	sealed.json         the session has ended, and how
//	damaged             lines in the middle were lost: the disk's doing, or a power loss's
//	manifest.json(.sig) waits for the store
//
// Everything but slices and segments.jsonl appears whole or not at all. What
// each step needs is on disk before what it replaces is removed, so that a
// crash between any two instructions leaves a directory that finish completes. A
// segment is in the journal before the store may get it: what else lies there
// under its name is not ours.

const (
	sliceSuffix = ".cast"
	journalName = "segments.jsonl"
	sealedName  = "sealed.json"
	newSuffix   = ".new" // of a file that has not appeared yet
	roomName    = "sealed.room"
	damagedName = "damaged"
)

// roomBytes is what sealed.json may be long to fit into the room kept for it:
// a cause and flags.
const roomBytes = 8 << 10

func sliceName(n int) string { return fmt.Sprintf("%08d%s", n, sliceSuffix) }

func segmentName(n int, encrypted bool) string {
	if encrypted {
		return fmt.Sprintf("%08d%s", n, encryptedSuffix)
	}
	return fmt.Sprintf("%08d%s", n, segmentSuffix)
}

// numberOf reads the number of a slice or a segment from its name, 0 if it is
// neither.
func numberOf(name, suffix string) int {
	digits, found := strings.CutSuffix(name, suffix)
	if n, err := strconv.Atoi(digits); found && len(digits) == 8 && err == nil && n > 0 {
		return n
	}
	return 0
}

// segmentNumber reads the number of a segment from its name, 0 if it is none.
func segmentNumber(name string) int { return numberOf(strings.TrimSuffix(name, ".age"), segmentSuffix) }

// newSlice makes the file of the next slice. Its name is durable once the
// slice before it is noted as a segment, which is always the next thing that happens.
func newSlice(dir string, n int) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, sliceName(n)), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
}

// writeFile makes a file appear whole and durable, or not at all.
func writeFile(path string, data []byte) error {
	tmp := path + newSuffix
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(tmp)
		return err
	}
	failpoint("writing", path)
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	failpoint("written", path)
	return syncDir(filepath.Dir(path))
}

// sweep removes what a crash left of files that never appeared: their
// beginnings, and signatures of nothing.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, e := range entries {
		there[e.Name()] = true
	}
	for name := range there {
		signed, isSignature := strings.CutSuffix(name, ".sig")
		if isSignature && !there[signed] || strings.HasSuffix(name, newSuffix) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFile(path, append(data, '\n'))
}

// keepRoom takes the room for sealed.json on the disk, so that a session that
// ends because the disk is full can still say why. Spaces, not a hole: a hole
// would have to be filled when it is too late.
func keepRoom(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, roomName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.Repeat([]byte{' '}, roomBytes))
	return errors.Join(err, f.Sync(), f.Close())
}

// writeSealed writes sealed.json into the room kept for it, or where there is
// none, or it is too small, like any other file. Like these it appears whole and
// durable or not at all.
func writeSealed(dir string, s session.Summary) error {
	path, room := filepath.Join(dir, sealedName), filepath.Join(dir, roomName)
	// No more than is read again (load): the rest is on the tape, and may be long.
	s = session.Summary{ID: s.ID, Ended: s.Ended, Cause: s.Cause, Flags: s.Flags}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if data = append(data, '\n'); len(data) <= roomBytes && overwrite(room, data) == nil {
		failpoint("writing", path)
		err := os.Rename(room, path)
		failpoint("written", path)
		return errors.Join(err, syncDir(dir))
	}
	return writeFile(path, data)
}

// overwrite replaces the beginning of a file in place, where it needs no more
// of the disk, and makes that durable. What comes after it stays.
func overwrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	return errors.Join(err, f.Sync(), f.Close())
}

// readJSON reads a file that writeJSON wrote. It reports false when there is none.
func readJSON(path string, v any) (bool, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	return true, nil
}

// doneSuffix marks a directory that is being removed, and adoptingSuffix one
// that is being made from what another bastion left in the store. A crash makes
// both of no use.
const (
	doneSuffix     = ".done"
	adoptingSuffix = ".adopting"
)

// discard removes a recording's directory, at one moment for those who look
// for recordings.
func discard(dir string) error {
	if err := os.Rename(dir, dir+doneSuffix); err != nil {
		return err
	}
	failpoint("discarding", dir)
	err := errors.Join(syncDir(filepath.Dir(dir)), os.RemoveAll(dir+doneSuffix))
	failpoint("discarded", dir)
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openJournal opens the journal to add to it.
func openJournal(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, journalName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// note puts a segment, as it is now, into the journal. It is durable after the
// journal's next fsync.
func (c cut) note(journal *os.File) error {
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	// A line that a crash cut short must not swallow this one.
	_, err = journal.Write(slices.Concat([]byte{'\n'}, line, []byte{'\n'}))
	failpoint("written", journalName)
	return err
}

// noteSegment does that, and makes it durable.
func noteSegment(dir string, c cut) error {
	journal, err := openJournal(dir)
	if err != nil {
		return err
	}
	return errors.Join(c.note(journal), journal.Sync(), journal.Close())
}

// syncJournal makes durable what a tape has noted since its last commit.
func syncJournal(dir string) error {
	journal, err := openJournal(dir)
	if err != nil {
		return err
	}
	return errors.Join(journal.Sync(), journal.Close())
}

// readJournal returns the segments as they were noted last, in order. A line
// that a crash cut short is left out: what it replaces is still in the spool.
func readJournal(dir string) ([]cut, error) {
	f, err := os.Open(filepath.Join(dir, journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []cut
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxManifest)
	for lines.Scan() {
		var c cut
		switch {
		case len(lines.Bytes()) == 0 || json.Unmarshal(lines.Bytes(), &c) != nil:
		case c.N == len(list)+1:
			list = append(list, c)
		case c.N > 0 && c.N <= len(list):
			list[c.N-1] = c
		default:
			return nil, fmt.Errorf("%s: segment %d is missing before number %d", journalName, len(list)+1, c.N)
		}
	}
	return list, lines.Err()
}

// contents returns the numbers of the slices and the names of the segments in a
// directory, in order.
func contents(dir string) (slices []int, segments []string, err error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if n := numberOf(e.Name(), sliceSuffix); n > 0 {
			slices = append(slices, n)
		} else if segmentNumber(e.Name()) > 0 {
			segments = append(segments, e.Name())
		}
	}
	return slices, segments, nil
}

// nodeName returns the node's name in its books: the configured one, and five
// letters drawn once, so that a state directory that was lost, or two bastions
// that were given one name, never continue each other's chain.
func nodeName(dir, configured string) (string, error) {
	for _, c := range configured {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", c) || len(configured) > 63 {
			return "", fmt.Errorf("the node's name %.80q may only have letters, digits and dashes, at most 63", configured)
		}
	}
	path := filepath.Join(dir, "node")
	if data, err := os.ReadFile(path); err == nil {
		if name := string(bytes.TrimSpace(data)); name != "" {
			return name, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	name := configured + "-" + strings.ToLower(rand.Text()[:5])
	return name, writeFile(path, []byte(name+"\n"))
}
