package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
)

// This file judges a whole store: each recording, each node's ledger, and both
// against each other, so that a recording that is gone without a trace of its
// own leaves one in the books.

// settle is how long after its end a recording may be without its line in the
// ledger: both are on their way.
const settle = 10 * time.Minute

// auditor is the verification of a whole store.
type auditor struct {
	*Archive
	ctx       context.Context
	how       session.Verification
	w         io.Writer
	undone    error // what could not be checked
	all, bad  int
	manifests map[string]sealed             // by session
	chains    map[string][]sealed           // by node
	noted     map[string]bool               // sessions whose end a ledger knows
	begun     map[string]announced          // by session: what a ledger says of its beginning
	stored    map[string]Running            // by session: how far the store had it at the last checkpoint
	there     map[string]bool               // sessions that there is anything of in the store
	pruned    map[string]bool               // sessions that are removed since their time was over
	replayed  map[string][]session.Identity // by session: who replayed it, as far as this ledger was read
	tombs     []Pruned                      // of all ledgers
	later     []func()                      // checks, for when all ledgers are read
	ends      []string                      // how each ledger ends, in a sentence
	problems  []string                      // about the books
	partly    bool                          // goes on without a folder that is too full to be listed
}

// announced is a recording whose beginning is in a ledger.
type announced struct {
	node, first string
	at          time.Time
}

// sealed is what the books need to know of a recording.
type sealed struct {
	id, node, hash, previous string
	sequence                 int64
	ended                    time.Time
	engineer                 session.Identity
}

func (a *Archive) judgeAll(ctx context.Context, how session.Verification, w io.Writer) error {
	u := &auditor{
		Archive: a, ctx: ctx, how: how, w: w, manifests: map[string]sealed{}, chains: map[string][]sealed{}, noted: map[string]bool{},
		begun: map[string]announced{}, stored: map[string]Running{}, there: map[string]bool{}, pruned: map[string]bool{}, partly: true,
	}
	// The ledgers first: a recording that ends meanwhile is in the store by the
	// time that it is looked for.
	if err := u.ledgers(); err != nil {
		return err
	}
	if err := u.recordings(); err != nil {
		return err
	}
	u.bury()
	for _, check := range u.later {
		check()
	}
	u.manifestChains()
	u.forgotten()
	u.vanished()
	if err := u.sum(); err != nil {
		return err
	}
	if u.bad > 0 || len(u.problems) > 0 {
		return session.Unproven{Recordings: u.bad, Of: max(u.all, 2), Ledger: len(u.problems)}
	}
	return u.undone
}

// sum writes what was found in the ledgers, and how much in all.
func (u *auditor) sum() error {
	if u.how.JSON {
		return json.NewEncoder(u.w).Encode(struct {
			Recordings int      `json:"recordings"`
			Unproven   int      `json:"unproven"`
			Ledgers    []string `json:"ledgers"`
			Findings   []string `json:"ledger_findings"`
		}{u.all, u.bad, u.ends, u.problems})
	}
	for _, line := range slices.Concat(u.ends, u.problems) {
		if _, err := fmt.Fprintf(u.w, "ledger  %s\n", line); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(u.w, "%d recordings, %d not proven; %d findings in the ledger\n", u.all, u.bad, len(u.problems))
	return err
}

func (u *auditor) problem(format string, args ...any) {
	u.problems = append(u.problems, fmt.Sprintf(format, args...))
}

// crowded takes a folder that somebody has filled until it can not be listed for one that
// holds nothing, and says so: it must not hide what is known of all others.
func (u *auditor) crowded(folder string, err error) error {
	if !u.partly || !errors.Is(err, store.ErrTooMany) {
		return err
	}
	if text := shown(folder) + " holds more names than twokey ever puts into one folder: somebody filled it, and what is in it was not checked"; !slices.Contains(u.problems, text) {
		u.problems = append(u.problems, text)
	}
	return nil
}

// within lists the folders in a folder, also those of which only deleted objects are left.
func (u *auditor) within(ctx context.Context, folder string) ([]string, error) {
	names, err := u.folders(ctx, folder)
	return names, u.crowded(folder, err)
}

// recordings verifies them, several at once, and tells of them in order.
func (u *auditor) recordings() error {
	var ids []string
	for place, err := range walkPlaces(u.ctx, u.within) {
		if err != nil {
			return err
		}
		ids = append(ids, idOf(place))
	}
	type checked struct {
		report Report
		err    error
	}
	done := 0
	for c := range inOrder(u.ctx, ids, 2*runtime.GOMAXPROCS(0), func(ctx context.Context, id string) checked {
		r, err := u.Check(ctx, id)
		return checked{r, err}
	}) {
		if err := u.recording(c.report, c.err); err != nil {
			return err
		}
		if done++; u.how.Progress != nil {
			u.how.Progress(done, len(ids))
		}
	}
	return u.ctx.Err()
}

// recording takes one into account.
func (u *auditor) recording(r Report, err error) error {
	if errors.Is(err, ErrNoRecording) {
		return nil // a folder without anything in it
	}
	if err != nil {
		if u.ctx.Err() != nil {
			return err
		}
		r.Findings = append(r.Findings, "it could not be checked: "+session.OneLine(err.Error(), 1000))
		u.undone = errors.Join(u.undone, fmt.Errorf("%s: %w", r.ID, err))
	}
	u.there[r.ID] = true
	if u.pruned[r.ID] && len(r.Findings) > 0 {
		return u.remains(r)
	}
	broken, err := u.brokenPromises(r)
	if err != nil {
		return err
	}
	r.Findings, r.Running = append(r.Findings, broken...), r.Running && len(broken) == 0
	if r.Running {
		if u.how.JSON {
			return r.write(u.w, true)
		}
		_, err := fmt.Fprintf(u.w, "%s  running, or on its way to the store\n", r.ID)
		return err
	}
	u.all++
	if len(r.Findings) > 0 {
		u.bad++
	}
	if m := r.Manifest; m != nil {
		s := sealed{id: r.ID, node: m.sealer(), hash: r.hash, previous: m.Previous, sequence: m.Sequence, ended: m.Ended, engineer: m.Session.Engineer}
		u.manifests[s.id] = s
		u.chains[s.node] = append(u.chains[s.node], s)
	}
	return r.write(u.w, u.how.JSON)
}

// brokenPromises says where a recording is not what a ledger said of it while it
// was made.
func (u *auditor) brokenPromises(r Report) (findings []string, err error) {
	begun, known := u.begun[r.ID]
	stored := u.stored[r.ID]
	if !known && stored.Segments == 0 {
		return nil, nil
	}
	var segments []Segment
	if r.Manifest != nil {
		segments = r.Manifest.Segments
	} else if segments, err = u.unfinished(r.ID, max(stored.Segments, 1)); err != nil {
		return nil, err
	}
	if known && (len(segments) == 0 || begun.first != segments[0].SHA256()) {
		findings = append(findings, "it does not begin with what the ledger of "+begun.node+" says")
	}
	if stored.Segments > len(segments) || stored.Segments > 0 && stored.Chain != linked(r.ID, segments[:stored.Segments]) {
		findings = append(findings, fmt.Sprintf("its first %d segments are not those that a checkpoint of the ledger says", stored.Segments))
	}
	return findings, nil
}

// unfinished returns the first segments of a recording without a manifest as they lie in the
// store, up to the first that is missing or larger than one can be.
func (u *auditor) unfinished(id string, most int) (segments []Segment, err error) {
	place, err := placeOf(id)
	if err != nil {
		return nil, err
	}
	list, err := u.unproven(u.ctx, place)
	if err = u.crowded(place, err); err != nil && !errors.Is(err, ErrNoRecording) {
		return nil, err
	}
	for _, s := range list[:min(len(list), most)] {
		stored, _, err := u.store.Get(u.ctx, place+s.Name(), "", maxStored)
		if errors.Is(err, store.ErrNotExist) || errors.Is(err, store.ErrTooLarge) {
			break
		}
		if err != nil {
			return nil, err
		}
		segments = append(segments, Segment{Sum: sumLine(sum(stored), s.Name())})
	}
	return segments, nil
}

// remains tells of a recording whose removal, after its tombstone, is not complete.
func (u *auditor) remains(r Report) error {
	text := "its time is over, by a tombstone in the ledger, and it is not wholly removed; prune again"
	if u.how.JSON {
		return json.NewEncoder(u.w).Encode(struct {
			ID     string `json:"id"`
			Pruned bool   `json:"pruned"`
			Note   string `json:"note"`
		}{r.ID, true, text})
	}
	_, err := fmt.Fprintf(u.w, "%s  removed: %s\n", r.ID, text)
	return err
}

// manifestChains looks for numbers that are missing among the manifests of a
// node, and for manifests that do not continue the one before.
func (u *auditor) manifestChains() {
	for _, node := range slices.Sorted(maps.Keys(u.chains)) {
		list := u.chains[node]
		slices.SortFunc(list, func(a, b sealed) int { return int(a.sequence - b.sequence) })
		before := sealed{}
		for _, s := range list {
			switch {
			case s.sequence == before.sequence:
				u.problem("%s: the recordings %s and %s both claim to be number %d", node, before.id, s.id, s.sequence)
			case s.sequence != before.sequence+1:
				u.problem("%s: %s missing before %s", node, numbered(before.sequence+1, s.sequence-1), s.id)
			case s.previous != before.hash:
				u.problem("%s: recording %s does not continue the one before it, %s", node, s.id, before.id)
			}
			before = s
		}
	}
}

func numbered(from, to int64) string {
	if from == to {
		return fmt.Sprintf("recording number %d is", from)
	}
	return fmt.Sprintf("recordings number %d to %d are", from, to)
}

// forgotten looks for recordings that no ledger knows.
func (u *auditor) forgotten() {
	for _, id := range slices.Sorted(maps.Keys(u.manifests)) {
		if s := u.manifests[id]; !u.noted[id] && time.Since(s.ended) > settle {
			u.problem("%s: the ledger does not know the end of recording %s", s.node, id)
		}
	}
}

// vanished looks for recordings whose beginning is in a ledger, and which are
// not there.
func (u *auditor) vanished() {
	for _, id := range slices.Sorted(maps.Keys(u.begun)) {
		if !u.pruned[id] && !u.there[id] {
			u.problem("%s: recording %s began by the ledger, and there is nothing of it", u.begun[id].node, id)
		}
	}
}

func (u *auditor) ledgers() error {
	own, written, failed := u.written()
	_, err := u.directly("ledger/", 4)
	if err != nil {
		return err
	}
	nodes, err := u.within(u.ctx, "ledger/")
	if err != nil {
		return err
	}
	reached := map[string]int64{}
	for _, name := range nodes {
		node := store.Object{Name: name}.Base()
		if reached[node], err = u.ledger(node, name); err != nil {
			return err
		}
	}
	switch {
	case failed != nil:
		u.problem("%s: what this bastion has written can not be read: %v", own, failed)
	case reached[own] < written:
		u.problem("%s: the ledger ends at number %d, and this bastion has brought it to %d: its end is gone", own, reached[own], written)
	}
	return nil
}

// written is how far the bastion that verifies has brought its own ledger: nothing in
// the store can show that the last entries of one are gone. It grows at any time, also
// with every look at a recording, and so is asked before anything is listed.
func (u *auditor) written() (node string, number int64, err error) {
	if u.books == nil {
		return "", 0, nil
	}
	number, err = u.books.books.settled()
	return u.books.Node(), number, err
}

// ledger follows the chain of one node's entries, and returns the number of the
// last. They are numbered across days, so that walking the days in order walks the
// chain. How it ends is told to whoever notes it, and compares it the next time.
func (u *auditor) ledger(node, folder string) (number int64, err error) {
	names, err := u.entries(folder, 3)
	if err != nil {
		return 0, err
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(base(a), base(b)) })
	u.replayed = map[string][]session.Identity{}
	var last Entry
	hash := ""
	for _, name := range names {
		e, h, err := u.entry(name)
		if err != nil {
			return 0, err
		}
		if e == nil {
			last.Sequence, hash = last.Sequence+1, "" // said already; the next one can not be compared
			continue
		}
		u.follow(node, name, last, hash, *e)
		last, hash = *e, h
	}
	u.ends = append(u.ends, fmt.Sprintf("%s: %d entries, the last at %s: %s, %s", node, last.Sequence, last.Time.UTC().Format(time.DateTime), last.Type, hash))
	return last.Sequence, nil
}

func base(name string) string { return store.Object{Name: name}.Base() }

// entries returns the names of the entries of a node, from all its days.
func (u *auditor) entries(folder string, depth int) (names []string, err error) {
	if names, err = u.directly(folder, depth); err != nil || depth == 0 {
		return names, err
	}
	folders, err := u.within(u.ctx, folder)
	for _, name := range folders {
		if err == nil {
			var below []string
			below, err = u.entries(name, depth-1)
			names = append(names, below...)
		}
	}
	return names, err
}

// directly returns the names of the entries directly in a folder, so many above the
// days, and looks for what does not belong there.
func (u *auditor) directly(folder string, depth int) (names []string, err error) {
	list, err := u.store.List(u.ctx, folder)
	if err = u.crowded(folder, err); err != nil {
		return nil, err
	}
	traces, err := u.traces(u.ctx, folder)
	if err = u.crowded(folder, err); err != nil {
		return nil, err
	}
	u.problems = append(u.problems, traces...)
	for _, o := range list {
		switch {
		case !foreign(o.Name) && o.Folder() && depth > 0:
		case !foreign(o.Name) && depth == 0 && strings.HasSuffix(o.Name, ".json"):
			names = append(names, o.Name)
		case !foreign(o.Name) && depth == 0 && strings.HasSuffix(o.Name, ".json.sig"):
		default:
			u.problem("something lies in the ledger that does not belong there: %s", shown(o.Name))
		}
	}
	return names, nil
}

// entry gets an entry and checks its signature. It is nil after a finding.
func (u *auditor) entry(name string) (*Entry, string, error) {
	data, _, err := u.store.Get(u.ctx, name, "", maxManifest)
	if errors.Is(err, store.ErrTooLarge) {
		u.problem("%s is larger than an entry can be", name)
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	sig, _, err := u.store.Get(u.ctx, name+".sig", "", maxSignature)
	if err == nil {
		err = checkSignature(u.keys, LedgerNamespace, data, sig)
	} else if !errors.Is(err, store.ErrNotExist) && !errors.Is(err, store.ErrTooLarge) {
		return nil, "", err
	}
	if err != nil {
		u.problem("%s is not what was signed: %v", name, err)
		return nil, "", nil
	}
	var e Entry
	if err := json.Unmarshal(data, &e); err != nil || e.Format != FormatVersion {
		u.problem("%s can not be read (format %d): %v", name, e.Format, err)
		return nil, "", nil
	}
	return &e, sum(data), nil
}

// follow checks that an entry continues the one before, lies where it belongs,
// and that the recording it speaks of is there.
func (u *auditor) follow(node, name string, before Entry, hash string, e Entry) {
	if want := fmt.Sprintf("ledger/%s%s%010d-%s.json", e.Node, e.Time.UTC().Format("/2006/01/02/"), e.Sequence, e.Type); want != name || e.Node != node {
		u.problem("%s is an entry that belongs to %s", name, want)
		return
	}
	switch {
	case e.Sequence > before.Sequence+1:
		u.problem("%s: %d entries are missing before number %d", node, e.Sequence-before.Sequence-1, e.Sequence)
	case e.Sequence <= before.Sequence:
		u.problem("%s: number %d is there twice", node, e.Sequence)
	case hash != e.Previous && (hash != "" || e.Sequence == 1):
		u.problem("%s: number %d does not continue the one before it", node, e.Sequence)
	}
	switch e.Type {
	case EntryBegun:
		u.begun[e.Session] = announced{node: node, first: e.First, at: e.Time}
	case EntrySealed:
		u.later = append(u.later, func() { u.checkSealed(node, e) })
	case EntryCheckpoint, EntryStopped:
		u.checkpoint(node, e)
	case EntryPruned:
		for _, p := range e.Pruned {
			u.pruned[p.Session] = true
		}
		u.tombs = append(u.tombs, e.Pruned...)
	case EntryViewed:
		if (e.What == ViewReplay || e.What == ViewShown) && e.Who != nil && e.Who.Valid() {
			u.replayed[e.Session] = append(u.replayed[e.Session], *e.Who)
		}
	case EntryReviewed:
		u.checkReview(node, e)
	}
}

// checkpoint notes what must be there by it: how far the store had each
// recording, and the last manifest that the node had sealed.
func (u *auditor) checkpoint(node string, e Entry) {
	for _, s := range e.Live {
		if s.Segments > 0 {
			u.stored[s.Session] = s
		}
	}
	if e.Manifests != nil && time.Since(e.Time) > settle { // else it may be on its way
		u.later = append(u.later, func() { u.checkManifests(node, e) })
	}
}

// checkManifests checks that the last manifest of a checkpoint is there.
func (u *auditor) checkManifests(node string, e Entry) {
	for _, s := range u.chains[node] {
		if s.sequence == e.Manifests.Sequence {
			if s.hash != e.Manifests.Hash {
				u.problem("%s: recording %s has another manifest than number %d of the ledger says", node, s.id, e.Sequence)
			}
			return
		}
	}
	if e.Manifests.Sequence > 0 {
		u.problem("%s: %s missing by number %d of the ledger", node, numbered(e.Manifests.Sequence, e.Manifests.Sequence), e.Sequence)
	}
}

// bury takes recordings that were removed since their time was over for what
// the ledger says of them.
func (u *auditor) bury() {
	for _, p := range u.tombs {
		if _, there := u.manifests[p.Session]; there {
			continue // it was about to be removed
		}
		s := sealed{id: p.Session, node: p.Node, hash: p.Manifest, previous: p.Previous, sequence: p.Sequence, ended: p.Ended, engineer: p.Engineer}
		u.manifests[s.id] = s
		u.chains[s.node] = append(u.chains[s.node], s)
	}
}

// checkSealed checks that the recording an entry speaks of is there.
func (u *auditor) checkSealed(node string, e Entry) {
	u.noted[e.Session] = true
	m, there := u.manifests[e.Session]
	switch {
	case !there:
		u.problem("%s: recording %s is in the ledger, and missing from the store or not proven", node, e.Session)
	case m.hash != e.Manifest:
		u.problem("%s: recording %s has another manifest than the ledger says", node, e.Session)
	}
}

// checkReview checks that whoever reviewed a recording had replayed it, by the
// same ledger, and is not its engineer.
func (u *auditor) checkReview(node string, e Entry) {
	switch {
	case e.Who == nil || !e.Who.Valid():
		u.problem("%s: number %d is a review by nobody", node, e.Sequence)
	case !slices.ContainsFunc(u.replayed[e.Session], e.Who.SamePersonAs):
		u.problem("%s: number %d is a review of %s by %s, who had not replayed it", node, e.Sequence, e.Session, session.OneLine(e.Who.Name, 80))
	default:
		u.later = append(u.later, func() {
			if m, there := u.manifests[e.Session]; there && m.engineer.SamePersonAs(*e.Who) {
				u.problem("%s: number %d is a review of %s by its own engineer", node, e.Sequence, e.Session)
			}
		})
	}
}
