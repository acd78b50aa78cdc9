package recorder

import (
	"strings"
	"time"

	"github.com/twokey/twokey/session"
)

// This file holds the words of the format (FORMAT.md): what the manifest, the
// ledger and the first event say. Writer and verifier share these types and
// nothing else.

// FormatVersion is the version of everything described in FORMAT.md.
const FormatVersion = 1

// Namespaces of the signatures (SSHSIG, PROTOCOL.sshsig of OpenSSH).
const (
	ManifestNamespace = "twokey-manifest"
	LedgerNamespace   = "twokey-ledger"
)

// Names of objects.
const (
	manifestName  = "manifest.json"
	signatureName = "manifest.json.sig"
	segmentSuffix = ".cast.zst"

	encryptedSuffix = segmentSuffix + ".age"
)

// Bounds that a writer keeps and a reader insists on, in bytes.
const (
	maxLine      = 128 << 20         // one line of a tape, with its line break
	maxPlain     = maxLine + 16<<20  // one segment, decompressed
	maxManifest  = 32 << 20          // a manifest, or a ledger entry
	maxSignature = 64 << 10          // the signature of either
	maxStored    = 64 << 20          // one segment, as stored
	maxSegments  = maxManifest / 256 // segments of one recording
)

// Types of lines with code "e" that are no session events.
const (
	typeBegin = "begin" // the first: who asked for what
	typeRaw   = "raw"   // bytes that are not UTF-8
	typeCarry = "carry" // bytes of a rune whose rest is still to come
)

// About says who asked for what, from where, under which rules. The tape
// begins with it and the manifest repeats it.
type About struct {
	ID       string           `json:"id"`
	Code     string           `json:"code,omitempty"`
	Engineer session.Identity `json:"engineer"`
	Target   string           `json:"target"`
	Mode     string           `json:"mode"`
	Quorum   session.Quorum   `json:"quorum"` // what the mode asks for; empty: nobody
	Reason   string           `json:"reason,omitempty"`
	Args     []string         `json:"args,omitempty"` // psql's, without a terminal
	Size     session.Size     `json:"size,omitzero"`  // of the terminal
	Term     string           `json:"term,omitempty"`
	Env      []string         `json:"env,omitempty"`
	Cage     string           `json:"cage,omitempty"`

	// BreakGlass: opened in an emergency without the quorum.
	BreakGlass bool `json:"break_glass,omitempty"`

	Started time.Time `json:"started"`
	Node    string    `json:"node"`              // the bastion that recorded it
	Version string    `json:"version,omitempty"` // of twokey
}

// begin is the first event of a tape.
type begin struct {
	Type    string `json:"type"`
	Session About  `json:"session"`
}

// header is the first line of an asciicast v2 file, as far as it is used.
type header struct {
	Version   int               `json:"version"` // of asciicast: 2
	Width     int               `json:"width"`
	Height    int               `json:"height"`
	Timestamp int64             `json:"timestamp"`
	Title     string            `json:"title,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
}

// Manifest is the signed table of contents of a recording. Written last, its
// presence means that the tape is whole.
type Manifest struct {
	Format  int           `json:"format"`
	Session About         `json:"session"`
	Ended   time.Time     `json:"ended"`
	Cause   session.Cause `json:"cause"`
	Flags   []string      `json:"flags,omitempty"` // alone, break-glass, killed, alarm, unclean, lost, recovered, damaged, unread, unannounced
	Seats   []Seat        `json:"seats,omitempty"`
	Totals  Totals        `json:"totals"`

	Segments []Segment `json:"segments"`
	Chain    string    `json:"chain"` // of the last segment

	// SealedBy is the node that sealed it, where that is not the one that
	// recorded it (Session.Node).
	SealedBy string `json:"sealed_by,omitempty"`

	// Sequence counts the manifests that this node sealed from 1, and Previous is
	// the SHA-256 of the one before, so that a missing one shows.
	Sequence int64  `json:"sequence"`
	Previous string `json:"previous,omitempty"`
}

// Segment is a slice of the tape as it lies in the store. A session has one for
// each second in which anything happens: what can be computed is not in it.
type Segment struct {
	// Sum is its hash and its name as sha256sum writes them, so that sed and
	// sha256sum -c are all it takes.
	Sum     string  `json:"sum"`
	Size    int64   `json:"size"`              // bytes as stored
	Version string  `json:"version,omitempty"` // the store's, where it has any
	Plain   int64   `json:"plain_size"`        // bytes decompressed
	From    float64 `json:"from"`              // seconds: time of its first event
	To      float64 `json:"to"`                // and of its last
}

// sumLine is a line of sha256sum's; without a hash where nobody has vouched for any.
func sumLine(sha256, name string) string { return sha256 + "  " + name }

// SHA256 is the hash of the bytes as stored, in hex.
func (s Segment) SHA256() string {
	hash, _, _ := strings.Cut(s.Sum, "  ")
	return hash
}

// Name is that of the object.
func (s Segment) Name() string {
	_, name, _ := strings.Cut(s.Sum, "  ")
	return name
}

// Seat is one stay of a shadow.
type Seat struct {
	Who      string            `json:"who"`
	Identity *session.Identity `json:"identity,omitempty"`
	From     float64           `json:"from"` // seconds into the session
	To       float64           `json:"to"`   // when they left, or the session ended
}

// seconds is a time of a recording as a number: the very one that a line's
// decimal digits are read as, which Duration.Seconds need not be.
func seconds(at time.Duration) float64 { return float64(at/time.Microsecond) / 1e6 }

// Totals count what was asked of the database. Statements are those that were
// run: a Parse alone is not one.
type Totals struct {
	Statements int   `json:"statements"`
	Results    int   `json:"results"`
	Failed     int   `json:"failed"` // results with an error
	Rows       int64 `json:"rows"`
	Bytes      int64 `json:"bytes"` // of rows
}

// Entry is one line of a node's book: signed, and chained to the one before.
type Entry struct {
	Format   int       `json:"format"`
	Node     string    `json:"node"`
	Sequence int64     `json:"sequence"`           // from 1
	Previous string    `json:"previous,omitempty"` // SHA-256 of the entry before, hex
	Time     time.Time `json:"time"`
	Type     string    `json:"type"`

	Session  string            `json:"session,omitempty"`  // which recording; empty for all
	Manifest string            `json:"manifest,omitempty"` // sealed: SHA-256 of manifest.json
	Who      *session.Identity `json:"who,omitempty"`      // viewed, reviewed: by whom
	What     string            `json:"what,omitempty"`     // viewed: replay, export, verify, search; reviewed: ok, raise
	Note     string            `json:"note,omitempty"`     // reviewed: their words; started: the version

	First     string         `json:"first,omitempty"`     // begun: SHA-256 of the first segment
	Manifests *Link          `json:"manifests,omitempty"` // checkpoint, stopped: the last manifest that this node sealed
	Live      []Running      `json:"live,omitempty"`      // checkpoint: the sessions that run
	Deeds     []session.Deed `json:"deeds,omitempty"`     // deeds: what people did, in order
	Pruned    []Pruned       `json:"pruned,omitempty"`    // pruned: what is removed from the store after this
}

// Types of entries.
const (
	EntryStarted    = "started"    // the bastion
	EntryStopped    = "stopped"    // the bastion, in good order
	EntryBegun      = "begun"      // a recording
	EntrySealed     = "sealed"     // a recording
	EntryCheckpoint = "checkpoint" // once a minute while anything happens
	EntryViewed     = "viewed"
	EntryReviewed   = "reviewed"
	EntryDeeds      = "deeds"
	EntryPruned     = "pruned"
)

// Running is a recording that has no manifest yet, as far as the store has it.
type Running struct {
	Session  string `json:"session"`
	Segments int    `json:"segments"`        // that the store has
	Chain    string `json:"chain,omitempty"` // of the last of them
}

// What Viewed is told of a replay, the one way of looking after which one may
// review, and of its having shown all there is.
const (
	ViewReplay = "replay"
	ViewShown  = "replayed to its end"
)

// What a review says.
const (
	ReviewOK    = "ok"
	ReviewRaise = "raise"
)

// Link is a place in a chain: how many there are up to it, and the SHA-256 of it.
type Link struct {
	Sequence int64  `json:"sequence"`
	Hash     string `json:"hash,omitempty"`
}

// Pruned is what is left of a recording that was removed from the store when its
// time was over: enough to follow the chain of manifests through it.
type Pruned struct {
	Session  string           `json:"session"`
	Node     string           `json:"node"` // that sealed it
	Sequence int64            `json:"sequence"`
	Manifest string           `json:"manifest"` // SHA-256 of manifest.json
	Previous string           `json:"previous,omitempty"`
	Engineer session.Identity `json:"engineer"`
	Ended    time.Time        `json:"ended"`
}

// sealer is the node in whose chain the manifest is.
func (m *Manifest) sealer() string {
	if m.SealedBy != "" {
		return m.SealedBy
	}
	return m.Session.Node
}
