package recorder_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// lose records the beginning of a session, on a bastion that is then gone with
// its disk.
func lose(t testing.TB, o recorder.Options, want session.Request) (node string) {
	t.Helper()
	r := newRecorder(t, o)
	tape := begin(t, r, want)
	appendAll(t, tape, story()...)
	eventually(t, "all of it is stored", func() bool { return tape.Health().Bytes == 0 })
	s := o.Store.(*storetest.Memory)
	eventually(t, "the ledger, too", func() bool {
		return slices.ContainsFunc(s.Names(), func(n string) bool { return strings.HasSuffix(n, "-begun.json") })
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Close(ctx) // without an end of the session
	return r.Node()
}

func adopt(t testing.TB, o recorder.Options, which recorder.Orphans) []string {
	t.Helper()
	r := newRecorder(t, o)
	ids, err := r.SealOrphans(t.Context(), which)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, r)
	return ids
}

// A bastion is lost with its disk: another one seals what had reached the store,
// and nothing of that is missing.
func TestOrphans(t *testing.T) {
	me := identity(t)
	for name, recipients := range map[string][]recorder.Recipient{"plain": nil, "encrypted": {me.Recipient()}} {
		t.Run(name, func(t *testing.T) {
			s := storetest.NewMemory(t)
			o := options(t.TempDir(), s)
			o.Recipients = recipients
			want := request()
			node := lose(t, o, want)
			o.Dir = t.TempDir()
			if ids := adopt(t, o, recorder.Orphans{Node: "another"}); len(ids) != 0 {
				t.Fatalf("adopted %v of another node", ids)
			}
			if ids := adopt(t, o, recorder.Orphans{}); len(ids) != 0 {
				t.Fatalf("adopted %v, which may still be running", ids)
			}
			if ids := adopt(t, o, recorder.Orphans{Node: node}); !slices.Equal(ids, []string{want.ID}) {
				t.Fatalf("adopted %v", ids)
			}
			if ids := adopt(t, o, recorder.Orphans{Node: node}); len(ids) != 0 {
				t.Fatalf("adopted %v twice", ids)
			}
			a := recorder.OpenArchive(s, trusted(), nil)
			proven(t, a)
			a.Open([]recorder.Identity{me})
			proven(t, a)
			report, err := a.Check(t.Context(), want.ID)
			if err != nil || report.Manifest == nil {
				t.Fatal(report, err)
			}
			m := report.Manifest
			if m.Cause.Code != session.NodeLost || m.SealedBy == "" || m.Session.Node != node || !slices.Contains(m.Flags, "lost") ||
				slices.Contains(m.Flags, "unannounced") || slices.Contains(m.Flags, "unread") != (recipients != nil) {
				t.Errorf("the manifest says %v, %v, sealed by %q", m.Cause, m.Flags, m.SealedBy)
			}
			var all []byte
			for _, e := range story() {
				if e.Type == session.Output {
					all = append(all, e.Bytes...)
				}
			}
			if got := bytesOf(read(t, a, want.ID), session.Output); string(got) != string(all) {
				t.Errorf("the output is %q\nwant %q", got, all)
			}
		})
	}
}

// What is older than a session can be is sealed without being told whose it was,
// and what no ledger knows of is said to be so.
func TestAnOldOrphanNobodyAnnounced(t *testing.T) {
	s := storetest.NewMemory(t)
	o := options(t.TempDir(), s)
	want := request()
	want.Started = time.Now().Add(-27 * time.Hour)
	id, err := ulid.New(ulid.Timestamp(want.Started), ulid.DefaultEntropy())
	if err != nil {
		t.Fatal(err)
	}
	want.ID = id.String()
	lose(t, o, want)
	forged := s.Clone()
	for _, name := range forged.Names() {
		if strings.HasPrefix(name, "ledger/") {
			forged.Tamper(name, nil)
		}
	}
	o.Dir, o.Store = t.TempDir(), forged
	if ids := adopt(t, o, recorder.Orphans{Since: time.Now().Add(-26 * time.Hour)}); len(ids) != 0 {
		t.Fatalf("adopted %v from before", ids)
	}
	if ids := adopt(t, o, recorder.Orphans{}); !slices.Equal(ids, []string{want.ID}) {
		t.Fatalf("adopted %v", ids)
	}
	a := recorder.OpenArchive(forged, trusted(), nil)
	report, err := a.Check(t.Context(), want.ID)
	if err != nil || report.Manifest == nil || !slices.Contains(report.Manifest.Flags, "unannounced") {
		t.Errorf("%+v, %v", report, err)
	}
	if err := a.Verify(t.Context(), nil, io.Discard); err != nil {
		t.Error(err)
	}
}
