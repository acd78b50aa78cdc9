package bastion

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/twokey/twokey/session"
)

// This file is how the bastion talks to people: what failed and with which
// exit status, and text made fit for a terminal.

// Exit statuses that are not a session.Cause's.
const (
	statusFailed = 1
	statusUsage  = 2   // like most commands
	statusLeft   = 130 // Ctrl-C at a prompt
)

// failure is an error for a person, with the exit status that goes with it.
type failure struct {
	status int
	text   string
}

func (f failure) Error() string { return f.text }

// refusal is what policy does not allow.
func refusal(format string, args ...any) error {
	return session.Cause{Code: session.Refused, Text: fmt.Sprintf(format, args...)}
}

// misuse is a command that makes no sense as typed.
func misuse(format string, args ...any) error {
	return failure{statusUsage, fmt.Sprintf(format, args...)}
}

// errLeft is somebody who left at a prompt.
var errLeft = failure{statusLeft, "you left; nothing was opened"}

// StatusOf is the exit status for an error of a command: 2 for a misuse, 1 for a failure, and those of session.Cause.
func StatusOf(err error) int {
	var f failure
	if errors.As(err, &f) {
		return f.status
	}
	var c session.Cause
	if errors.As(err, &c) {
		return c.ExitStatus()
	}
	return statusFailed
}

// reason is what an error says to the person.
func reason(err error) string {
	var c session.Cause
	if errors.As(err, &c) && c.Text != "" {
		return c.Text
	}
	return err.Error()
}

// jsonLine writes a value as JSON on a line. It is exact, and yet drives no
// terminal: what is not printed is escaped, which in JSON stands in strings alone.
func jsonLine(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	line := make([]byte, 0, len(data)+1)
	for _, r := range string(data) {
		switch {
		case unicode.IsPrint(r):
			line = utf8.AppendRune(line, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			line = fmt.Appendf(line, `\u%04x\u%04x`, high, low)
		default:
			line = fmt.Appendf(line, `\u%04x`, r)
		}
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// crlf ends lines as a raw terminal needs it, and leaves those alone that do.
type crlf struct {
	w    io.Writer
	last byte
}

func (c *crlf) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p)+16)
	for _, b := range p {
		if b == '\n' && c.last != '\r' {
			out = append(out, '\r')
		}
		out = append(out, b)
		c.last = b
	}
	if _, err := c.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// table prints rows in columns.
type table struct {
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString("  " + cell + strings.Repeat(" ", widths[i]-len([]rune(cell))))
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}
