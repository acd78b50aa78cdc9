package pgwire

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/twokey/twokey/session"
)

// This file holds statements for a shadow's yes, in the modes that ask for it.
// What keeps an unapproved statement from having an effect is never how we read
// it but the database: it is run in a read-only transaction that is rolled
// back, or in one that is not committed before the yes, and it is sent as a
// Parse, which takes one statement and no more (Postgres manual 55.2.3).

// maxAsk is how long a text may be that a shadow is asked to read, in bytes.
const maxAsk = 256 << 10

// approval is what a link knows of the yes that its transaction has.
type approval struct {
	all     bool                         // a shadow said yes to everything else in this transaction
	did     []string                     // what it did so far: tag and text
	forgot  int                          // what is not in did any more
	last    *sent                        // a text that was sent as it is, whose outcome has not been looked at
	cancels chan context.CancelCauseFunc // holds what withdraws the question that is open

	bounds   bounds // of the batch that is under way
	executed []ran  // in it
	era      int    // counts what ends the bounds that a portal was bound in
	trusted  bool   // one of them ran unasked in a transaction that only an approved COMMIT may end
}

// sent is a text of several statements that a shadow said yes to, answered like any other.
type sent struct {
	sql  string
	done chan outcome
}

// Errors that a client reads instead of an answer of the database's.
var (
	errWithdrawn = errors.New("withdrawn")
	withdrawn    = pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "57014", Message: "canceling statement due to user request"}
)

// no is an error of the gateway's with the SQLSTATE of a lacking privilege.
func no(format string, args ...any) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{
		Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "42501", Message: "twokey: " + readable(fmt.Sprintf(format, args...), 1000),
	}
}

// judged runs a simple query in a mode that asks for approval, and answers the client.
func (l *link) judged(sql string) error {
	if err := l.reap(); err != nil {
		return err
	}
	end, err := l.judge(sql)
	if err != nil || l.last != nil {
		return err
	}
	return l.answer(end)
}

// refuseSimple answers a simple query with an error.
func (l *link) refuseSimple(why *pgproto3.ErrorResponse) error {
	if err := l.reap(); err != nil {
		return err
	}
	o, err := l.fail(why)
	if err != nil {
		return err
	}
	return l.answer(o)
}

// answer ends the reply to a simple query.
func (l *link) answer(o outcome) error {
	out := o.end
	if o.failed != nil {
		out = must(o.failed.Encode(nil))
	}
	return l.tellClient(must((&pgproto3.ReadyForQuery{TxStatus: l.tx()}).Encode(out)))
}

func (l *link) tx() byte {
	tx, _, _, _ := l.talk.state()
	return tx
}

// judge decides in which bounds a statement runs, and runs it.
func (l *link) judge(sql string) (outcome, error) {
	w := wordsOf(sql)
	if w.class() == ending || w.class() == undoing {
		l.all = false // AND CHAIN begins another transaction
	}
	free := w.class() == undoing
	mode := l.g.o.For.Approve()
	if mode != session.ApproveEach {
		free = free || w.class() == marking || w.class() == ending && mode == session.ApproveWrites
	}
	switch tx := l.tx(); {
	case tx == 'E': // the database takes nothing but the end of the transaction
		return l.single(sql, "")
	case w.first == "" && !w.several: // nothing at all
		return l.single(sql, "")
	case free || l.all && !w.several:
		o, err := l.single(sql, "")
		l.remember(sql, o)
		return o, err
	case mode == session.ApproveEach:
		return l.afterYes(sql)
	case tx == 'I' && w.class() == reading:
		return l.readOnly(sql)
	case mode == session.ApproveWrites:
		return l.afterYes(sql)
	case tx == 'I' && (w.class() == setting || w.class() == ending): // the latter: there is nothing to commit
		return l.single(sql, "")
	case tx == 'I' && w.several:
		return l.afterYes(sql)
	case tx == 'I':
		return l.held(sql)
	case w.mayEnd():
		return l.beforeCommit(sql, w)
	}
	return l.within(sql)
}

// afterYes sends a text as it is, once a shadow has said yes to all of it.
func (l *link) afterYes(sql string) (outcome, error) {
	inside := l.tx() == 'T'
	answer, refusal, err := l.consult(session.AskInfo{Kind: session.AskRun, Text: sql, Did: l.history(), All: inside})
	if err != nil {
		return outcome{}, err
	}
	if refusal != nil {
		return l.fail(refusal)
	}
	w := wordsOf(sql)
	if !w.several { // sent as one, so that it is one
		l.all = answer.All && w.class() != ending // which may end the transaction that the yes is for
		o, err := l.single(sql, "")
		l.remember(sql, o)
		return o, err
	}
	l.all = false
	n, err := l.statement(session.StatementInfo{Protocol: "simple", Text: sql})
	if err != nil {
		return outcome{}, err
	}
	l.talk.doubt(sql, l.g.o.For.Approve() != session.ApproveNone)
	l.last = &sent{sql, make(chan outcome, 1)}
	l.out = must((&pgproto3.Query{String: sql}).Encode(l.out))
	l.talk.ask(&asked{kind: 'Q', n: n, done: l.last.done})
	return outcome{}, nil
}

// readOnly runs what seems to be a read where the database refuses anything
// else. It is rolled back, so that it leaves no setting behind either.
func (l *link) readOnly(sql string) (outcome, error) {
	if o, err := l.own("begin read only"); err != nil || o.tx != 'T' {
		return o, err
	}
	o, err := l.single(sql, "read only")
	if err != nil {
		return o, err
	}
	if o.failed != nil && o.failed.Code == "25006" { // read_only_sql_transaction
		o.failed.Hint = "twokey: what looks like a read runs read-only here. Between BEGIN and COMMIT, a shadow is asked instead."
	}
	return o, l.rollback()
}

// held runs a lone statement in a transaction, and keeps what it did only after
// a shadow's yes. What cannot run in a transaction is asked for before it runs.
func (l *link) held(sql string) (outcome, error) {
	if o, err := l.own("begin"); err != nil || o.tx != 'T' {
		return o, err
	}
	o, err := l.single(sql, "held")
	switch {
	case err != nil:
		return o, err
	case o.failed != nil && o.failed.Code == "25001": // active_sql_transaction: it has not run
		if err := l.rollback(); err != nil {
			return o, err
		}
		return l.afterYes(sql)
	case o.failed != nil:
		return o, l.rollback()
	}
	if err := l.stillOpen(sql, o); err != nil {
		return o, err
	}
	l.remember(sql, o)
	return l.commit(sql, o)
}

// beforeCommit asks before a transaction of the engineer's may last.
func (l *link) beforeCommit(sql string, w sqlWords) (outcome, error) {
	if w.class() != ending {
		return l.afterYes(sql)
	}
	if len(l.did) == 0 {
		return l.single(sql, "")
	}
	return l.commit(sql, outcome{})
}

// commit asks a shadow whether what a transaction did may last. A lone
// statement is answered with its own end, not with that of the COMMIT.
func (l *link) commit(sql string, lone outcome) (outcome, error) {
	_, refusal, err := l.consult(session.AskInfo{Kind: session.AskCommit, Text: sql, Did: l.history()})
	if err != nil {
		return outcome{}, err
	}
	if refusal != nil {
		return outcome{failed: refusal}, l.rollback()
	}
	if lone.end == nil {
		o, err := l.single(sql, "")
		l.remember(sql, o)
		return o, err
	}
	n, err := l.statement(session.StatementInfo{Protocol: "gateway", Text: "commit"})
	if err != nil {
		return outcome{}, err
	}
	o, err := l.query("commit", n)
	if err == nil && o.failed == nil && o.tag == "COMMIT" {
		o.end = lone.end
	}
	return o, err
}

// within runs a statement in the engineer's transaction, which only an approved
// COMMIT can make last.
func (l *link) within(sql string) (outcome, error) {
	o, err := l.single(sql, "")
	if err == nil {
		err = l.stillOpen(sql, o)
	}
	l.remember(sql, o)
	return o, err
}

// stillOpen checks that a statement has not ended the transaction that waits for a
// yes. If it has, we have read it wrong, and the connection ends with it.
func (l *link) stillOpen(sql string, o outcome) error {
	if o.tx != 'I' {
		return nil
	}
	return l.endedUnasked(sql)
}

// fail answers with an error, which ends a transaction as any other does.
func (l *link) fail(why *pgproto3.ErrorResponse) (outcome, error) {
	if l.tx() == 'T' {
		if _, err := l.own("twokey: a shadow said no"); err != nil { // no SQL: a syntax error
			return outcome{}, err
		}
	}
	return outcome{failed: why}, nil
}

// remember keeps what a transaction did, for whoever is asked about it.
func (l *link) remember(sql string, o outcome) {
	const most, long = 50, 4 << 10
	switch c := wordsOf(sql).class(); {
	case o.failed != nil || c == marking || c == undoing:
		return
	case c == ending: // AND CHAIN has begun another transaction
		l.did, l.forgot = nil, 0
		return
	}
	text, _ := withoutPasswords(sql)
	l.did = append(l.did, o.tag+": "+readable(text, long))
	if len(l.did) > most {
		l.did = l.did[1:]
		l.forgot++
	}
}

// history is what the transaction did so far, for a person.
func (l *link) history() []string {
	if l.forgot == 0 {
		return slices.Clone(l.did)
	}
	return append([]string{fmt.Sprintf("%d earlier statements, see the list", l.forgot)}, l.did...)
}

// consult asks a shadow. A refusal is what the client reads instead of an answer.
func (l *link) consult(what session.AskInfo) (session.Answer, *pgproto3.ErrorResponse, error) {
	size := len(what.Text)
	for _, p := range what.Params {
		size += len(p)
	}
	if size > maxAsk {
		return session.Answer{}, no("this statement waits for a shadow's yes, and nobody can read %d bytes; the most is %d. \\copy brings data in", size, maxAsk), nil
	}
	if e := l.talk.encoding(); e != "UTF8" && !plainText(append(append([]string{what.Text}, what.Params...), what.Did...)...) {
		return session.Answer{}, no("this statement waits for a shadow's yes, who would not read what the database reads: your client_encoding is %s; set client_encoding = 'UTF8'", e), nil
	}
	what.Text, _ = withoutPasswords(what.Text)
	what.Conn = l.n
	ctx, cancel := context.WithCancelCause(l.ctx)
	defer cancel(nil)
	l.cancels <- cancel
	answer, err := l.g.door.Ask(ctx, what)
	answer.All = answer.All && what.All
	<-l.cancels
	switch {
	case errors.Is(err, errWithdrawn):
		return answer, &withdrawn, nil
	case err != nil:
		return answer, nil, err
	case !answer.Yes && answer.By != "":
		return answer, no("%s said no: %s", answer.By, answer.Why), nil
	case !answer.Yes:
		return answer, no("%s", answer.Why), nil
	}
	return answer, nil, nil
}

// withdraw takes back the question that is open, if any.
func (l *link) withdraw() bool {
	select {
	case cancel := <-l.cancels:
		cancel(errWithdrawn)
		l.cancels <- cancel
		return true
	default:
		return false
	}
}

// own runs a statement of the gateway's that changes nothing by itself: the
// beginning of a transaction, or its end without a trace. It asks nobody.
func (l *link) own(sql string) (outcome, error) { return l.query(sql, 0) }

// rollback gives up the transaction, for certain: if it cannot, so does the connection.
func (l *link) rollback() error {
	for range 3 { // a cancel request may hit it
		o, err := l.own("rollback")
		if err != nil || o.tx == 'I' {
			return err
		}
	}
	return lost{"a transaction could not be rolled back"}
}

// query sends a simple query whose end the client does not see.
func (l *link) query(sql string, n int) (outcome, error) {
	l.out = must((&pgproto3.Query{String: sql}).Encode(l.out))
	a := &asked{kind: 'Q', n: n, quiet: true, done: make(chan outcome, 1)}
	l.talk.ask(a)
	return l.await(a)
}

// single sends a text as one statement, whatever it is: the database refuses two.
func (l *link) single(sql, within string) (outcome, error) {
	n, err := l.statement(session.StatementInfo{Protocol: "simple", Text: sql, Within: within})
	if err != nil {
		return outcome{}, err
	}
	l.talk.doubt(sql, l.g.o.For.Approve() != session.ApproveNone)
	l.append(&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{})
	l.talk.ask(&asked{kind: 'P', quiet: true, means: meaning{known: true, text: sql}})
	l.talk.ask(&asked{kind: 'B', quiet: true, means: meaning{known: true, text: sql}})
	l.talk.ask(&asked{kind: 'E', n: n, quiet: true})
	if wordsOf(sql).first == "copy" {
		if err := l.copies(); err != nil {
			return outcome{}, err
		}
	}
	return l.await(l.sync())
}

// append encodes messages of our own.
func (l *link) append(messages ...pgproto3.FrontendMessage) {
	for _, m := range messages {
		l.out = must(m.Encode(l.out))
	}
}

// copies sees a COPY to the end of its data, before the Sync: one that comes while
// the database takes data is ignored, and one that comes after it refused to is not.
func (l *link) copies() error {
	l.out = must((&pgproto3.Flush{}).Encode(l.out))
	for {
		if err := l.send(); err != nil {
			return err
		}
		switch _, copyIn, _, pending := l.talk.state(); {
		case copyIn:
			return l.copyIn()
		case !pending:
			return nil
		}
		select {
		case <-l.talk.changed:
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
	}
}

// sync ends what single began.
func (l *link) sync() *asked {
	l.out = must((&pgproto3.Sync{}).Encode(l.out))
	a := &asked{kind: 'S', quiet: true, done: make(chan outcome, 1)}
	l.talk.ask(a)
	return a
}

// await sends what was gathered and waits for its outcome.
func (l *link) await(last *asked) (outcome, error) {
	if err := l.send(); err != nil {
		return outcome{}, err
	}
	select {
	case o := <-last.done:
		return o, nil
	case <-l.ctx.Done():
		return outcome{}, context.Cause(l.ctx)
	}
}

// copyIn moves the client's COPY data until it ends.
func (l *link) copyIn() error {
	for ended := false; !ended; {
		if len(l.out) >= sendAt || !l.in.whole() {
			if err := l.send(); err != nil {
				return err
			}
		}
		l.reading.Store(true)
		kind, body, err := l.in.next()
		l.reading.Store(false)
		switch {
		case err != nil:
			return l.readError(err)
		case kind == 'X':
			return errQuit
		case kind == 'S' || kind == 'H':
			continue
		case kind != 'd' && kind != 'c' && kind != 'f':
			return violation("message %q in the middle of COPY data", string(rune(kind)))
		}
		if err := l.takeCopy(kind, body); err != nil {
			return err
		}
		ended = kind != 'd'
	}
	return nil
}
