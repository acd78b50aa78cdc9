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

// wordsOf reads a text as Postgres' scanner does (manual 4.1): words, outside
// of comments, literals and quoted names.
func wordsOf(sql string) (w sqlWords) {
	n, ended := 0, false
	for i := 0; i < len(sql); {
		rest := sql[i:]
		switch c := sql[i]; {
		case strings.IndexByte(" \t\n\r\f\v", c) >= 0:
			i++
			continue
		case strings.HasPrefix(rest, "--"):
			i += lineEnd(rest)
			continue
		case strings.HasPrefix(rest, "/*"):
			i += commentEnd(rest)
			continue
		}
		w.several = w.several || ended && sql[i] != ';'
		switch c := sql[i]; {
		case c == ';':
			ended = ended || n > 0
			i++
			continue
		case c == '(' && n == 0: // (select …)
			i++
			continue
		case c == '\'':
			i += quoteEnd(rest, false)
		case (c == 'e' || c == 'E') && strings.HasPrefix(rest[1:], "'"):
			i += 1 + quoteEnd(rest[1:], true)
		case c == '"':
			i += quoteEnd(rest, false)
		case c == '$':
			i += dollarEnd(rest)
		case isWord(c):
			end := 1
			for end < len(rest) && (isWord(rest[end]) || rest[end] == '$' || '0' <= rest[end] && rest[end] <= '9') {
				end++
			}
			word := strings.ToLower(rest[:end])
			switch n {
			case 0:
				w.first = word
			case 1:
				w.second = word
			}
			w.writes = w.writes || slices.Contains(writers, word)
			i += end
		default:
			i++
		}
		n++
	}
	return w
}

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
