package pgwire

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/twokey/twokey/session"
)

// This file is what the two halves of a link know of each other: what the
// client asked and the database has not answered yet, in order. From it follows
// when the next message may be read, to which statement an answer belongs, and
// which text a name stands for.
//
// The server's rules it rests on: answers come in the order of the questions;
// after an error nothing is answered until the next Sync; while it takes COPY
// data, a Sync is ignored (Postgres manual 55.2.3, 55.2.6).

const (
	maxPending  = 1 << 14  // unanswered messages before the client must wait
	maxPrepared = 64 << 20 // bytes of text and parameters kept for names
	maxNames    = 1 << 14
)

// asked is one unanswered message.
type asked struct {
	kind byte // Q, P, B, E, C (Close) or S, as on the wire
	n    int  // of the statement; Q, P and E
	sent time.Time

	name   string // P, C: statement; B: portal
	portal bool   // C: name is a portal's
	means  meaning

	result session.ResultInfo
	tags   []string
	copied bool // COPY data flowed
	sum    hash.Hash

	// quiet: the client does not see that it was answered, only rows and COPY
	// data. Whoever asked hears what came of it through done, which takes one,
	// when ReadyForQuery answers.
	quiet bool
	done  chan outcome
	deny  []byte // what the client gets in place of the database's error
	again bool   // it is the gateway's: the client sees nothing but its failure
}

// outcome is what became of quiet messages, as of their ReadyForQuery.
type outcome struct {
	tx     byte
	end    []byte // CommandComplete or EmptyQueryResponse, whole; nil when it failed
	tag    string
	failed *pgproto3.ErrorResponse
}

// meaning is what a name stands for.
type meaning struct {
	known     bool
	parsed    bool // text came with a Parse
	text      string
	types     []uint32 // of the parameters, as the Parse has them
	told      []uint32 // the same, as the database has told them
	statement string   // its name
	params    []string
	doubtful  bool // SQL may have given the name to something else
	era       int  // of approval, in which a portal was bound
}

// prepared is the meaning without what a Bind has added.
func (m meaning) prepared() meaning {
	m.params = nil
	return m
}

func (m meaning) size() int {
	n := len(m.text) + len(m.statement) + 4*(len(m.types)+len(m.told))
	for _, p := range m.params {
		n += len(p)
	}
	return n
}

// dialogue is safe for concurrent use by the two halves.
type dialogue struct {
	mu         sync.Mutex
	pending    []*asked
	waits      int  // Q and S in pending: the client's next message waits
	copyIn     bool // the database takes COPY data
	failed     bool // the database ignores everything up to the next Sync, which has not come
	tx         byte // as of the last ReadyForQuery
	names      map[string]meaning
	portals    map[string]meaning
	kept       int             // bytes in both
	changed    chan struct{}   // one token: look again
	finished   []session.Event // results to note before anything more is shown
	got        outcome         // of quiet messages, so far
	scripted   bool            // the client's SQL has said EXECUTE, within which a text may be put together
	charset    string          // client_encoding, as the database last said
	hidden     []string        // passwords that were cut out of what is pending
	conforming bool            // standard_conforming_strings, as the database last said
	stirred    bool            // what was sent since the last ReadyForQuery may change both: they are told only with that
	described  []string        // statements of which the types of the parameters are about to be told
}

// newDialogue begins one as the database said at the login (ParameterStatus).
func newDialogue(tx byte, statuses map[string]string) *dialogue {
	return &dialogue{tx: tx, charset: statuses["client_encoding"], conforming: statuses["standard_conforming_strings"] == "on", names: map[string]meaning{}, portals: map[string]meaning{}, changed: make(chan struct{}, 1)}
}

// encoding is the client_encoding, by the database's own name for it.
func (d *dialogue) encoding() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.charset
}

// wake lets the client's half look again. The caller holds mu.
func (d *dialogue) wake() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// mayRead reports whether the client's next message may be read.
func (d *dialogue) mayRead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.copyIn || d.waits == 0 && len(d.pending) < maxPending
}

// turn waits until it may.
func (d *dialogue) turn(ctx context.Context) error {
	for !d.mayRead() {
		select {
		case <-d.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// busy reports whether the database works on something.
func (d *dialogue) busy() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pending) > 0
}

func (d *dialogue) state() (tx byte, copyIn, failed, pending bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tx, d.copyIn, d.failed, len(d.pending) > 0
}

// ask records a message that is about to be sent. It is false when the
// database would ignore it, and it must not be sent.
func (d *dialogue) ask(a *asked) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	a.sent = time.Now()
	switch a.kind {
	case 'S':
		d.failed = false
		d.waits++
	case 'Q':
		d.waits++
		d.stirred = true
		d.forget(d.names, "")
		d.forget(d.portals, "")
	default:
		if d.failed {
			return false
		}
		d.stirred = d.stirred || (a.kind == 'B' || a.kind == 'E') && stirs(a.means.text)
	}
	d.pending = append(d.pending, a)
	return true
}

// statement says what the name of a prepared statement stands for, once the
// messages before this one have been answered.
func (d *dialogue) statement(name string) meaning {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := len(d.pending) - 1; i >= 0; i-- {
		switch a := d.pending[i]; {
		case a.kind == 'P' && a.name == name:
			return a.means
		case a.kind == 'C' && !a.portal && a.name == name:
			return meaning{}
		}
	}
	return d.names[name]
}

// describe notes that a statement's parameters were asked for.
func (d *dialogue) describe(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.described) < maxNames {
		d.described = append(d.described, name)
	}
}

// typed takes ParameterDescription: it says of which types the parameters are
// where Parse did not. The caller holds mu.
func (d *dialogue) typed(body []byte) {
	if len(d.described) == 0 {
		return
	}
	name := d.described[0]
	d.described = d.described[1:]
	var p pgproto3.ParameterDescription
	if m, known := d.names[name]; known && p.Decode(body) == nil {
		d.forget(d.names, name)
		m.told = p.ParameterOIDs
		d.kept += m.size()
		d.names[name] = m
	}
}

// portal says the same of a portal.
func (d *dialogue) portal(name string) meaning {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := len(d.pending) - 1; i >= 0; i-- {
		switch a := d.pending[i]; {
		case a.kind == 'B' && a.name == name:
			return a.means
		case a.kind == 'C' && a.portal && a.name == name:
			return meaning{}
		}
	}
	return d.portals[name]
}

// keep gives a name its meaning. The caller holds mu.
func (d *dialogue) keep(in map[string]meaning, name string, m meaning) error {
	d.forget(in, name)
	d.kept += m.size()
	in[name] = m
	if d.kept > maxPrepared || len(in) > maxNames {
		return refused{"53200", "too many or too large prepared statements and portals"}
	}
	return nil
}

func (d *dialogue) forget(in map[string]meaning, name string) {
	d.kept -= in[name].size()
	delete(in, name)
}

// doubt marks the named meanings that a statement may have given to something
// else: SQL's PREPARE and DECLARE use the same names as Parse and Bind. A block
// or a function of this connection's may do so with a text that it puts together,
// and from when there is one, any statement may call it; where a shadow is asked,
// each text is prepared again instead (prepareAgain).
func (d *dialogue) doubt(sql string, asks bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	lower := strings.ToLower(sql)
	d.scripted = d.scripted || !asks && mentions(lower, "execute")
	if len(d.names)+len(d.portals)+len(d.pending) == 0 {
		return
	}
	prepares := d.scripted || mentions(lower, "prepare", "deallocate", "discard")
	if !prepares && !mentions(lower, "close", "declare", "cursor") {
		return
	}
	for _, a := range d.pending {
		a.means.doubtful = a.means.doubtful || a.name != "" && (prepares || a.kind == 'B')
	}
	for name, m := range d.portals {
		m.doubtful = m.doubtful || name != ""
		d.portals[name] = m
	}
	for name, m := range d.names {
		m.doubtful = m.doubtful || name != "" && prepares
		d.names[name] = m
	}
}

func mentions(text string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}

// row counts a DataRow of so many bytes, and reports whether with it the result
// has become large.
func (d *dialogue) row(bytes int) (large bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.front()
	if a == nil {
		return false, nonsense('D')
	}
	before := weight(a.result)
	a.result.Rows++
	a.result.Bytes += int64(bytes)
	return before < largeResult && weight(a.result) >= largeResult, nil
}

// largeResult is a quarter of the memory that a caged psql has.
const largeResult = 128 << 20

// weight is about what a client that keeps a result whole needs for it, in bytes.
func weight(r session.ResultInfo) int64 { return r.Bytes + 24*r.Rows }

// copied counts and hashes COPY data, in either direction.
func (d *dialogue) copied(data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.front()
	if a == nil || a.sum == nil {
		return nonsense('d')
	}
	a.result.Bytes += int64(len(data))
	a.sum.Write(data)
	return nil
}

// stray reports whether COPY data that the database does not take is what is
// left of a COPY it gave up. It is dropped then, as the server would.
func (d *dialogue) stray() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pending) == 0 || d.failed || d.pending[0].copied
}

// front is the statement that is being answered. The caller holds mu.
func (d *dialogue) front() *asked {
	if len(d.pending) == 0 {
		return nil
	}
	if k := d.pending[0].kind; k != 'Q' && k != 'E' {
		return nil
	}
	return d.pending[0]
}

func (d *dialogue) pop() { d.pending = d.pending[1:] }

// finish turns the answered statement into a result. The caller holds mu.
func (d *dialogue) finish(a *asked, tx byte) {
	r := a.result
	r.N, r.Tag, r.Took = a.n, strings.Join(a.tags, "; "), time.Since(a.sent)
	if a.sum != nil {
		r.CopySHA = hex.EncodeToString(a.sum.Sum(nil))
	}
	if tx != 0 {
		r.Tx = string(rune(tx))
	}
	d.finished = append(d.finished, session.Event{Type: session.Result, Result: &r})
}

// settled returns the results to note now, and forgets them. after is the kind
// of the message being looked at: a ReadyForQuery tells the last one its
// transaction state.
func (d *dialogue) settled(after byte, tx byte) []session.Event {
	if len(d.finished) == 0 || after == 'N' || after == 'S' || after == 'A' {
		return nil
	}
	events := d.finished
	d.finished = nil
	if last := events[len(events)-1].Result; tx != 0 && last.Tx == "" {
		last.Tx = string(rune(tx))
	}
	return events
}

// synced reports whether a ReadyForQuery is bound to come: nothing is asked
// behind a Query or a Sync. The caller holds mu.
func (d *dialogue) synced() bool {
	if len(d.pending) == 0 {
		return false
	}
	last := d.pending[len(d.pending)-1].kind
	return last == 'Q' || last == 'S'
}

// replied is what is to be done about one message of the database.
type replied struct {
	note []session.Event // before it is shown
	hold bool            // it is held back until the next one: the state of the transaction is about to follow
	hide bool            // the client does not get it
	show []byte          // but this
	tell func()          // called when all that came before has been shown; may be nil
}

// reply takes one message of the database that is not data.
func (d *dialogue) reply(kind byte, body []byte) (r replied, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.quiet(d, kind, body)
	r.note, r.hold, err = d.answered(kind, body)
	return r, err
}

// quiet keeps what the client does not get. The caller holds d.mu.
func (r *replied) quiet(d *dialogue, kind byte, body []byte) {
	if len(d.pending) == 0 {
		return
	}
	a := d.pending[0]
	if a.again && (kind == '1' || kind == '3') {
		r.hide = true
	}
	if a.deny != nil && kind == 'E' {
		r.hide, r.show = true, a.deny
	}
	if !a.quiet && a.done != nil && kind == 'Z' && len(body) == 1 {
		o := outcome{tx: body[0], tag: strings.Join(a.tags, "; ")}
		if a.result.SQLState != "" {
			o.failed = &pgproto3.ErrorResponse{Code: a.result.SQLState}
		}
		r.tell = func() { a.done <- o }
	}
	if !a.quiet || strings.IndexByte("123nCIEZ", kind) < 0 {
		return
	}
	r.hide = true
	switch kind {
	case 'E':
		var m pgproto3.ErrorResponse
		if m.Decode(body) != nil {
			m = pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "08P01", Message: "an error that cannot be read"}
		}
		if d.got.failed == nil {
			d.got.failed = &m
		}
	case 'C', 'I':
		d.got.end = append([]byte{kind, 0, 0, 0, 0}, body...)
		putLength(d.got.end[1:], len(body))
		d.got.tag = readable(strings.TrimSuffix(string(body), "\x00"), 64)
	case 'Z':
		got := d.got
		d.got = outcome{}
		if len(body) == 1 {
			got.tx = body[0]
		}
		if got.failed != nil {
			got.end = nil
		}
		if a.done != nil {
			r.tell = func() { a.done <- got }
		}
	}
}

// answered brings the dialogue up to date. The caller holds mu.
func (d *dialogue) answered(kind byte, body []byte) (note []session.Event, hold bool, err error) {
	var tx byte
	if kind == 'Z' {
		if len(body) != 1 || strings.IndexByte("ITE", body[0]) < 0 {
			return nil, false, nonsense(kind)
		}
		tx = body[0]
	}
	note = d.settled(kind, tx)
	switch kind {
	case '1', '2', '3':
		err = d.named(kind)
	case 'C', 'I', 's':
		err = d.completed(kind, body)
		hold = d.synced()
	case 't':
		d.typed(body)
	case 'E':
		d.described = nil
		d.erred(body)
		hold = d.synced()
	case 'G', 'H':
		err = d.copying(kind)
	case 'c':
		if a := d.front(); a == nil || !a.copied {
			err = nonsense(kind)
		}
	case 'Z':
		d.described = nil
		err = d.ready(tx)
	case 'S':
		var m pgproto3.ParameterStatus
		switch err := m.Decode(body); {
		case err != nil:
		case m.Name == "client_encoding":
			d.charset = m.Value
		case m.Name == "standard_conforming_strings":
			d.conforming = m.Value == "on"
		}
	}
	d.wake()
	if len(d.finished) > 0 && !hold {
		note = append(note, d.settled(kind, 0)...)
	}
	return note, hold, err
}

func nonsense(kind byte) error {
	return fmt.Errorf("the database sent message %q out of turn", string(rune(kind)))
}

// named takes ParseComplete, BindComplete and CloseComplete.
func (d *dialogue) named(kind byte) error {
	if len(d.pending) == 0 {
		return nonsense(kind)
	}
	a := d.pending[0]
	if want := map[byte]byte{'1': 'P', '2': 'B', '3': 'C'}[kind]; a.kind != want {
		return nonsense(kind)
	}
	d.pop()
	switch {
	case kind == '1':
		return d.keep(d.names, a.name, a.means)
	case kind == '2':
		return d.keep(d.portals, a.name, a.means)
	case a.portal:
		d.forget(d.portals, a.name)
	default:
		d.forget(d.names, a.name)
	}
	return nil
}

// completed takes CommandComplete, EmptyQueryResponse and PortalSuspended.
func (d *dialogue) completed(kind byte, body []byte) error {
	a := d.front()
	if a == nil || kind == 's' && a.kind != 'E' {
		return nonsense(kind)
	}
	d.copyIn = false
	if kind == 'C' {
		a.tags = append(a.tags, readable(strings.TrimSuffix(string(body), "\x00"), 64))
	}
	if a.kind == 'E' {
		d.pop()
		d.finish(a, 0)
	}
	return nil
}

// maxMessage bounds an error message on the tape, in bytes.
const maxMessage = 8 << 10

// erred takes ErrorResponse: in a simple query the query failed; in a batch
// everything up to the Sync is not going to happen; else it is news. What failed
// is the first unanswered message, or the Execute it was a Bind for.
func (d *dialogue) erred(body []byte) {
	var m pgproto3.ErrorResponse
	if m.Decode(body) != nil {
		m.Code, m.Message = "08P01", "an error that cannot be read"
	}
	d.copyIn = false
	if len(d.pending) == 0 {
		d.failed = true // a Describe, or the end of the connection
		return
	}
	first := d.pending[0]
	first.result.SQLState, first.result.Message = readable(m.Code, 5), readable(d.clean(m.Message), maxMessage)
	if first.kind == 'Q' || first.kind == 'S' {
		return
	}
	d.failed = true
	why := first.result.Message
	if first.n > 0 {
		d.pop()
		d.finish(first, 0)
		why = "not run: " + why
	}
	for len(d.pending) > 0 {
		a := d.pending[0]
		if a.kind == 'S' {
			d.failed = false
			return
		}
		d.pop()
		if a.kind == 'E' {
			a.result.SQLState, a.result.Message = first.result.SQLState, why
			d.finish(a, 0)
			why = "not run: " + first.result.Message
		}
	}
}

// copying takes CopyInResponse and CopyOutResponse.
func (d *dialogue) copying(kind byte) error {
	a := d.front()
	if a == nil {
		return nonsense(kind)
	}
	a.copied = true
	if a.sum == nil {
		a.sum = sha256.New()
	}
	if kind == 'H' {
		return nil
	}
	d.copyIn = true
	if a.kind == 'E' && len(d.pending) > 1 && d.pending[1].kind == 'S' {
		d.pending = append(d.pending[:1:1], d.pending[2:]...) // the database ignores it
		d.waits--
	}
	return nil
}

// ready takes ReadyForQuery. The client's half is let go by passed, once the
// message is on its way to the client.
func (d *dialogue) ready(tx byte) error {
	if len(d.pending) == 0 {
		return nonsense('Z')
	}
	a := d.pending[0]
	switch a.kind {
	case 'Q':
		if a.n > 0 {
			d.finish(a, tx)
		}
	case 'S':
	default:
		return nonsense('Z')
	}
	d.pop()
	d.copyIn, d.stirred = false, false
	d.tx = tx
	if tx == 'I' {
		for name := range d.portals {
			d.forget(d.portals, name)
		}
	}
	return nil
}

// passed is called when n ReadyForQuery have been written to the client.
func (d *dialogue) passed(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waits -= n
	d.wake()
}

// sentAll is called by the client's half when the COPY data has ended.
func (d *dialogue) sentAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.copyIn = false
}

// lost ends everything unanswered, with the reason.
func (d *dialogue) lost(state, why string) []session.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.pending {
		if a.n > 0 && (a.kind == 'Q' || a.kind == 'E') {
			if a.result.SQLState == "" {
				a.result.SQLState, a.result.Message = state, why
			}
			d.finish(a, 0)
		}
	}
	d.pending = nil
	events := d.finished
	d.finished = nil
	return events
}
