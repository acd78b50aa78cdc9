package main

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/recorder/index"
	"github.com/twokey/twokey/session"
)

// This file is the index of recordings on somebody's own machine: opened when a
// command needs it, and brought up to date before it answers.

var _ bastion.Index = (*lateIndex)(nil)

// lateIndex is the index of the archive that the flags name, once they have been
// read. It is open until the process ends.
type lateIndex struct {
	at      *whereabouts
	archive *lateArchive

	once sync.Once
	*index.Index
	err error
}

// open opens the index.
func (l *lateIndex) open() error {
	l.once.Do(func() {
		of := l.archive.Of(l.at.address())
		for _, file := range l.at.identity { // who can read more has an index of their own
			if path, err := filepath.Abs(file); err == nil {
				file = path
			}
			of += "\n" + file
		}
		cache, err := os.UserCacheDir()
		if err == nil {
			l.Index, err = index.Open(index.Options{Dir: filepath.Join(cache, "twokey"), Of: of, Archive: l.archive.Archive, Workers: manifestsAtOnce, SweepEvery: time.Minute, Progress: progressHere()})
		}
		if err != nil {
			l.err = fmt.Errorf("what was read can not be kept (XDG_CACHE_HOME says where): %w", err)
		}
	})
	return l.err
}

// manifestsAtOnce is how many are asked for at once: a bucket takes its time for each.
const manifestsAtOnce = 16

// Freshen is Index.Freshen, and comes before everything else.
func (l *lateIndex) Freshen(ctx context.Context, contents bool) error {
	if err := l.open(); err != nil {
		return err
	}
	return l.Index.Freshen(ctx, contents)
}

// Indexed is Index.Indexed.
func (l *lateIndex) Indexed(ctx context.Context) (session.Indexed, error) {
	if err := l.open(); err != nil {
		return session.Indexed{}, err
	}
	return l.Index.Indexed(ctx)
}

// Find is Index.Find.
func (l *lateIndex) Find(ctx context.Context, q session.Query) iter.Seq2[session.Found, error] {
	return func(yield func(session.Found, error) bool) {
		if err := l.open(); err != nil {
			yield(session.Found{}, err)
			return
		}
		l.Index.Find(ctx, q)(yield)
	}
}

// Search is Index.Search.
func (l *lateIndex) Search(ctx context.Context, q session.Query) iter.Seq2[session.Hit, error] {
	return func(yield func(session.Hit, error) bool) {
		if err := l.open(); err != nil {
			yield(session.Hit{}, err)
			return
		}
		l.Index.Search(ctx, q)(yield)
	}
}

// address is where the recordings are, the same for every way to say it.
func (p *whereabouts) address() string {
	if p.config != "" {
		path, err := filepath.Abs(p.config)
		if err != nil {
			path = p.config
		}
		return "config " + path
	}
	if strings.HasPrefix(p.store, "s3://") {
		return p.store + " " + p.endpoint
	}
	dir, err := filepath.Abs(strings.TrimPrefix(p.store, "file://"))
	if err != nil {
		return p.store
	}
	return dir
}

// replayCommand is what to type to see a place in a recording.
func (p *whereabouts) replayCommand(id string, at time.Duration) string {
	words := []string{"twokey", "recordings", "play", id, "--at", at.String()}
	for _, o := range []struct{ name, value string }{{"--store", p.store}, {"--endpoint", p.endpoint}, {"--config", p.config}} {
		if o.value != "" {
			words = append(words, o.name, shellWord(o.value))
		}
	}
	if p.region != defaultRegion {
		words = append(words, "--region", shellWord(p.region))
	}
	for _, file := range p.keys {
		words = append(words, "--key", shellWord(file))
	}
	for _, file := range p.identity {
		words = append(words, "--identity", shellWord(file))
	}
	return strings.Join(words, " ")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// shellWord quotes a word for a shell where it must be.
func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(session.OneLine(word, 4096), "'", `'\''`) + "'"
}
