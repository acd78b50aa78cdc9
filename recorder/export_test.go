package recorder

import (
	"os"
	"time"

	"github.com/twokey/twokey/session"
)

// Encode returns the lines of events, for the decoder's fuzz test.
func Encode(events []session.Event) []byte {
	x := newEncoder()
	var out []byte
	for _, e := range events {
		line, err := x.encode(e)
		if err != nil {
			panic(err)
		}
		out = append(out, line...)
	}
	return append(out, x.flush(0)...)
}

// Decode reads lines after the first two of a tape.
func Decode(lines []byte) (events []session.Event, err error) {
	d := &decoder{lines: 2}
	err = eachLine(lines, func(line []byte) error {
		e, err := d.line(line)
		if e != nil {
			events = append(events, *e)
		}
		return err
	})
	return events, err
}

// Failpoint has a function called at every step after which a crash matters. It
// is for a process of its own.
func Failpoint(do func(step, name string)) { failpoint = do }

// FillDisk makes every further write to the spool fail with ENOSPC, by the
// kernel itself.
func FillDisk(tape session.Tape) {
	replace(tape, "/dev/full").Close()
}

// BreakDisk makes every further write to the spool fail with EIO, by the kernel itself.
func BreakDisk(tape session.Tape) {
	replace(tape, "/proc/self/mem").Close() // nothing can be written to its address 0
}

// FailSync makes the next fsync of the spool fail, by the kernel itself, and
// loses what is written from here on. heal gives the tape its slice back.
func FailSync(tape session.Tape) (heal func()) {
	good := replace(tape, "/dev/null") // EINVAL: there is nothing to make durable
	return func() {
		t := tape.(*Tape)
		t.saving.Lock()
		defer t.saving.Unlock()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.file.Close()
		t.file = good
	}
}

// Busy holds a tape as an fsync does that is under way, until released.
func Busy(tape session.Tape) (release func()) {
	t := tape.(*Tape)
	t.saving.Lock()
	return t.saving.Unlock
}

// FailBusy is that fsync's end when it fails.
func FailBusy(tape session.Tape, err error) {
	t := tape.(*Tape)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fail(err)
}

// Cut is what the keeper does when a slice is full.
func Cut(tape session.Tape) error { return tape.(*Tape).cut() }

// replace puts a device in the place of the slice that is being written, and
// returns that.
func replace(tape session.Tape, device string) *os.File {
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	t := tape.(*Tape)
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.file
	t.file = f
	return old
}

// Sign makes a signature of the archive's kind, for tests that forge.
var Sign = sign

// Hashes, for tests that forge.
func Hash(p []byte) string { return hash(p) }

// Note puts an entry into the ledger, for tests that forge.
func Note(r *Recorder, e Entry) error { return r.books.add(e) }

// Scan is the quick way to take a line apart, and Split the strict one.
func Scan(line []byte) (at time.Duration, code string, data []byte, ok bool) {
	at, c, text, ok := scan(line)
	if ok {
		data, ok = unescape(nil, text)
	}
	if !ok {
		return 0, "", nil, false
	}
	return at, string(c), data, true
}

// Skim reports whether the verifier skims over a line of output.
func Skim(line []byte) bool {
	_, _, text, ok := scan(line)
	return ok && isText(text)
}

// Glance is what the verifier makes of most statements and results.
func Glance(data []byte) (e session.Event, ok bool) {
	var g glimpse
	ok = g.glance(data)
	return g.Event, ok
}

func Split(line []byte) (at time.Duration, code string, data []byte, err error) {
	return splitLine(line)
}

// Accounts is what the journal of a running tape says of its segments, and what one
// would say who reads them.
func Accounts(tape session.Tape, object func(name string) []byte) (kept, read []string) {
	t := tape.(*Tape)
	list, err := readJournal(t.dir)
	if err != nil {
		panic(err)
	}
	var carry map[string][]byte
	for _, c := range list {
		stored := object(t.store + c.Name())
		plain, err := decompress(stored, nil)
		if err != nil {
			panic(err)
		}
		s, whole := account(plain, carry)
		again := newCut(c.N, s, plain[:whole], stored, false)
		again.Version, again.Stored, carry = c.Version, c.Stored, s.Carry
		kept, read = append(kept, asJSON(c)), append(read, asJSON(again))
	}
	return kept, read
}

// SyncDisk syncs the disk of a directory as a whole.
func SyncDisk(dir string) error {
	disk, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer disk.Close()
	return syncDisk(disk)
}

// Group is a group commit on a directory's disk.
type Group struct{ g *group }

// NewGroup returns one, whose disk can be synced as a whole or not.
func NewGroup(dir string, whole bool) (*Group, error) {
	disk, err := os.Open(dir)
	if err == nil && !whole {
		err = disk.Close()
	}
	return &Group{&group{disk: disk}}, err
}

// Forget has the disk be in order again, as if the kernel had said all there was to say.
func (g *Group) Forget(dir string) (err error) {
	g.g.disk, err = os.Open(dir)
	return err
}

func (g *Group) Sync(f *os.File) error { return g.g.sync(f) }

// Hold begins a commit, so that all others wait until it is over, and then for each other.
func (g *Group) Hold() (release func()) {
	c := &commit{turn: make(chan bool, 1)}
	g.g.queue(c)
	return func() { g.g.lead(c) }
}

// Waiting is how many wait.
func (g *Group) Waiting() int {
	g.g.mu.Lock()
	defer g.g.mu.Unlock()
	return len(g.g.waiting)
}
