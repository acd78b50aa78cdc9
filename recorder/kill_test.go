//go:build !race

package recorder_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
)

// This file kills bastions. A child process records sessions, and says each
// thing on a pipe once the recorder has taken it, as a session shows it to the
// engineer. It is ended with SIGKILL, at each failpoint and at random moments.
// After the next start, what it had said must be in the store, byte for byte,
// and every recording proven.
//
// The child is this very binary. Under the race detector it takes ten times as
// long to start, and dies before it has raced: make test runs this without.

// TestMain turns this binary into the child when it is asked to.
func TestMain(m *testing.M) {
	if dir := os.Getenv("TWOKEY_TEST_CHILD"); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// The child's orders, in its environment.
const (
	orderSeed = "TWOKEY_TEST_SEED"      // what it does is random
	orderDie  = "TWOKEY_TEST_DIE"       // "STEP NAME N": at the failpoint, when it is there for the Nth time
	orderDays = "TWOKEY_TEST_SESSIONS"  // how many sessions each of two workers records
	orderTell = "TWOKEY_TEST_FAILPOINT" // set: it says at which failpoints it is
	orderFor  = "TWOKEY_TEST_RECIPIENT" // recordings are for this recipient alone
	orderSlow = "TWOKEY_TEST_SLOW"      // set: sessions last for longer than it takes until the spool is synced
)

// child records sessions, two at a time. A line on standard output is one
// write to a pipe, which takes it whole or not at all.
func child(dir string) {
	seed, err := strconv.ParseUint(os.Getenv(orderSeed), 10, 64)
	check(err)
	n, err := strconv.Atoi(os.Getenv(orderDays))
	check(err)
	watchFailpoints()
	s, err := store.NewFolder(filepath.Join(dir, "store"))
	check(err)
	o := options(filepath.Join(dir, "state"), s)
	o.SegmentEvery, o.SegmentBytes = 5*time.Millisecond, 2<<10
	pause := 4 * time.Millisecond
	if os.Getenv(orderSlow) != "" {
		o.SegmentEvery, o.SegmentBytes, pause = time.Hour, 1<<20, 80*time.Millisecond
	}
	if to := os.Getenv(orderFor); to != "" {
		recipient, err := recorder.ParseRecipient(to)
		check(err)
		o.Recipients = []recorder.Recipient{recipient}
	}
	r, err := recorder.New(o)
	check(err)
	check(r.Recover(context.Background()))
	var workers sync.WaitGroup
	for w := range uint64(2) {
		workers.Go(func() {
			c := worker{Recorder: r, archive: recorder.OpenArchive(s, trusted(), r), rng: rand.New(rand.NewPCG(seed, w)), pause: pause}
			for range n {
				c.session()
			}
		})
	}
	workers.Wait()
	check(r.Close(context.Background()))
	say("closed", "-", nil)
}

func say(what, id string, data []byte) {
	os.Stdout.WriteString(fmt.Sprintf("%s %s %x\n", what, id, data))
}

// watchFailpoints has the child die at the one it was told.
func watchFailpoints() {
	die, tell := os.Getenv(orderDie), os.Getenv(orderTell) != ""
	if die == "" && !tell {
		return
	}
	var mu sync.Mutex
	seen := map[string]int{}
	recorder.Failpoint(func(step, name string) {
		point := step + " " + kindOf(name)
		mu.Lock()
		defer mu.Unlock()
		seen[point]++
		if tell {
			say("at", strings.ReplaceAll(point, " ", "/"), nil)
		}
		if fmt.Sprint(point, " ", seen[point]) == die {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
}

var (
	anyID     = regexp.MustCompile(`^[0-9A-Z]{26}`)
	anyNumber = regexp.MustCompile(`^[0-9]+`)
)

// kindOf is a file's name without what differs from one to the next.
func kindOf(name string) string {
	return anyNumber.ReplaceAllString(anyID.ReplaceAllString(strings.TrimSuffix(filepath.Base(name), ".age"), "ID"), "N")
}

// worker records one session after the other.
type worker struct {
	*recorder.Recorder
	archive *recorder.Archive
	rng     *rand.Rand
	pause   time.Duration // at most, now and then
}

// session records one, is reviewed, and says all of that.
func (c worker) session() {
	want := request()
	if c.rng.IntN(2) == 0 {
		want.BreakGlass = true
		want.Mode.BreakGlass.Review = time.Nanosecond // owed at once
	}
	tape, err := c.Begin(context.Background(), want)
	check(err)
	what := "begun"
	if want.BreakGlass {
		what = "glass"
	}
	say(what, want.ID, nil)
	check(c.Note(session.Deed{What: session.DeedAsked, Who: &alice, Session: want.ID}))
	say("asked", want.ID, nil)
	at := time.Duration(0)
	for e := range events(want.ID, c.rng.IntN(120)) {
		at += time.Duration(c.rng.IntN(1000)) * time.Microsecond
		e.At = at
		check(tape.Append(e))
		say(string(e.Type), want.ID, text(e))
		if c.rng.IntN(20) == 0 {
			time.Sleep(rand.N(c.pause))
		}
		if c.rng.IntN(40) == 0 {
			check(c.Viewed(context.Background(), bob, "search", want.ID))
			say("viewed", want.ID, nil)
		}
	}
	say("ending", want.ID, nil)
	end, summary := ending(want.ID, at)
	if c.rng.IntN(2) == 0 {
		check(tape.Append(end))
		say("ended", want.ID, nil)
	}
	check(tape.Seal(summary))
	say("sealed", want.ID, nil)
	c.review(want.ID)
}

// review signs the recording off when it is in the store.
func (c worker) review(id string) {
	for {
		_, err := c.archive.Asked(context.Background(), id)
		if err == nil {
			break
		}
		if !errors.Is(err, recorder.ErrNoRecording) {
			check(err)
		}
		time.Sleep(time.Millisecond)
	}
	check(c.archive.Viewed(context.Background(), bob, recorder.ViewReplay, id))
	check(c.archive.Shown(context.Background(), bob, id))
	check(c.archive.Review(context.Background(), bob, id, recorder.ReviewOK, ""))
	say("reviewed", id, nil)
}

// events are those of a session, which its ID alone determines: output that is
// cut anywhere, also within runes, input, and statements.
func events(id string, n int) func(func(session.Event) bool) {
	h := fnv.New64()
	io.WriteString(h, id)
	rng := rand.New(rand.NewPCG(h.Sum64(), 0))
	return func(yield func(session.Event) bool) {
		if !yield(session.Event{Type: session.Join, Who: "bob", Identity: &bob}) {
			return
		}
		for i := range n {
			line := fmt.Sprintf("row %d ü€😀\xff %s\r\n", i, strings.Repeat("x", rng.IntN(200)))
			cut := rng.IntN(len(line))
			e := session.Event{Type: session.Statement, Statement: &session.StatementInfo{N: i, Protocol: "simple", Text: "select " + strconv.Itoa(i)}}
			if !yield(out(0, line[:cut])) || !yield(out(0, line[cut:])) ||
				!yield(session.Event{Type: session.Input, Bytes: []byte(line[cut:])}) || i%5 == 0 && !yield(e) {
				return
			}
		}
	}
}

// text is what a person sees of an event.
func text(e session.Event) []byte {
	switch {
	case e.Statement != nil:
		return []byte(e.Statement.Text + "\n")
	case e.Type == session.Join:
		return []byte(e.Who + "\n")
	}
	return e.Bytes
}

// streams is what was seen of a session, by type of event.
type streams map[session.EventType][]byte

// wreck is a directory in which children were killed, and what they had said.
type wreck struct {
	dir   string
	key   *age.X25519Identity       // recordings are encrypted, with this to read them; or nil
	said  map[string]map[string]int // by session: how often it said what
	seen  map[string]streams
	steps []string // failpoints, as told
	died  bool     // the last child
	ended bool     // it ended by itself
}

func newWreck(t testing.TB) *wreck {
	return &wreck{dir: memoryDir(t), said: map[string]map[string]int{}, seen: map[string]streams{}}
}

// run runs a child. kill is called with its process after each line that it says.
func (w *wreck) run(t *testing.T, kill func(line int, p *os.Process), orders ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), "TWOKEY_TEST_CHILD="+w.dir), orders...)
	if w.key != nil {
		cmd.Env = append(cmd.Env, orderFor+"="+w.key.Recipient().String())
	}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if kill == nil {
		kill = func(int, *os.Process) {}
	}
	kill(0, cmd.Process)
	w.ended = false
	lines := bufio.NewReader(pipe)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		w.heard(t, line)
		kill(n, cmd.Process)
	}
	cmd.Wait()
	w.died = cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if !w.died && !w.ended {
		t.Fatalf("the child failed: %v\n%s", cmd.ProcessState, complaint.String())
	}
}

func (w *wreck) heard(t *testing.T, line string) {
	var what, id string
	var data []byte
	if _, err := fmt.Sscanf(line, "%s %s %x", &what, &id, &data); err != nil && strings.Count(line, " ") != 2 {
		t.Fatalf("the child said %q: %v", line, err)
	}
	switch {
	case what == "at":
		w.steps = append(w.steps, strings.ReplaceAll(id, "/", " "))
		return
	case what == "closed":
		w.ended = true
		return
	case w.said[id] == nil:
		w.said[id], w.seen[id] = map[string]int{}, streams{}
	}
	w.said[id][what]++
	typ := session.EventType(what)
	w.seen[id][typ] = append(w.seen[id][typ], data...)
}

// judge starts the bastion once more and compares what lies in the store
// then with what the children had said.
func (w *wreck) judge(t *testing.T) {
	t.Helper()
	s, err := store.NewFolder(filepath.Join(w.dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(w.dir, "state")
	o := options(state, s)
	if w.key != nil {
		o.Recipients = []recorder.Recipient{w.key.Recipient()}
	}
	r := newRecorder(t, o)
	if err := r.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id, said := range w.said {
		if owes, must := slices.Contains(r.Owes(alice), id), said["glass"] > 0 && said["sealed"] == 0; must && !owes {
			t.Errorf("%s was opened alone and is forgotten", id)
		}
		if what, _ := r.Reviewed(id); said["reviewed"] > 0 && what != recorder.ReviewOK {
			t.Errorf("%s: the review is forgotten", id)
		}
	}
	closed(t, r)
	a := recorder.OpenArchive(s, trusted(), nil)
	if w.key != nil {
		a.Open([]recorder.Identity{w.key})
	}
	proven(t, a)
	for _, id := range slices.Sorted(maps.Keys(w.said)) {
		w.judgeTape(t, a, id)
		w.judgeManifest(t, a, id)
	}
	w.judgeLedger(t)
	w.judgeLeft(t, state)
}

// judgeTape compares every byte.
func (w *wreck) judgeTape(t *testing.T, a *recorder.Archive, id string) {
	t.Helper()
	taped, all := streams{}, streams{}
	for _, e := range read(t, a, id) {
		taped[e.Type] = append(taped[e.Type], text(e)...)
	}
	for e := range events(id, 120) {
		all[e.Type] = append(all[e.Type], text(e)...)
	}
	for _, typ := range []session.EventType{session.Output, session.Input, session.Statement, session.Join} {
		switch {
		case !bytes.HasPrefix(taped[typ], w.seen[id][typ]):
			t.Errorf("%s: of %s, %d bytes were acknowledged, %d are on the tape, and they differ", id, typ, len(w.seen[id][typ]), len(taped[typ]))
		case !bytes.HasPrefix(all[typ], taped[typ]):
			t.Errorf("%s: the tape has %s that never was", id, typ)
		}
	}
}

func (w *wreck) judgeManifest(t *testing.T, a *recorder.Archive, id string) {
	t.Helper()
	report, err := a.Check(t.Context(), id)
	if err != nil || report.Manifest == nil {
		t.Errorf("%s: %v, %v", id, report.Findings, err)
		return
	}
	m, said := report.Manifest, w.said[id]
	unclean := slices.Contains(m.Flags, "unclean")
	switch {
	case said["sealed"] > 0 && (unclean || slices.Contains(m.Flags, "recovered")), said["ended"] > 0 && unclean:
		t.Errorf("%s: its end was acknowledged, and the manifest says %v, flags %v", id, m.Cause, m.Flags)
	case said["ending"] == 0 && (!unclean || m.Cause.Code != session.Unclean):
		t.Errorf("%s: nobody ended it, and the manifest says %v, flags %v", id, m.Cause, m.Flags)
	case slices.Contains(m.Flags, "damaged"):
		t.Errorf("%s: the death of a process damaged it", id)
	}
}

// judgeLedger looks for what was put into the books.
func (w *wreck) judgeLedger(t *testing.T) {
	t.Helper()
	has := map[string]map[string]int{}
	for _, e := range w.ledger(t) {
		if has[e.Session] == nil {
			has[e.Session] = map[string]int{}
		}
		has[e.Session][e.Type]++
		for _, d := range e.Deeds {
			if has[d.Session] == nil {
				has[d.Session] = map[string]int{}
			}
			has[d.Session][string(d.What)]++
		}
	}
	for id, said := range w.said {
		views := said["viewed"]
		if said["reviewed"] > 0 {
			views += 2
		}
		// One more of anything, and both of a review, may have been written and not acknowledged.
		if n := has[id]; n[recorder.EntryViewed] < views || n[recorder.EntryViewed] > views+3 || n[recorder.EntryReviewed] < said["reviewed"] ||
			n[recorder.EntryBegun] < said["begun"]+said["glass"] || n[string(session.DeedAsked)] < said["asked"] {
			t.Errorf("%s: the ledger has %v; said was %v", id, n, said)
		}
	}
}

func (w *wreck) ledger(t *testing.T) (list []recorder.Entry) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(w.dir, "store"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.Contains(path, "/ledger/") || !strings.HasSuffix(path, ".json") {
			return err
		}
		var e recorder.Entry
		data, err := os.ReadFile(path)
		list = append(list, e)
		return errors.Join(err, json.Unmarshal(data, &list[len(list)-1]))
	})
	if err != nil {
		t.Error(err)
	}
	return list
}

// judgeLeft looks for what nobody needs any more.
func (w *wreck) judgeLeft(t *testing.T, state string) {
	t.Helper()
	filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(state, path)
		if !mayStay.MatchString(rel) {
			t.Errorf("left in the state directory: %s", rel)
		}
		return err
	})
}

var mayStay = regexp.MustCompile(`^(\.|recorder\.lock|node|books\.json|deeds\.jsonl|spool|ledger|reviews|reviews/[0-9A-Z]{26}\.json)$`)

// failpoints are all of them, each with what it is about.
var failpoints = append(entryPoints(), strings.Split(strings.TrimSpace(`
writing node
written node
writing books.json
written books.json
written deeds.jsonl
made ID
begun N.cast
writing event
written event
syncing slice
synced slice
cut N.cast
writing N.cast.zst
written N.cast.zst
written segments.jsonl
syncing segments.jsonl
synced segments.jsonl
removed N.cast
putting N.cast.zst
put N.cast.zst
removed N.cast.zst
trimmed N.cast
ended N.cast
ended tape
writing sealed.json
written sealed.json
writing manifest.json.sig
written manifest.json.sig
writing manifest.json
written manifest.json
putting manifest.json.sig
put manifest.json.sig
putting manifest.json
put manifest.json
discarding ID
discarded ID
writing ID.json
written ID.json
`), "\n")...)

// entryPoints are those of the ledger's entries.
func entryPoints() (points []string) {
	for _, typ := range []string{"started", "begun", "sealed", "viewed", "reviewed", "deeds", "stopped"} {
		name := "N-" + typ + ".json"
		for _, file := range []string{name + ".sig", name} {
			points = append(points, "writing "+file, "written "+file, "putting "+file, "put "+file)
		}
		points = append(points, "removed "+name)
	}
	return points
}

// TestKilledAtEveryFailpoint kills a child while it takes care of what an
// earlier one left, or records sessions of its own.
func TestKilledAtEveryFailpoint(t *testing.T) {
	for _, point := range failpoints {
		for seed := range thoroughness(t) {
			t.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(point, " ", "_"), seed), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(uint64(seed), 1))
				w, nth := newWreck(t), 1
				if rng.IntN(2) == 0 || strings.HasPrefix(point, "put ") {
					w.key = identity(t)
				}
				if seed > 0 { // not always at the first chance
					nth += rng.IntN(1 + seed/4)
				}
				if !strings.HasSuffix(point, " node") { // that is made but once
					w.run(t, nil, orders(seed, fmt.Sprint("written event ", 20+rng.IntN(200)))...)
					w.tear(t)
				}
				order := orders(seed+1000, fmt.Sprint(point, " ", nth))
				if strings.HasSuffix(point, " slice") {
					order = append(order, orderSlow+"=1")
				}
				w.run(t, nil, order...)
				if nth == 1 && !w.died {
					t.Error("it did not come there")
				}
				w.judge(t)
			})
		}
	}
}

func orders(seed int, die string) []string {
	return []string{fmt.Sprint(orderSeed, "=", seed), orderDays + "=2", orderDie + "=" + die}
}

// tear leaves half a line in every slice that was being written, as a SIGKILL
// within a long write does.
func (w *wreck) tear(t *testing.T) {
	t.Helper()
	open, err := filepath.Glob(filepath.Join(w.dir, "state", "spool", "*", "*.cast"))
	if err != nil || len(open) == 0 {
		t.Fatalf("%v, %v", open, err)
	}
	for i, path := range open {
		id := filepath.Base(filepath.Dir(path))
		if w.said[id]["ending"] > 0 || i+1 < len(open) && filepath.Dir(open[i+1]) == filepath.Dir(path) {
			continue // nothing was being written
		}
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(`[1234.000000,"o","half`)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// The list above has every failpoint that two children come to.
func TestFailpointsAreKnown(t *testing.T) {
	w := newWreck(t)
	tell := append(orders(1, "synced slice 1"), orderTell+"=1", orderSlow+"=1")
	w.run(t, nil, tell...)
	w.tear(t)
	w.run(t, nil, append(orders(2, "none"), orderTell+"=1")...)
	w.judge(t)
	slices.Sort(w.steps)
	if got, want := slices.Compact(w.steps), slices.Sorted(slices.Values(failpoints)); !slices.Equal(got, want) {
		t.Errorf("the failpoints are %q\nwant %q", got, want)
	}
}

// TestKilledAtRandom kills children under load, several in a row, each of which
// takes care of what those before it left.
func TestKilledAtRandom(t *testing.T) {
	const inARow = 5
	for seed := range 2 * thoroughness(t) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWreck(t)
			rng := rand.New(rand.NewPCG(uint64(seed), 2))
			if seed%2 == 1 {
				w.key = identity(t)
			}
			for i := range inARow {
				// Lines and not time: a child that is slow to start is not killed there alone.
				lines, later := rng.IntN(1000)*rng.IntN(2), time.Duration(rng.IntN(10_000))*time.Microsecond
				w.run(t, func(n int, p *os.Process) {
					if n == lines {
						time.AfterFunc(later, func() { p.Kill() })
					}
				}, fmt.Sprint(orderSeed, "=", seed*inARow+i), orderDays+"=1000000")
			}
			w.judge(t)
		})
	}
}
