package index_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/index"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
)

var (
	alice = session.Identity{Issuer: "https://idp", Subject: "1", Name: "alice@example.com", Groups: []string{"engineering"}, SamePerson: "e-1"}
	bob   = session.Identity{Issuer: "https://idp", Subject: "2", Name: "bob@example.com", Groups: []string{"dba"}}
	carol = session.Identity{Issuer: "https://idp", Subject: "3", Name: "carol@example.com"}
)

func key(letter byte) ssh.Signer {
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{letter}, ed25519.SeedSize)))
	if err != nil {
		panic(err)
	}
	return signer
}

// house is a store in a folder, with a bastion that records into it.
type house struct {
	t        testing.TB
	dir      string // of the store
	store    store.Store
	recorder *recorder.Recorder
	end      func() // ends the session that runs
}

func newHouse(t testing.TB, change ...func(*recorder.Options)) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir()}
	var err error
	if h.store, err = store.NewFolder(h.dir); err != nil {
		t.Fatal(err)
	}
	o := recorder.Options{Dir: t.TempDir(), Store: h.store, Signer: key('k'), SegmentEvery: 10 * time.Millisecond}
	for _, c := range change {
		c(&o)
	}
	if h.recorder, err = recorder.New(o); err != nil {
		t.Fatal(err)
	}
	return h
}

// closed ends the bastion: all is in the store.
func (h *house) closed() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := h.recorder.Close(ctx); err != nil {
		h.t.Fatal(err)
	}
}

// told is a session as a test tells it.
type told struct {
	ago          time.Duration
	who          session.Identity
	target, mode string
	end          session.Code
	seated       []session.Identity
	said         []string
	shown        []string // before the first statement
	runs         bool
}

// records records a session and returns its ID.
func (h *house) records(s told) string {
	h.t.Helper()
	if s.who.Name == "" {
		s.who = alice
	}
	if s.target == "" {
		s.target, s.mode = "orders", "write"
	}
	if s.end == "" {
		s.end = session.Quit
	}
	started := time.Now().Add(-s.ago)
	id := ulid.MustNew(ulid.Timestamp(started), ulid.DefaultEntropy()).String()
	tape, err := h.recorder.Begin(h.t.Context(), session.Request{
		ID: id, Code: id[21:], Engineer: s.who, Target: session.Target{Name: s.target}, Mode: session.Mode{Name: s.mode},
		Size: session.Size{Cols: 80, Rows: 24}, Started: started,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	put := func(e session.Event) {
		h.t.Helper()
		if err := tape.Append(e); err != nil {
			h.t.Fatal(err)
		}
	}
	for _, who := range s.seated {
		put(session.Event{At: time.Second, Type: session.Join, Who: who.Name, Identity: &who})
	}
	for _, text := range s.shown {
		put(session.Event{At: 5 * time.Second, Type: session.Output, Bytes: []byte(text)})
	}
	for i, text := range s.said {
		put(session.Event{At: time.Duration(10+i) * time.Second, Type: session.Statement, Statement: &session.StatementInfo{N: i + 1, Protocol: "simple", Text: text}})
	}
	end := func() {
		h.t.Helper()
		cause := session.Cause{Code: s.end}
		put(session.Event{At: time.Minute, Type: session.End, Cause: &cause})
		if err := tape.Seal(session.Summary{ID: id, Cause: &cause, State: session.Ended}); err != nil {
			h.t.Fatal(err)
		}
	}
	if s.runs {
		h.end = end
	} else {
		end()
	}
	return id
}

func (h *house) archive(identities ...recorder.Identity) *recorder.Archive {
	a := recorder.OpenArchive(h.store, []ssh.PublicKey{key('k').PublicKey()}, nil)
	a.Open(identities)
	return a
}

// place is where the files of a recording lie.
func (h *house) place(id string) string {
	h.t.Helper()
	found, err := filepath.Glob(filepath.Join(h.dir, "sessions/*/*/*", id))
	if err != nil || len(found) != 1 {
		h.t.Fatalf("%s: %q, %v", id, found, err)
	}
	return found[0]
}

func open(t testing.TB, o index.Options) *index.Index {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	x, err := index.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// indexed is an index of everything that is there.
func (h *house) indexed(o index.Options) *index.Index {
	h.t.Helper()
	if o.Archive == nil {
		o.Archive = h.archive()
	}
	x := open(h.t, o)
	if err := x.Freshen(h.t.Context(), true); err != nil {
		h.t.Fatal(err)
	}
	return x
}

func find(t testing.TB, x *index.Index, q session.Query) (ids []string) {
	t.Helper()
	for s, err := range x.Find(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	return ids
}

func search(t testing.TB, x *index.Index, q session.Query) (hits []session.Hit) {
	t.Helper()
	for hit, err := range x.Search(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		hits = append(hits, hit)
	}
	return hits
}

func TestASearchLandsOnTheSecond(t *testing.T) {
	h := newHouse(t)
	old := h.records(told{ago: 48 * time.Hour, said: []string{"select 1", "DELETE\n  FROM\tpayments where id = 7"}, end: session.Killed, seated: []session.Identity{bob}})
	late := h.records(told{said: []string{"delete from payments", "select 2", "Delete From Payments;"}})
	h.closed()
	x := h.indexed(index.Options{})
	hits := search(t, x, session.Query{Text: "delete from payments"})
	var got []string
	for _, hit := range hits {
		got = append(got, fmt.Sprintf("%s %v %d %s", hit.ID, hit.At, hit.N, hit.Text))
	}
	want := []string{
		late + " 12s 3 Delete From Payments;", late + " 10s 1 delete from payments",
		old + " 11s 2 DELETE FROM payments where id = 7",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q", got)
	}
	if s := hits[2]; s.Engineer != "alice@example.com" || s.Target != "orders" || s.Cause.Code != session.Killed || !slices.Equal(s.Shadows, []string{bob.Name}) {
		t.Errorf("%+v", s.Summary)
	}
	// The next page begins behind the place that was last.
	if rest := search(t, x, session.Query{Text: "delete from payments", Before: hits[0].Place}); len(rest) != 2 || rest[0].N != 1 {
		t.Errorf("behind the first: %v", rest)
	}
	if rest := search(t, x, session.Query{Text: "delete from payments", Before: session.Place{ID: late}}); len(rest) != 1 {
		t.Errorf("behind the first session: %v", rest)
	}
}

// What is typed is text: it finds what holds it, whatever it means to SQL, to FTS5,
// to a shell or to LIKE.
func TestHostileTextIsText(t *testing.T) {
	texts := []string{
		`select 'pay%_x'`, `select "said" : (a OR b) NEAR(c, 2) * ^ -d`, `it''s; drop table sessions; --`, "nul \x00 byte", "bad \xff\xfe utf-8",
		`"""`, `AND`, `{said shown} : "x"`, `MÜNCHEN İstanbul straße ΣΑΣ`, "tab\tand\r\nbreak", "日本語のテキスト", "\x1b[31mred\x1b[m", `\`, `'`, `%`, strings.Repeat("long ", 50_000) + "end",
	}
	h := newHouse(t)
	ids := map[string]string{}
	for _, text := range texts {
		ids[text] = h.records(told{said: []string{text}})
	}
	h.closed()
	x := h.indexed(index.Options{})
	for _, text := range texts {
		for _, asked := range []string{text, strings.ToUpper(text), strings.ToLower(text)} {
			if lower := strings.ToLower(asked); lower != strings.ToLower(text) || len(text) > 1000 {
				continue // letters whose other case is not one letter
			}
			if got := find(t, x, session.Query{Text: asked}); !slices.Contains(got, ids[text]) {
				t.Errorf("%.60q is not found: %q", asked, got)
			}
		}
	}
	for _, text := range []string{`"`, `""`, `pay%x`, `pay__x`, `said : x`, `*`, "\x00\x00\x00\x00", strings.Repeat("x", 100_000), strings.Repeat(`"`, 1000)} {
		find(t, x, session.Query{Text: text}) // and nothing breaks
	}
	if got := find(t, x, session.Query{Text: "pay%x"}); len(got) != 0 {
		t.Errorf("%% is a wildcard: %q", got)
	}
	for _, q := range []session.Query{{Engineer: "' OR 1=1 --"}, {Target: "%"}, {Flags: []string{"' OR ''='"}}, {ID: `"`}, {Before: session.Place{ID: "'"}}, {Code: "\x00"}} {
		if got := find(t, x, q); len(got) != 0 {
			t.Errorf("%+v finds %q", q, got)
		}
	}
	in, err := x.Indexed(t.Context())
	if err != nil || in.Cut != 1 || in.Unread != 0 || in.Broken != 0 || in.Sessions != len(texts) {
		t.Errorf("%+v, %v", in, err)
	}
}

// Texts of one or two characters are answered by an index, too, and nothing is missed:
// not at the ends of a text, not beyond the Basic Multilingual Plane.
func TestShortTexts(t *testing.T) {
	h := newHouse(t)
	said := h.records(told{said: []string{"select 'a~~b'", "x", "\U0001f511 日本"}, shown: []string{"orders=> \r\n%§\r\n"}})
	other := h.records(told{said: []string{"select 1", "a~b"}})
	h.closed()
	x := h.indexed(index.Options{})
	both := []string{other, said}
	slices.Sort(both)
	for text, want := range map[string][]string{
		"~~": {said}, "~": both, "~B": both, "X": {said}, "日本": {said}, "本": {said}, "🔑": {said}, "🔑 ": {said}, "a": both, "?": nil, "x\x00": nil, "%§": nil, "": both, " ": both, "11": nil,
	} {
		got := find(t, x, session.Query{Text: text})
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := find(t, x, session.Query{Text: "%§", Screen: true}); !slices.Equal(got, []string{said}) {
		t.Errorf("on the screen: %q", got)
	}
	if hits := search(t, x, session.Query{Text: "~~"}); len(hits) != 1 || hits[0].N != 1 || hits[0].Offset != 9 {
		t.Errorf("%+v", hits)
	}
}

// An accent is the same whether it was typed as one character with its letter (NFC) or as
// two (NFD), as a Mac's keyboard and its file names do; and so are letters that
// differ only by case or by where in a word they stand.
func TestAccentsAndLettersAreTheSameInEveryForm(t *testing.T) {
	for _, forms := range [][]string{
		{"caf\u00e9", "cafe\u0301", "CAF\u00c9", "CAFE\u0301"}, {"\u1ec7", "\u1eb9\u0302", "e\u0323\u0302", "e\u0302\u0323"},
		{"\u00e9", "e\u0301"}, {"\u212b", "\u00c5", "a\u030a"}, {"ὀδός", "ὈΔΌΣ"}, {"5 \u212a", "5 k"}, {"\u1100\u1161", "\uac00"},
	} {
		h := newHouse(t)
		for _, form := range forms {
			h.records(told{said: []string{"select '" + form + "'"}, shown: []string{"is " + form + "\r\n"}})
		}
		h.closed()
		x := h.indexed(index.Options{})
		for _, form := range forms {
			if got := find(t, x, session.Query{Text: form}); len(got) != len(forms) {
				t.Errorf("%+q finds %d of %d", form, len(got), len(forms))
			}
			if got := search(t, x, session.Query{Text: "is " + form, Screen: true}); len(got) != len(forms) || got[0].Offset != 0 {
				t.Errorf("on the screen %+q finds %+v of %d", form, got, len(forms))
			}
		}
	}
	h := newHouse(t)
	h.records(told{said: []string{"select 'cafe'"}})
	h.closed()
	if got := find(t, h.indexed(index.Options{}), session.Query{Text: "caf\u00e9"}); len(got) > 0 {
		t.Error("another letter is the same")
	}
}

func TestWhatWasOnTheScreen(t *testing.T) {
	h := newHouse(t)
	id := h.records(told{said: []string{"select secret"}, shown: []string{
		"\x1b]0;title needle1\x07orders=> sele", "\x1b[1mct\x1b[m 42 as ansxer\b\b\bwer;\r\n", "  answer \r\n--------\r\n     42\r\n(1 row)\r\n",
		"orders=> wrong\rorders=> right\x1b[K\r\n", "\x1b[2J\x1b[Hfull\x1b[5;1Hscreen\r\n",
	}})
	h.closed()
	x := h.indexed(index.Options{})
	for text, want := range map[string]bool{
		"select 42 as answer;": true, "(1 row)": true, "orders=> right": true, "wrong": false, "needle1": false, "\x1b[1m": false, "fullscreen": false, "screen": true,
		"select secret": true,
	} {
		if got := find(t, x, session.Query{Text: text, Screen: true}); (len(got) == 1) != want {
			t.Errorf("%q: found %v, want %v", text, got, want)
		}
	}
	if got := find(t, x, session.Query{Text: "1 row"}); len(got) != 0 {
		t.Error("without being asked for, the screen is searched")
	}
	hits := search(t, x, session.Query{Text: "1 row", Screen: true})
	if len(hits) != 1 || hits[0].ID != id || hits[0].N != 0 || hits[0].At != 5*time.Second {
		t.Errorf("%+v", hits)
	}
}

// Whatever is asked, the index answers as going through all of them does.
func TestItAnswersAsALoopWould(t *testing.T) {
	h := newHouse(t)
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	people := []session.Identity{alice, bob, carol}
	words := []string{"select", "delete", "FROM", "orders", "payments", "x", "é"}
	sessions := map[string]told{}
	for i := range 60 {
		s := told{ago: time.Duration(i) * 7 * time.Hour, who: people[r.IntN(3)], target: pick("orders", "billing"), mode: pick("read", "write"),
			end: session.Code(pick("quit", "killed", "idle")), said: []string{pick(words...) + " " + pick(words...), pick(words...)}}
		if r.IntN(2) == 0 {
			s.seated = []session.Identity{people[r.IntN(3)]}
		}
		sessions[h.records(s)] = s
	}
	h.closed()
	x := h.indexed(index.Options{})
	all := find(t, x, session.Query{})
	if len(all) != len(sessions) || !slices.IsSortedFunc(all, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Fatalf("%d sessions, or not newest first: %q", len(all), all)
	}
	for range 400 {
		q := session.Query{
			Engineer: pick("", "", "ALICE", "bob@example.com"), Shadow: pick("", "", "carol"), Target: pick("", "orders"), Mode: pick("", "", "read"),
			End: session.Code(pick("", "", "killed")), Text: pick("", "delete from", "e", "pay", "select"),
		}
		if r.IntN(3) == 0 {
			q.Flags = []string{"killed"}
		}
		if r.IntN(3) == 0 {
			q.Since = time.Now().Add(-time.Duration(r.IntN(400)) * time.Hour)
		}
		if r.IntN(3) == 0 {
			q.Before.ID = all[r.IntN(len(all))]
		}
		if r.IntN(3) == 0 {
			q.Seer = &session.Seer{Who: people[r.IntN(3)], Modes: []session.ModeName{{Target: "billing", Mode: "read"}}}
		}
		var want []string
		for _, id := range all {
			if s := sessions[id]; loop(q, id, s) {
				want = append(want, id)
			}
		}
		if got := find(t, x, q); !slices.Equal(got, want) {
			t.Fatalf("%+v: got %q, want %q", q, got, want)
		}
	}
}

// loop says of one session what the index should.
func loop(q session.Query, id string, s told) bool {
	sum := session.Summary{ID: id, Engineer: s.who.Name, Target: s.target, Mode: s.mode, Started: time.Now().Add(-s.ago), Cause: &session.Cause{Code: s.end}}
	if s.end == session.Killed {
		sum.Flags = []string{"killed"}
	}
	for _, who := range s.seated {
		sum.Shadows = append(sum.Shadows, who.Name)
	}
	seen := q.Seer == nil || q.Seer.Who.SamePersonAs(s.who) || slices.ContainsFunc(s.seated, q.Seer.Who.SamePersonAs) ||
		slices.Contains(q.Seer.Modes, session.ModeName{Target: s.target, Mode: s.mode})
	has := slices.ContainsFunc(s.said, func(text string) bool { return strings.Contains(strings.ToLower(text), q.Text) })
	return q.Matches(sum) && seen && has && (q.Before.ID == "" || id < q.Before.ID)
}

// The same person with another account sees their own.
func TestAnotherAccountOfTheSamePerson(t *testing.T) {
	h := newHouse(t)
	id := h.records(told{who: alice})
	h.closed()
	x := h.indexed(index.Options{})
	other := session.Identity{Issuer: "https://other", Subject: "9", SamePerson: "e-1"}
	if got := find(t, x, session.Query{Seer: &session.Seer{Who: other}}); !slices.Equal(got, []string{id}) {
		t.Errorf("%q", got)
	}
	other.SamePerson = ""
	if got := find(t, x, session.Query{Seer: &session.Seer{Who: other}}); len(got) != 0 {
		t.Errorf("a stranger sees %q", got)
	}
}

// What somebody removes leaves the index by its tombstone, long before the next look at
// all days.
func TestTombstonesAreFollowed(t *testing.T) {
	h := newHouse(t)
	h.records(told{ago: 100 * 24 * time.Hour, said: []string{"select old"}})
	young := h.records(told{ago: time.Hour, said: []string{"select young"}})
	h.closed()
	x := h.indexed(index.Options{TombsEvery: time.Nanosecond})
	if got := find(t, x, session.Query{}); len(got) != 2 {
		t.Fatalf("%q", got)
	}
	operator, err := recorder.New(recorder.Options{Dir: t.TempDir(), Store: h.store, Signer: key('k')})
	if err != nil {
		t.Fatal(err)
	}
	if err := operator.Prune(t.Context(), recorder.Pruning{Before: time.Now().AddDate(0, 0, -50), Really: true}, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if err := x.Freshen(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got := find(t, x, session.Query{}); !slices.Equal(got, []string{young}) {
		t.Errorf("%q, want %q", got, young)
	}
	h.recorder = operator
	h.closed()
}

func TestItFollowsTheStore(t *testing.T) {
	h := newHouse(t)
	first := h.records(told{ago: 40 * 24 * time.Hour, said: []string{"select old"}})
	running := h.records(told{ago: 26 * time.Hour, said: []string{"select running"}, runs: true})
	x := open(t, index.Options{Archive: h.archive(), SweepEvery: time.Nanosecond})
	for in := (session.Indexed{}); in.Sessions == 0; {
		if err := x.Freshen(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		in, _ = x.Indexed(t.Context())
	}
	if got := find(t, x, session.Query{Text: "select"}); !slices.Equal(got, []string{first}) {
		t.Errorf("%q", got)
	}
	var live []session.Hit
	for deadline := time.Now().Add(20 * time.Second); len(live) == 0 && time.Now().Before(deadline); {
		for hit, err := range x.Within(t.Context(), running, session.Query{Text: "running"}) {
			if err == nil {
				live = append(live, hit)
			}
		}
	}
	if len(live) != 1 || live[0].At != 10*time.Second {
		t.Errorf("in what runs: %v", live)
	}
	second := h.records(told{said: []string{"select new"}})
	h.end()
	h.closed()
	if err := x.Freshen(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if got := find(t, x, session.Query{Text: "select"}); !slices.Equal(got, []string{second, running, first}) {
		t.Errorf("after another: %q", got)
	}
	// What is removed from the store is gone with all its words.
	for _, id := range []string{first, running, second} {
		if err := os.RemoveAll(h.place(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Freshen(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if got := find(t, x, session.Query{}); len(got) != 0 {
		t.Errorf("after they were removed: %q", got)
	}
	if got := search(t, x, session.Query{Text: "select"}); len(got) != 0 {
		t.Errorf("after they were removed: %v", got)
	}
}

func TestWhatCanNotBeReadBlocksNothing(t *testing.T) {
	h := newHouse(t)
	var ids []string
	for i := range 5 {
		ids = append(ids, h.records(told{ago: time.Duration(5-i) * time.Hour, said: []string{"select it"}}))
	}
	h.closed()
	write := func(id, name, text string) {
		t.Helper()
		file := filepath.Join(h.place(id), name)
		if err := errors.Join(os.Remove(file), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write(ids[0], "manifest.json", "{")
	write(ids[1], "00000001.cast.zst", "not zstd")
	write(ids[2], "manifest.json.sig", "no signature")
	x := h.indexed(index.Options{})
	if got := find(t, x, session.Query{Text: "select it"}); !slices.Equal(got, []string{ids[4], ids[3]}) {
		t.Errorf("%q", got)
	}
	if got := find(t, x, session.Query{}); !slices.Equal(got, []string{ids[4], ids[3], ids[2], ids[1]}) {
		t.Errorf("%q", got)
	}
	if got := find(t, x, session.Query{Flags: []string{session.UnprovenFlag}}); !slices.Equal(got, []string{ids[2]}) {
		t.Errorf("not proven: %q", got)
	}
	in, err := x.Indexed(t.Context())
	if err != nil || in.Broken != 2 || len(in.Troubles) != 1 || !strings.Contains(in.Troubles[0], ids[0]) {
		t.Errorf("%+v, %v", in, err)
	}
}

// A key pair of these tests alone.
const (
	recipientText = "age1yfjmmfr5kedxkulmj68g32dv4yedxa23decpmraap7x9hx72vq4ssparx7"
	identityText  = "AGE-SECRET-KEY-1X55CNLJFTHQ95QUGHGGX7YE9SNAQUF8NEV0WWW0HS4J8JV9FZAYQ24SFC5"
)

// Who can not read a recording keeps nothing of what is in it; who has an identity
// finds it.
func TestWhatIsEncryptedIsListedAndNotKept(t *testing.T) {
	recipient, err := recorder.ParseRecipient(recipientText)
	if err != nil {
		t.Fatal(err)
	}
	identities, err := recorder.ParseIdentities(strings.NewReader(identityText))
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, func(o *recorder.Options) { o.Recipients = []recorder.Recipient{recipient} })
	id := h.records(told{said: []string{"select hush"}, shown: []string{"hush hush\r\n"}})
	h.closed()
	dir := t.TempDir()
	x := h.indexed(index.Options{Dir: dir})
	if got := find(t, x, session.Query{Engineer: "alice"}); !slices.Equal(got, []string{id}) {
		t.Errorf("listed: %q", got)
	}
	if got := search(t, x, session.Query{Text: "hush", Screen: true}); len(got) != 0 {
		t.Errorf("found: %v", got)
	}
	if in, err := x.Indexed(t.Context()); err != nil || in.Encrypted != 1 || in.Unread != 0 || in.Broken != 0 {
		t.Errorf("%+v, %v", in, err)
	}
	for _, err := range x.Within(t.Context(), id, session.Query{Text: "hush"}) {
		if !errors.Is(err, session.ErrEncrypted) {
			t.Errorf("within: %v", err)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if data, err := os.ReadFile(file); err != nil || bytes.Contains(bytes.ToLower(data), []byte("hush")) || bytes.Contains(data, []byte("hus")) {
			t.Errorf("%s holds what is encrypted (%v)", file, err)
		}
	}
	y := h.indexed(index.Options{Archive: h.archive(identities...)})
	if got := search(t, y, session.Query{Text: "hush"}); len(got) != 1 || got[0].ID != id {
		t.Errorf("with an identity: %v", got)
	}
}

// A manifest says as much as whoever wrote it likes: what is kept of it is bounded, and
// people who are not within bounds are nobody.
func TestAHugeManifestIsBounded(t *testing.T) {
	h := newHouse(t)
	long := strings.Repeat("long ", 100_000)
	id := h.records(told{who: session.Identity{Issuer: "https://idp", Subject: long, Name: long}, target: long, mode: "read", seated: []session.Identity{bob}})
	h.closed()
	x := h.indexed(index.Options{})
	for s, err := range x.Find(t.Context(), session.Query{}) {
		if err != nil || s.ID != id || len(s.Engineer)+len(s.Target)+len(s.Opened.Name) > 3000 || s.Opened.Valid() {
			t.Errorf("%v, %d bytes", err, len(s.Engineer)+len(s.Target)+len(s.Opened.Name))
		}
	}
	if got := find(t, x, session.Query{Seer: &session.Seer{Who: session.Identity{Issuer: "https://idp", Subject: long[:1000]}}}); len(got) != 0 {
		t.Errorf("somebody else sees %q", got)
	}
}

// The file is a cache: whatever happens to it, it is built again, and no verdict
// rests on it.
func TestADamagedIndexIsBuiltAgain(t *testing.T) {
	h := newHouse(t)
	id := h.records(told{said: []string{"select it"}})
	h.closed()
	files := func(dir string) []string {
		found, err := filepath.Glob(filepath.Join(dir, "*.db*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for name, damage := range map[string]func(file string) error{
		"gone":      os.Remove,
		"empty":     func(file string) error { return os.Truncate(file, 0) },
		"cut":       func(file string) error { return os.Truncate(file, 5000) },
		"garbage":   func(file string) error { return os.WriteFile(file, bytes.Repeat([]byte("garbage!"), 5000), 0o600) },
		"scrambled": scramble,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			x := h.indexed(index.Options{Dir: dir})
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			for _, file := range files(dir) {
				info, err := os.Stat(file)
				if err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v", file, info.Mode(), err)
				}
				if strings.HasSuffix(file, ".db") {
					if err := damage(file); err != nil {
						t.Fatal(err)
					}
				}
			}
			y := h.indexed(index.Options{Dir: dir})
			var got []string
			for range 3 { // damage is found when it is met
				got = nil
				for s, err := range y.Find(t.Context(), session.Query{Text: "select it"}) {
					if err == nil {
						got = append(got, s.ID)
					}
				}
				if len(got) > 0 {
					break
				}
				if err := y.Freshen(t.Context(), true); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(got, []string{id}) {
				t.Errorf("%q", got)
			}
		})
	}
	if report, err := h.archive().Check(t.Context(), id); err != nil || len(report.Findings) > 0 {
		t.Errorf("%v, %v", report, err)
	}
}

// scramble overwrites every page behind the first.
func scramble(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for i := 4096; i < len(data); i++ {
		data[i] ^= 0x5a
	}
	return os.WriteFile(file, data, 0o600)
}

// Where the index lay there is a link to another file: that one is left alone.
func TestALinkIsNoIndex(t *testing.T) {
	h := newHouse(t)
	dir := t.TempDir()
	if err := h.indexed(index.Options{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(t.TempDir(), "mine")
	if err := os.WriteFile(mine, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if err := errors.Join(os.Remove(found[0]), os.Symlink(mine, found[0])); err != nil {
		t.Fatal(err)
	}
	h.indexed(index.Options{Dir: dir})
	text, err := os.ReadFile(mine)
	info, err2 := os.Stat(mine)
	if err != nil || err2 != nil || string(text) != "mine" || info.Mode().Perm() != 0o644 {
		t.Errorf("%q, %v, %v, %v", text, info.Mode(), err, err2)
	}
}

func TestOthersOfAnotherVersionAreRemoved(t *testing.T) {
	dir := t.TempDir()
	stale, mine := filepath.Join(dir, "recordings-v0-0011223344556677.db"), filepath.Join(dir, "notes.txt")
	for _, file := range []string{stale, mine} {
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := newHouse(t)
	h.closed()
	open(t, index.Options{Dir: dir, Archive: h.archive()})
	if _, err := os.Stat(stale); err == nil {
		t.Error("the file of another version is still there")
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

// crowd is a store in which somebody has filled a folder until it can not be listed.
type crowd struct {
	store.Store
	folder *string
}

func (c crowd) List(ctx context.Context, folder string) ([]store.Object, error) {
	if folder == *c.folder {
		return nil, fmt.Errorf("%s: %w", folder, store.ErrTooMany)
	}
	return c.Store.List(ctx, folder)
}

// A folder that somebody filled is said, hides no other, and forgets nothing.
func TestAFolderThatIsFilledStopsNothing(t *testing.T) {
	day := func(ago time.Duration) string { return time.Now().Add(-ago).UTC().Format("sessions/2006/01/02/") }
	const yesterday, longAgo = 24 * time.Hour, 400 * 24 * time.Hour
	for name, folder := range map[string]string{
		"a day": day(yesterday), "an old day": day(longAgo), "an old year": day(longAgo)[:len("sessions/2006/")], "all": "sessions/", "the ledger": "ledger/",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			full := ""
			h.store = crowd{h.store, &full}
			want := []string{h.records(told{ago: longAgo}), h.records(told{ago: yesterday})}
			x := open(t, index.Options{Archive: h.archive(), SweepEvery: time.Nanosecond, TombsEvery: time.Nanosecond})
			if name == "the ledger" { // it is asked between sweeps
				x = open(t, index.Options{Archive: h.archive(), TombsEvery: time.Nanosecond})
			}
			eventually(t, func() bool {
				return x.Freshen(t.Context(), true) == nil && len(find(t, x, session.Query{})) == len(want)
			})
			full = folder
			want = append(want, h.records(told{said: []string{"select what is new"}}))
			h.closed()
			if err := x.Freshen(t.Context(), true); !errors.Is(err, store.ErrTooMany) || !strings.Contains(err.Error(), folder) {
				t.Errorf("%v", err)
			}
			slices.Sort(want)
			got := find(t, x, session.Query{})
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			if got := find(t, x, session.Query{Text: "what is new"}); len(got) != 1 {
				t.Errorf("in what is new: %q", got)
			}
		})
	}
}

// Several may follow the same store into the same file, and read meanwhile.
func TestManyAtOnce(t *testing.T) {
	h := newHouse(t)
	for i := range 40 {
		h.records(told{ago: time.Duration(i) * time.Hour, said: []string{fmt.Sprintf("select %d from orders", i)}})
	}
	h.closed()
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 3 {
		x := open(t, index.Options{Dir: dir, Archive: h.archive()}) // as another process would
		for range 2 {
			all.Go(func() {
				for range 3 {
					if err := x.Freshen(t.Context(), true); err != nil {
						t.Error(err)
					}
					if n := len(find(t, x, session.Query{Text: "from orders"})); n != 40 {
						t.Errorf("%d found", n)
					}
				}
			})
		}
	}
	all.Wait()
}

// The disk is the spool's first: when there is little left, the index keeps away
// from it, says so, and answers with what it has.
func TestItLeavesRoomForTheSpool(t *testing.T) {
	h := newHouse(t)
	h.records(told{})
	h.closed()
	x := open(t, index.Options{Archive: h.archive(), KeepFree: 1 << 62})
	if err := x.Freshen(t.Context(), true); err == nil || !strings.Contains(err.Error(), "kept for recordings") {
		t.Errorf("%v", err)
	}
	if got := find(t, x, session.Query{}); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func TestOneMayStopWaiting(t *testing.T) {
	h := newHouse(t)
	h.records(told{})
	h.closed()
	x := open(t, index.Options{Archive: h.archive()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.Freshen(ctx, true); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never")
		}
	}
}
