package shadow

import (
	"strings"
	"unicode"
)

// This file is the line that is typed at a prompt of the seat, live or replayed.

// maxAnswer is how many characters of it there can be.
const maxAnswer = 200

type answer []rune

// take takes a key that goes into the line.
func (a *answer) take(k key) {
	switch {
	case k == keyBack && len(*a) > 0:
		*a = (*a)[:len(*a)-1]
	case k > 0 && len(*a) < maxAnswer && unicode.IsPrint(rune(k)):
		*a = append(*a, rune(k))
	}
}

func (a answer) text() string { return strings.TrimSpace(string(a)) }

// draw is the question, the end of what is typed, and as long as that leaves room
// for it, what other keys do.
func (a answer) draw(question, keys string, cols int) string {
	typed := []rune(Clean(string(a)))
	room := max(cols-textWidth(question)-1, 8)
	for textWidth(string(typed)) > room {
		typed = typed[1:]
	}
	line := question + string(typed) + "▏"
	if textWidth(line)+2+textWidth(keys) <= cols {
		line += "  " + keys
	}
	return line
}
