package recorder

import (
	"os"

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

// FillDisk makes every further write to the spool fail with ENOSPC, by the
// kernel itself.
func FillDisk(tape session.Tape) {
	t := tape.(*Tape)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.file.Close()
	t.file = full
}

// Sign makes a signature of the archive's kind, for tests that forge.
var Sign = sign

// Hashes, for tests that forge.
func Hash(p []byte) string { return hash(p) }
