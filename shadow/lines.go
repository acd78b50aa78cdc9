package shadow

import (
	"fmt"
	"slices"
)

// This file turns a view into lines, in the order of what happened: for those
// who have no terminal, and for being read aloud.

// Bounds of what waits for somebody who reads slowly, in bytes. Beyond the
// first, text from the screen is counted instead of kept; statements and remarks
// still are. Beyond the second the oldest of all is dropped, and counted.
const (
	maxWaitingText = 256 << 10
	maxWaiting     = 12 << 20
	lineCost       = 32 // bytes that a line takes apart from its text
)

// lineReader is what waits for one reader. The view's mu guards it.
type lineReader struct {
	waiting []string
	bytes   int // that they take
	text    int // of these, how many came from the screen since the last take
	unshown int // lines of text that were not kept
	folded  int // reads of the catalogue that are not told one by one
	dropped int // lines that were not kept although they were more than text
}

// read makes a reader who begins with what there is: the statements so far
// and the screen.
func (v *View) read() *lineReader {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := &lineReader{}
	for _, l := range v.pane.lines {
		r.tell(l)
		if !l.remark && !l.running {
			r.tellDone(l)
		}
	}
	for y := range v.screen.rows {
		if text := v.screen.grid()[y].text(); text != "" && y < v.screen.y {
			r.print(text)
		}
	}
	for _, q := range v.questions {
		r.add("? " + q.spoken())
	}
	v.readers = append(v.readers, r)
	v.screen.ended = v.spread
	return r
}

// done takes a reader's leave.
func (v *View) done(r *lineReader) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.readers = slices.DeleteFunc(v.readers, func(o *lineReader) bool { return o == r })
	if len(v.readers) == 0 {
		v.screen.ended = nil
		v.screen.carry.Reset()
	}
}

// spread gives a line of the screen to all readers. The caller holds mu.
func (v *View) spread(text string) {
	for _, r := range v.readers {
		r.print(text)
	}
}

// take returns what waits, and when it is worth asking again.
func (v *View) take(r *lineReader) (lines []string, changed <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r.flush()
	lines = r.waiting
	if r.dropped > 0 {
		lines = slices.Insert(lines, 0, fmt.Sprintf("… %d earlier lines are not shown here, they are on the tape", r.dropped))
	}
	*r = lineReader{}
	return lines, v.next()
}

// answer tells one reader something that happened to them alone.
func (v *View) answer(r *lineReader, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r.add(text)
	v.wake()
}

// print adds a line of text from the screen.
func (r *lineReader) print(text string) {
	if r.text > maxWaitingText {
		r.unshown++
		return
	}
	r.text += len(text) + lineCost
	r.keep("| " + marked(text))
}

// add adds what is more than text.
func (r *lineReader) add(text string) {
	r.flush()
	r.keep(text)
}

// flush says how many lines of text are missing here.
func (r *lineReader) flush() {
	if r.unshown > 0 {
		r.keep(fmt.Sprintf("| … %d more lines", r.unshown))
		r.unshown = 0
	}
	if r.folded > 0 {
		folded := r.folded
		r.folded = 0
		r.keep(fmt.Sprintf("> … and %d more reads of the catalogue", folded))
	}
}

// keep lets a line wait. The newest does so however long it is.
func (r *lineReader) keep(text string) {
	r.waiting = append(r.waiting, text)
	r.bytes += len(text) + lineCost
	for r.bytes > maxWaiting && len(r.waiting) > 1 {
		r.bytes -= len(r.waiting[0]) + lineCost
		r.waiting[0] = ""
		r.waiting = r.waiting[1:]
		r.dropped++
	}
}

func (r *lineReader) tell(l line) {
	mark := ">"
	if l.remark {
		mark = "·"
	}
	r.add(fmt.Sprintf("%s %s %s", clock(l.at), mark, l.text))
}

func (r *lineReader) tellDone(l line) {
	r.add(fmt.Sprintf("%s < %s  (%s)", clock(l.at), l.result, fit(l.text, 60)))
}
