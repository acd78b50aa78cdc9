package pgwire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/twokey/twokey/session"
)

// This file is the client's half of a link: it reads one message, decodes it,
// asks the door, encodes it again and sends it. Nothing else ever writes to the
// database, but for the Terminate at the end.

// sendAt is how many encoded bytes are gathered before they are sent; whatever
// was gathered is sent before the half waits for anything.
const sendAt = 32 << 10

// fromClient moves messages until the client leaves or is refused.
func (l *link) fromClient() error {
	for {
		if len(l.out) >= sendAt || !l.in.whole() || !l.talk.mayRead() {
			if err := l.send(); err != nil {
				return err
			}
		}
		if err := l.talk.turn(l.ctx); err != nil {
			return err
		}
		l.reading.Store(true)
		kind, body, err := l.in.next()
		l.reading.Store(false)
		if err != nil {
			return l.readError(err)
		}
		if err := l.take(kind, body); err != nil {
			return err
		}
	}
}

func (l *link) readError(err error) error {
	var r refused
	switch {
	case l.ctx.Err() != nil:
		return context.Cause(l.ctx)
	case errors.As(err, &r):
		return err
	case errors.Is(err, io.EOF):
		return errQuit
	}
	return fmt.Errorf("reading from the client: %w", err)
}

// send writes what was gathered.
func (l *link) send() error {
	if len(l.out) == 0 {
		return nil
	}
	_, err := l.up.Write(l.out)
	if cap(l.out) > 2*sendAt {
		l.out = nil
	}
	l.out = l.out[:0]
	if err == nil {
		return nil
	}
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	return lost{"the connection to the database broke: " + innermost(err)}
}

// take handles one message. What is not named is refused.
func (l *link) take(kind byte, body []byte) error {
	switch kind {
	case 'X':
		return errQuit
	case 'd', 'c', 'f':
		return l.takeCopy(kind, body)
	}
	if _, copyIn, _, _ := l.talk.state(); copyIn {
		if kind == 'S' || kind == 'H' {
			return nil // the database ignores them there
		}
		return violation("message %q in the middle of COPY data", string(rune(kind)))
	}
	// A COPY may have ended while this message was being read.
	if err := l.talk.turn(l.ctx); err != nil {
		return err
	}
	switch kind {
	case 'Q':
		return l.takeQuery(body)
	case 'P':
		return l.takeParse(body)
	case 'B':
		return l.takeBind(body)
	case 'E':
		return l.takeExecute(body)
	case 'C':
		return l.takeClose(body)
	case 'D':
		return l.takeDescribe(body)
	case 'H':
		return l.takeFlush(body)
	case 'S':
		return l.takeSync(body)
	case 'F':
		return l.refuseFunctionCall()
	}
	return violation("message %q is not taken here", string(rune(kind)))
}

// decode reads a message and encodes it again, into out. They must be the
// same: what pgproto3 did not understand, the server shall not see.
func (l *link) decode(m pgproto3.FrontendMessage, body []byte) error {
	if err := m.Decode(body); err != nil {
		return violation("a message that cannot be read: %v", err)
	}
	mark := len(l.out)
	out, err := m.Encode(l.out)
	if err != nil {
		return violation("a message that cannot be written: %v", err)
	}
	if !bytes.Equal(out[mark+5:], body) {
		return violation("a message with more in it than it says")
	}
	l.out = out
	return nil
}

// statement numbers a statement and waits until it may go, on the tape by then.
func (l *link) statement(info session.StatementInfo) (n int, err error) {
	info.Database, info.Conn = l.database, l.n
	text, passwords := withoutPasswords(info.Text)
	l.talk.hide(passwords)
	alarming := suspect(info.Text, secretive)
	info.Text = text // the tape keeps its exact bytes
	info.Name = faithful(info.Name)
	info.Touches = l.g.db.labels.of(text, l.g.o.Labels)
	if n, err = l.g.number(l.ctx, &info); err != nil {
		return 0, err
	}
	if alarming && info.Protocol != "parse" {
		l.g.alarm("a statement changes a role's password or makes a role; see statement " + fmt.Sprint(n))
	}
	return n, nil
}

func (l *link) takeQuery(body []byte) error {
	if l.batch {
		return violation("a Query within a batch that has not ended with Sync")
	}
	var m pgproto3.Query
	mark := len(l.out)
	if err := l.decode(&m, body); err != nil {
		return err
	}
	if l.uncertain(m.String) {
		l.out = l.out[:mark]
		return l.refuseSimple(no(whatToDo))
	}
	if l.g.o.For.Approve() != session.ApproveNone {
		l.out = l.out[:mark]
		return l.judged(m.String)
	}
	n, err := l.statement(session.StatementInfo{Protocol: "simple", Text: m.String})
	if err != nil {
		return err
	}
	l.talk.doubt(m.String, l.g.o.For.Approve() != session.ApproveNone)
	l.talk.ask(&asked{kind: 'Q', n: n})
	return nil
}

// extended begins every message of the extended protocol. It is false when the
// batch has failed: the database would ignore the message, and does not get it.
func (l *link) extended(m pgproto3.FrontendMessage, body []byte) (bool, error) {
	if !l.batch {
		if err := l.reap(); err != nil {
			return false, err
		}
	}
	l.batch = true
	mark := len(l.out)
	if err := l.decode(m, body); err != nil {
		return false, err
	}
	if _, _, failed, _ := l.talk.state(); failed {
		l.out = l.out[:mark]
		return false, nil
	}
	return true, nil
}

// ask records what is about to be sent, or takes it back when the batch has
// failed since.
func (l *link) ask(a *asked, mark int) error {
	if l.talk.ask(a) {
		return nil
	}
	l.out = l.out[:mark]
	if a.kind != 'E' {
		return nil
	}
	return l.g.door.Note(session.Event{Type: session.Result, Result: &session.ResultInfo{N: a.n, Message: "not run: an earlier message of the batch failed"}})
}

func (l *link) takeParse(body []byte) error {
	var m pgproto3.Parse
	mark := len(l.out)
	if ok, err := l.extended(&m, body); !ok {
		return err
	}
	if l.uncertain(m.Query) {
		return l.deny(no(whatToDo), &mark)
	}
	n, err := l.statement(session.StatementInfo{Protocol: "parse", Text: m.Query, Name: m.Name})
	if err != nil {
		return err
	}
	return l.ask(&asked{kind: 'P', n: n, name: m.Name, means: meaning{known: true, parsed: true, text: m.Query, types: m.ParameterOIDs, statement: m.Name}}, mark)
}

// doubt is what is added to a text that may not be what runs.
const doubt = "\n-- twokey: SQL since then may have given this name to something else"

func (l *link) takeBind(body []byte) error {
	var m pgproto3.Bind
	mark := len(l.out)
	if ok, err := l.extended(&m, body); !ok {
		return err
	}
	means := l.talk.statement(m.PreparedStatement)
	switch {
	case !means.known:
		means = meaning{known: true, text: fmt.Sprintf("-- twokey: prepared statement %q was made by SQL", m.PreparedStatement)}
	case means.doubtful && l.g.o.For.Approve() == session.ApproveNone: // otherwise it is prepared again
		means.text, means.doubtful = means.text+doubt, false // what is bound stays what it is
	}
	means.statement = m.PreparedStatement
	types := means.types
	if means.told != nil {
		types = means.told
	}
	means.params = l.g.o.Redact.params(&m, types, paramLimit)
	whole := means
	whole.params = l.g.o.Redact.params(&m, types, maxAsk)
	if yes, err := l.bounded(whole, &mark); !yes {
		return err
	}
	means.era = l.era
	if err := l.g.door.Pass(l.ctx, nil); err != nil {
		return err
	}
	return l.ask(&asked{kind: 'B', name: m.DestinationPortal, means: means}, mark)
}

func (l *link) takeExecute(body []byte) error {
	var m pgproto3.Execute
	mark := len(l.out)
	if ok, err := l.extended(&m, body); !ok {
		return err
	}
	means := l.talk.portal(m.Portal)
	text := means.text
	if !means.known {
		text = fmt.Sprintf("-- twokey: portal %q was made by SQL", m.Portal)
	}
	judged := means
	judged.text = text
	if yes, err := l.stale(judged, &mark); !yes {
		return err
	}
	if means.doubtful {
		text += doubt
	}
	n, err := l.statement(session.StatementInfo{
		Protocol: "execute", Text: text, Name: means.statement, Params: means.params, Within: l.bounds.within(),
	})
	if err != nil {
		return err
	}
	l.talk.doubt(means.text, l.g.o.For.Approve() != session.ApproveNone)
	a := &asked{kind: 'E', n: n, means: meaning{text: text}}
	l.runs(text, means.params, a)
	return l.ask(a, mark)
}

func (l *link) takeClose(body []byte) error {
	var m pgproto3.Close
	mark := len(l.out)
	if ok, err := l.extended(&m, body); !ok {
		return err
	}
	if m.ObjectType != 'S' && m.ObjectType != 'P' {
		return violation("a Close of neither a statement nor a portal")
	}
	if err := l.g.door.Pass(l.ctx, nil); err != nil {
		return err
	}
	return l.ask(&asked{kind: 'C', name: m.Name, portal: m.ObjectType == 'P'}, mark)
}

func (l *link) takeDescribe(body []byte) error {
	var m pgproto3.Describe
	if ok, err := l.extended(&m, body); !ok {
		return err
	}
	if m.ObjectType != 'S' && m.ObjectType != 'P' {
		return violation("a Describe of neither a statement nor a portal")
	}
	if m.ObjectType == 'S' {
		l.talk.describe(m.Name)
	}
	return l.g.door.Pass(l.ctx, nil)
}

func (l *link) takeFlush(body []byte) error {
	if ok, err := l.extended(&pgproto3.Flush{}, body); !ok {
		return err
	}
	return l.g.door.Pass(l.ctx, nil)
}

func (l *link) takeSync(body []byte) error {
	if err := l.decode(&pgproto3.Sync{}, body); err != nil {
		return err
	}
	if err := l.g.door.Pass(l.ctx, nil); err != nil {
		return err
	}
	l.batch = false
	if l.bounds.within() != "" {
		return l.endBounds()
	}
	l.bounds = unbound
	l.talk.ask(&asked{kind: 'S'})
	return nil
}

// takeCopy passes COPY data on while the database takes it.
func (l *link) takeCopy(kind byte, body []byte) error {
	if _, copyIn, _, _ := l.talk.state(); !copyIn {
		if l.talk.stray() {
			return nil
		}
		return violation("COPY data that the database did not ask for")
	}
	if err := l.g.door.Pass(l.ctx, nil); err != nil {
		return err
	}
	switch kind {
	case 'd':
		if l.talk.copied(body) != nil {
			return nil // the database has just given up
		}
		l.out = append(l.out, 'd', 0, 0, 0, 0)
		putLength(l.out[len(l.out)-4:], len(body))
		l.out = append(l.out, body...)
		return nil
	case 'c':
		l.talk.sentAll()
		return l.decode(&pgproto3.CopyDone{}, body)
	}
	l.talk.sentAll()
	return l.decode(&pgproto3.CopyFail{}, body)
}

// refuseFunctionCall answers libpq's lo_* functions, which are what is left of
// the fast path: nothing about such a call could be read on the tape.
func (l *link) refuseFunctionCall() error {
	if l.batch {
		return violation("a FunctionCall within a batch that has not ended with Sync")
	}
	tx, _, _, _ := l.talk.state()
	answer := must((&pgproto3.ErrorResponse{
		Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "0A000",
		Message: "twokey: large objects over the fast path are refused; use SQL functions",
		Hint:    `\lo_import and \lo_export use it. lo_from_bytea(), lo_get() and lo_put() do the same in SQL.`,
	}).Encode(nil))
	answer = must((&pgproto3.ReadyForQuery{TxStatus: tx}).Encode(answer))
	l.writing.Lock()
	defer l.writing.Unlock()
	_, err := l.client.Write(answer)
	return err
}
