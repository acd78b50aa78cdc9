package pgwire

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/twokey/twokey/session"
)

// This file is approval for the extended protocol, whose batches end with a Sync.
// A portal is judged when it is bound: that is when the database plans it, and
// what it plans it may already run. The bounds are those of approval.go, put
// around what is left of the batch: the gateway's BEGIN goes in before the Bind, and
// at the Sync the transaction is rolled back, or a shadow asked.

// bounds is what holds the rest of a batch.
type bounds string

const (
	unbound    bounds = ""
	inReadOnly bounds = "read only" // a transaction of ours that is rolled back
	inHeld     bounds = "held"      // one of ours that is committed after a yes
	inTheirs   bounds = "theirs"    // a transaction that the client has begun in this batch
	loose      bounds = "loose"     // whatever comes next would be committed with what has been: each is asked for
)

// within is the bounds in the words of session.StatementInfo.
func (b bounds) within() string {
	if b == inReadOnly || b == inHeld {
		return string(b)
	}
	return ""
}

// ran is a statement that was sent, and its Execute, answered by the next batch.
type ran struct {
	sql string
	*asked
}

// ourBegin is the name of the gateway's own statement and portal in a batch.
const ourBegin = "twokey begin"

// reap looks at what the batch before has come to, now that it is answered.
func (l *link) reap() error {
	if l.last != nil {
		l.remember(l.last.sql, <-l.last.done) // it is there: the client would not have been heard otherwise
		l.last = nil
	}
	l.recall()
	l.era++
	over := l.tx() == 'I'
	if over && l.trusted {
		return l.endedUnasked("a batch")
	}
	if l.trusted = false; over {
		l.all, l.did, l.forgot = false, nil, 0
	}
	return nil
}

// runs takes note of a statement that is about to be sent, in the modes that ask.
func (l *link) runs(sql string, params []string, a *asked) {
	if l.g.o.For.Approve() == session.ApproveNone || wordsOf(sql).class() == marking {
		return
	}
	if len(params) > 0 {
		sql += fmt.Sprintf(" -- %q", params)
	}
	l.executed = append(l.executed, ran{sql, a})
}

// recall remembers what the statements of a batch did.
func (l *link) recall() {
	for _, r := range l.executed {
		if r.result.SQLState == "" {
			l.remember(r.sql, outcome{tag: strings.Join(append(r.tags, "the first rows")[:1], "")})
		}
	}
	l.executed = nil
}

// bounded decides in which bounds a portal is bound, asks where it must be, and
// makes sure that what was judged is what runs. The message in question is what
// is in out from mark on.
func (l *link) bounded(what meaning, mark *int) (bool, error) {
	mode := l.g.o.For.Approve()
	if mode == session.ApproveNone {
		return true, nil
	}
	yes, err := l.judgePortal(what, mode, mark)
	if yes && err == nil {
		l.prepareAgain(what, mark)
	}
	return yes, err
}

// stale judges a portal again that is executed when what it was bound for may be
// over: in a later batch, or behind the end of its transaction.
func (l *link) stale(what meaning, mark *int) (bool, error) {
	mode := l.g.o.For.Approve()
	if mode == session.ApproveNone || what.known && !what.doubtful && what.era == l.era {
		return true, nil
	}
	w := wordsOf(what.text)
	if !what.known || what.doubtful || l.bounds == loose || w.mayEnd() || w.class() == undoing || w.class() == marking {
		return l.approved(what, false, mark)
	}
	l.trusted = l.trusted || mode == session.ApproveCommit
	return true, nil
}

// loosen is for what leaves the rest of a batch without bounds.
func (l *link) loosen() {
	l.bounds = loose
	l.era++
}

// prepareAgain gives a name the text that was judged, as SQL may have given it
// to something else since: PREPARE uses the same names as Parse, and a function
// may build that statement from pieces. The client sees nothing of it.
func (l *link) prepareAgain(m meaning, mark *int) {
	if m.statement == "" || !m.parsed {
		return
	}
	m.doubtful = false
	l.insert(mark, &pgproto3.Close{ObjectType: 'S', Name: m.statement}, &pgproto3.Parse{Name: m.statement, Query: m.text, ParameterOIDs: m.types})
	l.talk.ask(&asked{kind: 'C', name: m.statement, again: true})
	l.talk.ask(&asked{kind: 'P', name: m.statement, again: true, means: m.prepared()})
}

// insert puts messages of our own before the one that is in out from mark on.
func (l *link) insert(mark *int, messages ...pgproto3.FrontendMessage) {
	message := slices.Clone(l.out[*mark:])
	l.out = l.out[:*mark]
	l.append(messages...)
	*mark = len(l.out)
	l.out = append(l.out, message...)
}

// judgePortal is bounded, by what the text seems to be. What SQL has prepared may
// be anything.
func (l *link) judgePortal(what meaning, mode session.Approve, mark *int) (bool, error) {
	w := wordsOf(what.text)
	class, tx := w.class(), l.tx()
	inside := tx == 'T' || l.bounds == inTheirs
	if w.mayEnd() || class == undoing {
		l.all = false // AND CHAIN begins another transaction
	}
	switch {
	case !what.parsed || l.bounds == loose:
		return l.approved(what, false, mark)
	case l.bounds == inReadOnly && class != reading, l.bounds == inHeld && (w.mayEnd() || w.first == "copy"):
		return false, l.deny(no("this needs a batch of its own: what comes before it in this one ends with its Sync"), mark)
	case l.bounds.within() != "", w.first == "" && !w.several:
		return true, nil
	case class == undoing, tx == 'E': // the database takes nothing but the end of the transaction
		l.trusted = false
		l.loosen()
		return true, nil
	case inside && l.all && !w.mayEnd():
		l.trusted = l.trusted || mode == session.ApproveCommit
		return true, nil
	case mode == session.ApproveEach:
		return l.approved(what, inside && !w.mayEnd(), mark)
	case class == marking:
		l.bounds = inTheirs
		return true, nil
	case class == ending && (mode == session.ApproveWrites || !inside || !l.trusted && len(l.did)+len(l.executed) == 0):
		l.ending()
		return true, nil
	case class == ending:
		return l.mayCommit(what, mark)
	case !inside && class == reading:
		l.begin("begin read only", inReadOnly, mark)
		return true, nil
	case mode == session.ApproveWrites, w.mayEnd(), w.first == "copy" && !inside: // COPY data comes behind its Sync
		return l.approved(what, inside && !w.mayEnd(), mark)
	case inside:
		l.trusted = true
		return true, nil
	case class == setting:
		l.loosen()
		return true, nil
	}
	l.begin("begin", inHeld, mark)
	return true, nil
}

// begin puts a transaction of ours around the rest of the batch.
func (l *link) begin(sql string, b bounds, mark *int) {
	l.insert(mark, &pgproto3.Parse{Name: ourBegin, Query: sql}, &pgproto3.Bind{DestinationPortal: ourBegin, PreparedStatement: ourBegin},
		&pgproto3.Execute{Portal: ourBegin}, &pgproto3.Close{ObjectType: 'S', Name: ourBegin})
	for _, kind := range []byte("PBEC") {
		l.talk.ask(&asked{kind: kind, name: ourBegin, quiet: true, means: meaning{known: true, text: sql}})
	}
	l.bounds = b
}

// endBounds ends a batch that runs in a transaction of ours: its Sync is in out.
func (l *link) endBounds() error {
	was := l.bounds
	l.bounds = unbound
	a := &asked{kind: 'S', quiet: true, done: make(chan outcome, 1)}
	l.talk.ask(a)
	o, err := l.await(a)
	if err != nil {
		return err
	}
	text := l.batchText()
	l.recall()
	switch {
	case o.tx == 'I':
		return l.endedUnasked(text)
	case was == inReadOnly || o.tx != 'T':
		err = l.rollback()
	default:
		var lone outcome
		lone, err = l.commit(text, outcome{end: []byte{}})
		o.failed = lone.failed
	}
	if err != nil {
		return err
	}
	l.all, l.did, l.forgot = false, nil, 0
	return l.answer(outcome{failed: o.failed})
}

// batchText is what was executed in the batch.
func (l *link) batchText() string {
	var list []string
	for _, r := range l.executed {
		list = append(list, r.sql)
	}
	return strings.Join(list, ";\n")
}

// mayCommit asks before a transaction of the client's may last.
func (l *link) mayCommit(what meaning, mark *int) (bool, error) {
	did := l.history()
	for _, r := range l.executed {
		text, _ := withoutPasswords(r.sql)
		did = append(did, "not answered yet: "+readable(text, 4<<10))
	}
	l.trusted = false
	l.ending()
	return l.asked(session.AskInfo{Kind: session.AskCommit, Text: what.text, Did: did}, mark)
}

// ending is for a COMMIT that is about to be sent: what comes behind it in the
// batch is in no transaction that we know of.
func (l *link) ending() {
	l.loosen()
	l.did, l.forgot, l.executed = nil, 0, nil
}

// approved asks a shadow before a portal is bound, or before one is executed that
// was not.
func (l *link) approved(what meaning, all bool, mark *int) (bool, error) {
	if l.g.o.For.Approve() == session.ApproveNone {
		return true, nil
	}
	if l.bounds != inTheirs && l.tx() != 'T' {
		l.loosen()
	}
	return l.asked(session.AskInfo{Kind: session.AskRun, Text: what.text, Params: what.params, Did: l.history(), All: all}, mark)
}

// asked asks, with nothing sent of the message in question. When the answer is
// no, the database is made to fail the batch.
func (l *link) asked(what session.AskInfo, mark *int) (bool, error) {
	message := slices.Clone(l.out[*mark:])
	l.out = l.out[:*mark]
	if err := l.send(); err != nil { // all before it
		return false, err
	}
	*mark = 0
	answer, refusal, err := l.consult(what)
	l.all = l.all || answer.All && refusal == nil
	if err == nil && refusal != nil {
		return false, l.deny(refusal, mark)
	}
	l.out = append(l.out, message...)
	return err == nil, err
}

// deny makes the database fail the batch in place of the message in question, as
// at any other error, and the client reads why.
func (l *link) deny(why *pgproto3.ErrorResponse, mark *int) error {
	l.out = l.out[:*mark]
	l.append(&pgproto3.Bind{PreparedStatement: "twokey: a shadow said no"}) // there is none of this name
	if !l.talk.ask(&asked{kind: 'B', deny: must(why.Encode(nil))}) {
		l.out = l.out[:*mark]
		return nil
	}
	if err := l.send(); err != nil {
		return err
	}
	for _, _, failed, _ := l.talk.state(); !failed; _, _, failed, _ = l.talk.state() {
		select {
		case <-l.talk.changed:
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
	}
	return nil
}

// endedUnasked is for a transaction that has ended though it waited for a yes: we
// have read a statement wrong, and the connection ends with it.
func (l *link) endedUnasked(sql string) error {
	text, _ := withoutPasswords(sql)
	l.g.alarm(fmt.Sprintf("%s ended a transaction that waits for a shadow's yes", readable(text, 200)))
	return refused{"25000", "a statement ended a transaction that waits for a shadow's yes"}
}
