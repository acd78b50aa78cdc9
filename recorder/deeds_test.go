package recorder_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

func deeds(t testing.TB, a *recorder.Archive, since, until time.Time) (list []string) {
	t.Helper()
	for d, err := range a.Deeds(t.Context(), since, until) {
		if err != nil {
			t.Fatal(err)
		}
		who := "nobody"
		if d.Who != nil {
			who = d.Who.Name
		}
		list = append(list, string(d.What)+" "+who+" "+d.Text)
	}
	return list
}

// What people did is in the ledger, in order, of all nodes; here at once, and in
// the store for everyone.
func TestDeeds(t *testing.T) {
	s := storetest.NewMemory(t)
	began := time.Now()
	r := newRecorder(t, options(memoryDir(t), s))
	a := recorder.OpenArchive(s, trusted(), r)
	note := func(r *recorder.Recorder, what session.DeedType, who *session.Identity, text string) {
		if err := r.Note(session.Deed{What: what, Who: who, Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	note(r, session.DeedCameIn, &alice, "as orders")
	note(r, session.DeedRefused, nil, "a\nstranger\x1b[2J"+strings.Repeat("x", 5000))
	if err := a.Viewed(t.Context(), bob, "export", ""); err != nil {
		t.Fatal(err)
	}
	want := []string{"came-in alice as orders", "viewed bob export"}
	here := deeds(t, a, began, time.Now())
	if !slices.Contains(here, want[0]) || !slices.Contains(here, want[1]) || !strings.HasPrefix(here[2], "refused nobody a stranger") || len(here[2]) > 3000 {
		t.Errorf("at once: %q", here)
	}
	other := newRecorder(t, options(memoryDir(t), s))
	note(other, session.DeedKilled, &bob, "enough")
	closed(t, r)
	closed(t, other)

	stored := recorder.OpenArchive(s, trusted(), nil)
	all := deeds(t, stored, began, time.Now())
	if killed := slices.Index(all, "killed bob enough"); killed < 0 || killed < slices.Index(all, want[0]) {
		t.Errorf("in the store: %q", all)
	}
	if later := deeds(t, stored, time.Now(), time.Now().Add(time.Hour)); len(later) != 0 {
		t.Errorf("what has not happened: %q", later)
	}
	for _, name := range s.Names() {
		if strings.HasSuffix(name, "-deeds.json.sig") {
			robbed := s.Clone()
			robbed.Tamper(name, nil)
			proven := true
			for _, err := range recorder.OpenArchive(robbed, trusted(), nil).Deeds(t.Context(), began, time.Now()) {
				proven = proven && err == nil
			}
			if proven {
				t.Errorf("without %s the trail is as good", name)
			}
		}
	}
}

// While anything happens there is a checkpoint of it, and none while nothing does.
func TestCheckpoints(t *testing.T) {
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	o.CheckpointEvery = 20 * time.Millisecond
	r := newRecorder(t, o)
	count := func() (n int) {
		for _, name := range s.Names() {
			if strings.HasSuffix(name, "-checkpoint.json") {
				n++
			}
		}
		return n
	}
	want := request()
	tape := begin(t, r, want)
	eventually(t, "checkpoints of a running session", func() bool { return count() > 2 })
	sealTape(t, tape, want.ID, time.Second)
	eventually(t, "nothing is left to do", func() bool {
		left, err := os.ReadDir(filepath.Join(o.Dir, "spool"))
		return err == nil && len(left) == 0
	})
	before := count()
	time.Sleep(20 * o.CheckpointEvery)
	closed(t, r)
	if n := count() - before; n > 3 { // of what had just happened
		t.Errorf("%d checkpoints of nothing", n)
	}
	proven(t, recorder.OpenArchive(s, trusted(), nil))
}
