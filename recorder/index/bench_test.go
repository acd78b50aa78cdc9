package index_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/index"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
)

// quick is a folder that does not wait for the disk: what a benchmark made need not
// survive a power loss.
type quick struct {
	*store.Folder
	dir string
}

func (q quick) Put(_ context.Context, name string, data []byte) (string, error) {
	file := filepath.Join(q.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return "", store.ErrExists
	}
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	return "", errors.Join(err, f.Close())
}

// BenchmarkFind finds sessions among so many as TWOKEY_SESSIONS says, 1000 if it says
// nothing: a year of them, recorded by the recorder, with a few statements each and
// what psql prints for them.
func BenchmarkFind(b *testing.B) {
	n := 1000
	if text := os.Getenv("TWOKEY_SESSIONS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	h := manySessions(b, n)
	dir := b.TempDir()
	// All of this store's ledger was written on one day, which no real one is: asking it for tombstones
	// between two questions would measure that.
	x := open(b, index.Options{Dir: dir, Archive: h.archive(), SweepEvery: 24 * time.Hour, TombsEvery: 24 * time.Hour, Workers: 16})
	for _, contents := range []bool{false, true} {
		began := time.Now()
		if err := x.Freshen(b.Context(), contents); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		b.Logf("%s of %d sessions read in %v, %.0f a second; the index has %d MB",
			map[bool]string{false: "manifests", true: "contents"}[contents], n, took.Round(time.Millisecond), float64(n)/took.Seconds(), sizeOf(dir)>>20)
	}
	measure := func(name string, do func()) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				do()
			}
		})
	}
	page := func(q session.Query) func() {
		return func() {
			if err := x.Freshen(b.Context(), q.Text != ""); err != nil {
				b.Fatal(err)
			}
			rows := 0
			for _, err := range x.Find(b.Context(), q) {
				if rows++; err != nil {
					b.Fatal(err)
				} else if rows == 50 {
					break
				}
			}
		}
	}
	ago := func(days int) time.Time { return time.Now().AddDate(0, 0, -days) }
	measure("first-page", page(session.Query{}))
	measure("filter-user-and-killed", page(session.Query{Engineer: "engineer7", End: session.Killed}))
	measure("filter-nothing-matches", page(session.Query{Target: "nowhere"}))
	measure("filter-half-a-year-ago", page(session.Query{Until: ago(180), Mode: "write"}))
	measure("what-one-engineer-may-see", page(session.Query{Seer: &session.Seer{Who: engineer(3)}}))
	measure("grep-common", page(session.Query{Text: "select"}))
	measure("grep-rare", page(session.Query{Text: "delete from payments"}))
	measure("grep-nothing", page(session.Query{Text: "drop table nowhere"}))
	measure("grep-output-rare", page(session.Query{Text: "order 777 ", Screen: true}))
	measure("grep-two-letters-nowhere", page(session.Query{Text: "~~"}))
	measure("search-rare", func() {
		for _, err := range x.Search(b.Context(), session.Query{Text: "delete from payments"}) {
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func engineer(i int) session.Identity {
	return session.Identity{Issuer: "https://idp", Subject: fmt.Sprint(i), Name: fmt.Sprintf("engineer%d@example.com", i)}
}

// sizeOf is how many bytes the files of an index have.
func sizeOf(dir string) (size int64) {
	files, _ := filepath.Glob(filepath.Join(dir, "*.db*"))
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			size += info.Size()
		}
	}
	return size
}

// manySessions is a store with so many sessions of the last year. Making it takes longer
// than measuring: with TWOKEY_STORE, the folder for such stores, it is kept there and used again.
func manySessions(b *testing.B, n int) *house {
	kept := os.Getenv("TWOKEY_STORE")
	if kept == "" {
		kept = b.TempDir()
	}
	h := &house{t: b, dir: filepath.Join(kept, fmt.Sprintf("%d-sessions", n))}
	if _, err := os.Stat(h.dir); err != nil {
		h.fill(b, n)
	}
	var err error
	if h.store, err = store.NewFolder(h.dir); err != nil {
		b.Fatal(err)
	}
	return h
}

// fill makes the store. It has its name once it is whole.
func (h *house) fill(b *testing.B, n int) {
	part := h.dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		b.Fatal(err)
	}
	folder, err := store.NewFolder(part)
	if err != nil {
		b.Fatal(err)
	}
	spool, err := os.MkdirTemp("/dev/shm", "twokey-bench-") // it waits for its disk, and that is another benchmark
	if err != nil {
		spool = b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(spool) })
	h.recorder, err = recorder.New(recorder.Options{Dir: spool, Store: quick{folder, part}, Signer: key('k'), SegmentEvery: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	var workers sync.WaitGroup
	next := make(chan int)
	for range 8 {
		workers.Go(func() {
			for i := range next {
				h.records(usual(i, n))
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	patient, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	if err := errors.Join(h.recorder.Close(patient), os.Rename(part, h.dir)); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d sessions recorded in %v", n, time.Since(began).Round(time.Millisecond))
}

// usual is one of n sessions of a year.
func usual(i, n int) told {
	r := rand.New(rand.NewPCG(uint64(i), 7))
	s := told{
		ago: time.Duration(i) * (365 * 24 * time.Hour / time.Duration(n)), who: engineer(r.IntN(40)), seated: []session.Identity{engineer(40 + r.IntN(20))},
		target: []string{"orders", "billing", "users"}[r.IntN(3)], mode: []string{"read", "write"}[r.IntN(2)], end: session.Quit,
	}
	if r.IntN(50) == 0 {
		s.end = session.Killed
	}
	for range 5 + r.IntN(10) {
		order := r.IntN(1_000_000)
		s.said = append(s.said, fmt.Sprintf("select id, state, total from %s where id = %d and state <> 'paid'", s.target, order))
		s.shown = append(s.shown, fmt.Sprintf("orders=> \r\n   id   | state | total\r\n--------+-------+-------\r\n order %d | open | %d.%02d\r\n(1 row)\r\n\r\n", order, r.IntN(1000), r.IntN(100)))
	}
	if r.IntN(1000) == 0 {
		s.said = append(s.said, fmt.Sprintf("DELETE  FROM payments WHERE order_id = %d", r.IntN(1_000_000)))
	}
	return s
}
