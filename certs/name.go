package certs

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file keeps names readable. A name comes from outside and is shown on
// terminals, in logs and next to other names: it must neither move a cursor nor
// turn text around, nor look like another name by what cannot be seen.

// Bounds of a name.
const (
	nameBytes = 120
	nameRunes = 100
	nameMarks = 2 // accents on one letter; more climb over other lines
)

// CleanName makes a name fit for terminals and logs: valid UTF-8 without
// control, format (bidi) and invisible characters, single spaces inside only,
// at most 100 characters and 120 bytes. The result is empty when nothing is left;
// cleaning it again changes nothing.
func CleanName(name string) string {
	var b strings.Builder
	marks, runes := nameMarks, 0 // an accent on nothing would sit on what stands before the name
	for _, r := range name {
		switch {
		case unicode.IsSpace(r):
			if b.Len() == 0 || strings.HasSuffix(b.String(), " ") {
				continue
			}
			r, marks = ' ', nameMarks
		case !visible(r):
			continue
		case unicode.In(r, unicode.Mn, unicode.Me):
			if marks++; marks > nameMarks {
				continue
			}
		default:
			marks = 0
		}
		if runes++; runes > nameRunes || b.Len()+utf8.RuneLen(r) > nameBytes {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSuffix(b.String(), " ")
}

// visible reports whether a character leaves a mark where it stands.
// Of Unicode's letters and symbols some are defined to be blank.
func visible(r rune) bool {
	const brailleBlank = '\u2800'
	return unicode.IsPrint(r) && r != utf8.RuneError && r != brailleBlank &&
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// clean reports whether a name is as CleanName would leave it.
func clean(name string) bool { return name != "" && CleanName(name) == name }
