package recorder_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// glass is a session that was opened alone in an emergency.
func glass() session.Request {
	want := request()
	want.BreakGlass = true
	want.Mode.BreakGlass = session.BreakGlass{Groups: []string{"oncall"}, Review: time.Hour}
	want.Engineer.SamePerson = "e-1"
	return want
}

var (
	aliceAgain = session.Identity{Issuer: "https://idp", Subject: "1-again", Name: "alice2", SamePerson: "e-1"}
	carol      = session.Identity{Issuer: "https://idp", Subject: "3", Name: "carol"}
)

func TestBrokenGlassIsProven(t *testing.T) {
	s := storetest.NewMemory(t)
	r := newRecorder(t, options(memoryDir(t), s))
	want := glass()
	sealTape(t, begin(t, r, want), want.ID, 1)
	closed(t, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	proven(t, a, want.ID)
	report, err := a.Check(t.Context(), want.ID)
	m := report.Manifest
	if err != nil || !m.Session.BreakGlass || len(m.Session.Quorum) != 1 || !slices.Equal(m.Flags, []string{"break-glass"}) {
		t.Fatalf("%+v, %v", m, err)
	}
	asked, err := a.Asked(t.Context(), want.ID)
	if err != nil || !asked.BreakGlass || !asked.Engineer.SamePersonAs(alice) || asked.Mode.Shadows.Eligible(asked.Engineer, bob) != nil || asked.Code != want.Code {
		t.Fatalf("%+v, %v", asked, err)
	}
	i := slices.IndexFunc(s.Names(), func(n string) bool { return strings.Contains(n, want.ID) })
	l := &loot{Memory: s, ids: []string{want.ID}, places: []string{filepath.Dir(s.Names()[i]) + "/"}}
	for _, c := range []struct {
		name  string
		flags []string
		say   string
	}{
		{"the flag is gone", nil, `by the tape "break-glass" is true`},
		{"another flag", []string{"alone"}, `by the tape "alone" is false`},
	} {
		forged := l.copy()
		forged.resign(testKey('k'), func(m *recorder.Manifest) { m.Flags = c.flags })
		report, err := recorder.OpenArchive(forged, trusted(), nil).Check(t.Context(), want.ID)
		if err != nil || !strings.Contains(strings.Join(report.Findings, "\n"), c.say) {
			t.Errorf("%s: %q, %v", c.name, report.Findings, err)
		}
	}
}

// The whole way of a debt: from the beginning of a session until somebody signs
// it off, across starts of the bastion.
func TestBrokenGlassIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := storetest.NewMemory(t), memoryDir(t)
		r := newRecorder(t, options(dir, s))
		want := glass()
		id := want.ID
		begin(t, r, want)
		owes := func(when string, who session.Identity, ids ...string) {
			t.Helper()
			if got := r.Owes(who); !slices.Equal(got, ids) {
				t.Errorf("%s: %s owes %q, want %q", when, who.Name, got, ids)
			}
		}
		restart := func() *recorder.Archive {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r.Close(ctx) // with an error where a tape is still open: it died
			r = newRecorder(t, options(dir, s))
			if err := r.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			return recorder.OpenArchive(s, trusted(), r)
		}
		a := recorder.OpenArchive(s, trusted(), r)
		owes("at once", alice)
		time.Sleep(time.Hour - time.Second)
		owes("within the hour", alice)
		time.Sleep(time.Second)
		owes("after the hour", alice, id)
		owes("after the hour, by her other account", aliceAgain, id)
		owes("after the hour", bob)

		refused := func(when string, who session.Identity, says string) {
			t.Helper()
			var c session.Cause
			err := a.Review(t.Context(), who, id, recorder.ReviewOK, "")
			if !errors.As(err, &c) || c.Code != session.Refused || !strings.Contains(c.Text, says) {
				t.Errorf("%s: %s signs off: %v", when, who.Name, err)
			}
		}
		view := func(who session.Identity, what string) {
			t.Helper()
			if err := a.Viewed(t.Context(), who, what, id); err != nil {
				t.Fatal(err)
			}
		}
		watch := func(who session.Identity) {
			t.Helper()
			view(who, "replay")
			if err := a.Shown(t.Context(), who, id); err != nil {
				t.Fatal(err)
			}
		}
		// What runs can be looked at, and not be signed off for it.
		if err := a.Review(t.Context(), bob, id, recorder.ReviewOK, ""); !errors.Is(err, recorder.ErrNoRecording) {
			t.Errorf("before it has ended: %v", err)
		}
		watch(bob)
		a = restart() // as after a crash: the session has no end yet
		owes("after a crash", alice, id)
		eventually(t, "it is sealed", func() bool { _, err := a.Asked(t.Context(), id); return err == nil })
		refused("seen before its end", bob, "replay it first")
		view(bob, "export")
		refused("exported", bob, "replay it first")
		view(bob, "replay")
		refused("only begun to replay", bob, "replay it first")
		watch(alice)
		watch(aliceAgain)
		refused("herself", alice, "yours")
		refused("herself again", aliceAgain, "yours")
		watch(bob)
		if err := a.Review(t.Context(), bob, id, "fine", ""); err == nil {
			t.Error("a review that says nothing")
		}
		refused("by whom bob's replay is not", carol, "replay it first")
		a = restart()
		if err := a.Review(t.Context(), bob, id, recorder.ReviewRaise, "why all the customers?"); err != nil {
			t.Fatal(err)
		}
		owes("raised", alice, id)
		if what, by := a.Reviewed(id); what != "raise" || by != "bob" {
			t.Errorf("reviewed: %s by %s", what, by)
		}
		watch(carol)
		if err := a.Review(t.Context(), carol, id, recorder.ReviewOK, ""); err != nil {
			t.Fatal(err)
		}
		owes("signed off", alice)
		a = restart()
		owes("signed off", alice)
		if what, by := a.Reviewed(id); what != "ok" || by != "carol" {
			t.Errorf("reviewed: %s by %s", what, by)
		}
		closed(t, r)
		proven(t, a)
		for _, want := range []string{`"what": "raise"`, `"note": "why all the customers?"`, `"session": "` + id + `"`, `"subject": "2"`} {
			if name := entry(t, s, "-reviewed.json"); !bytes.Contains(s.Object(name), []byte(want)) {
				t.Errorf("no %s in %s", want, s.Object(name))
			}
		}
	})
}

// entry is the first object in the ledger whose name ends so.
func entry(t *testing.T, s *storetest.Memory, suffix string) string {
	t.Helper()
	i := slices.IndexFunc(s.Names(), func(n string) bool { return strings.HasSuffix(n, suffix) })
	if i < 0 {
		t.Fatalf("no %s: %v", suffix, s.Names())
	}
	return s.Names()[i]
}

// A raised concern locks within the time, too, and after an ok.
func TestRaisedLocksAtOnce(t *testing.T) {
	s := storetest.NewMemory(t)
	r := newRecorder(t, options(memoryDir(t), s))
	a := recorder.OpenArchive(s, trusted(), r)
	want, other := glass(), request()
	for _, w := range []session.Request{want, other} {
		sealTape(t, begin(t, r, w), w.ID, 1)
		eventually(t, "it is sealed", func() bool { _, err := a.Asked(t.Context(), w.ID); return err == nil })
		if err := a.Shown(t.Context(), bob, w.ID); err != nil {
			t.Fatal(err)
		}
	}
	for _, what := range []string{recorder.ReviewOK, recorder.ReviewRaise} {
		for _, w := range []session.Request{want, other} {
			if err := a.Review(t.Context(), bob, w.ID, what, "hm"); err != nil {
				t.Fatal(err)
			}
		}
		owes, err := a.Owes(alice)
		if err != nil || (len(owes) > 0) != (what == recorder.ReviewRaise) || slices.Contains(owes, other.ID) {
			t.Errorf("after %s: owes %q, %v", what, owes, err)
		}
	}
	closed(t, r)
	proven(t, a)
}

func TestGlassIsNotBrokenWhenNobodyCouldRemember(t *testing.T) {
	s, dir := storetest.NewMemory(t), memoryDir(t)
	r := newRecorder(t, options(dir, s))
	if err := os.RemoveAll(filepath.Join(dir, "reviews")); err != nil {
		t.Fatal(err)
	}
	var c session.Cause
	if _, err := r.Begin(t.Context(), glass()); !errors.As(err, &c) || c.Code != session.NoRecorder {
		t.Errorf("begun: %v", err)
	}
	want := request()
	sealTape(t, begin(t, r, want), want.ID, 1) // others are not affected
	closed(t, r)
	if _, err := recorder.OpenArchive(s, trusted(), nil).Owes(alice); err == nil {
		t.Error("without books nobody owes anything")
	}
}

// Replays that came to nothing are forgotten after a while; debts never.
func TestOldReplaysAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := storetest.NewMemory(t), memoryDir(t)
		r := newRecorder(t, options(dir, s))
		a := recorder.OpenArchive(s, trusted(), r)
		want, other := glass(), request()
		for _, w := range []session.Request{want, other} {
			sealTape(t, begin(t, r, w), w.ID, 1)
			eventually(t, "it is sealed", func() bool { _, err := a.Asked(t.Context(), w.ID); return err == nil })
			if err := a.Shown(t.Context(), bob, w.ID); err != nil {
				t.Fatal(err)
			}
		}
		closed(t, r)
		time.Sleep(365 * 24 * time.Hour)
		r = newRecorder(t, options(dir, s))
		if got := r.Owes(alice); !slices.Equal(got, []string{want.ID}) {
			t.Errorf("alice owes %q", got)
		}
		left, err := os.ReadDir(filepath.Join(dir, "reviews"))
		if err != nil || len(left) != 1 {
			t.Errorf("left: %v, %v", left, err)
		}
		closed(t, r)
	})
}

// A file of what is owed that can not be read stops the start: it must not be
// taken for none.
func TestDamagedDebtsStopTheStart(t *testing.T) {
	s, dir := storetest.NewMemory(t), memoryDir(t)
	r := newRecorder(t, options(dir, s))
	want := glass()
	sealTape(t, begin(t, r, want), want.ID, 1)
	closed(t, r)
	file := filepath.Join(dir, "reviews", want.ID+".json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []string{"{", "", "null", "{}", string(whole) + "x", strings.Replace(string(whole), `"engineer"`, `"engineeq"`, 1)} {
		if err := os.WriteFile(file, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := recorder.New(options(dir, s)); err == nil || !strings.Contains(err.Error(), want.ID) {
			t.Errorf("it starts with %q: %v", damaged, err)
		}
	}
}

// Somebody with the key writes reviews that no bastion would.
func TestReviewsThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		replays, reviews session.Identity
		say              string
	}{
		"not replayed":     {carol, bob, "a review of ID by bob, who had not replayed it"},
		"by the engineer":  {aliceAgain, alice, "had not replayed it"}, // without the claim she is another
		"by her, replayed": {aliceAgain, aliceAgain, "a review of ID by its own engineer"},
		"by nobody":        {bob, session.Identity{Name: "x"}, "a review by nobody"},
		"replay by nobody": {session.Identity{Name: "x"}, bob, "had not replayed it"},
	} {
		t.Run(name, func(t *testing.T) {
			s := storetest.NewMemory(t)
			r := newRecorder(t, options(memoryDir(t), s))
			want := glass()
			sealTape(t, begin(t, r, want), want.ID, 1)
			for _, e := range []recorder.Entry{
				{Type: recorder.EntryViewed, What: "replay", Who: &c.replays, Session: want.ID},
				{Type: recorder.EntryReviewed, What: "ok", Who: &c.reviews, Session: want.ID},
			} {
				if err := recorder.Note(r, e); err != nil {
					t.Fatal(err)
				}
			}
			closed(t, r)
			var w strings.Builder
			err := recorder.OpenArchive(s, trusted(), nil).Verify(t.Context(), nil, &w)
			if err == nil || !strings.Contains(strings.ReplaceAll(w.String(), want.ID, "ID"), c.say) {
				t.Errorf("%v; want %q in\n%s", err, c.say, w.String())
			}
		})
	}
}
