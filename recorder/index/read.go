package index

import (
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twokey/twokey/session"
)

// This file reads off a tape what can be searched: statements, and the lines that
// were on the screen. Both are bounded, and what is beyond is said to be.

// Bounds, in bytes.
const (
	mostStatement = 64 << 10 // of one statement
	mostSaid      = 4 << 20  // of all statements of a session
	mostShown     = 1 << 20  // of all its lines
	mostChunk     = 4 << 10  // of lines that are kept together
)

// text is a piece of text of a session.
type text struct {
	screen bool
	at     time.Duration
	n      int // of the statement
	text   string
}

// contents is all that can be searched in a session.
type contents struct {
	texts       []text
	said, shown int // bytes
	cut         bool
}

// read reads events. What it returns with an error is what came before it.
func read(events iter.Seq2[session.Event, error]) (contents, error) {
	var c contents
	s := screen{contents: &c}
	for e, err := range events {
		if err != nil {
			s.flush()
			return c, err
		}
		switch e.Type {
		case session.Statement:
			c.statement(e)
		case session.Output, session.Errors:
			s.write(e.At, string(e.Bytes))
		}
	}
	s.flush()
	return c, nil
}

// statement keeps a statement that ran, with its parameters.
func (c *contents) statement(e session.Event) {
	if e.Statement == nil || e.Statement.Protocol == "parse" {
		return
	}
	all := e.Statement.Text
	if len(e.Statement.Params) > 0 {
		all = clip(all, mostStatement) + " [" + clip(strings.Join(e.Statement.Params, ", "), mostStatement) + "]"
	}
	kept := line(clip(all, mostStatement))
	if len(all) > mostStatement || c.said+len(kept) > mostSaid {
		c.cut = true
	}
	if c.said+len(kept) <= mostSaid {
		c.said += len(kept)
		c.texts = append(c.texts, text{at: e.At, n: e.Statement.N, text: kept})
	}
}

func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return text[:most]
}

// screen is one line of a terminal at a time, as far as it takes to read what was
// on it: readline's way of editing a line is followed, and whatever moves
// elsewhere begins another one.
type screen struct {
	*contents
	line   []rune
	column int
	escape []rune // an escape sequence that has begun, without the ESC
	within bool   // of one
	chunk  strings.Builder
	at     time.Duration // of the chunk's first line
	lineAt time.Duration // of the line's last rune: then it was there
}

const (
	longestLine   = 2048 // runes
	longestEscape = 4096
)

func (s *screen) write(at time.Duration, text string) {
	if s.shown >= mostShown {
		s.cut = true
		return
	}
	for _, r := range text {
		if s.within {
			s.escaped(r)
			continue
		}
		switch {
		case r == 0x1b:
			s.within, s.escape = true, s.escape[:0]
		case r == '\n':
			s.end()
		case r == '\r':
			s.column = 0
		case r == '\b':
			s.column = max(s.column-1, 0)
		case r == '\t':
			s.put(at, ' ')
		case r < ' ', r == 0x7f, r == utf8.RuneError:
		default:
			s.put(at, r)
		}
	}
}

func (s *screen) put(at time.Duration, r rune) {
	s.lineAt = at
	for len(s.line) <= s.column {
		s.line = append(s.line, ' ')
	}
	s.line[s.column] = r
	if s.column++; s.column == longestLine {
		s.end()
	}
}

// escaped takes a rune of an escape sequence (ECMA-48), and does what it says
// when it is whole.
func (s *screen) escaped(r rune) {
	s.escape = append(s.escape, r)
	switch first := s.escape[0]; {
	case len(s.escape) >= longestEscape, r == 0x18, r == 0x1a:
		s.within = false
	case first == '[':
		if len(s.escape) > 1 && r >= 0x40 && r <= 0x7e {
			s.within = false
			s.control(string(s.escape[1:len(s.escape)-1]), r)
		}
	case strings.ContainsRune("]P_^X", first): // strings end with BEL or ESC \
		s.within = r != 0x07 && !(r == '\\' && len(s.escape) > 1 && s.escape[len(s.escape)-2] == 0x1b)
	case first >= ' ' && first <= '/': // a character set and the like
		s.within = len(s.escape) < 2
	default:
		s.within = false
	}
}

// control does what a control sequence does to a line.
func (s *screen) control(parameters string, final rune) {
	n, err := strconv.Atoi(parameters)
	if err != nil || n < 1 {
		n = 1
	}
	n = min(n, longestLine)
	switch final {
	case 'C':
		s.column = min(s.column+n, longestLine-1)
	case 'D':
		s.column = max(s.column-n, 0)
	case 'G':
		s.column = min(n, longestLine) - 1
	case 'K':
		if parameters == "" || parameters == "0" {
			s.line = s.line[:min(s.column, len(s.line))]
		}
	case 'P': // delete characters
		if s.column < len(s.line) {
			s.line = append(s.line[:s.column], s.line[min(s.column+n, len(s.line)):]...)
		}
	case '@': // make room
		for range n {
			if s.column < len(s.line) && len(s.line) < longestLine {
				s.line = append(s.line[:s.column+1], s.line[s.column:]...)
				s.line[s.column] = ' '
			}
		}
	case 'A', 'B', 'E', 'F', 'H', 'J', 'd', 'f':
		s.end()
	}
}

// end ends a line.
func (s *screen) end() {
	kept := line(string(s.line))
	s.line, s.column = s.line[:0], 0
	if kept == "" {
		return
	}
	if s.chunk.Len() > 0 && (s.chunk.Len()+len(kept) > mostChunk || s.lineAt/time.Second != s.at/time.Second) {
		s.keep()
	}
	if s.chunk.Len() == 0 {
		s.at = s.lineAt
	} else {
		s.chunk.WriteByte(' ')
	}
	s.chunk.WriteString(kept)
}

// keep keeps the lines of a second together.
func (s *screen) keep() {
	if s.chunk.Len() > 0 {
		s.shown += s.chunk.Len()
		s.texts = append(s.texts, text{screen: true, at: s.at, text: s.chunk.String()})
		s.chunk.Reset()
	}
}

// flush keeps what is left.
func (s *screen) flush() {
	s.end()
	s.keep()
}

// folded is all statements, and all lines, as the index of words takes them.
func (c *contents) folded() (said, shown string) {
	var a, b strings.Builder
	for _, t := range c.texts {
		to := &a
		if t.screen {
			to = &b
		}
		to.WriteString(t.text)
		to.WriteByte('\n')
	}
	return fold(a.String()), fold(b.String())
}
