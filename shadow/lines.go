package shadow

import (
	"fmt"
	"slices"
)

// This file turns a view into lines, in the order of what happened: for those
// who have no terminal, and for being read aloud.

// Bounds of what waits for somebody who reads slowly. Beyond the first, text
// from the screen is counted instead of kept; statements and remarks still are.
const (
	maxWaitingText = 2000
	maxWaiting     = 12_000
)

// lineReader is what waits for one reader. The view's mu guards it.
type lineReader struct {
	waiting []string
	unshown int // lines of text that were not kept
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
			r.text(text)
		}
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
		v.screen.ended, v.screen.carry = nil, ""
	}
}

// spread gives a line of the screen to all readers. The caller holds mu.
func (v *View) spread(text string) {
	for _, r := range v.readers {
		r.text(text)
	}
}

// take returns what waits, and when it is worth asking again.
func (v *View) take(r *lineReader) (lines []string, changed <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r.flush()
	lines, r.waiting = r.waiting, nil
	return lines, v.changed
}

// answer tells one reader something that happened to them alone.
func (v *View) answer(r *lineReader, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r.add(text)
	v.wake()
}

func (r *lineReader) text(text string) {
	if len(r.waiting) >= maxWaitingText {
		r.unshown++
		return
	}
	r.waiting = append(r.waiting, "| "+text)
}

func (r *lineReader) add(text string) {
	r.flush()
	if len(r.waiting) < maxWaiting {
		r.waiting = append(r.waiting, text)
	}
}

func (r *lineReader) flush() {
	if r.unshown > 0 {
		r.waiting = append(r.waiting, fmt.Sprintf("| … %d more lines", r.unshown))
		r.unshown = 0
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
