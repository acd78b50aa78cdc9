package recorder

import "github.com/twokey/twokey/session"

// This file reads statements and results for the verifier, which are most of the tape
// of a client that is no person: what it counts of them, and whether all else is what
// it should be. What is not written in the usual way is left to a general reader.

// glimpse is a statement's protocol, or what a result counts. It is used again and again.
type glimpse struct {
	session.Event // the last, with one of these
	statement     session.StatementInfo
	result        session.ResultInfo
}

// glance reads a statement or a result. What else it may be is left to others.
func (g *glimpse) glance(data []byte) bool {
	c := cursor{data}
	switch {
	case c.is(`{"type":"statement","statement":{`):
		g.Event = session.Event{Type: session.Statement, Statement: &g.statement}
		return c.statement(&g.statement) && len(c.rest) == 0
	case c.is(`{"type":"result","result":{`):
		g.Event = session.Event{Type: session.Result, Result: &g.result}
		g.result.SQLState = ""
		return c.result(&g.result) && len(c.rest) == 0
	}
	return false
}

func (c *cursor) statement(s *session.StatementInfo) bool {
	var n int64
	return c.is(`"n":`) && c.number(&n) && c.is(`,"protocol":`) && c.word(&s.Protocol) && c.is(`,"text":`) && c.text() &&
		(!c.is(`,"name":`) || c.text()) && (!c.is(`,"params":`) || c.texts()) && (!c.is(`,"database":`) || c.text()) &&
		(!c.is(`,"conn":`) || c.number(&n)) && (!c.is(`,"within":`) || c.text()) && (!c.is(`,"touches":`) || c.texts()) && c.is(`}}`)
}

func (c *cursor) result(r *session.ResultInfo) bool {
	var n int64
	return c.is(`"n":`) && c.number(&n) && (!c.is(`,"tag":`) || c.text()) && c.is(`,"rows":`) && c.number(&r.Rows) &&
		c.is(`,"bytes":`) && c.number(&r.Bytes) && c.is(`,"took":`) && c.number(&n) && (!c.is(`,"sqlstate":`) || c.word(&r.SQLState)) &&
		(!c.is(`,"message":`) || c.text()) && (!c.is(`,"tx":`) || c.text()) && (!c.is(`,"copy_sha256":`) || c.text()) && c.is(`}}`)
}

// cursor is what is left to read of a JSON text.
type cursor struct{ rest []byte }

// is steps over a word that comes next.
func (c *cursor) is(word string) bool {
	if len(c.rest) < len(word) || string(c.rest[:len(word)]) != word {
		return false
	}
	c.rest = c.rest[len(word):]
	return true
}

// number reads one that is not negative.
func (c *cursor) number(to *int64) bool {
	n, digits := int64(0), 0
	for digits < len(c.rest) && digits < 18 && '0' <= c.rest[digits] && c.rest[digits] <= '9' {
		n = 10*n + int64(c.rest[digits]-'0')
		digits++
	}
	if digits == 0 || digits > 1 && c.rest[0] == '0' {
		return false
	}
	*to, c.rest = n, c.rest[digits:]
	return true
}

// word reads a string of ordinary characters. It is often that which is there already.
func (c *cursor) word(to *string) bool {
	if !c.is(`"`) {
		return false
	}
	n := ordinary(c.rest)
	if *to != string(c.rest[:n]) {
		*to = string(c.rest[:n])
	}
	c.rest = c.rest[n:]
	return c.is(`"`)
}

// text steps over a string.
func (c *cursor) text() bool {
	if !c.is(`"`) {
		return false
	}
	for {
		c.rest = c.rest[ordinary(c.rest):]
		if len(c.rest) == 0 || c.rest[0] == '"' {
			return c.is(`"`)
		}
		n := special(c.rest)
		if n == 0 {
			return false
		}
		c.rest = c.rest[n:]
	}
}

// texts steps over a list of strings.
func (c *cursor) texts() bool {
	if !c.is(`[`) || !c.text() {
		return false
	}
	for c.is(`,`) {
		if !c.text() {
			return false
		}
	}
	return c.is(`]`)
}
