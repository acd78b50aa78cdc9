package recorder

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
)

// This file is the group commit: while the disk makes something durable, all who
// want the same wait, and the next commit is theirs together. With many tapes, one
// call to sync the whole file system does less than hundreds of fsyncs of files
// that lie side by side on it.

// fewCallers is up to how many callers each have their own files synced: what
// else is being written on this disk need not be waited for then.
const fewCallers = 3

// group commits what is on the spool's disk. Without a disk that can be synced as a
// whole, everybody syncs their own files.
type group struct {
	disk *os.File // a directory on it, or nil

	doubted atomic.Bool // the disk has failed once

	mu      sync.Mutex
	running bool
	waiting []*commit
}

// open has a directory's disk synced as a whole, if that is one that can be.
func (g *group) open(dir string) (err error) {
	g.disk, err = openDisk(dir)
	return err
}

func (g *group) close() error {
	if g.disk == nil {
		return nil
	}
	return g.disk.Close()
}

// commit is what one caller wants to be durable.
type commit struct {
	files []*os.File
	err   error
	turn  chan bool // true: it is this caller's turn to commit for all who wait; false: it is done
}

// sync makes files durable. An error is about these files, and for good: see Tape.save.
func (g *group) sync(files ...*os.File) error {
	if g.disk == nil || g.doubted.Load() {
		return syncEach(files)
	}
	c := &commit{files: files, turn: make(chan bool, 1)}
	if !g.queue(c) && !<-c.turn {
		return c.err
	}
	g.lead(c)
	return c.err
}

// lead commits for all who wait, its caller among them, and has the first of those who came
// meanwhile lead the next.
func (g *group) lead(c *commit) {
	g.mu.Lock()
	batch := g.waiting
	g.waiting = nil
	g.mu.Unlock()
	g.commit(batch)
	g.mu.Lock()
	if g.running = len(g.waiting) > 0; g.running {
		g.waiting[0].turn <- true
	}
	g.mu.Unlock()
	for _, other := range batch {
		if other != c {
			other.turn <- false
		}
	}
}

// queue lets a commit wait, and reports whether nobody leads one yet: then it is its caller's turn.
func (g *group) queue(c *commit) (first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, c)
	first, g.running = !g.running, true
	return first
}

// commit syncs the whole disk for many. If that fails, or for a few, each file
// is synced, and tells whether it is the one that the disk did not take: the kernel
// keeps that for each open file. Of the disk as a whole it says so only once, and that
// may have been about a file of somebody who comes later. So it is never asked again, and
// everybody syncs their own.
func (g *group) commit(batch []*commit) {
	if len(batch) > fewCallers && !g.doubted.Load() {
		if syncDisk(g.disk) == nil {
			return
		}
		g.doubted.Store(true)
	}
	for _, c := range batch {
		c.err = syncEach(c.files)
	}
}

func syncEach(files []*os.File) (err error) {
	for _, f := range files {
		err = errors.Join(err, f.Sync())
	}
	return err
}
