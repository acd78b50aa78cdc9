package index

import (
	"strings"
	"unicode"
)

// This file says what it means that a text holds another one: as people mean it,
// who remember `delete from payments` and not the line breaks in it.

// line is a text on one line: white space becomes a single space, control characters
// and what is not UTF-8 become U+FFFD.
func line(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	space := true // at the beginning there is none
	for _, r := range text {
		switch {
		case unicode.IsSpace(r):
			if !space {
				b.WriteByte(' ')
			}
			space = true
			continue
		case unicode.IsControl(r):
			r = unicode.ReplacementChar
		}
		space = false
		b.WriteRune(r)
	}
	return strings.TrimSuffix(b.String(), " ")
}

// fold is a text without what does not matter: rune by rune, so that a place in it
// is a place in line(text).
func fold(text string) string { return strings.Map(unicode.ToLower, line(text)) }

// offset is where a folded text is in a line, in runes; -1 where it is not.
func offset(line, folded string) int {
	lower := strings.Map(unicode.ToLower, line)
	i := strings.Index(lower, folded)
	if i < 0 {
		return -1
	}
	return len([]rune(lower[:i]))
}

// mostTrigrams bounds a question. The others are looked for in the texts.
const mostTrigrams = 64

// question asks the index of words which sessions have all the trigrams of a folded
// text; empty for one that has none.
func question(folded string, screen bool) string {
	runes := []rune(folded)
	if len(runes) < 3 {
		return ""
	}
	var words []string
	for i := 0; i+3 <= len(runes) && len(words) < mostTrigrams; i++ {
		words = append(words, `"`+strings.ReplaceAll(string(runes[i:i+3]), `"`, `""`)+`"`)
	}
	column := "said"
	if screen {
		column = "{said shown}"
	}
	return column + " : (" + strings.Join(words, " AND ") + ")"
}
