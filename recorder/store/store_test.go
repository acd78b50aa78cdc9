package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/recorder/store/storetest"
)

func TestMemory(t *testing.T) { storetest.Run(t, storetest.NewMemory(t)) }

func TestFolder(t *testing.T) {
	s, err := store.NewFolder(filepath.Join(t.TempDir(), "recordings"))
	if err != nil {
		t.Fatal(err)
	}
	storetest.Run(t, s)
}

// TestS3 runs against versitygw, and against any other S3 that the environment names: an empty
// TWOKEY_S3_ENDPOINT names none. What it puts there lies under twokey-test/ and stays.
func TestS3(t *testing.T) {
	storetest.Run(t, storetest.StartVersity(t).Store())
	if endpoint := os.Getenv("TWOKEY_S3_ENDPOINT"); endpoint != "" {
		s, err := store.NewS3(store.S3Config{
			Endpoint: endpoint, Region: os.Getenv("TWOKEY_S3_REGION"), Bucket: os.Getenv("TWOKEY_S3_BUCKET"), Prefix: "twokey-test/" + rand.Text(),
			AccessKey: os.Getenv("TWOKEY_S3_ACCESS_KEY"), SecretKey: os.Getenv("TWOKEY_S3_SECRET_KEY"),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Try(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		storetest.Run(t, s)
	}
}

// What is put under Object Lock stays, whoever holds the keys: removing it leaves
// a delete marker at most, and its version is still there.
func TestS3Lock(t *testing.T) {
	v := storetest.StartVersity(t)
	client := v.Client()
	open := v.Config
	open.LockMode, open.LockDays = "compliance", 1
	s, err := store.NewS3(open)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Try(t.Context(), s); err == nil {
		t.Error("a bucket without Object Lock was taken for one with it")
	}

	for _, mode := range []string{"compliance", "governance"} {
		v.Lock(mode, 1)
		c, s := v.Config, v.Store()
		if err := store.Try(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		version, err := s.Put(t.Context(), "a/b", []byte("kept"))
		if err != nil || version == "" {
			t.Fatalf("%q, %v", version, err)
		}
		if err := s.Remove(t.Context(), "a/b"); err == nil {
			t.Errorf("%s: it was removed", mode)
		}
		if until, err := s.Kept(t.Context(), "a/b"); err != nil || until.Before(time.Now().Add(23*time.Hour)) || until.After(time.Now().Add(25*time.Hour)) {
			t.Errorf("%s: kept until %v, %v", mode, until, err)
		}
		if traces, folders, err := s.Traces(t.Context(), ""); err != nil || len(traces) > 0 || !slices.Equal(folders, []string{"a/"}) {
			t.Errorf("%s: traces of nothing: %+v, %v, %v", mode, traces, folders, err)
		}
		name := strings.TrimPrefix(c.Prefix+"/a/b", "/")
		if err := client.RemoveObject(t.Context(), c.Bucket, name, minio.RemoveObjectOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Get(t.Context(), "a/b", "", 10); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("%s: behind a delete marker: %v", mode, err)
		}
		if data, _, err := s.Get(t.Context(), "a/b", version, 10); err != nil || string(data) != "kept" {
			t.Errorf("%s: the version: %q, %v", mode, data, err)
		}
		traces, _, err := s.Traces(t.Context(), "a/")
		if err != nil {
			t.Fatal(err)
		}
		if len(traces) != 1 || !traces[0].Deleted || traces[0].Name != "a/b" || traces[0].First != version || traces[0].Versions != 1 {
			t.Errorf("%s: the traces are %+v", mode, traces)
		}
	}
}

// A listing comes in pages, and what stands on two of them was not written over.
func TestS3TracesNothingInALongFolder(t *testing.T) {
	v := storetest.StartVersity(t)
	s := v.Store()
	const pages = 2*1000 + 1
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for n := worker; n < pages; n += 8 {
				if _, err := s.Put(t.Context(), fmt.Sprintf("a/%04d", n), []byte("kept")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if traces, _, err := s.Traces(t.Context(), "a/"); err != nil || len(traces) > 0 {
		t.Errorf("%+v, %v", traces, err)
	}
	if list, err := s.List(t.Context(), "a/"); err != nil || len(list) != pages {
		t.Errorf("%d objects, %v", len(list), err)
	}
}

func TestS3SaysWhatIsWrong(t *testing.T) {
	v := storetest.StartVersity(t)
	for _, c := range []struct {
		name, want string
		change     func(*store.S3Config)
	}{
		{"no such bucket", "the bucket elsewhere does not exist", func(c *store.S3Config) { c.Bucket = "elsewhere" }},
		{"wrong secret", "does not let us in", func(c *store.S3Config) { c.SecretKey = "guess" }},
		{"wrong access key", "does not let us in", func(c *store.S3Config) { c.AccessKey = "guess" }},
		{"nobody there", "cannot be reached", func(c *store.S3Config) { c.Endpoint = "http://127.0.0.1:1" }},
	} {
		config := v.Config
		c.change(&config)
		s, err := store.NewS3(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Try(t.Context(), s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q in it", c.name, err, c.want)
		}
	}
}

func TestS3ThatDoesNotAnswerIsGivenUp(t *testing.T) {
	v := storetest.StartVersity(t)
	v.Config.OpTimeout = 300 * time.Millisecond
	s := v.Store()
	v.Freeze()
	defer v.Thaw()
	begin := time.Now()
	if _, err := s.Put(t.Context(), "a", []byte("x")); err == nil || time.Since(begin) > 5*time.Second {
		t.Errorf("Put: %v after %v", err, time.Since(begin))
	}
}

func TestFolderLeavesNothingHalfWritten(t *testing.T) {
	dir := t.TempDir()
	s, err := store.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	// What a crash in the middle of a Put leaves behind is not an object.
	os.MkdirAll(filepath.Join(dir, "a"), 0o700)
	os.WriteFile(filepath.Join(dir, "a", ".new-123"), []byte("half"), 0o600)
	if list, err := s.List(t.Context(), "a/"); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := s.Put(t.Context(), "a/b", []byte("x")); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(filepath.Join(dir, "a"))
	if len(entries) != 2 {
		t.Errorf("%v", entries)
	}
}

// Whoever can write to the folder can put things there that are no files. They
// are refused, and nobody waits at them.
func TestFolderWithWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	s, err := store.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	os.Mkdir(filepath.Join(dir, "a"), 0o700)
	if err := syscall.Mkfifo(filepath.Join(dir, "a", "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Symlink("pipe", filepath.Join(dir, "a", "to-pipe"))
	os.Symlink("/dev/zero", filepath.Join(dir, "a", "device"))
	done := make(chan struct{})
	go func() { // waited for below, or the test has failed
		defer close(done)
		for _, name := range []string{"a/pipe", "a/to-pipe", "a/device"} {
			if data, _, err := s.Get(t.Context(), name, "", 10); err == nil || !strings.Contains(err.Error(), "no regular file") {
				t.Errorf("Get %s: %q, %v", name, data, err)
			}
			if _, err := s.Put(t.Context(), name, []byte("x")); !errors.Is(err, store.ErrExists) {
				t.Errorf("Put %s: %v", name, err)
			}
		}
		if list, err := s.List(t.Context(), "a/pipe/"); err != nil || len(list) > 0 {
			t.Errorf("List of a pipe: %v, %v", list, err)
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("waits at what is no file")
	}
	// Whoever lists a folder sees that they are there.
	list, err := s.List(t.Context(), "a/")
	if want := []store.Object{{Name: "a/device"}, {Name: "a/pipe"}, {Name: "a/to-pipe"}}; err != nil || !slices.Equal(list, want) {
		t.Errorf("listed: %v, %v", list, err)
	}
}

// What is larger than allowed is refused before it is read.
func TestFolderReadsNothingTooLarge(t *testing.T) {
	dir := t.TempDir()
	s, err := store.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "huge"), nil, 0o600), os.Truncate(filepath.Join(dir, "huge"), 1<<40)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get(t.Context(), "huge", "", 1<<39); !errors.Is(err, store.ErrTooLarge) {
		t.Fatal(err)
	}
}

func TestS3Config(t *testing.T) {
	for _, c := range []store.S3Config{{}, {Endpoint: "x", Bucket: "b"}, {Endpoint: "ftp://x", Bucket: "b"},
		{Endpoint: "http://x"}, {Endpoint: "http://x", Bucket: "b", Prefix: "../y"}} {
		if _, err := store.NewS3(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	if _, err := store.NewS3(store.S3Config{Endpoint: "http://x", Bucket: "b", Prefix: "/p"}); !errors.Is(err, store.ErrBadName) {
		t.Error(err)
	}
}

// What somebody else has put into a store is listed, whatever it is called: a
// verifier must see all that lies beside a recording, also what `*.cast.zst` finds
// and no Put could have made.
func TestForeignNamesAreListed(t *testing.T) {
	strange := []string{"a/00000002 .cast.zst", "a/x\u009b2Jy", "a/ü", "a/b c/d"}
	want := []string{"a/00000001.cast.zst", "a/00000002 .cast.zst", "a/b c/", "a/x\u009b2Jy", "a/ü"}
	dir := t.TempDir()
	folder, err := store.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	v := storetest.StartVersity(t)
	memory := storetest.NewMemory(t)
	for name, c := range map[string]struct {
		store.Store
		put func(name string) error
	}{
		"folder": {folder, func(name string) error {
			path := filepath.Join(dir, name)
			return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600))
		}},
		"s3": {v.Store(), func(name string) error {
			_, err := v.Client().PutObject(t.Context(), v.Config.Bucket, strings.TrimPrefix(v.Config.Prefix+"/"+name, "/"), strings.NewReader("x"), 1, minio.PutObjectOptions{})
			return err
		}},
		"memory": {memory.Clone(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if m, ok := c.Store.(*storetest.Memory); ok {
				c.put = func(name string) error { m.Tamper(name, []byte("x")); return nil }
			}
			if _, err := c.Put(t.Context(), "a/00000001.cast.zst", []byte("x")); err != nil {
				t.Fatal(err)
			}
			for _, name := range append(strange, "a/.new-123") {
				if err := c.put(name); err != nil {
					t.Fatal(err)
				}
			}
			list, err := c.List(t.Context(), "a/")
			var got []string
			for _, o := range list {
				got = append(got, o.Name)
				if store.CheckName(strings.TrimSuffix(o.Name, "/")) == nil {
					continue
				}
				if _, _, err := c.Get(t.Context(), o.Name, "", 10); !errors.Is(err, store.ErrBadName) {
					t.Errorf("Get of %q: %v", o.Name, err)
				}
			}
			if !slices.Equal(got, want) || err != nil {
				t.Errorf("listed are %q, %v\nwant       %q", got, err, want)
			}
		})
	}
}

// Whoever can write to the folder can put links into it. Nothing is read, listed, written or
// removed through one; the folder itself may be a link.
func TestFolderFollowsNoLink(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	secret := filepath.Join(elsewhere, "secret")
	for _, err := range []error{
		os.WriteFile(secret, []byte("secret"), 0o600), os.Mkdir(filepath.Join(dir, "real"), 0o700), os.WriteFile(filepath.Join(dir, "real", "secret"), []byte("x"), 0o600),
		os.Symlink(elsewhere, filepath.Join(dir, "out")), os.Symlink("real", filepath.Join(dir, "within")), os.Symlink("../secret", filepath.Join(dir, "real", "file")),
		os.Symlink(dir, filepath.Join(elsewhere, "store")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := store.NewFolder(filepath.Join(elsewhere, "store"))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "is a link") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, through := range []string{"out", "within"} {
		data, _, err := s.Get(t.Context(), through+"/secret", "", 10)
		refused("Get of "+string(data), err)
		_, err = s.Put(t.Context(), through+"/new", []byte("x"))
		refused("Put", err)
		_, err = s.Put(t.Context(), through+"/deep/new", []byte("x"))
		refused("Put", err)
		list, err := s.List(t.Context(), through+"/")
		refused(fmt.Sprint("List ", list), err)
		refused("Remove", s.Remove(t.Context(), through+"/secret"))
	}
	if data, _, err := s.Get(t.Context(), "real/file", "", 10); err == nil {
		t.Errorf("through a link that is the file: %q", data)
	}
	for where, want := range map[string]int{elsewhere: 2, filepath.Join(dir, "real"): 2} {
		if entries, err := os.ReadDir(where); err != nil || len(entries) != want {
			t.Errorf("%s now holds %v, %v", where, entries, err)
		}
	}
	if got, _, err := s.Get(t.Context(), "real/secret", "", 10); err != nil || string(got) != "x" {
		t.Errorf("through the store's own folder, a link: %q, %v", got, err)
	}
}

// A store that is not there is an error, and no empty one.
func TestFolderThatIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "recordings")
	s, err := store.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(t.Context(), ""); err == nil || errors.Is(err, store.ErrNotExist) {
		t.Errorf("%v, %v", list, err)
	}
	if _, _, err := s.Get(t.Context(), "a", "", 1); err == nil || errors.Is(err, store.ErrNotExist) {
		t.Error(err)
	}
}

// endless answers a listing with a page that says there is more.
func endless(t *testing.T, entry string) *store.S3 {
	var page atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		root, next := "ListBucketResult", "NextContinuationToken"
		if r.URL.Query().Has("versions") {
			root, next = "ListVersionsResult", "NextKeyMarker"
		}
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprintf(w, "<%s><IsTruncated>true</IsTruncated><%s>%d</%[2]s>", root, next, page.Add(1))
		for range 500 {
			if _, err := io.WriteString(w, entry); err != nil {
				return
			}
		}
		fmt.Fprintf(w, "</%s>", root)
	}))
	t.Cleanup(server.Close)
	s, err := store.NewS3(store.S3Config{Endpoint: server.URL, Bucket: "recordings", Prefix: "prod", AccessKey: "a", SecretKey: "s", OpTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return store.Cramped(s, 10_000, 1<<20)
}

// A store that lists without end is left after so many names, or so many bytes of them,
// whatever they are; and so is one whose answer has no end.
func TestS3ThatListsWithoutEnd(t *testing.T) {
	long := strings.Repeat("x", 4<<10)
	for name, entry := range map[string]string{
		"one name": "<Contents><Key>prod/a/x</Key></Contents>", "names of others": "<Contents><Key>else/x</Key></Contents>", "the folder itself": "<Contents><Key>prod/a/</Key></Contents>",
		"hidden ones": "<Contents><Key>prod/a/.x</Key></Contents>", "folders": "<CommonPrefixes><Prefix>prod/a/b/</Prefix></CommonPrefixes>",
		"long names": "<Contents><Key>prod/a/" + long + "</Key></Contents>", "a long answer": "<Contents><Key>prod/a/x</Key><ETag>" + strings.Repeat(long, 10) + "</ETag></Contents>",
		"versions": "<Version><Key>prod/a/x</Key></Version>", "delete markers": "<DeleteMarker><Key>prod/a/x</Key></DeleteMarker>",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := endless(t, entry)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			if kind := strings.Contains(entry, "Version") || strings.Contains(entry, "Delete"); !kind {
				if list, err := s.List(ctx, "a/"); !errors.Is(err, store.ErrTooMany) {
					t.Errorf("List: %d entries, %v", len(list), err)
				}
				entry = strings.ReplaceAll(entry, "Contents", "Version")
			}
			if name == "a long answer" {
				return // 16 MiB to read, which are the same for all
			}
			s = endless(t, entry)
			if list, folders, err := s.Traces(ctx, "a/"); !errors.Is(err, store.ErrTooMany) {
				t.Errorf("Traces: %d, %d folders, %v", len(list), len(folders), err)
			}
			if err := s.Remove(ctx, "a/z"); !errors.Is(err, store.ErrTooMany) {
				t.Errorf("Remove: %v", err)
			}
		})
	}
}

// What was deleted and put there again leaves the delete marker, although there is but one
// version, and a newest one.
func TestS3DeletedAndPutAgain(t *testing.T) {
	v := storetest.StartVersity(t)
	v.Lock("versions", 0)
	c, s, client := v.Config, v.Store(), v.Client()
	name := strings.TrimPrefix(c.Prefix+"/a/b", "/")
	version, err := s.Put(t.Context(), "a/b", []byte("kept"))
	if err != nil || version == "" {
		t.Fatalf("%q, %v", version, err)
	}
	if _, err := s.Put(t.Context(), "a/c", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	for _, o := range []minio.RemoveObjectOptions{{}, {VersionID: version}} {
		if err := client.RemoveObject(t.Context(), c.Bucket, name, o); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.PutObject(t.Context(), c.Bucket, name, strings.NewReader("kept"), 4, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	traces, _, err := s.Traces(t.Context(), "a/")
	if err != nil || len(traces) != 1 || traces[0].Name != "a/b" || traces[0].Deleted || !traces[0].Revived || traces[0].Versions != 1 {
		t.Errorf("%+v, %v", traces, err)
	}
	// What twokey removes, it removes with the marker.
	if err := s.Remove(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	if traces, _, err := s.Traces(t.Context(), "a/"); err != nil || len(traces) > 0 {
		t.Errorf("after Remove: %+v, %v", traces, err)
	}
}
