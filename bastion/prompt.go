package bastion

import (
	"bufio"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file asks a question on a raw terminal: the client's end echoes
// nothing, so the little editing there is happens here.

// maxAnswer bounds what somebody may type, in characters.
const maxAnswer = 500

// question is one line being typed.
type question struct {
	out    io.Writer
	answer []rune
}

// askLine shows a prompt and returns the line that was typed, without control
// characters. Ctrl-C, and Ctrl-D on an empty line, are errLeft; so is a
// terminal that goes away. What was typed ahead behind Enter stays in in.
func askLine(in *bufio.Reader, out io.Writer, prompt string) (string, error) {
	q := question{out: out}
	io.WriteString(out, prompt)
	for {
		r, _, err := in.ReadRune()
		if err != nil {
			return "", errLeft
		}
		switch r {
		case '\r', '\n':
			io.WriteString(out, "\r\n")
			return strings.TrimSpace(string(q.answer)), nil
		case 0x03:
			io.WriteString(out, "^C\r\n")
			return "", errLeft
		case 0x04:
			if len(q.answer) == 0 {
				io.WriteString(out, "\r\n")
				return "", errLeft
			}
		case 0x1b:
			skipEscape(in)
		default:
			q.key(r)
		}
	}
}

// key edits the line.
func (q *question) key(r rune) {
	switch {
	case r == 0x7f || r == '\b':
		q.erase(1)
	case r == 0x15: // Ctrl-U
		q.erase(len(q.answer))
	case r == '\t':
		q.add(' ')
	case unicode.IsPrint(r) && r != utf8.RuneError:
		q.add(r)
	}
}

func (q *question) add(r rune) {
	if len(q.answer) >= maxAnswer {
		io.WriteString(q.out, "\a")
		return
	}
	q.answer = append(q.answer, r)
	io.WriteString(q.out, string(r))
}

func (q *question) erase(n int) {
	n = min(n, len(q.answer))
	q.answer = q.answer[:len(q.answer)-n]
	io.WriteString(q.out, strings.Repeat("\b \b", n))
}

// skipEscape drops the rest of an escape sequence that arrived with its ESC,
// such as an arrow key: CSI and SS3 up to their final byte.
func skipEscape(in *bufio.Reader) {
	if in.Buffered() == 0 {
		return // the Escape key itself
	}
	first, err := in.ReadByte()
	if err != nil || first != '[' && first != 'O' {
		return
	}
	for range 32 {
		if in.Buffered() == 0 {
			return
		}
		b, err := in.ReadByte()
		if err != nil || b >= 0x40 && b <= 0x7e {
			return
		}
	}
}
