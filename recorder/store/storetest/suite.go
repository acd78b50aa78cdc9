// Package storetest says what a store must do, as tests that every store runs,
// and offers a store in memory with named faults and a real S3 server
// (versitygw) for the tests of those who use one.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/twokey/twokey/recorder/store"
)

// Run checks a store against the contract of store.Store. The store must be
// empty and is left with objects in it.
func Run(t *testing.T, s store.Store) {
	t.Run("what is put comes back", func(t *testing.T) { comesBack(t, s) })
	t.Run("nothing is written twice", func(t *testing.T) { neverTwice(t, s) })
	t.Run("one of many wins", func(t *testing.T) { oneWins(t, s) })
	t.Run("what is not there", func(t *testing.T) { notThere(t, s) })
	t.Run("limits", func(t *testing.T) { limits(t, s) })
	t.Run("names", func(t *testing.T) { names(t, s) })
	t.Run("listing", func(t *testing.T) { listing(t, s) })
	t.Run("long listing", func(t *testing.T) { longListing(t, s) })
	t.Run("what is removed is gone", func(t *testing.T) { removed(t, s) })
	t.Run("an ended context", func(t *testing.T) { ended(t, s) })
	t.Run("try", func(t *testing.T) {
		for range 2 {
			if err := store.Try(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func put(t *testing.T, s store.Store, name string, data []byte) string {
	t.Helper()
	version, err := s.Put(t.Context(), name, data)
	if err != nil {
		t.Fatalf("Put %s: %v", name, err)
	}
	return version
}

func comesBack(t *testing.T, s store.Store) {
	for i, data := range [][]byte{{}, {0}, []byte("hello\r\n"), bytes.Repeat([]byte{0xff, 0, '\n'}, 1<<20)} {
		name := fmt.Sprintf("back/%d.bin", i)
		version := put(t, s, name, data)
		for _, v := range []string{"", version} {
			got, is, err := s.Get(t.Context(), name, v, int64(len(data)))
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("Get %s version %q: %d bytes, %v; want %d bytes", name, v, len(got), err, len(data))
			}
			if version != "" && is != version {
				t.Fatalf("Get says version %q, Put said %q", is, version)
			}
		}
	}
}

func removed(t *testing.T, s store.Store) {
	r, ok := s.(store.Remover)
	if !ok {
		t.Skip("it removes nothing")
	}
	put(t, s, "gone/a", []byte("a"))
	put(t, s, "gone/ab", []byte("ab"))
	for range 2 { // what is not there is no error
		if err := r.Remove(t.Context(), "gone/a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.Get(t.Context(), "gone/a", "", 10); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("Get of what was removed: %v", err)
	}
	if got, _, err := s.Get(t.Context(), "gone/ab", "", 10); err != nil || string(got) != "ab" {
		t.Errorf("its neighbour: %q, %v", got, err)
	}
}

func neverTwice(t *testing.T, s store.Store) {
	put(t, s, "twice/a", []byte("first"))
	for _, second := range []string{"first", "second", ""} {
		if _, err := s.Put(t.Context(), "twice/a", []byte(second)); !errors.Is(err, store.ErrExists) {
			t.Fatalf("second Put of %q: %v, want ErrExists", second, err)
		}
	}
	if got, _, err := s.Get(t.Context(), "twice/a", "", 10); err != nil || string(got) != "first" {
		t.Fatalf("after it: %q, %v", got, err)
	}
}

func oneWins(t *testing.T, s store.Store) {
	var all sync.WaitGroup
	won := make(chan string, 8)
	for i := range 8 {
		all.Go(func() {
			mine := strings.Repeat(fmt.Sprint(i), 5000)
			if _, err := s.Put(t.Context(), "race/one", []byte(mine)); err == nil {
				won <- mine
			} else if !errors.Is(err, store.ErrExists) {
				t.Errorf("Put: %v", err)
			}
		})
	}
	all.Wait()
	if len(won) != 1 {
		t.Fatalf("%d writers were told that they wrote it", len(won))
	}
	if got, _, err := s.Get(t.Context(), "race/one", "", 1<<20); err != nil || string(got) != <-won {
		t.Fatalf("it holds another's bytes: %.20q, %v", got, err)
	}
}

func notThere(t *testing.T, s store.Store) {
	for _, name := range []string{"nothing", "back", "back/0.bin/below", "no/such/folder/x"} {
		if _, _, err := s.Get(t.Context(), name, "", 10); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("Get %s: %v, want ErrNotExist", name, err)
		}
	}
	if _, _, err := s.Get(t.Context(), "back/1.bin", "no-such-version", 10); err == nil {
		t.Error("a version that never was came back")
	}
}

func limits(t *testing.T, s store.Store) {
	put(t, s, "limit/ten", []byte("0123456789"))
	if _, _, err := s.Get(t.Context(), "limit/ten", "", 9); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("Get with limit 9 of 10 bytes: %v, want ErrTooLarge", err)
	}
	if _, err := s.Put(t.Context(), "limit/huge", make([]byte, store.MaxObject+1)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("Put of more than MaxObject: %v, want ErrTooLarge", err)
	}
}

func names(t *testing.T, s store.Store) {
	for _, name := range []string{"", "/a", "a/", "a//b", "a/../b", ".a", "a/.b", "a b", "a\x00b", "ä", "a\\b", strings.Repeat("a", 513)} {
		if _, err := s.Put(t.Context(), name, nil); !errors.Is(err, store.ErrBadName) {
			t.Errorf("Put %q: %v, want ErrBadName", name, err)
		}
		if _, _, err := s.Get(t.Context(), name, "", 1); !errors.Is(err, store.ErrBadName) {
			t.Errorf("Get %q: %v, want ErrBadName", name, err)
		}
	}
	for _, folder := range []string{"/", "a", "a//", "../", "a/../"} {
		if _, err := s.List(t.Context(), folder); !errors.Is(err, store.ErrBadName) {
			t.Errorf("List %q: %v, want ErrBadName", folder, err)
		}
	}
}

func listing(t *testing.T, s store.Store) {
	for _, name := range []string{"list/b", "list/a.json", "list/a.json.sig", "list/sub/x", "list/sub/y", "list/sub2/z", "lister/no"} {
		put(t, s, name, []byte(name))
	}
	want := []store.Object{{Name: "list/a.json", Size: 11}, {Name: "list/a.json.sig", Size: 15},
		{Name: "list/b", Size: 6}, {Name: "list/sub/"}, {Name: "list/sub2/"}}
	got, err := s.List(t.Context(), "list/")
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("List: %v, %v; want %v", got, err, want)
	}
	if got, err := s.List(t.Context(), "not/there/"); err != nil || len(got) != 0 {
		t.Errorf("a folder that is not there: %v, %v; want nothing", got, err)
	}
	top, err := s.List(t.Context(), "")
	var folders []string
	for _, o := range top {
		if o.Folder() {
			folders = append(folders, o.Base())
		}
	}
	if err != nil || !strings.Contains(fmt.Sprint(folders), "list lister") {
		t.Errorf("the top: %v, %v", top, err)
	}
}

// longListing lists more than the thousand entries of one S3 answer.
func longListing(t *testing.T, s store.Store) {
	const n = 1100
	var all sync.WaitGroup
	for part := range 4 {
		all.Go(func() {
			for i := part; i < n; i += 4 {
				if _, err := s.Put(t.Context(), fmt.Sprintf("long/%05d", i), []byte("x")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	list, err := s.List(t.Context(), "long/")
	if err != nil || len(list) != n {
		t.Fatalf("%d entries, %v; want %d", len(list), err, n)
	}
	for i, o := range list {
		if o.Name != fmt.Sprintf("long/%05d", i) {
			t.Fatalf("entry %d is %s", i, o.Name)
		}
	}
}

func ended(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(ctx, "ended/a", nil); err == nil {
		t.Error("Put worked with an ended context")
	}
	if _, _, err := s.Get(ctx, "back/0.bin", "", 1); err == nil {
		t.Error("Get worked with an ended context")
	}
	if _, err := s.List(ctx, "back/"); err == nil {
		t.Error("List worked with an ended context")
	}
}
