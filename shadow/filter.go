// Package shadow is the watcher's seat: the engineer's screen as a rendering,
// the statements as the database received them, and the keys that become
// commands. It also plays recordings back.
//
// Its one idea: no viewer's terminal ever gets bytes that somebody else chose.
// What psql prints passes Filter, an allow-list; a shadow sees cells of a screen model, which is
// fed by the filter; statements come from the gateway and are cleaned. So nothing
// printed can drive, fool or blind the one who watches.
//
// It decides nothing about the gate: a seat's facts go to the session, which does.
package shadow

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file is the allow-list for terminals (ECMA-48, and xterm's control
// sequences as far as psql, readline and pagers use them).

// Bounds of a control sequence. A longer one is dropped whole.
const (
	maxSequence = 256 // bytes
	maxParams   = 32
	maxParam    = 9999
)

type filterState int

const (
	ground     filterState = iota
	escape                 // after ESC
	charset                // after ESC ( and its like
	control                // after CSI
	text                   // in OSC, DCS, APC, PM or SOS, all of which are dropped
	textEscape             // after ESC in one of them
)

// Filter is a writer that lets through what cannot harm a terminal: text,
// movement, erasing, colours. How its input is cut into writes makes no
// difference. It is not safe for concurrent use.
type Filter struct {
	w     io.Writer
	out   []byte
	state filterState
	seq   []byte // the sequence so far, without what introduced it
	rune  []byte // the beginning of a rune
}

// NewFilter returns a Filter before w.
func NewFilter(w io.Writer) *Filter { return &Filter{w: w} }

// Write filters p and writes what is left. The error is that of the writer behind.
func (f *Filter) Write(p []byte) (int, error) {
	f.out = f.out[:0]
	for i := 0; i < len(p); {
		if n := plain(p[i:]); n > 0 && f.state == ground && len(f.rune) == 0 {
			f.out = append(f.out, p[i:i+n]...)
			i += n
			continue
		}
		f.take(p[i])
		i++
	}
	if len(f.out) == 0 {
		return len(p), nil
	}
	if _, err := f.w.Write(f.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// plain is the length of the run of bytes at the beginning that need no look.
func plain(p []byte) int {
	for i, b := range p {
		if (b < 0x20 || b > 0x7e) && b != '\n' && b != '\r' && b != '\t' {
			return i
		}
	}
	return len(p)
}

// take takes one byte.
func (f *Filter) take(b byte) {
	switch f.state {
	case text:
		f.skip(b)
		return
	case textEscape:
		f.state = escape // ESC ends a string, whatever follows
		if b == '\\' {
			f.state = ground
			return
		}
	}
	switch {
	case b == 0x18 || b == 0x1a: // CAN and SUB abort
		f.endRune()
		f.state = ground
	case b == 0x1b:
		f.endRune()
		f.state = escape
	case f.state == ground:
		f.ground(b)
	case b < 0x20:
		f.c0(b) // control characters act within sequences, too
	case f.state == escape:
		f.escape(b)
	case f.state == charset:
		f.charset(b)
	case f.state == control:
		f.control(b)
	}
}

// skip drops a string until it ends.
func (f *Filter) skip(b byte) {
	switch b {
	case 0x07, 0x18, 0x1a:
		f.state = ground
	case 0x1b:
		f.state = textEscape
	}
}

// c0 lets through BEL, BS, HT, LF and CR. No shifts, no answerback.
func (f *Filter) c0(b byte) {
	switch b {
	case '\a', '\b', '\t', '\n', '\r':
		f.out = append(f.out, b)
	case '\v', '\f':
		f.out = append(f.out, '\n')
	}
}

func (f *Filter) ground(b byte) {
	switch {
	case len(f.rune) == 0 && b < 0x20:
		f.c0(b)
	case len(f.rune) == 0 && b < 0x7f:
		f.out = append(f.out, b)
	case len(f.rune) == 0 && b == 0x7f:
	case len(f.rune) > 0 && b < 0x80: // the rune breaks off
		f.endRune()
		f.ground(b)
	default:
		f.rune = append(f.rune, b)
		f.fullRune()
	}
}

// fullRune emits what the collected bytes are, once that is certain.
func (f *Filter) fullRune() {
	for len(f.rune) > 0 && utf8.FullRune(f.rune) {
		r, n := utf8.DecodeRune(f.rune)
		f.rune = append(f.rune[:0], f.rune[n:]...)
		f.out = appendRune(f.out, r)
	}
}

// endRune emits a rune that broke off.
func (f *Filter) endRune() {
	for range f.rune {
		f.out = appendRune(f.out, utf8.RuneError)
	}
	f.rune = f.rune[:0]
}

// appendRune drops what a terminal would not show as a character: C1 controls
// and format characters, which reorder or hide text.
func appendRune(out []byte, r rune) []byte {
	if r >= 0x7f && r < 0xa0 || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
		return out
	}
	return utf8.AppendRune(out, r)
}

func (f *Filter) escape(b byte) {
	f.seq = f.seq[:0]
	f.state = ground
	switch b {
	case '[':
		f.state = control
	case ']', 'P', '_', '^', 'X':
		f.state = text
	case '(', ')':
		f.seq = append(f.seq, b)
		f.state = charset
	case '7', '8', 'D', 'E', 'M', '=', '>':
		f.out = append(f.out, 0x1b, b)
	case ' ', '#', '%', '*', '+', '-', '.', '/':
		f.state, f.seq = charset, append(f.seq, 0)
	}
}

// charset lets ASCII and line drawing be chosen.
func (f *Filter) charset(b byte) {
	f.state = ground
	if f.seq[0] != 0 && (b == 'B' || b == '0') {
		f.out = append(f.out, 0x1b, f.seq[0], b)
	}
}

// control collects a control sequence to its final byte.
func (f *Filter) control(b byte) {
	if b >= 0x40 && b <= 0x7e {
		f.state = ground
		if len(f.seq) < maxSequence {
			f.out = appendControl(f.out, string(f.seq), b)
		}
		return
	}
	if b > 0x7e { // no byte of a sequence: it breaks off
		f.state = ground
		f.ground(b)
		return
	}
	if len(f.seq) < maxSequence {
		f.seq = append(f.seq, b)
	}
}

// finals are the control sequences that move, erase, insert, delete and scroll.
const finals = "ABCDEFGHIJKLMPSTXZ@`adefrsu"

// modes are the private modes that may be set and reset: cursor keys, reverse
// screen, wrapping, blinking and visible cursor, the alternate screen,
// bracketed paste.
var modes = map[int]bool{1: true, 5: true, 7: true, 12: true, 25: true, 47: true, 1047: true, 1048: true, 1049: true, 2004: true}

func appendControl(out []byte, params string, final byte) []byte {
	private := strings.HasPrefix(params, "?")
	list, ok := numbers(strings.TrimPrefix(params, "?"))
	if !ok {
		return out
	}
	switch {
	case !private && final == 'm':
		if list = colours(list); list == nil {
			return out
		}
	case !private && strings.IndexByte(finals, final) >= 0:
		for i := range list {
			list[i] = clamped(list[i])
		}
	case private && (final == 'h' || final == 'l'):
		if list = allowedModes(list); list == nil {
			return out
		}
	case !private && (final == 'h' || final == 'l') && len(list) == 1 && list[0] == "4": // insert mode
	default:
		return out
	}
	out = append(out, 0x1b, '[')
	if private {
		out = append(out, '?')
	}
	return append(append(out, strings.Join(list, ";")...), final)
}

// numbers splits parameters; false for anything but digits, ; and :
func numbers(params string) ([]string, bool) {
	if strings.Trim(params, "0123456789;:") != "" {
		return nil, false
	}
	list := strings.Split(params, ";")
	return list, len(list) <= maxParams
}

// number is a parameter's value; 0 when it is left out, as terminals have it.
func number(param string) int {
	n, err := strconv.Atoi(param)
	if err != nil || n > maxParam {
		if param == "" {
			return 0
		}
		return maxParam
	}
	return n
}

func clamped(param string) string {
	if param == "" || strings.Contains(param, ":") {
		return ""
	}
	return strconv.Itoa(number(param))
}

func allowedModes(list []string) (kept []string) {
	for _, p := range list {
		if !strings.Contains(p, ":") && modes[number(p)] {
			kept = append(kept, strconv.Itoa(number(p)))
		}
	}
	return kept
}

// colours keeps all of SGR but hidden text (8). In 38;5;8 the 8 is a colour.
func colours(list []string) (kept []string) {
	for i := 0; i < len(list); i++ {
		head, _, sub := strings.Cut(list[i], ":")
		switch n := number(head); {
		case n == 8 || n == 28:
		case (n == 38 || n == 48 || n == 58) && !sub:
			take := 0
			if i+2 < len(list) && number(list[i+1]) == 5 {
				take = 3
			} else if i+4 < len(list) && number(list[i+1]) == 2 {
				take = 5
			}
			if take == 0 {
				return kept // what the rest means is anyone's guess
			}
			for _, p := range list[i : i+take] {
				kept = append(kept, strconv.Itoa(min(number(p), 255)))
			}
			i += take - 1
		case sub && len(list[i]) > 24:
		case sub:
			kept = append(kept, list[i])
		default:
			kept = append(kept, strconv.Itoa(n))
		}
	}
	return kept
}

// Clean makes text fit for one line of any terminal: line breaks and tabs
// become spaces, other control characters are shown as their pictures
// (U+2400..), format characters are dropped.
func Clean(s string) string {
	var b bytes.Buffer
	for _, r := range s {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			b.WriteByte(' ')
		case r < 0x20:
			b.WriteRune(0x2400 + r)
		case r == 0x7f:
			b.WriteRune(0x2421)
		default:
			b.Write(appendRune(nil, r))
		}
	}
	return b.String()
}
