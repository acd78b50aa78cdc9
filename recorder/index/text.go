package index

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// This file says what it means that a text holds another one: as people mean it,
// who remember `delete from payments` and not the line breaks in it.

// line is a text on one line: white space becomes a single space, control characters
// and what is not UTF-8 become U+FFFD, and a letter with its accents is one rune where
// there is one (NFC), whichever way it was typed.
func line(text string) string {
	var b strings.Builder
	b.Grow(len(text))
	space := true // at the beginning there is none
	for _, r := range norm.NFC.String(text) {
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
func fold(text string) string { return lower(line(text)) }

func lower(line string) string { return strings.Map(lowerRune, line) }

// lowerRune is the same for all that are one letter: k, K and the Kelvin sign; the Greek
// sigma, also at the end of a word.
func lowerRune(r rune) rune {
	if r <= unicode.MaxASCII {
		return unicode.ToLower(r)
	}
	first := r
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		first = min(first, other)
	}
	return unicode.ToLower(first)
}

// offset is where a folded text is in a line, in runes; -1 where it is not.
func offset(line, folded string) int {
	lowered := lower(line)
	i := strings.Index(lowered, folded)
	if i < 0 {
		return -1
	}
	return len([]rune(lowered[:i]))
}

// mostTrigrams bounds a question. The others are looked for in the texts.
const mostTrigrams = 64

// question asks an index of words which sessions have all the trigrams of a folded
// text, or, where it is shorter, the pair or the one rune that it is; the table is empty for
// a text that is.
func question(folded string, screen bool) (table, match string) {
	runes := []rune(folded)
	var words []string
	switch table = "words"; len(runes) {
	case 0:
		return "", ""
	case 1, 2:
		table, words = "pairs", []string{`"` + token(runes) + `"`}
	}
	for i := 0; i+3 <= len(runes) && len(words) < mostTrigrams; i++ {
		words = append(words, `"`+strings.ReplaceAll(string(runes[i:i+3]), `"`, `""`)+`"`)
	}
	column := "said"
	if screen {
		column = "{said shown}"
	}
	return table, column + " : (" + strings.Join(words, " AND ") + ")"
}

// token is one or two runes as the index of pairs has them: a word of digits and letters.
func token(runes []rune) string {
	if len(runes) == 1 {
		return fmt.Sprintf("%x", runes[0])
	}
	return fmt.Sprintf("%xx%x", runes[0], runes[1])
}

// pairs is every rune of a folded text, and every two that stand together, once, as the index of
// pairs takes them.
func pairs(folded string) string {
	seen := map[[2]rune]bool{}
	var b strings.Builder
	add := func(key [2]rune, runes ...rune) {
		if !seen[key] {
			seen[key] = true
			b.WriteString(token(runes))
			b.WriteByte(' ')
		}
	}
	before := rune(-1)
	for _, r := range folded {
		add([2]rune{r, -1}, r)
		if before >= 0 {
			add([2]rune{before, r}, before, r)
		}
		before = r
	}
	return b.String()
}
