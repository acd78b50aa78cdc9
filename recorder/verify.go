package recorder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
)

// This file judges one recording. It trusts the public keys it was given and
// nothing else, computes everything again from the bytes in the store, and says
// each thing it finds in a sentence. It shares the types of format.go with the
// writer, but no code.

// Report is what became of verifying one recording.
type Report struct {
	ID       string   `json:"id"`
	Findings []string `json:"findings,omitempty"` // what is wrong, in sentences; none: it is proven
	Running  bool     `json:"running,omitempty"`  // no manifest, and young enough that the session may still run
	Unread   bool     `json:"unread,omitempty"`   // encrypted, and no identity was there: what is on the tape was not compared with the manifest

	Manifest *Manifest `json:"-"` // nil when it is missing or not proven
	hash     string    // of the manifest
}

// maxAge is how old a recording without a manifest may be before it must be
// asked after: no session lives longer than a certificate, 24 h.
const maxAge = 25 * time.Hour

// Check verifies one recording. An error means that it could not be checked;
// ErrNoRecording, that there is nothing of it.
func (a *Archive) Check(ctx context.Context, id string) (Report, error) {
	id, err := normalID(id)
	if err != nil {
		return Report{}, err
	}
	report, err := a.check(ctx, id)
	if err != nil && !errors.Is(err, ErrNoRecording) {
		return report.crowded(err)
	}
	place, placeErr := placeOf(id)
	traces, tracesErr := a.traces(ctx, place)
	if errors.Is(tracesErr, store.ErrTooMany) {
		return report.crowded(tracesErr)
	}
	if err2 := errors.Join(placeErr, tracesErr); err2 != nil {
		return report, err2
	}
	if report.mark(traces) {
		return report, nil
	}
	return report, err
}

// crowded takes it for a finding that there is too much in the folder to be listed.
func (r Report) crowded(err error) (Report, error) {
	if errors.Is(err, store.ErrTooMany) {
		r.Running, err = false, nil
		r.Findings = append(r.Findings, "its folder holds more names than twokey ever puts into one: somebody filled it, and what is in it was not all looked at")
	}
	return r, err
}

// mark adds what somebody did to it, and reports whether they did.
func (r *Report) mark(traces []string) bool {
	r.Findings = append(r.Findings, traces...)
	r.Running = r.Running && len(traces) == 0
	return len(traces) > 0
}

// check is Check without a look at what was deleted or written over.
func (a *Archive) check(ctx context.Context, id string) (Report, error) {
	place, err := placeOf(id)
	if err != nil {
		return Report{}, err
	}
	v := &verifier{Archive: a, ctx: ctx, place: place, report: Report{ID: id}}
	if len(a.keys) == 0 {
		return v.report, errors.New("there are no public keys to verify with")
	}
	if v.objects, err = a.store.List(ctx, place); err != nil {
		return v.report, err
	}
	if len(v.objects) == 0 {
		return v.report, fmt.Errorf("%w: %s", ErrNoRecording, id)
	}
	err = v.recording()
	return v.report, err
}

// verifier is the verification of one recording.
type verifier struct {
	*Archive
	ctx     context.Context
	place   string
	objects []store.Object
	report  Report
}

func (v *verifier) finding(format string, args ...any) {
	v.report.Findings = append(v.report.Findings, fmt.Sprintf(format, args...))
}

func (v *verifier) recording() error {
	data, err := v.manifest()
	if err != nil || data == nil {
		return err
	}
	m, err := parseManifest(data)
	if err != nil {
		v.finding("%v", err)
		return nil
	}
	v.report.Manifest, v.report.hash = m, sum(data)
	v.names(m)
	v.links(m)
	return v.tape(m)
}

// manifest gets the manifest and checks who signed it. It returns nil when
// there is nothing to go on with.
func (v *verifier) manifest() ([]byte, error) {
	data, _, err := v.store.Get(v.ctx, v.place+manifestName, "", maxManifest)
	switch {
	case errors.Is(err, store.ErrNotExist):
		v.report.Running = v.young()
		v.finding("it has no manifest: the session still runs, or its end is on its way to the store, or somebody removed it")
		return nil, nil
	case errors.Is(err, store.ErrTooLarge):
		v.finding("its manifest is larger than a manifest can be")
		return nil, nil
	case err != nil:
		return nil, err
	}
	sig, _, err := v.store.Get(v.ctx, v.place+signatureName, "", maxSignature)
	switch {
	case errors.Is(err, store.ErrNotExist):
		v.finding("its manifest is not signed: %s is missing", signatureName)
		return nil, nil
	case errors.Is(err, store.ErrTooLarge):
		v.finding("the signature of its manifest is larger than a signature can be")
		return nil, nil
	case err != nil:
		return nil, err
	}
	if err := checkSignature(v.keys, ManifestNamespace, data, sig); err != nil {
		v.finding("its manifest is not what was signed: %v", err)
		return nil, nil
	}
	return data, nil
}

// young reports whether the session may still run, by the time in its ID.
func (v *verifier) young() bool {
	day, err := time.Parse("sessions/2006/01/02/", v.place[:len("sessions/2006/01/02/")])
	age := time.Since(day)
	return err == nil && -48*time.Hour < age && age < 24*time.Hour+maxAge // clocks differ, but no session begins in ten years
}

// names checks that the manifest belongs here, and that what lies here belongs
// to the manifest.
func (v *verifier) names(m *Manifest) {
	if m.Session.ID != v.report.ID {
		v.finding("its manifest is that of another session, %.40q", m.Session.ID)
	}
	known := map[string]bool{manifestName: true, signatureName: true}
	for _, s := range m.Segments {
		known[s.Name()] = true
	}
	for _, o := range v.objects {
		if !known[o.Base()] || o.Folder() {
			v.finding("an object lies beside it that its manifest does not name: %s", shown(o.Base()))
		}
	}
}

// links checks that the manifest agrees with itself.
func (v *verifier) links(m *Manifest) {
	if m.Chain != linked(m.Session.ID, m.Segments) {
		v.finding("the chain of hashes in the manifest is not that of its segments")
	}
}

// linked is the chain of hashes at the end of these segments of a session, the
// first it has.
func linked(id string, segments []Segment) string {
	link := sha256.Sum256([]byte(id))
	for _, s := range segments {
		own, err := hex.DecodeString(s.SHA256())
		if err != nil {
			return ""
		}
		link = sha256.Sum256(append(link[:], own...))
	}
	return hex.EncodeToString(link[:])
}

// tape reads every segment and compares what is on the tape with what the
// manifest says.
func (v *verifier) tape(m *Manifest) error {
	t := tally{flags: map[string]bool{}}
	n := 0
	for p, err := range v.passages(m.Segments) {
		if err != nil {
			return err
		}
		s := m.Segments[n]
		n++
		v.report.Findings = append(v.report.Findings, p.findings...)
		v.report.Unread = v.report.Unread || p.unread
		if p.unread && len(v.report.Findings) == 0 {
			continue // its bytes are what was recorded; what they say is not for us
		}
		if !p.plain {
			return nil // said already; what comes after it can not be judged
		}
		if err := t.add(p, s, slices.Contains(m.Flags, "unread") && encrypted(s.Name())); err != nil {
			v.finding("segment %s: %v", s.Name(), err)
			return nil
		}
	}
	if v.report.Unread {
		return nil
	}
	for _, f := range t.compare(m) {
		v.finding("%s", f)
	}
	return nil
}

// tally is what the tape itself says.
type tally struct {
	lines  int
	at     time.Duration
	about  *About
	ended  bool
	totals Totals
	seats  []Seat
	end    *session.Cause
	flags  map[string]bool
}

// add continues the tape by a segment, or says what is wrong with it. unread:
// whoever sealed it could not read it, and the manifest does not know its times.
func (t *tally) add(p *passage, s Segment, unread bool) error {
	wrong := func(line int, err error) error { return fmt.Errorf("line %d of the tape: %w", t.lines+line, err) }
	if nth(s.Name()) > 1 {
		p.lines -= beginning // which are not its own
	}
	switch {
	case p.events > 0 && p.first < t.at:
		return wrong(1, fmt.Errorf("%w: its time lies before that of the line before it", errLine))
	case p.events > 0 && t.ended:
		return wrong(1, fmt.Errorf("%w: it comes after the end", errLine))
	case p.events > 0 && seconds(p.first) != s.From && !unread:
		return fmt.Errorf("it begins at %.6f s, and its manifest says %.6f", seconds(p.first), s.From)
	case p.wrong != nil:
		return wrong(p.lines, p.wrong)
	case p.about == nil && t.about == nil:
		return fmt.Errorf("%w: the first segment does not say whose session it is", errLine)
	}
	if p.events > 0 {
		t.at = p.at
	}
	if t.about == nil {
		t.about = p.about
	}
	t.lines += p.lines
	t.ended = t.ended || p.ended
	t.count(p)
	if seconds(t.at) != s.To && !unread {
		return fmt.Errorf("it ends at %.6f s, and its manifest says %.6f", seconds(t.at), s.To)
	}
	return nil
}

func (t *tally) count(p *passage) {
	t.totals.Statements += p.totals.Statements
	t.totals.Results += p.totals.Results
	t.totals.Failed += p.totals.Failed
	t.totals.Rows += p.totals.Rows
	t.totals.Bytes += p.totals.Bytes
	if p.alarm {
		t.flags["alarm"] = true
	}
	if p.ended {
		t.end = p.end
	}
	for _, e := range p.seats {
		if e.Type == session.Join {
			t.seats = append(t.seats, Seat{Who: e.Who, Identity: e.Identity, From: seconds(e.At), To: -1})
			continue
		}
		for i, s := range t.seats {
			if s.To < 0 && s.Who == e.Who && (e.Identity == nil || asJSON(e.Identity) == asJSON(s.Identity)) {
				t.seats[i].To = seconds(e.At)
				break
			}
		}
	}
}

// compare says in which ways the manifest and the tape differ.
func (t *tally) compare(m *Manifest) (findings []string) {
	say := func(format string, args ...any) { findings = append(findings, fmt.Sprintf(format, args...)) }
	switch {
	case t.about == nil:
		say("the tape does not say whose session it is")
		return findings
	case asJSON(*t.about) != asJSON(m.Session):
		say("the tape and the manifest do not agree on who asked for what")
	}
	switch {
	case !t.ended:
		say("the tape has no end")
	case t.end == nil || *t.end != m.Cause:
		say("the manifest says that the session ended with %q; the tape says %q", m.Cause, causeText(t.end))
	}
	unread := slices.Contains(m.Flags, "unread")
	if t.totals != m.Totals && !unread {
		say("the manifest counts %+v, and the tape holds %+v", m.Totals, t.totals)
	}
	for i := range t.seats {
		if t.seats[i].To < 0 {
			t.seats[i].To = seconds(t.at)
		}
	}
	if asJSON(t.seats) != asJSON(m.Seats) && !unread {
		say("the manifest and the tape do not agree on who watched")
	}
	if want := m.Session.Started.Add(t.at); !m.Ended.Equal(want) {
		say("the manifest says that the session ended at %v; by the tape it was %v", m.Ended, want)
	}
	return append(findings, t.compareFlags(m)...)
}

func (t *tally) compareFlags(m *Manifest) (findings []string) {
	t.flags["alone"] = len(m.Session.Quorum) == 0 && !m.Session.BreakGlass
	t.flags["break-glass"] = m.Session.BreakGlass
	if t.end != nil {
		t.flags["killed"] = t.end.Code == session.Killed
		t.flags["unclean"] = t.end.Code == session.Unclean
		t.flags["lost"] = t.end.Code == session.NodeLost
	}
	if slices.Contains(m.Flags, "unread") {
		delete(t.flags, "alarm")
	}
	for _, flag := range slices.Sorted(maps.Keys(t.flags)) {
		if is := t.flags[flag]; is != slices.Contains(m.Flags, flag) {
			findings = append(findings, fmt.Sprintf("by the tape %q is %v; the manifest says otherwise", flag, is))
		}
	}
	return findings
}

func causeText(c *session.Cause) string {
	if c == nil {
		return "nothing"
	}
	return c.Error()
}

func asJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(data))
}

func sum(p []byte) string {
	h := sha256.Sum256(p)
	return hex.EncodeToString(h[:])
}

// Verify checks recordings, or all of them and the ledgers when ids is empty,
// and writes a line about each to w. See Judge.
func (a *Archive) Verify(ctx context.Context, ids []string, w io.Writer) error {
	return a.Judge(ctx, session.Verification{IDs: ids}, w)
}

// Judge verifies recordings and writes a line about each to w. The error is
// session.Unproven when something was found, and else says why it could not be done.
func (a *Archive) Judge(ctx context.Context, how session.Verification, w io.Writer) error {
	if len(a.keys) == 0 {
		return errors.New("there are no public keys to verify with")
	}
	if len(how.IDs) == 0 {
		return a.judgeAll(ctx, how, w)
	}
	bad, undone := 0, error(nil)
	for i, id := range how.IDs {
		r, err := a.Check(ctx, id)
		if err != nil && (len(how.IDs) == 1 || ctx.Err() != nil) {
			return err
		}
		if r.ID == "" {
			r.ID = id
		}
		if err != nil {
			undone = errors.Join(undone, fmt.Errorf("%s: %w", id, err))
			r.Findings = append(r.Findings, "it could not be checked: "+session.OneLine(err.Error(), 1000))
		} else if len(r.Findings) > 0 {
			bad++
		}
		if err := r.write(w, how.JSON); err != nil {
			return err
		}
		if how.Progress != nil {
			how.Progress(i+1, len(how.IDs))
		}
	}
	if bad > 0 {
		return session.Unproven{Recordings: bad, Of: len(how.IDs)}
	}
	return undone
}

// write writes what became of a recording.
func (r Report) write(w io.Writer, asJSON bool) error {
	if !asJSON {
		return r.print(w)
	}
	return json.NewEncoder(w).Encode(struct {
		Report
		Proven bool     `json:"proven"`
		Notes  []string `json:"notes,omitempty"` // how far
	}{r, len(r.Findings) == 0 && !r.Running, r.notes()})
}

// notes say how far it is proven, where that is not all the way.
func (r Report) notes() (notes []string) {
	if r.Unread {
		notes = append(notes, "encrypted: every byte is what was recorded; what it says was not read")
	}
	m := r.Manifest
	if m == nil || m.SealedBy == "" {
		return notes
	}
	note := fmt.Sprintf("sealed by %s, since %s was lost; what had not reached the store is not there", m.SealedBy, m.Session.Node)
	if slices.Contains(m.Flags, "unannounced") {
		note += "; no ledger announced it, so that until then anybody who can write to the store may have made it"
	}
	return append(notes, note)
}

// print writes a line for a recording, and one more for each finding.
func (r Report) print(w io.Writer) error {
	if len(r.Findings) == 0 {
		m := r.Manifest
		_, err := fmt.Fprintf(w, "%s  proven: %s on %s (%s), %s, %d statements, %d segments, ended %s\n", r.ID,
			m.Session.Engineer.Name, m.Session.Target, m.Session.Mode, m.Session.Started.UTC().Format(time.DateTime),
			m.Totals.Statements, len(m.Segments), m.Cause.Code)
		for _, note := range r.notes() {
			if err == nil {
				_, err = fmt.Fprintf(w, "    %s\n", note)
			}
		}
		return err
	}
	if _, err := fmt.Fprintf(w, "%s  NOT PROVEN\n", r.ID); err != nil {
		return err
	}
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(w, "    %s\n", f); err != nil {
			return err
		}
	}
	return nil
}
