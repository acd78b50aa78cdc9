package pgwire

import (
	"slices"
	"strings"
)

// This file looks at the words of a statement, to decide in which of the
// database's own bounds it is run: a read-only transaction, one that waits for
// a shadow's yes, or after a yes. The bounds hold whatever the text turns out to be; a
// mistake here costs a question too many or an error, never a write that nobody saw.

// class is what a statement seems to be.
type class int

const (
	other   class = iota // may write, or is not known
	reading              // plainly a read
	setting              // changes this connection alone
	marking              // begins a transaction, or marks a place in one
	ending               // may make a transaction's changes last
	undoing              // gives changes up
)

// firstWords are the statements that are known by how they begin. What is not
// here may be anything.
var firstWords = map[string]class{
	"select": reading, "table": reading, "values": reading, "show": reading, "explain": reading, "with": reading,
	"set": setting, "reset": setting, "listen": setting, "unlisten": setting, "discard": setting, "prepare": setting, "deallocate": setting,
	"begin": marking, "start": marking, "savepoint": marking, "release": marking,
	"commit": ending, "end": ending,
	"rollback": undoing, "abort": undoing,
}

// inside are statements that may write and cannot end a transaction: the
// database refuses that within one that is open.
var inside = []string{
	"insert", "update", "delete", "merge", "copy", "truncate", "create", "alter", "drop", "grant", "revoke", "comment",
	"refresh", "reindex", "analyze", "cluster", "vacuum", "lock", "do", "call", "execute", "notify", "security",
	"reassign", "import", "checkpoint", "load", "declare", "fetch", "move", "close",
}

// writers are words that make a read a write.
var writers = []string{"insert", "update", "delete", "merge", "into", "share", "nextval", "setval"}

// sqlWords is a statement's words, as far as they matter.
type sqlWords struct {
	first, second string // lower case; empty when there is none
	writes        bool   // one of writers is among the words
	several       bool   // something stands behind a semicolon
}

func (w sqlWords) class() class {
	c := firstWords[w.first]
	switch {
	case w.several:
		return other
	case w.second == "prepared": // COMMIT PREPARED, of a transaction that is not this one
		return other
	case w.first == "prepare" && w.second == "transaction":
		return ending
	case c == reading && w.writes:
		return other
	}
	return c
}

// mayEnd reports whether a statement may end the transaction that it is sent in.
func (w sqlWords) mayEnd() bool {
	c := w.class()
	return c == ending || w.several || c == other && firstWords[w.first] == other && !slices.Contains(inside, w.first)
}

// token is what a piece of a statement is.
type token int

const (
	blank   token = iota // white space and comments
	literal              // a string or a number
	named                // a quoted name
	word
	sign // any other character
)

// next reads the first token of a text that is not empty, as Postgres' scanner
// does (manual 4.1), and returns its length in bytes.
func next(sql string) (token, int) {
	switch c := sql[0]; {
	case strings.IndexByte(" \t\n\r\f\v", c) >= 0:
		return blank, 1
	case strings.HasPrefix(sql, "--"):
		return blank, lineEnd(sql)
	case strings.HasPrefix(sql, "/*"):
		return blank, commentEnd(sql)
	case c == '\'':
		return literal, quoteEnd(sql, false)
	case (c == 'e' || c == 'E') && strings.HasPrefix(sql[1:], "'"):
		return literal, 1 + quoteEnd(sql[1:], true)
	case c == '"':
		return named, quoteEnd(sql, false)
	case c == '$':
		if n := dollarEnd(sql); n > 1 {
			return literal, n
		}
	case '0' <= c && c <= '9':
		n := 1
		for n < len(sql) && (isDigit(sql[n]) || sql[n] == '.') {
			n++
		}
		return literal, n
	case isWord(c):
		n := 1
		for n < len(sql) && (isWord(sql[n]) || sql[n] == '$' || isDigit(sql[n])) {
			n++
		}
		return word, n
	}
	return sign, 1
}

// wordsOf reads a text's words, outside of comments, literals and quoted names.
func wordsOf(sql string) (w sqlWords) {
	count, ended := 0, false
	for sql != "" {
		kind, n := next(sql)
		text := sql[:n]
		sql = sql[n:]
		if kind == blank {
			continue
		}
		w.several = w.several || ended && text != ";"
		if text == ";" {
			ended = ended || count > 0
			continue
		}
		if text == "(" && count == 0 { // (select …)
			continue
		}
		if kind == word {
			text = strings.ToLower(text)
			switch count {
			case 0:
				w.first = text
			case 1:
				w.second = text
			}
			w.writes = w.writes || slices.Contains(writers, text)
		}
		count++
	}
	return w
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isWord(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c >= 0x80 }

func lineEnd(s string) int {
	if i := strings.IndexAny(s, "\n\r"); i >= 0 {
		return i
	}
	return len(s)
}

// commentEnd finds the end of a comment; they nest.
func commentEnd(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); {
		switch s[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			depth--
			i += 2
			if depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return len(s)
}

// quoteEnd finds the end of what begins with a quote; a doubled one does not end it.
func quoteEnd(s string, backslash bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case backslash && s[i] == '\\':
			i++
		case s[i] == s[0] && i+1 < len(s) && s[i+1] == s[0]:
			i++
		case s[i] == s[0]:
			return i + 1
		}
	}
	return len(s)
}

// dollarEnd finds the end of a literal between $tag$ and $tag$; a $ that begins
// none is one character.
func dollarEnd(s string) int {
	tag := 1
	for tag < len(s) && (isWord(s[tag]) || tag > 1 && '0' <= s[tag] && s[tag] <= '9') {
		tag++
	}
	if tag == len(s) || s[tag] != '$' {
		return 1
	}
	tag++
	if i := strings.Index(s[tag:], s[:tag]); i >= 0 {
		return tag + i + tag
	}
	return len(s)
}
