package recorder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twokey/twokey/session"
)

// This file completes recordings from what lies in the spool: those whose
// session has just ended and those that an earlier process left, in whatever
// state it died. Every step can be repeated.

// recording is one whose session has ended.
type recording struct {
	dir   string
	cuts  []cut  // all segments, in order
	sent  int    // how many of them the store has
	plain []left // slices that are not segments yet, in order

	sealed    session.Summary
	wasSealed bool // properly, by its session
	torn      bool // in the middle, by more than a crash
}

// left is a slice that is no segment yet, or one that only its process had.
type left struct {
	n     int
	noted *cut // then
	slice
}

// finish brings a recording that has ended to the store, with its manifest and
// a line in the ledger, and removes it from the spool. It returns when that is
// done or the recorder stops. ended is how the session ended, nil when this
// process does not know: then the spool says it, or it died.
func (r *Recorder) finish(id string, ended *session.Summary) {
	defer r.release(id)
	place, err := folder(id)
	if err != nil {
		r.o.Log.Error("recording not finished", "session", id, "error", err)
		return
	}
	var rec *recording
	steps := []func() error{
		func() (err error) { rec, err = r.repair(id, ended); return err },
		func() error { return r.sendRest(rec, place) },
		func() error { return r.sealManifest(rec) },
		func() error { return r.sendManifest(rec, id, place) },
	}
	for _, step := range steps {
		if !r.retry("recording "+id, func() error { return r.taking(step) }) {
			return
		}
		if rec == nil {
			return // it never began
		}
	}
	r.o.Log.Info("recording stored", "session", id, "segments", len(rec.cuts))
}

// taking does a step while holding one of the few tokens.
func (r *Recorder) taking(step func() error) error {
	select {
	case r.uploads <- struct{}{}:
		defer func() { <-r.uploads }()
		return step()
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// repair makes a complete set of segments of what lies in the directory, with
// an end. It returns nil for a recording that never began.
func (r *Recorder) repair(id string, ended *session.Summary) (*recording, error) {
	rec := &recording{dir: filepath.Join(r.spool(), id)}
	if ended != nil {
		rec.sealed, rec.wasSealed = *ended, true
	}
	if err := r.load(rec); err != nil {
		return nil, err
	}
	if len(rec.cuts) == 0 && len(rec.plain) == 0 {
		return nil, discard(rec.dir)
	}
	if !rec.ended() {
		if err := rec.end(); err != nil {
			return nil, err
		}
	}
	for _, p := range rec.plain {
		c, err := r.segment(rec.dir, p)
		if err != nil {
			return nil, err
		}
		rec.add(c)
	}
	rec.plain = nil
	for i, c := range rec.cuts {
		if c.N != i+1 {
			return nil, fmt.Errorf("segment %d is missing from the spool", i+1)
		}
	}
	if rec.cuts[0].Digest.About == nil {
		return nil, errors.New("its first segment does not say whose session it is")
	}
	return rec, nil
}

// load reads what the directory holds and removes what is there twice.
func (r *Recorder) load(rec *recording) (err error) {
	if !rec.wasSealed {
		if rec.wasSealed, err = readJSON(filepath.Join(rec.dir, sealedName), &rec.sealed); err != nil {
			return err
		}
	}
	switch _, err := os.Stat(filepath.Join(rec.dir, damagedName)); {
	case err == nil:
		rec.torn = true
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	noted, err := readJournal(rec.dir)
	if err != nil {
		return err
	}
	// What removes the slice of a segment that the store has must not be on the disk before the line that says so.
	if err := syncJournal(rec.dir); err != nil {
		return err
	}
	var segments []string
	var plain []int
	if plain, segments, err = contents(rec.dir); err != nil {
		return err
	}
	for _, c := range noted {
		if c.Stored {
			rec.sent = c.N
		}
		if c.Stored || slices.Contains(segments, c.Name()) {
			rec.cuts = append(rec.cuts, c)
		}
	}
	for _, name := range segments {
		// What the store has, and what nobody noted: then its slice is still here.
		if n := segmentNumber(name); n <= rec.sent || n > len(noted) || noted[n-1].Name() != name {
			if err := os.Remove(filepath.Join(rec.dir, name)); err != nil {
				return err
			}
		}
	}
	return rec.trim(plain, noted)
}

// cut returns segment n, if it is one that the store or the spool has.
func (rec *recording) cut(n int) (cut, bool) {
	i, found := slices.BinarySearchFunc(rec.cuts, n, func(c cut, n int) int { return c.N - n })
	if !found {
		return cut{}, false
	}
	return rec.cuts[i], true
}

// add puts a segment in its place.
func (rec *recording) add(c cut) {
	i, _ := slices.BinarySearchFunc(rec.cuts, c.N, func(c cut, n int) int { return c.N - n })
	rec.cuts = slices.Insert(rec.cuts, i, c)
}

// last is the number of the last segment or slice, which is one of the segments or not.
func (rec *recording) last() (n int, isSegment bool) {
	if len(rec.cuts) > 0 {
		n, isSegment = rec.cuts[len(rec.cuts)-1].N, true
	}
	if len(rec.plain) > 0 && rec.plain[len(rec.plain)-1].n > n {
		n, isSegment = rec.plain[len(rec.plain)-1].n, false
	}
	return n, isSegment
}

// carry is what was not whole before slice n.
func (rec *recording) carry(n int) map[string][]byte {
	if c, is := rec.cut(n - 1); is {
		return c.Digest.Carry
	}
	if i := slices.IndexFunc(rec.plain, func(p left) bool { return p.n == n-1 }); i >= 0 {
		return rec.plain[i].Carry
	}
	return nil
}

// trim reads slices, cuts them to their last whole line, and removes those that are
// empty or segments already.
func (rec *recording) trim(numbers []int, noted []cut) error {
	for i, n := range numbers {
		if _, is := rec.cut(n); is {
			if err := os.Remove(filepath.Join(rec.dir, sliceName(n))); err != nil {
				return err
			}
			continue
		}
		p := left{n: n}
		if n <= len(noted) {
			p.noted = &noted[n-1]
		}
		usable, err := rec.whole(&p, i == len(numbers)-1)
		if err != nil {
			return err
		}
		if usable {
			rec.plain = append(rec.plain, p)
		}
	}
	return nil
}

// whole reads a slice and cuts off what is no whole line. A crash tears the last line
// of the last slice; the rest is a disk's doing, or a power loss's, which takes what was
// noted already, or a slice and not the next: that is said. The last slice is removed
// when nothing in it is of use.
func (rec *recording) whole(p *left, last bool) (usable bool, err error) {
	path := filepath.Join(rec.dir, sliceName(p.n))
	plain, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	s, whole := account(plain, rec.carry(p.n))
	rest := plain[whole:]
	lost := !last && (whole == 0 || len(rest) > 0) || bytes.IndexByte(rest, '\n') >= 0 || p.noted != nil && int64(whole) < p.noted.Plain
	if lost && !rec.torn {
		if err := writeFile(filepath.Join(rec.dir, damagedName), nil); err != nil {
			return false, err
		}
		rec.torn = true
	}
	if last && (whole == 0 || p.n == 1 && s.About == nil) {
		return false, os.Remove(path)
	}
	p.slice = s
	if len(rest) == 0 {
		return true, nil
	}
	err = os.Truncate(path, int64(whole))
	failpoint("trimmed", path)
	return true, err
}

// ended reports whether the tape has an end.
func (rec *recording) ended() bool {
	if _, isSegment := rec.last(); isSegment {
		return rec.cuts[len(rec.cuts)-1].Digest.End != nil
	}
	return rec.plain[len(rec.plain)-1].End != nil
}

// end writes the end that the session did not: the cause it was sealed with,
// or unclean. The store may have the last slice as it is: the end goes behind it.
func (rec *recording) end() error {
	if n, isSegment := rec.last(); isSegment || rec.plain[len(rec.plain)-1].noted != nil {
		rec.plain = append(rec.plain, left{n: n + 1, slice: slice{digest: digest{Carry: rec.carry(n + 1)}}})
	}
	last, at := &rec.plain[len(rec.plain)-1], rec.lastTime()
	for _, p := range rec.plain {
		if p.lines > 0 {
			at = max(at, p.last)
		}
	}
	cause := session.Cause{Code: session.Unclean, Text: "the bastion died; what it had written was sealed at its next start"}
	if rec.wasSealed && rec.sealed.Cause != nil {
		cause = *rec.sealed.Cause
	}
	x := newEncoder()
	x.output.carry, x.input.carry = last.Carry["o"], last.Carry["i"]
	lines := slices.Clone(x.flush(at))
	ending, err := x.encode(session.Event{At: at, Type: session.End, Cause: &cause})
	if err != nil {
		return err
	}
	lines = append(lines, ending...)
	if err := appendSlice(rec.dir, last.n, lines); err != nil {
		return err
	}
	last.time(at.Truncate(time.Microsecond))
	last.wrote(lines)
	last.count(session.Event{At: at, Type: session.End, Cause: &cause})
	last.Carry = x.carries()
	return nil
}

func (rec *recording) lastTime() time.Duration {
	if len(rec.cuts) == 0 {
		return 0
	}
	return time.Duration(rec.cuts[len(rec.cuts)-1].To*1e6+0.5) * time.Microsecond
}

func appendSlice(dir string, n int, lines []byte) error {
	f, err := os.OpenFile(filepath.Join(dir, sliceName(n)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(lines)
	failpoint("ended", f.Name())
	return errors.Join(err, f.Sync(), f.Close(), syncDir(dir))
}

// pack makes a segment of a slice, if that is what was written.
func (r *Recorder) pack(dir string, n int, written slice) (c cut, stored []byte, err error) {
	plain, err := os.ReadFile(filepath.Join(dir, sliceName(n)))
	if err != nil {
		return cut{}, nil, err
	}
	if !written.is(plain) {
		return cut{}, nil, fmt.Errorf("%s: not what was written to it", sliceName(n))
	}
	stored = r.zstd.EncodeAll(plain, nil)
	// The first holds what the manifest says to everyone, too: who began what.
	encrypted := len(r.o.Recipients) > 0 && n > 1
	if encrypted {
		if stored, err = encrypt(stored, r.o.Recipients); err != nil {
			return cut{}, nil, err
		}
	}
	return newCut(n, written, plain, stored, encrypted), stored, nil
}

// spill keeps a segment that has to wait for the store, in the place of its slice.
func spill(dir string, c cut, stored []byte) error {
	if err := writeFile(filepath.Join(dir, c.Name()), stored); err != nil {
		return err
	}
	path := filepath.Join(dir, sliceName(c.N))
	err := os.Remove(path)
	failpoint("removed", path)
	return err
}

// readSegment reads a segment that was kept.
func readSegment(dir string, c cut) ([]byte, error) {
	stored, err := os.ReadFile(filepath.Join(dir, c.Name()))
	if err == nil && hash(stored) != c.SHA256() {
		err = fmt.Errorf("%s changed on this disk after it was written", c.Name())
	}
	return stored, err
}

// segment makes a segment of a slice that was left, and keeps it.
func (r *Recorder) segment(dir string, p left) (cut, error) {
	c, stored, err := r.pack(dir, p.n, p.slice)
	if err != nil {
		return cut{}, err
	}
	c.Before = p.noted.others(c)
	if err := noteSegment(dir, c); err != nil {
		return cut{}, err
	}
	return c, spill(dir, c, stored)
}

// others returns what else the store may have in place of c, when this is what was noted of its
// slice before: nothing when the same bytes made the same segment, as they do
// unless it is encrypted, or another version's.
func (noted *cut) others(c cut) *cut {
	switch {
	case noted == nil:
		return nil
	case noted.Before != nil || noted.SHA256() == c.SHA256():
		return noted.Before // what was noted since then never left this machine
	}
	return noted
}

// sendKept brings a segment to the store, notes that and removes it here. c changes
// when all of that is done: until then it says what the spool has.
func (r *Recorder) sendKept(rec *recording, place string, c *cut) error {
	path := filepath.Join(rec.dir, c.Name())
	stored, err := readSegment(rec.dir, *c)
	if err != nil {
		return err
	}
	sent := *c
	sent.Version, err = r.put(r.ctx, place+c.Name(), stored)
	if errors.Is(err, errTaken) && c.Before != nil {
		there, before, failed := r.o.Store.Get(r.ctx, place+c.Name(), "", c.Before.Size)
		if failed == nil && hash(there) == c.Before.SHA256() {
			sent, err = *c.Before, nil
			sent.Version = before
		}
	}
	if err != nil {
		return err
	}
	sent.Stored, sent.Before = true, nil
	if err := noteSegment(rec.dir, sent); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	failpoint("removed", path)
	*c = sent
	return nil
}

func (r *Recorder) sendRest(rec *recording, place string) error {
	for ; rec.sent < len(rec.cuts); rec.sent++ {
		if err := r.sendKept(rec, place, &rec.cuts[rec.sent]); err != nil {
			return err
		}
	}
	return nil
}

// sealManifest writes and signs the manifest, once.
func (r *Recorder) sealManifest(rec *recording) error {
	switch _, err := os.Stat(filepath.Join(rec.dir, manifestName)); {
	case err == nil:
		return r.books.settle()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	m := rec.manifest()
	return r.books.seal(rec.dir, &m)
}

// sendManifest brings the manifest to the store, after its signature, and
// notes it in the ledger.
func (r *Recorder) sendManifest(rec *recording, id, place string) error {
	data, err := os.ReadFile(filepath.Join(rec.dir, manifestName))
	if err != nil {
		return err
	}
	sig, err := os.ReadFile(filepath.Join(rec.dir, signatureName))
	if err != nil {
		return err
	}
	if _, err := r.put(r.ctx, place+signatureName, sig); err != nil {
		return err
	}
	if _, err := r.put(r.ctx, place+manifestName, data); err != nil {
		return err
	}
	if err := r.books.add(Entry{Type: EntrySealed, Session: id, Manifest: hash(data)}); err != nil {
		return err
	}
	return discard(rec.dir)
}

// manifest is made from the segments alone.
func (rec *recording) manifest() Manifest {
	m := Manifest{Format: FormatVersion, Session: *rec.cuts[0].Digest.About}
	link := hash([]byte(m.Session.ID))
	var changes []seatChange
	alarm := false
	for _, c := range rec.cuts {
		link = chain(link, c.SHA256())
		m.Segments = append(m.Segments, c.Segment)
		m.Totals.add(c.Digest.Totals)
		changes = append(changes, c.Digest.Seats...)
		alarm = alarm || c.Digest.Alarm
		if c.Digest.End != nil {
			m.Cause = *c.Digest.End
		}
	}
	m.Chain = link
	m.Ended = m.Session.Started.Add(rec.lastTime())
	m.Seats = seats(changes, seconds(rec.lastTime()))
	m.Flags = rec.flags(m, alarm)
	return m
}

func (rec *recording) flags(m Manifest, alarm bool) []string {
	flags := slices.Clone(rec.sealed.Flags)
	add := func(flag string, is bool) {
		if is && !slices.Contains(flags, flag) {
			flags = append(flags, flag)
		}
	}
	add("alone", len(m.Session.Quorum) == 0 && !m.Session.BreakGlass)
	add("break-glass", m.Session.BreakGlass)
	add("killed", m.Cause.Code == session.Killed)
	add("alarm", alarm)
	add("unclean", m.Cause.Code == session.Unclean)
	add("lost", m.Cause.Code == session.NodeLost)
	add("recovered", !rec.wasSealed)
	add("damaged", rec.torn)
	slices.SortFunc(flags, strings.Compare)
	return flags
}

// seats pairs those who sat down with their getting up, in order: by identity,
// which two people of one name do not share, or by name where the tape has no
// more.
func seats(changes []seatChange, end float64) []Seat {
	var list []Seat
	var open []int // indexes of seats nobody left yet
	for _, c := range changes {
		if c.Join {
			open = append(open, len(list))
			list = append(list, Seat{Who: c.Who, Identity: c.Identity, From: c.At, To: end})
			continue
		}
		left := slices.IndexFunc(open, func(n int) bool { return c.ends(list[n]) })
		if left >= 0 {
			list[open[left]].To = c.At
			open = slices.Delete(open, left, left+1)
		}
	}
	return list
}

// ends reports whether this is a getting up that may be from the seat. What the
// tape and the manifest say of a person is compared, down to their connection.
func (c seatChange) ends(s Seat) bool {
	if c.Who != s.Who || c.Identity == nil {
		return c.Who == s.Who
	}
	mine, err1 := json.Marshal(c.Identity)
	theirs, err2 := json.Marshal(s.Identity)
	return err1 == nil && err2 == nil && bytes.Equal(mine, theirs)
}
