package recorder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/twokey/twokey/session"
)

// This file is the tape while its session runs. Append is all that a keystroke
// waits for: one write to the spool. Two goroutines stand behind it: the keeper
// makes the spool durable and cuts slices into segments, the sender brings the
// segments to the store, in order.

const (
	syncEvery   = 200 * time.Millisecond // how long an event may be on the spool before it is forced to the platter
	fewSegments = 2                      // that may wait for the store before new ones get larger,
	largeSlice  = 8 << 20                // up to this many bytes
	mostHeld    = 512 << 10              // bytes of a tape's segments that may wait in memory
)

// Tape is the recording of one running session. See session.Tape.
type Tape struct {
	r     *Recorder
	about About
	dir   string
	store string // the recording's folder in the store
	began string // SHA-256 of the first segment
	wake  chan struct{}
	full  chan struct{} // a token when a segment was cut
	over  chan struct{} // closed by Seal and giveUp
	tasks sync.WaitGroup

	saving sync.Mutex // held while the kernel makes a slice durable; taken before mu

	mu      sync.Mutex
	enc     *encoder
	file    *os.File
	journal *os.File
	current mark   // the slice that is being written
	account slice  // of that slice
	waiting []mark // slices and segments the store does not have, oldest first
	at      time.Duration
	unsaved bool  // written since the last fsync
	broken  error // final
	failing error // why the last attempt to store did not work
	ended   bool  // an End event is on the tape
	sealed  bool
	cuts    []cut          // cut, not yet sent; the sender takes the first
	held    map[int][]byte // segments among them that have no file, but still their slice
	sent    []string       // files of what the store has; the next commit removes them
	stored  Running        // what the store has
}

// mark is a slice on its way, for Health.
type mark struct {
	n     int
	bytes int64
	since time.Time     // when its first event was appended
	at    time.Duration // of that event
}

// newTape makes the recording's directory in the spool, with its first lines.
func newTape(r *Recorder, about About) (*Tape, error) {
	place, err := folder(about.ID)
	if err != nil {
		return nil, err
	}
	t := &Tape{
		r: r, about: about, dir: filepath.Join(r.spool(), about.ID), store: place, enc: newEncoder(),
		held:   map[int][]byte{},
		stored: Running{Session: about.ID, Chain: hash([]byte(about.ID))},
		wake:   make(chan struct{}, 1), full: make(chan struct{}, 1), over: make(chan struct{}),
	}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return nil, err
	}
	failpoint("made", t.dir)
	err = syncDir(r.spool())
	if err == nil {
		err = keepRoom(t.dir)
	}
	if err == nil {
		err = t.writeBeginning()
	}
	if err != nil {
		for _, f := range []*os.File{t.file, t.journal} {
			if f != nil {
				f.Close()
			}
		}
		discard(t.dir) // nothing of it has left this directory
		return nil, err
	}
	return t, nil
}

func (t *Tape) writeBeginning() (err error) {
	if t.file, err = newSlice(t.dir, 1); err != nil {
		return err
	}
	if t.journal, err = openJournal(t.dir); err != nil {
		return err
	}
	t.current.n = 1
	head, err := t.about.header()
	if err != nil {
		return err
	}
	if err := t.enc.json(0, begin{Type: typeBegin, Session: t.about}); err != nil {
		return err
	}
	lines := slices.Concat(head, t.enc.line)
	t.account.About = &t.about
	t.note(0, lines)
	_, err = t.file.Write(lines)
	failpoint("begun", t.file.Name())
	return err
}

// first cuts the beginning and brings it to the store. A connection that was
// lost is no reason to refuse a session; a store that is gone is.
func (t *Tape) first(ctx context.Context) (err error) {
	if err := t.cut(); err != nil {
		return err
	}
	t.began = t.cuts[0].SHA256()
	err = t.send(ctx, t.cuts[0])
	for pause := firstPause; err != nil && pause <= 2*firstPause; pause *= 2 {
		select {
		case <-time.After(pause):
			err = t.send(ctx, t.cuts[0])
		case <-ctx.Done():
			return err
		}
	}
	return err
}

// start sets the keeper and the sender to work.
func (t *Tape) start() {
	work := func(do func()) {
		t.tasks.Add(1)
		t.r.work.Go(func() { defer t.tasks.Done(); do() })
	}
	work(t.keep)
	work(t.sendAll)
}

// giveUp ends a tape whose beginning could not be stored. The store may or may
// not have it, so that the attempt becomes a recording like any other.
func (t *Tape) giveUp(why error) {
	cause := session.Cause{Code: session.NoRecorder, Text: oneLine(why)}
	t.Seal(session.Summary{ID: t.about.ID, Cause: &cause, Ended: time.Now()})
}

// Append is session.Tape's.
func (t *Tape) Append(e session.Event) error {
	t.mu.Lock()
	err, file := t.append(e), t.file
	t.mu.Unlock()
	if err != nil || !t.r.o.Synced || e.Type != session.Statement {
		return err
	}
	return t.saveIn(file)
}

// saveIn makes what was written to a slice durable. One that was cut since then is,
// unless that broke the tape.
func (t *Tape) saveIn(file *os.File) error {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.Lock()
	cut, broken := t.file != file, t.broken
	t.mu.Unlock()
	if cut {
		return broken
	}
	return t.saveNow()
}

func (t *Tape) append(e session.Event) error {
	switch {
	case t.broken != nil:
		return t.broken
	case t.sealed, t.ended:
		return errors.New("the tape has ended")
	}
	t.at = max(t.at, e.At)
	e.At = t.at
	if e.Type == session.End {
		if err := t.write(t.enc.flush(e.At)); err != nil {
			return err
		}
		t.ended = true
	}
	lines, err := t.enc.encode(e)
	if err != nil {
		return t.fail(err)
	}
	if err := t.write(lines); err != nil {
		return err
	}
	t.account.count(e)
	return nil
}

// write puts lines on the spool with one system call.
func (t *Tape) write(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	failpoint("writing", "event")
	if _, err := t.file.Write(lines); err != nil {
		return t.fail(err)
	}
	failpoint("written", "event")
	t.note(t.at, lines)
	if !t.unsaved || t.current.bytes >= t.r.o.SegmentBytes {
		poke(t.wake)
	}
	t.unsaved = true
	return nil
}

// note counts what was written to the current slice.
func (t *Tape) note(at time.Duration, lines []byte) {
	if t.current.bytes == 0 {
		t.current.since, t.current.at = time.Now(), at
	}
	t.current.bytes += int64(len(lines))
	t.account.time(at.Truncate(time.Microsecond))
	t.account.wrote(lines)
}

// save makes a slice durable, or breaks the tape for good. There is no second
// try: the kernel reports a write that failed once, to one fsync, and forgets the
// bytes; the next fsync would find nothing amiss. Nor may another fsync come in
// between and take the report: hence the lock.
func (t *Tape) save() error {
	t.saving.Lock()
	defer t.saving.Unlock()
	return t.saveNow()
}

// saveNow is save's. The caller holds saving.
func (t *Tape) saveNow() error {
	t.mu.Lock()
	file, over, broken := t.file, t.sealed, t.broken
	t.mu.Unlock()
	if over || broken != nil {
		return broken // nil when Seal has made it durable
	}
	failpoint("syncing", "slice")
	err := t.r.disk.sync(file)
	failpoint("synced", "slice")
	if err == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fail(err)
}

// fail breaks the tape for good. The caller holds mu.
func (t *Tape) fail(err error) error {
	if t.broken == nil {
		t.broken = fmt.Errorf("the spool can not be written: %w", err)
		t.r.o.Log.Error("tape broken", "session", t.about.ID, "error", err)
	}
	return t.broken
}

// Health is session.Tape's.
func (t *Tape) Health() session.Health {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := session.Health{Err: t.broken}
	oldest := t.current
	if len(t.waiting) > 0 {
		oldest = t.waiting[0]
	}
	for _, m := range t.waiting {
		h.Bytes += m.bytes
	}
	h.Bytes += t.current.bytes
	if h.Bytes == 0 {
		h.Stored = max(time.Since(t.about.Started), t.at)
		if t.ended {
			h.Stored = t.at
		}
		return h
	}
	h.Stored, h.Lag = oldest.at, time.Since(oldest.since)
	if h.Err == nil {
		h.Err = t.late(h)
	}
	return h
}

// late says that the store is too far behind, or nil.
func (t *Tape) late(h session.Health) error {
	why := ""
	if t.failing != nil {
		why = ": " + oneLine(t.failing)
	}
	switch {
	case h.Lag > t.r.o.MaxLagTime:
		return fmt.Errorf("nothing could be stored for %s%s", h.Lag.Round(time.Second), why)
	case h.Bytes > t.r.o.MaxLagBytes:
		return fmt.Errorf("the store is %d MiB behind%s", h.Bytes>>20, why)
	}
	return nil
}

// Seal is session.Tape's.
func (t *Tape) Seal(s session.Summary) error {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sealed {
		return errors.New("the tape is sealed already")
	}
	var err error
	if !t.ended {
		if s.Cause == nil {
			s.Cause = &session.Cause{Code: session.Unclean, Text: "it was sealed without an end"}
		}
		err = t.append(session.Event{At: t.at, Type: session.End, Cause: s.Cause})
	}
	t.sealed = true
	if t.broken == nil {
		if failed := t.file.Sync(); failed != nil {
			err = errors.Join(err, t.fail(failed))
		}
	}
	failpoint("ended", "tape")
	// Also for a broken tape: what it has is brought to the store, with the
	// cause that the session ended with. The file is for the next process; this
	// one hands on the summary itself, should the disk take nothing any more.
	err = errors.Join(err, writeSealed(t.dir, s), t.file.Close())
	close(t.over)
	t.r.work.Go(func() {
		t.tasks.Wait()
		t.journal.Close()
		t.r.finish(t.about.ID, &s)
	})
	return err
}

// keep makes the spool durable while something is written, and cuts slices.
func (t *Tape) keep() {
	tick := time.NewTimer(syncEvery)
	defer tick.Stop()
	armed := true
	for {
		select {
		case <-tick.C:
			armed = false
		case <-t.wake: // by the first event since the last fsync, and by a full slice
			if t.calm() {
				if !armed {
					tick.Reset(syncEvery)
					armed = true
				}
				continue
			}
		case <-t.over:
			return
		case <-t.r.ctx.Done():
			return
		}
		next, err := t.tend()
		if err != nil {
			t.mu.Lock()
			t.fail(err)
			t.mu.Unlock()
			return
		}
		if next > 0 {
			tick.Reset(next)
			armed = true
		}
	}
}

// calm reports whether nothing is due before the next tick.
func (t *Tape) calm() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.due()
}

// tend does what is due now. It returns after how long something will be due
// again, 0 when nothing will before the next event.
func (t *Tape) tend() (next time.Duration, err error) {
	t.mu.Lock()
	unsaved, due := t.unsaved, t.due()
	over := t.sealed || t.broken != nil
	t.unsaved = false
	t.mu.Unlock()
	switch {
	case over:
		return 0, nil
	case due:
		err = t.cut()
	case unsaved:
		err = t.save()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current.bytes == 0 {
		return 0, err
	}
	if cutIn := t.r.o.SegmentEvery - time.Since(t.current.since); cutIn > 0 {
		return min(syncEvery, cutIn), err
	}
	return syncEvery, err // it waits for the store, which wakes us
}

// due reports whether the current slice is to be cut. While the store is
// behind, slices may grow. The caller holds mu.
func (t *Tape) due() bool {
	switch {
	case t.current.bytes == 0:
		return false
	case t.current.bytes >= largeSlice:
		return true
	case len(t.waiting) >= fewSegments:
		return false
	}
	return t.current.bytes >= t.r.o.SegmentBytes || time.Since(t.current.since) >= t.r.o.SegmentEvery
}

// cut starts a new slice and turns the one before it into a segment.
func (t *Tape) cut() error {
	n := t.current.n // only cut changes it
	next, err := newSlice(t.dir, n+1)
	if err != nil {
		return err
	}
	old, written, err := t.change(next)
	if old == nil {
		return errors.Join(next.Close(), os.Remove(next.Name()))
	}
	failpoint("cut", next.Name())
	if err != nil {
		return errors.Join(err, old.Close())
	}
	c, stored, err := t.r.pack(t.dir, n, written)
	if err == nil {
		err = c.note(t.journal)
	}
	if err = errors.Join(err, t.commit(old), old.Close()); err != nil {
		return err
	}
	if !t.hold(c, stored) {
		if err := spill(t.dir, c, stored); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cuts = append(t.cuts, c)
	poke(t.full)
	return nil
}

// hold keeps a segment in memory, if it will not be for long, and its slice may stay as long:
// not that of one that is encrypted.
func (t *Tape) hold(c cut, stored []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := len(stored)
	for _, other := range t.held {
		all += len(other)
	}
	if t.failing != nil || all > mostHeld || encrypted(c.Name()) {
		return false
	}
	t.held[c.N] = stored
	return true
}

// commit makes a slice that was cut durable, and what was noted of it and of those
// before it. Then the files of what the store has are of no more use.
func (t *Tape) commit(old *os.File) error {
	dir, err := os.Open(t.dir)
	if err != nil {
		return err
	}
	t.mu.Lock()
	sent := t.sent
	t.sent = nil
	t.mu.Unlock()
	failpoint("syncing", journalName)
	err = errors.Join(t.r.disk.sync(old, t.journal, dir), dir.Close())
	failpoint("synced", journalName)
	for _, name := range sent {
		path := filepath.Join(t.dir, name)
		if err == nil {
			err = os.Remove(path)
			failpoint("removed", path)
		}
	}
	return err
}

// change puts the next slice in the place of the one that is written, and returns
// that and what was written to it; nil when the tape is over. Whoever waits for a
// statement in it to be durable waits no longer then (saveIn).
func (t *Tape) change(next *os.File) (*os.File, slice, error) {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.Lock()
	if t.sealed || t.broken != nil {
		t.mu.Unlock()
		return nil, slice{}, nil
	}
	old, written := t.file, t.account
	written.Carry = t.enc.carries()
	t.file, t.account = next, slice{}
	t.waiting = append(t.waiting, t.current)
	t.current = mark{n: t.current.n + 1}
	t.unsaved = false // about the slice before; the next write wakes the keeper
	t.mu.Unlock()
	if !t.r.o.Synced {
		return old, written, nil
	}
	err := old.Sync()
	if err != nil {
		t.mu.Lock()
		err = t.fail(err)
		t.mu.Unlock()
	}
	return old, written, err
}

// sendAll brings segments to the store, in order.
func (t *Tape) sendAll() {
	for {
		select {
		case <-t.full:
		case <-t.over:
			return
		case <-t.r.ctx.Done():
			return
		}
		for {
			c, more := t.nextCut()
			if !more {
				break
			}
			if !t.r.retry("segment "+t.about.ID+"/"+c.Name(), func() error { return t.send(t.r.ctx, c) }) {
				return
			}
		}
	}
}

// nextCut returns the oldest segment that waits, unless the tape is sealed:
// then the rest is finish's.
func (t *Tape) nextCut() (c cut, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.cuts) == 0 || t.sealed {
		return cut{}, false
	}
	return t.cuts[0], true
}

// running is how far the store has the tape, for the ledger.
func (t *Tape) running() Running {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stored
}

// send brings one segment to the store.
func (t *Tape) send(ctx context.Context, c cut) error {
	here, err := t.put(ctx, c)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failing = err; err != nil {
		return err
	}
	delete(t.held, c.N)
	t.sent = append(t.sent, here)
	t.stored.Segments, t.stored.Chain = c.N, chain(t.stored.Chain, c.SHA256())
	t.cuts = t.cuts[1:]
	t.waiting = slices.DeleteFunc(t.waiting, func(m mark) bool { return m.n == c.N })
	poke(t.wake) // a slice that waited for room may be due
	return nil
}

// put is send's way to the store. It returns the file that still has in the spool
// what the store has now. A segment that the store does not take gives up its memory.
func (t *Tape) put(ctx context.Context, c cut) (here string, err error) {
	t.mu.Lock()
	stored, isHeld := t.held[c.N]
	t.mu.Unlock()
	if here = sliceName(c.N); !isHeld {
		here = c.Name()
		if stored, err = readSegment(t.dir, c); err != nil {
			return "", err
		}
	}
	c.Version, err = t.r.put(ctx, t.store+c.Name(), stored)
	if err == nil {
		c.Stored = true
		return here, c.note(t.journal)
	}
	if isHeld {
		err = errors.Join(err, t.spill(c, stored))
	}
	return "", err
}

// spill keeps a segment in a file in place of memory.
func (t *Tape) spill(c cut, stored []byte) error {
	if err := spill(t.dir, c, stored); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.held, c.N)
	return nil
}
