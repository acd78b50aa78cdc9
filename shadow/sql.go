package shadow

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file colours SQL for whoever must judge it: what runs is told apart from
// what is only text, and the words that change something stand out. It is a
// help to the eye and decides nothing: settings of the session can make a string
// end elsewhere than it looks.

// tint is a look that begins at a byte of a text.
type tint struct {
	at   int
	look string
}

const (
	lookString  = "\x1b[0;32m"
	lookName    = "\x1b[0;36m"
	lookComment = "\x1b[0;2m"
	lookWord    = "\x1b[0;1m"
	lookChange  = "\x1b[0;1;31m"
)

// words are those that give a statement its shape; true for those that change something.
var words = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields("select from where and or not in is null join left right full inner outer cross lateral on using as with recursive group by having order limit offset fetch union except intersect all distinct values set into returning case when then else end exists between like ilike begin commit rollback savepoint release start transaction declare close explain analyze show cascade if table view index schema function procedure trigger role database") {
		m[w] = false
	}
	for _, w := range strings.Fields("insert update delete merge truncate drop create alter grant revoke copy do call vacuum reindex cluster refresh lock reassign import security") {
		m[w] = true
	}
	return m
}()

// tints are the looks of a clean text, in order.
func tints(text string) (list []tint) {
	for at := 0; at < len(text); {
		end, look := token(text, at)
		if look != "" {
			list = append(list, tint{at, look}, tint{end, reset})
		}
		at = end
	}
	return list
}

// token is where the token at a byte ends, and its look; "" for none of its own.
func token(text string, at int) (end int, look string) {
	rest := text[at:]
	switch r, n := utf8.DecodeRuneInString(rest); {
	case r == '\'':
		backslash := at > 0 && strings.ContainsRune("eE", rune(text[at-1]))
		return at + quoted(rest, '\'', backslash), lookString
	case r == '"':
		return at + quoted(rest, '"', false), lookName
	case strings.HasPrefix(rest, "--"):
		if i := strings.IndexAny(rest, "\n"+string(lineBreak)); i >= 0 {
			return at + i, lookComment
		}
		return len(text), lookComment
	case strings.HasPrefix(rest, "/*"):
		return at + comment(rest), lookComment
	case r == '$':
		if n := dollars(rest); n > 0 {
			return at + n, lookString
		}
		return at + n, ""
	case unicode.IsLetter(r) || r == '_':
		return word(text, at)
	default:
		return at + n, ""
	}
}

// quoted is the length of what stands in quotes; a doubled one does not end it.
func quoted(rest string, quote byte, backslash bool) int {
	for i := 1; i < len(rest); i++ {
		switch {
		case backslash && rest[i] == '\\':
			i++
		case rest[i] != quote:
		case i+1 < len(rest) && rest[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return len(rest)
}

// comment is the length of one that can hold others.
func comment(rest string) int {
	deep := 0
	for i := 0; i+1 < len(rest); i++ {
		switch rest[i : i+2] {
		case "/*":
			deep++
			i++
		case "*/":
			i++
			if deep--; deep == 0 {
				return i + 1
			}
		}
	}
	return len(rest)
}

// dollars is the length of $tag$ text $tag$; 0 when none begins.
func dollars(rest string) int {
	end := strings.IndexByte(rest[1:], '$')
	if end < 0 {
		return 0
	}
	tag := rest[:end+2]
	for i, r := range tag[1 : len(tag)-1] {
		if !unicode.IsLetter(r) && r != '_' && (i == 0 || !unicode.IsDigit(r)) {
			return 0
		}
	}
	if i := strings.Index(rest[len(tag):], tag); i >= 0 {
		return len(tag) + i + len(tag)
	}
	return len(rest)
}

func word(text string, at int) (end int, look string) {
	end = len(text)
	if i := strings.IndexFunc(text[at:], func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '$' }); i >= 0 {
		end = at + i
	}
	switch changes, known := words[strings.ToLower(text[at:end])]; {
	case changes:
		return end, lookChange
	case known:
		return end, lookWord
	}
	return end, ""
}

// tinted is a part of a text in its looks.
func tinted(text string, list []tint, at, end int) string {
	if at == end || len(list) == 0 {
		return text[at:end]
	}
	i, begins := slices.BinarySearchFunc(list, at, func(t tint, at int) int { return t.at - at })
	var b strings.Builder
	if i > 0 && !begins && list[i-1].look != reset {
		b.WriteString(list[i-1].look)
	}
	for ; i < len(list) && list[i].at < end; i++ {
		b.WriteString(text[at:list[i].at])
		b.WriteString(list[i].look)
		at = list[i].at
	}
	b.WriteString(text[at:end])
	if i > 0 && list[i-1].look != reset {
		b.WriteString(reset)
	}
	return b.String()
}
