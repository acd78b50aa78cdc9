package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
)

// This file reads recordings back from a store. A recording is shown only as
// far as its signature and hashes hold.

// ErrNoRecording is returned, wrapped, for an ID that the store does not hold.
// It is the session's, so that callers that do not know this package know it.
var ErrNoRecording = session.ErrNoRecording

// Archive is the recordings in a store.
type Archive struct {
	store store.Store
	keys  []ssh.PublicKey
	books *Recorder

	identities []Identity

	room    *room // what may be held of segments, for all who verify
	buffers buffers
}

// Open lets the archive read recordings that are encrypted for these.
func (a *Archive) Open(identities []Identity) {
	a.identities = append(a.identities, identities...)
}

// OpenArchive returns the recordings of a store. keys are the recording keys
// that are trusted, present and past ones; without any, recordings can be
// listed and read but not verified. books takes note of who looked (Viewed);
// without it nobody does.
func OpenArchive(s store.Store, keys []ssh.PublicKey, books *Recorder) *Archive {
	return &Archive{store: s, keys: keys, books: books, room: newRoom(roomForSegments)}
}

// Summary returns what listings show of one session: by its manifest, proven where
// keys are trusted, or by the beginning of its tape while it has none.
func (a *Archive) Summary(ctx context.Context, id string) (session.Summary, error) {
	place, err := placeOf(id)
	if err != nil {
		return session.Summary{}, fmt.Errorf("%w: %w", ErrNoRecording, err)
	}
	m, err := a.manifest(ctx, place)
	if err != nil {
		return session.Summary{}, fmt.Errorf("recording %s: %w", id, err)
	}
	if m != nil {
		return m.Summary(), nil
	}
	d := &decoder{}
	for plain, err := range a.plain(ctx, id) {
		if err == nil {
			err = eachLine(plain, func(line []byte) error {
				if d.about != nil {
					return errEnough
				}
				_, err := d.line(line)
				return err
			})
		}
		if d.about == nil && err != nil {
			return session.Summary{}, fmt.Errorf("recording %s: %w", id, err)
		}
		break
	}
	if d.about == nil || d.about.ID != id {
		return session.Summary{}, fmt.Errorf("recording %s does not say whose it is", id)
	}
	return (&Manifest{Session: *d.about}).begun(), nil
}

// begun is the summary of a recording that has no end yet.
func (m *Manifest) begun() session.Summary {
	s := m.Summary()
	s.State, s.Cause, s.Ended = "", nil, time.Time{}
	return s
}

// Summary returns what listings show of the session.
func (m *Manifest) Summary() session.Summary {
	s := session.Summary{
		ID: m.Session.ID, Code: m.Session.Code, Engineer: m.Session.Engineer.Name,
		Target: m.Session.Target, Mode: m.Session.Mode, Reason: m.Session.Reason,
		State: session.Ended, Started: m.Session.Started, Ended: m.Ended, Cause: &m.Cause,
		Statements: m.Totals.Statements, Flags: m.Flags,
	}
	for _, seat := range m.Seats {
		if !slices.Contains(s.Shadows, seat.Who) {
			s.Shadows = append(s.Shadows, seat.Who)
		}
	}
	if n := len(m.Segments); n > 0 {
		s.Stored = m.Segments[n-1].To
	}
	return s
}

// places yields the folders of all recordings, newest first. After an error it
// ends.
func (a *Archive) places(ctx context.Context) iter.Seq2[string, error] {
	return walkPlaces(ctx, a.listed)
}

// listed lists the folders in a folder that may be ours.
func (a *Archive) listed(ctx context.Context, folder string) (names []string, err error) {
	list, err := a.store.List(ctx, folder)
	for _, o := range list {
		if o.Folder() && !foreign(o.Name) {
			names = append(names, o.Name)
		}
	}
	return names, err
}

// walkPlaces is places', with what lists the folders in a folder.
func walkPlaces(ctx context.Context, in func(ctx context.Context, folder string) ([]string, error)) iter.Seq2[string, error] {
	var walk func(folder string, depth int, yield func(string, error) bool) bool
	walk = func(folder string, depth int, yield func(string, error) bool) bool {
		list, err := in(ctx, folder)
		if err != nil {
			yield("", fmt.Errorf("listing the recordings: %w", err))
			return false
		}
		for _, name := range slices.Backward(list) {
			switch {
			case depth > 0:
				if !walk(name, depth-1, yield) {
					return false
				}
			case isPlace(name):
				if !yield(name, nil) {
					return false
				}
			}
		}
		return true
	}
	return func(yield func(string, error) bool) { walk("sessions/", 3, yield) }
}

func idOf(place string) string { return store.Object{Name: place}.Base() }

// isPlace reports whether a folder is where a recording of that ID belongs.
func isPlace(name string) bool {
	want, err := placeOf(idOf(name))
	return err == nil && want == name
}

// Events yields what happened, in order, as far as it is stored; a terminal's
// first size comes first, as a Resize. An error ends the sequence: what was
// yielded before it is proven, where there is a manifest and keys are trusted.
func (a *Archive) Events(ctx context.Context, id string) iter.Seq2[session.Event, error] {
	return a.Tape(ctx, id, 0, false)
}

// Tape yields the events that Events does and that are not before a time. Where
// there is a manifest, nothing is read that is. With follow it waits for what is
// yet to be stored, until the session's end.
func (a *Archive) Tape(ctx context.Context, id string, from time.Duration, follow bool) iter.Seq2[session.Event, error] {
	return func(yield func(session.Event, error) bool) {
		d := &decoder{}
		for plain, err := range a.plainFrom(ctx, id, from, follow, d) {
			if err == nil {
				err = eachLine(plain, func(line []byte) error {
					e, err := d.line(line)
					if err == nil && d.lines == 2 && d.about.Size != (session.Size{}) {
						e = &session.Event{Type: session.Resize, Size: d.about.Size}
					}
					if err == nil && e != nil && e.At >= from && !yield(*e, nil) {
						return errEnough
					}
					return err
				})
			}
			if err != nil {
				if !errors.Is(err, errEnough) {
					yield(session.Event{}, fmt.Errorf("recording %s: %w", id, err))
				}
				return
			}
		}
	}
}

// plainFrom yields the segments of a recording, decompressed, beginning with the
// first that has anything that is not before a time, and readies d for it.
func (a *Archive) plainFrom(ctx context.Context, id string, from time.Duration, follow bool, d *decoder) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		segments, place, err := a.contents(ctx, id)
		if err != nil {
			yield(nil, err)
			return
		}
		past := 0
		for past < len(segments)-1 && segments[past].SHA256() != "" && moment(segments[past].To) < from {
			past++
		}
		if past > 0 {
			d.lines, d.about = 2, &About{} // those lines are in the first
		}
		for _, s := range segments[past:] {
			if plain, err := a.unpacked(ctx, place, s); !yield(plain, err) || err != nil {
				return
			}
		}
		for n := len(segments) + 1; follow && !d.ended; n++ {
			s := Segment{Sum: sumLine("", nameOf(n, encrypted(segments[len(segments)-1].Name()))), Size: maxStored}
			if plain, err := a.awaited(ctx, place, s); !yield(plain, err) || err != nil {
				return
			}
		}
	}
}

// moment is a time as the manifest has it, to the microsecond.
func moment(s float64) time.Duration { return time.Duration(math.Round(s*1e6)) * time.Microsecond }

// followEvery is how often the store is asked for a segment that is yet to come.
const followEvery = 500 * time.Millisecond

// awaited is unpacked for a segment that may not be there yet.
func (a *Archive) awaited(ctx context.Context, place string, s Segment) ([]byte, error) {
	for {
		plain, err := a.unpacked(ctx, place, s)
		if !errors.Is(err, store.ErrNotExist) {
			return plain, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(followEvery):
		}
	}
}

// unpacked is a segment, decompressed.
func (a *Archive) unpacked(ctx context.Context, place string, s Segment) ([]byte, error) {
	stored, err := a.segment(ctx, place, s)
	var plain []byte
	if err == nil {
		plain, err = unpack(s.Name(), stored, a.identities, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", s.Name(), err)
	}
	return plain, nil
}

// errEnough is how a reader that has seen enough leaves a loop over lines.
var errEnough = errors.New("enough")

// Export writes the recording as one asciicast v2 file: exactly the lines that
// were recorded.
func (a *Archive) Export(ctx context.Context, id string, w io.Writer) error {
	for plain, err := range a.plain(ctx, id) {
		if err != nil {
			return fmt.Errorf("recording %s: %w", id, err)
		}
		if _, err := w.Write(plain); err != nil {
			return err
		}
	}
	return nil
}

// plain yields the segments of a recording, decompressed, in order. Where there
// is a manifest, each is checked against it.
func (a *Archive) plain(ctx context.Context, id string) iter.Seq2[[]byte, error] {
	return a.plainFrom(ctx, id, 0, false, &decoder{})
}

// contents returns the segments of a recording as its manifest names them, or,
// while there is none, as they lie in the store.
func (a *Archive) contents(ctx context.Context, id string) (list []Segment, place string, err error) {
	if place, err = placeOf(id); err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrNoRecording, err)
	}
	m, err := a.manifest(ctx, place)
	switch {
	case err != nil:
		return nil, "", err
	case m == nil:
		list, err = a.unproven(ctx, place)
		return list, place, err
	}
	return m.Segments, place, nil
}

// manifest returns the manifest of a recording, proven where keys are trusted,
// or nil when there is none.
func (a *Archive) manifest(ctx context.Context, place string) (*Manifest, error) {
	data, _, err := a.store.Get(ctx, place+manifestName, "", maxManifest)
	switch {
	case errors.Is(err, store.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if len(a.keys) > 0 {
		sig, _, err := a.store.Get(ctx, place+signatureName, "", maxSignature)
		if err == nil {
			err = checkSignature(a.keys, ManifestNamespace, data, sig)
		}
		if err != nil {
			return nil, fmt.Errorf("the manifest is not proven: %w", err)
		}
	}
	m, err := parseManifest(data)
	if err != nil {
		return nil, err
	}
	if m.Session.ID != idOf(place) {
		return nil, fmt.Errorf("the manifest is that of another session, %.40q", m.Session.ID)
	}
	return m, nil
}

// unproven lists the segments of a recording that has no manifest yet.
func (a *Archive) unproven(ctx context.Context, place string) ([]Segment, error) {
	objects, err := a.store.List(ctx, place)
	if err != nil {
		return nil, err
	}
	var list []Segment
	for _, o := range objects {
		if nth(o.Base()) == len(list)+1 {
			// Nobody has signed for this size: it is not what is to be read into memory.
			list = append(list, Segment{Sum: sumLine("", o.Base()), Size: min(o.Size, maxStored)})
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoRecording, idOf(place))
	}
	return list, nil
}

// segment gets the stored bytes of a segment. Where the newest version is not
// what the manifest says, the version it names is tried.
func (a *Archive) segment(ctx context.Context, place string, s Segment) ([]byte, error) {
	stored, _, err := a.store.Get(ctx, place+s.Name(), "", s.Size)
	if err == nil && s.SHA256() != "" && sum(stored) != s.SHA256() {
		err = errors.New("it is not what was recorded")
	}
	if err != nil && s.Version != "" {
		original, _, err2 := a.store.Get(ctx, place+s.Name(), s.Version, s.Size)
		if err2 == nil && sum(original) == s.SHA256() {
			return original, nil
		}
	}
	return stored, err
}

// swells reports whether JSON becomes far more in memory than it is here: [{},{},{}
// and so on, a hundredfold. In a manifest, an object has 64 bytes and a value 8, and
// more, or there are few.
func swells(data []byte) bool {
	objects, values := len(data)/64+1000, len(data)/8+1000
	within := false // a string
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case within && c == '\\':
			i++
		case c == '"':
			within = !within
		case within:
		case c == '{':
			objects--
		case c == ',':
			values--
		}
	}
	return objects < 0 || values < 0
}

// parseManifest reads a manifest and checks what would make reading on
// dangerous: its version, and the names and sizes of segments.
func parseManifest(data []byte) (*Manifest, error) {
	if swells(data) {
		return nil, errors.New("the manifest is made of more parts than one can be")
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("the manifest can not be read: %w", err)
	}
	if m.Format != FormatVersion {
		return nil, fmt.Errorf("the manifest has format %d; this twokey reads %d", m.Format, FormatVersion)
	}
	if len(m.Segments) == 0 || len(m.Segments) > maxSegments {
		return nil, fmt.Errorf("the manifest names %d segments", len(m.Segments))
	}
	for i, s := range m.Segments {
		switch {
		case nth(s.Name()) != i+1:
			return nil, fmt.Errorf("segment %d of the manifest has the name %.40q", i+1, s.Name())
		case !hashForm.MatchString(s.SHA256()):
			return nil, fmt.Errorf("segment %d of the manifest has no hash", i+1)
		case s.Size < 0 || s.Size > maxStored || s.Plain < 0 || s.Plain > maxPlain:
			return nil, fmt.Errorf("segment %d of the manifest has an impossible size", i+1)
		}
	}
	return &m, nil
}

// placeOf is the folder of a recording: the ID alone says where it lies.
func placeOf(id string) (string, error) {
	u, err := ulid.ParseStrict(id)
	if err != nil {
		return "", fmt.Errorf("%.40q is no session ID", id)
	}
	return time.UnixMilli(int64(u.Time())).UTC().Format("sessions/2006/01/02/") + u.String() + "/", nil
}

var (
	segmentForm = regexp.MustCompile(`^([0-9]{8})\.cast\.zst(\.age)?$`)
	hashForm    = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// nth reads the number of a segment from its name, 0 if it is none.
func nth(name string) int {
	m := segmentForm.FindStringSubmatch(name)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return n
}

// nameOf is the name of the nth segment.
func nameOf(n int, encrypted bool) string {
	if encrypted {
		return fmt.Sprintf("%08d.cast.zst.age", n)
	}
	return fmt.Sprintf("%08d.cast.zst", n)
}

// normalID returns an ID in upper case, as folders have it.
func normalID(id string) (string, error) {
	u, err := ulid.ParseStrict(strings.ToUpper(id))
	if err != nil {
		return "", fmt.Errorf("%w: %.40q is no session ID", ErrNoRecording, id)
	}
	return u.String(), nil
}
