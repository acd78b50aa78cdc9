package shadow

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// This file is about Hebrew, Arabic and other scripts that run from right to left.
// Some terminals turn such text around, and with it the digits and signs between two
// words of it: "א = 1000, ב = 2" may read as if the numbers were swapped. The seat asks
// terminals not to (ECMA-48 7.2.1, BDSM; VTE and mintty obey), and because others know
// no such request, each line with such text says so, and a key spells it out.

const (
	inOrder  = "\x1b[8l\x1b[1 k" // characters stand where they are put, lines begin at the left
	asBefore = "\x1b[8h\x1b[0 k"
)

// rtlMark stands before a line that terminals may show in another order. Its letters
// make those that guess a line's direction begin it at the left.
const rtlMark = "[rtl] "

// marked is a text with rtlMark before it, if it needs one.
func marked(text string) string {
	if turns(text) {
		return rtlMark + text
	}
	return text
}

// turns reports whether a terminal might turn a part of a text around.
func turns(text string) bool {
	for i := 0; i < len(text); {
		if text[i] < 0xd6 { // before U+0580
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		if rightToLeft(r) {
			return true
		}
		i += n
	}
	return false
}

// rightToLeft reports whether a character is in one of the blocks that are kept for
// scripts from right to left (Unicode 16, DerivedBidiClass: those with default R or AL).
func rightToLeft(r rune) bool {
	switch {
	case r < 0x590:
		return false
	case r < 0x900:
		return true
	}
	return r >= 0xfb1d && r < 0xfe00 || r >= 0xfe70 && r < 0xff00 || r >= 0x10800 && r < 0x11000 || r >= 0x1e800 && r < 0x1f000
}

// spelled is clean text with each character that is not ASCII by its number: in the
// order in which they are, and whatever they look like.
func spelled(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r < 0x80 || r == lineBreak {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "<U+%04X>", r)
		}
	}
	return b.String()
}
