package recorder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// This file keeps a node's books: the chain of its manifests and its ledger.
// A place in a chain is given out and written to disk here, under one lock, before anything
// goes to the store. A recording that can not be uploaded therefore holds up
// neither the chain nor anybody else's recording.

type books struct {
	dir    string // the state directory
	node   string
	signer ssh.Signer
	wake   chan struct{} // a token when an entry was added

	mu    sync.Mutex
	head  heads
	unfit bool // books.json does not know of the head yet

	forked error // the store has other books of this node
}

// errForked is why a bastion opens nothing whose entries no ledger will ever hold.
var errForked = errors.New("the store has another ledger of this bastion: its machine was put back to an earlier state, or a copy of it runs elsewhere, " +
	"or somebody writes to the store. Make sure that no copy runs, keep its state directory for whoever looks into it, and start it with a new, empty state directory")

// fork notes that the store holds another entry in the place of one of ours.
func (b *books) fork(why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forked = fmt.Errorf("%w (%w)", errForked, why)
}

// intact returns nil while the ledger can be continued.
func (b *books) intact() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.forked
}

type heads struct {
	Manifests Link `json:"manifests"`
	Ledger    Link `json:"ledger"`
}

func openBooks(dir, node string, signer ssh.Signer) (*books, error) {
	b := &books{dir: dir, node: node, signer: signer, wake: make(chan struct{}, 1)}
	if err := os.MkdirAll(b.ledger(), 0o700); err != nil {
		return nil, err
	}
	if _, err := readJSON(b.file(), &b.head); err != nil {
		return nil, fmt.Errorf("the node's books: %w", err)
	}
	b.unfit = true // what catchUp finds is on no list
	return b, b.catchUp()
}

func (b *books) file() string   { return filepath.Join(b.dir, "books.json") }
func (b *books) ledger() string { return filepath.Join(b.dir, "ledger") }

// catchUp moves the heads behind what a crash left between writing a manifest
// or an entry and noting that it was written.
func (b *books) catchUp() error {
	manifests, err := filepath.Glob(filepath.Join(b.dir, "spool", "*", manifestName))
	if err != nil {
		return err
	}
	for _, path := range manifests {
		var m Manifest
		if err := b.advance(&b.head.Manifests, path, &m, &m.Sequence); err != nil {
			return err
		}
	}
	if err := sweep(b.ledger()); err != nil {
		return err
	}
	waiting, err := b.waiting()
	if err != nil {
		return err
	}
	for _, name := range waiting {
		var e Entry
		if err := b.advance(&b.head.Ledger, filepath.Join(b.ledger(), name), &e, &e.Sequence); err != nil {
			return err
		}
	}
	return nil
}

// advance moves a head to what a file holds, if that is later.
func (b *books) advance(head *Link, path string, v any, sequence *int64) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if *sequence > head.Sequence {
		*head = Link{Sequence: *sequence, Hash: hash(data)}
	}
	return nil
}

// seal gives the manifest its place in the chain, signs it, and leaves both
// files in the directory. It returns the hash of the manifest.
func (b *books) seal(dir string, m *Manifest) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	head := &b.head.Manifests
	m.Sequence, m.Previous = head.Sequence+1, head.Hash
	if m.Session.Node != b.node {
		m.SealedBy = b.node
	}
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if err := b.write(filepath.Join(dir, manifestName), ManifestNamespace, data); err != nil {
		return err
	}
	return b.move(head, Link{Sequence: m.Sequence, Hash: hash(data)})
}

// move puts a head behind what was written. The caller holds mu.
func (b *books) move(head *Link, to Link) error {
	*head, b.unfit = to, true
	return b.fit()
}

// fit brings the heads to disk, if they are not there. Nothing that was given a
// place may leave for the store before: once it is gone from here, only the heads
// know that the place is taken. The caller holds mu.
func (b *books) fit() error {
	if !b.unfit {
		return nil
	}
	if err := writeJSON(b.file(), b.head); err != nil {
		return fmt.Errorf("the node's books: %w", err)
	}
	b.unfit = false
	return nil
}

// toSend returns the names of the entries that may go to the store.
func (b *books) toSend() ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.fit(); err != nil {
		return nil, err
	}
	return b.waiting()
}

// settle makes sure that the places which were given out are on disk.
func (b *books) settle() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fit()
}

// write signs and writes, the signature first: what is there is signed.
func (b *books) write(path, namespace string, data []byte) error {
	sig, err := sign(b.signer, namespace, data)
	if err != nil {
		return err
	}
	if err := writeFile(path+".sig", sig); err != nil {
		return err
	}
	return writeFile(path, data)
}

// add puts an entry into the ledger. It is on disk when add returns, and goes
// to the store in the background.
func (b *books) add(e Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addNow(e)
}

// addNow is add's. The caller holds mu.
func (b *books) addNow(e Entry) error {
	head := &b.head.Ledger
	if manifests := b.head.Manifests; e.Type == EntryCheckpoint || e.Type == EntryStopped {
		e.Manifests = &manifests
	}
	e.Format, e.Node, e.Time = FormatVersion, b.node, time.Now().UTC()
	e.Sequence, e.Previous = head.Sequence+1, head.Hash
	data, err := json.MarshalIndent(e, "", " ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	name := fmt.Sprintf("%010d-%s.json", e.Sequence, e.Type)
	if err := b.write(filepath.Join(b.ledger(), name), LedgerNamespace, data); err != nil {
		return fmt.Errorf("the ledger can not be written: %w", err)
	}
	if err := b.move(head, Link{Sequence: e.Sequence, Hash: hash(data)}); err != nil {
		return fmt.Errorf("the ledger can not be written: %w", err)
	}
	poke(b.wake)
	return nil
}

// settled is the number of the last entry that is known to be in the store, with
// all before it.
func (b *books) settled() (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	names, err := b.waiting()
	if err != nil || len(names) == 0 {
		return b.head.Ledger.Sequence, err
	}
	var first int64
	if _, err := fmt.Sscanf(names[0], "%010d-", &first); err != nil {
		return 0, err
	}
	return first - 1, nil
}

// waiting returns the names of the entries that are not known to be in the
// store, in order.
func (b *books) waiting() ([]string, error) {
	entries, err := os.ReadDir(b.ledger())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// sendBooks brings entries to the store until the recorder stops, or closes and
// everything is there. An entry that does not go holds up no other.
func (r *Recorder) sendBooks() {
	pause := firstPause
	for {
		left := r.sendWaiting()
		var again <-chan time.Time
		switch {
		case left == 0:
			pause = firstPause
		default:
			again = time.After(pause)
			pause = min(2*pause, lastPause)
		}
		last := r.last
		if left > 0 {
			last = nil // not before everything is there
		}
		select {
		case <-r.books.wake:
		case <-again:
		case <-last:
			if r.sendWaiting() == 0 {
				return
			}
		case <-r.ctx.Done():
			return
		}
	}
}

// sendWaiting tries every entry once, in order, and returns how many are left.
func (r *Recorder) sendWaiting() (left int) {
	names, err := r.books.toSend()
	if err != nil {
		r.o.Log.Error("ledger not readable", "error", err)
		return 1
	}
	for _, name := range names {
		if err := r.sendEntry(name); err != nil {
			left++
			if errors.Is(err, errTaken) {
				r.books.fork(err)
			}
			r.o.Log.Warn("not stored yet", "what", "ledger entry "+name, "error", err)
		}
	}
	return left
}

func (r *Recorder) sendEntry(name string) error {
	path := filepath.Join(r.books.ledger(), name)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	sig, err := os.ReadFile(path + ".sig")
	if err != nil {
		return err
	}
	var e Entry
	if err := json.Unmarshal(data, &e); err != nil {
		return err
	}
	object := "ledger/" + e.Node + e.Time.UTC().Format("/2006/01/02/") + name
	if _, err := r.put(r.ctx, object+".sig", sig); err != nil {
		return err
	}
	if _, err := r.put(r.ctx, object, data); err != nil {
		return err
	}
	err = os.Remove(path)
	failpoint("removed", path)
	return errors.Join(err, os.Remove(path+".sig"))
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
