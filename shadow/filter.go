package shadow

import (
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

// This file is the allow-list for terminals (ECMA-48, and xterm's control
// sequences as far as psql, readline and pagers use them).

// Bounds of a control sequence, which is dropped whole when it is longer, and of
// a string (a title, a clipboard), which is dropped until then: a string that
// never ends must not blind anybody.
const (
	maxSequence = 256 // bytes
	maxParams   = 32
	maxParam    = 9999
	maxString   = 4 << 10 // bytes
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
	long  int    // bytes of the string so far
	marks int    // characters without width in a row

	driven, alternate, region atomic.Bool // what passed that is not text, see Restore
}

// NewFilter returns a Filter before w.
func NewFilter(w io.Writer) *Filter { return &Filter{w: w} }

// before is a filter in front of another w, in the middle of whatever this one is
// in. What has driven the terminal before it is not its to restore.
func (f *Filter) before(w io.Writer) *Filter {
	return &Filter{w: w, state: f.state, seq: slices.Clone(f.seq), rune: slices.Clone(f.rune), long: f.long, marks: f.marks}
}

// Restore is what makes a terminal usable again that got all that passed:
// the main screen, all rows, a cursor, no colours, no modes; "" after nothing but
// text. It moves the cursor only to leave the alternate screen, so that words
// written behind it are seen, and it passes a Filter itself. Unlike Write it may be
// called at any time, but what is written meanwhile may come too late for it.
func (f *Filter) Restore() string {
	if !f.driven.Load() {
		return ""
	}
	var text string
	if f.alternate.Load() {
		text = "\x1b[?1049l"
	}
	if f.region.Load() {
		text += "\x1b7\x1b[r\x1b8"
	}
	return text + "\x1b[0m\x1b(B\x1b[4l\x1b>\x1b[?1l\x1b[?7h\x1b[?25h\x1b[?2004l"
}

// Write filters p and writes what is left. The error is that of the writer behind.
func (f *Filter) Write(p []byte) (int, error) {
	f.out = f.out[:0]
	for i := 0; i < len(p); {
		if n := plain(p[i:]); n > 0 && f.state == ground && len(f.rune) == 0 {
			f.out = append(f.out, p[i:i+n]...)
			f.marks = 0
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
	f.long++
	switch {
	case b == 0x07 || b == 0x18 || b == 0x1a || f.long >= maxString:
		f.state = ground
	case b == 0x1b:
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
		f.emit(r)
	}
}

// emit lets a character through, unless so many without width came before it
// that they would climb out of their line.
func (f *Filter) emit(r rune) {
	if runeWidth(r) > 0 {
		f.marks = 0
	} else if f.marks++; f.marks > maxMarks {
		return
	}
	f.out = appendRune(f.out, r)
}

// endRune emits a rune that broke off.
func (f *Filter) endRune() {
	for range f.rune {
		f.emit(utf8.RuneError)
	}
	f.rune = f.rune[:0]
}

// appendRune drops what a terminal would not show as a character: C1 controls,
// format characters, which reorder or hide text, and what is never seen.
func appendRune(out []byte, r rune) []byte {
	if r >= 0xa0 && r < 0xad || r >= 0xae && r < 0x300 || r >= 0x2500 && r < 0x2580 { // most that is not ASCII
		return utf8.AppendRune(out, r)
	}
	if r >= 0x7f && r < 0xa0 || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) {
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
		f.state, f.long = text, 0
	case '(', ')':
		f.seq = append(f.seq, b)
		f.state = charset
	case '7', '8', 'D', 'E', 'M', '=', '>':
		f.driven.Store(true)
		f.out = append(f.out, 0x1b, b)
	case ' ', '#', '%', '*', '+', '-', '.', '/':
		f.state, f.seq = charset, append(f.seq, 0)
	}
}

// charset lets ASCII and line drawing be chosen.
func (f *Filter) charset(b byte) {
	f.state = ground
	if f.seq[0] != 0 && (b == 'B' || b == '0') {
		f.driven.Store(true)
		f.out = append(f.out, 0x1b, f.seq[0], b)
	}
}

// control collects a control sequence to its final byte.
func (f *Filter) control(b byte) {
	if b >= 0x40 && b <= 0x7e {
		f.state = ground
		if len(f.seq) < maxSequence {
			before := len(f.out)
			f.out = appendControl(f.out, string(f.seq), b)
			f.passed(f.out[before:])
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

// passed takes note of a control sequence that was let through.
func (f *Filter) passed(sequence []byte) {
	if len(sequence) == 0 {
		return
	}
	f.driven.Store(true)
	final := sequence[len(sequence)-1]
	switch params, private := strings.CutPrefix(string(sequence[2:len(sequence)-1]), "?"); {
	case final == 'r':
		f.region.Store(params != "")
	case private:
		for n := range strings.SplitSeq(params, ";") {
			if n == "47" || n == "1047" || n == "1049" {
				f.alternate.Store(final == 'h')
			}
		}
	}
}

// finals are the control sequences that move, erase, insert, delete and
// scroll, and how many parameters each may have: with more they mean something else.
var finals = map[byte]int{
	'A': 1, 'B': 1, 'C': 1, 'D': 1, 'E': 1, 'F': 1, 'G': 1, 'H': 2, 'I': 1, 'J': 1, 'K': 1, 'L': 1, 'M': 1, 'P': 1,
	'S': 1, 'T': 1, 'X': 1, 'Z': 1, '@': 1, '`': 1, 'a': 1, 'd': 1, 'e': 1, 'f': 2, 'r': 2, 's': 0, 'u': 0,
}

// modes are the private modes that may be set and reset: cursor keys,
// wrapping, blinking and visible cursor, the alternate screen, bracketed paste.
var modes = map[int]bool{1: true, 7: true, 12: true, 25: true, 47: true, 1047: true, 1048: true, 1049: true, 2004: true}

func appendControl(out []byte, params string, final byte) []byte {
	private := strings.HasPrefix(params, "?")
	list, ok := numbers(strings.TrimPrefix(params, "?"))
	if !ok {
		return out
	}
	switch {
	case !private && final == 'm':
		list = colours(list)
	case private && (final == 'h' || final == 'l'):
		list = allowedModes(list)
	case !private && (final == 'h' || final == 'l') && len(list) == 1 && list[0] == "4": // insert mode
	case !private:
		list = movement(list, final)
	default:
		list = nil
	}
	if list == nil {
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

// movement bounds the parameters of a sequence in finals; nil when it is none.
// Erasing what has scrolled away (3 J) is not for others to do.
func movement(list []string, final byte) []string {
	most, known := finals[final]
	if !known || len(list) > max(most, 1) || most == 0 && list[0] != "" || final == 'J' && number(list[0]) > 2 {
		return nil
	}
	for i, p := range list {
		if strings.Contains(p, ":") {
			return nil
		}
		if p != "" {
			list[i] = strconv.Itoa(number(p))
		}
	}
	return list
}

func allowedModes(list []string) (kept []string) {
	for _, p := range list {
		if !strings.Contains(p, ":") && modes[number(p)] {
			kept = append(kept, strconv.Itoa(number(p)))
		}
	}
	return kept
}

// colours keeps SGR but hidden text (8), so strictly that no parameter is 8:
// a terminal that does not know 38;5;8 or 38;2;8;8;8 may take its parts for
// attributes. Colours in the form with colons get the common one.
func colours(list []string) (kept []string) {
	for i := 0; i < len(list); i++ {
		head, sub, colon := strings.Cut(list[i], ":")
		n := number(head)
		switch {
		case n == 8 || n == 28:
		case n == 38 || n == 48 || n == 58:
			c, used := list[i+1:], 0
			if colon {
				c = subcolour(sub)
			}
			if c, used = colour256(n, c); c == nil && !colon {
				return kept // what the rest means is anyone's guess
			}
			kept = append(kept, c...)
			if !colon {
				i += used
			}
		case n == 4 && colon:
			if len(sub) == 1 && sub >= "0" && sub <= "5" {
				kept = append(kept, list[i])
			}
		case !colon && n < 108:
			kept = append(kept, strconv.Itoa(n))
		}
	}
	return kept
}

// subcolour turns the rest of 38:5:n and 38:2:[space]:r:g:b into a list.
func subcolour(sub string) []string {
	list := strings.Split(sub, ":")
	if list[0] == "2" && len(list) >= 5 {
		return append([]string{"2"}, list[2:5]...)
	}
	return list
}

// colour256 is one of 256 colours or red, green and blue, for n: 38 or 48. An
// underline's (58) is read and dropped. It returns how many parameters that took.
func colour256(n int, list []string) (kept []string, used int) {
	switch {
	case len(list) >= 2 && number(list[0]) == 5:
		used = 2
	case len(list) >= 4 && number(list[0]) == 2:
		used = 4
	default:
		return nil, 0
	}
	if n == 58 {
		return []string{}, used
	}
	kept = []string{strconv.Itoa(n), strconv.Itoa(number(list[0]))}
	for _, p := range list[1:used] {
		c := min(number(p), 255)
		switch {
		case c == 8 && used == 2:
			return []string{strconv.Itoa(n + 52)}, used // bright black has a number of its own: 90 and 100
		case c == 8:
			c = 9 // nobody sees the difference
		}
		kept = append(kept, strconv.Itoa(c))
	}
	return kept, used
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
