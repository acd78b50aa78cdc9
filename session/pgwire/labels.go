package pgwire

import (
	"hash/maphash"
	"strings"
	"sync"
)

// This file remembers what statements touch. Statements that differ in nothing
// but their literals touch the same, so that most are parsed only once.

// maxKnown is of how many shapes of statements the labels are kept.
const maxKnown = 2048

// labels are those of one database's statements.
type labels struct {
	seed  maphash.Seed
	mu    sync.Mutex
	known map[uint64][]string
}

func newLabels() *labels { return &labels{seed: maphash.MakeSeed(), known: map[uint64][]string{}} }

// of returns the labels of a text, from parse when they are not known. A text
// with a backslash has none: where a literal in it ends depends on the
// connection's standard_conforming_strings and client_encoding, and one that
// writes shall not look like one that reads.
func (l *labels) of(sql string, parse func(string) []string) []string {
	if parse == nil || strings.ContainsRune(sql, '\\') {
		return nil
	}
	shape := l.shape(sql)
	l.mu.Lock()
	found, ok := l.known[shape]
	l.mu.Unlock()
	if ok {
		return found
	}
	found = parse(sql)
	if found == nil {
		return nil // perhaps the next time
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.known) >= maxKnown {
		clear(l.known)
	}
	l.known[shape] = found
	return found
}

// shape is a hash of a text without literals and comments.
func (l *labels) shape(sql string) uint64 {
	var h maphash.Hash
	h.SetSeed(l.seed)
	for sql != "" {
		switch kind, n := next(sql); kind {
		case blank:
			h.WriteByte(' ')
			sql = sql[n:]
		case literal:
			h.WriteByte('?')
			sql = sql[n:]
		default:
			h.WriteString(sql[:n])
			sql = sql[n:]
		}
	}
	return h.Sum64()
}
