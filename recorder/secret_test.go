package recorder_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// What is recorded for recipients, they read, all of it; nobody else does, the
// bastion least of all; and everybody can prove it.
func TestEncrypted(t *testing.T) {
	one, two, other := identity(t), identity(t), identity(t)
	s, dir := storetest.NewFaulty(t), memoryDir(t)
	o := options(dir, s)
	o.Recipients = []recorder.Recipient{one.Recipient(), two.Recipient()}
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	appendAll(t, tape, story()...)
	eventually(t, "a segment is stored", func() bool { return tape.Health().Bytes == 0 })

	// The bastion stops while segments wait for the store, and cannot read them any more.
	s.Break(storetest.Unavailable, "")
	appendAll(t, tape, out(30*time.Millisecond, "a secret that waited"))
	sealTape(t, tape, want.ID, time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r.Close(ctx)
	s.Heal()
	r = newRecorder(t, o)
	if err := r.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed(t, r)

	for _, name := range s.Names() {
		data, _, err := s.Get(t.Context(), name, "", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(name, ".cast.zst") && !strings.HasSuffix(name, "1.cast.zst") && !bytes.HasPrefix(data, []byte("age-encryption.org/v1")) {
			t.Errorf("%s is not encrypted", name)
		}
		if bytes.Contains(data, []byte("secret")) || bytes.Contains(data, []byte("what was that")) {
			t.Errorf("%s says what was recorded", name)
		}
	}

	bare := recorder.OpenArchive(s, trusted(), nil)
	if said := proven(t, bare, want.ID); !strings.Contains(said, "encrypted: every byte is what was recorded") {
		t.Errorf("verify says %q", said)
	}
	for name, identities := range map[string][]recorder.Identity{"nobody": nil, "another": {other}} {
		a := recorder.OpenArchive(s, trusted(), nil)
		a.Open(identities)
		var last error
		for _, err := range a.Events(t.Context(), want.ID) {
			last = err
		}
		if !errors.Is(last, recorder.ErrEncrypted) {
			t.Errorf("%s reads: %v", name, last)
		}
	}
	for _, identities := range [][]recorder.Identity{{one}, {two}, {other, two}} {
		a := recorder.OpenArchive(s, trusted(), nil)
		a.Open(identities)
		if said := proven(t, a, want.ID); strings.Contains(said, "encrypted") {
			t.Errorf("verify says %q", said)
		}
		events := read(t, a, want.ID)
		if n := slices.IndexFunc(events, func(e session.Event) bool { return e.Type == session.Statement }); n < 0 || !reflect.DeepEqual(events[n].Statement, story()[5].Statement) {
			t.Errorf("the first statement is not what it was: %+v", events)
		}
		if got := bytesOf(events, session.Output); !bytes.HasSuffix(got, []byte("a secret that waited")) {
			t.Errorf("the output ends in %q", got)
		}
	}
}

// Once a segment is cut the bastion can not read it, also while its session goes on and says
// nothing more.
func TestNothingPlainStaysBesideAnEncryptedSegment(t *testing.T) {
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	o.Recipients = []recorder.Recipient{identity(t).Recipient()}
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	appendAll(t, tape, out(1, "a secret"))
	eventually(t, "it is stored", func() bool { return tape.Health().Bytes == 0 })
	err := fs.WalkDir(os.DirFS(o.Dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(o.Dir, path))
		if bytes.Contains(text, []byte("a secret")) {
			t.Errorf("%s says it", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	sealTape(t, tape, want.ID, time.Second)
	closed(t, r)
}

// Whoever can read a segment can encrypt it again, for the same recipients even: it says the
// same, and is not what was recorded.
func TestEncryptedAgain(t *testing.T) {
	me := identity(t)
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	o.Recipients = []recorder.Recipient{me.Recipient()}
	r := newRecorder(t, o)
	want := request()
	tape := begin(t, r, want)
	appendAll(t, tape, story()...)
	sealTape(t, tape, want.ID, time.Second)
	closed(t, r)
	l := (&loot{Memory: s, ids: []string{want.ID}}).copy()
	name := l.find("00000002.cast.zst.age")
	plain, err := age.Decrypt(bytes.NewReader(l.Object(name)), me)
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	w, err := age.Encrypt(&again, me.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l.Tamper(name, again.Bytes())
	for who, identities := range map[string][]recorder.Identity{"without an identity": nil, "with one": {me}} {
		a := recorder.OpenArchive(l, trusted(), nil)
		a.Open(identities)
		report, err := a.Check(t.Context(), want.ID)
		if err != nil || !strings.Contains(strings.Join(report.Findings, "\n"), "segment 00000002.cast.zst.age is not what was recorded") {
			t.Errorf("%s: %q, %v", who, report.Findings, err)
		}
	}
}
