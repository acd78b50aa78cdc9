package certs

import (
	"unicode"
	"unicode/utf8"
)

// maxName bounds the name of a person, in bytes.
const maxName = 128

// printable reports whether a name may be shown on any terminal and in any
// log: UTF-8, not empty, not too long, without control, format (bidi) and
// separator characters; spaces inside are fine.
func printable(name string) bool {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || name[0] == ' ' || name[len(name)-1] == ' ' {
		return false
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
