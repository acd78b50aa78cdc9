package recorder

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twokey/twokey/session"
)

// This file turns events into lines of an asciicast v2 file (FORMAT.md, "The
// tape"). It is on the way of every keystroke, so that output and input are
// encoded by hand, into one buffer that is used again and again.

// The most stretches of text and of other bytes that one event is taken apart
// into; what is wilder than that is no text, and is kept as one raw line.
const maxStretches = 16

// encoder turns events into lines. The zero encoder is ready.
type encoder struct {
	line    []byte // what encode returns
	joined  []byte // carry and what follows it
	payload bytes.Buffer
	output  stream
	input   stream
}

// stream is one of the two streams of bytes that are text to a player.
type stream struct {
	code  byte   // 'o' or 'i'
	carry []byte // the beginning of a rune whose rest is still to come; on the tape already
}

func newEncoder() *encoder {
	return &encoder{output: stream{code: 'o'}, input: stream{code: 'i'}}
}

// encode returns the lines of the event. They are valid until the next call.
func (x *encoder) encode(e session.Event) ([]byte, error) {
	x.line = x.line[:0]
	switch {
	case e.Type == session.Output:
		x.bytes(&x.output, e.At, e.Bytes)
	case e.Type == session.Input && !e.Hidden:
		x.bytes(&x.input, e.At, e.Bytes)
	case e.Type == session.Resize:
		x.begin(e.At, 'r')
		x.line = fmt.Appendf(x.line, "%dx%d", e.Size.Cols, e.Size.Rows)
		x.end()
	default:
		if err := x.object(e); err != nil {
			return nil, err
		}
	}
	if len(x.line) > maxLine {
		n := len(x.line)
		x.line = nil
		return nil, fmt.Errorf("an event of %d bytes is more than a recording takes (%d)", n, maxLine)
	}
	return x.line, nil
}

// carries are the runes, by stream, that are not whole.
func (x *encoder) carries() map[string][]byte {
	open := map[string][]byte{}
	for _, s := range []*stream{&x.output, &x.input} {
		if len(s.carry) > 0 {
			open[string(s.code)] = bytes.Clone(s.carry)
		}
	}
	return open
}

// flush returns the lines that end the streams: a rune that never became whole
// is kept as raw bytes.
func (x *encoder) flush(at time.Duration) []byte {
	x.line = x.line[:0]
	for _, s := range []*stream{&x.output, &x.input} {
		if len(s.carry) > 0 {
			x.raw(typeRaw, s.code, at, s.carry)
			s.carry = s.carry[:0]
		}
	}
	return x.line
}

// bytes encodes one read or write of a stream. A rune that is cut at its end
// is put on the tape at once, as a carry, and once more with its rest.
func (x *encoder) bytes(s *stream, at time.Duration, p []byte) {
	if len(s.carry) > 0 {
		x.joined = append(append(x.joined[:0], s.carry...), p...)
		p = x.joined
		s.carry = s.carry[:0]
	}
	whole := len(p) - incomplete(p)
	x.stretches(s.code, at, p[:whole])
	if rest := p[whole:]; len(rest) > 0 {
		x.raw(typeCarry, s.code, at, rest)
		s.carry = append(s.carry[:0], rest...)
	}
}

// incomplete returns how many bytes at the end are the beginning of a rune.
func incomplete(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if tail := p[len(p)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// stretches encodes text as text and all else as raw bytes, in order.
func (x *encoder) stretches(code byte, at time.Duration, p []byte) {
	if utf8.Valid(p) {
		x.text(code, at, p)
		return
	}
	for n := 0; len(p) > 0; n++ {
		if n == maxStretches {
			x.raw(typeRaw, code, at, p)
			return
		}
		text := validPrefix(p)
		x.text(code, at, p[:text])
		other := text + invalidPrefix(p[text:])
		if other > text {
			x.raw(typeRaw, code, at, p[text:other])
		}
		p = p[other:]
	}
}

func validPrefix(p []byte) (n int) {
	for n < len(p) {
		r, size := utf8.DecodeRune(p[n:])
		if r == utf8.RuneError && size == 1 {
			return n
		}
		n += size
	}
	return n
}

func invalidPrefix(p []byte) (n int) {
	for n < len(p) {
		if r, size := utf8.DecodeRune(p[n:]); r != utf8.RuneError || size != 1 {
			return n
		}
		n++
	}
	return n
}

func (x *encoder) text(code byte, at time.Duration, p []byte) {
	if len(p) > 0 {
		x.begin(at, code)
		x.line = appendQuoted(x.line, p)
		x.end()
	}
}

func (x *encoder) raw(kind string, code byte, at time.Duration, p []byte) {
	x.begin(at, 'e')
	x.line = append(x.line, `{\"type\":\"`...)
	x.line = append(x.line, kind...)
	x.line = append(x.line, `\",\"stream\":\"`...)
	x.line = append(x.line, code)
	x.line = append(x.line, `\",\"base64\":\"`...)
	x.line = base64.StdEncoding.AppendEncode(x.line, p)
	x.line = append(x.line, `\"}`...)
	x.end()
}

// payload is the JSON in an "e" line: the event, and the bytes it has.
type payload struct {
	session.Event
	Data   string `json:"data,omitempty"`   // bytes that are UTF-8
	Base64 []byte `json:"base64,omitempty"` // bytes that are not; of a statement, its exact text
}

// object encodes an event as an "e" line, and a marker for players beside it.
func (x *encoder) object(e session.Event) error {
	p := payload{Event: e}
	switch {
	case len(e.Bytes) > 0 && utf8.Valid(e.Bytes):
		p.Data = string(e.Bytes)
	case len(e.Bytes) > 0:
		p.Base64 = e.Bytes
	case e.Statement != nil && !utf8.ValidString(e.Statement.Text):
		p.Base64 = []byte(e.Statement.Text)
	}
	if err := x.json(e.At, p); err != nil {
		return err
	}
	if label := marker(e); label != "" {
		x.begin(e.At, 'm')
		x.line = appendQuoted(x.line, []byte(label))
		x.end()
	}
	return nil
}

// json encodes any value as an "e" line.
func (x *encoder) json(at time.Duration, v any) error {
	x.payload.Reset()
	enc := json.NewEncoder(&x.payload)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("an event that can not be written as JSON: %w", err)
	}
	x.begin(at, 'e')
	x.line = appendQuoted(x.line, bytes.TrimSuffix(x.payload.Bytes(), []byte{'\n'}))
	x.end()
	if x.payload.Cap() > 1<<20 {
		x.payload = bytes.Buffer{} // one huge statement does not cost its memory for ever
	}
	return nil
}

// header returns the first line of the tape. Without a terminal it names the
// usual size, because players insist on one.
func (a About) header() ([]byte, error) {
	h := header{Version: 2, Width: a.Size.Cols, Height: a.Size.Rows, Timestamp: a.Started.Unix()}
	if a.Size == (session.Size{}) {
		h.Width, h.Height = 80, 24
	}
	h.Title = fmt.Sprintf("%s on %s (%s)", a.Engineer.Name, a.Target, a.Mode)
	if a.Term != "" {
		h.Env = map[string]string{"TERM": a.Term}
	}
	line, err := json.Marshal(h)
	return append(line, '\n'), err
}

// marker is what a player shows on its timeline, or "".
func marker(e session.Event) string {
	switch {
	case e.Type == session.Statement && e.Statement != nil:
		return shorten(e.Statement.Text)
	case e.Type == session.Join:
		return shorten(e.Who + " sat down")
	}
	return ""
}

// shorten makes one line of at most 80 runes, without control characters.
func shorten(s string) string {
	var b strings.Builder
	n, gap := 0, false
	for _, r := range s {
		if r <= ' ' || r == 0x7f {
			gap = n > 0
			continue
		}
		if gap {
			b.WriteByte(' ')
			gap = false
			n++
		}
		if n >= 80 {
			return b.String() + "…"
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// begin starts a line up to the opening quote: [1.234567,"o","
func (x *encoder) begin(at time.Duration, code byte) {
	us := at.Microseconds()
	x.line = append(x.line, '[')
	x.line = strconv.AppendInt(x.line, us/1e6, 10)
	frac := us % 1e6
	x.line = append(x.line, '.',
		byte('0'+frac/100000), byte('0'+frac/10000%10), byte('0'+frac/1000%10),
		byte('0'+frac/100%10), byte('0'+frac/10%10), byte('0'+frac%10))
	x.line = append(x.line, ',', '"', code, '"', ',', '"')
}

func (x *encoder) end() { x.line = append(x.line, '"', ']', '\n') }

// appendQuoted appends UTF-8 as the inside of a JSON string (RFC 8259 7).
// Beyond what JSON demands, DEL, the C1 controls and the line separators U+2028 and U+2029 are
// escaped, so that looking at a tape with cat drives nobody's terminal.
func appendQuoted(b, p []byte) []byte {
	const hex = "0123456789abcdef"
	begin := 0
	for i := 0; i < len(p); {
		c := p[i]
		if plain[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(p[i:])
			if r >= 0xa0 && r != 0x2028 && r != 0x2029 {
				i += size
				continue
			}
			b = append(b, p[begin:i]...)
			b = append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
			i += size
			begin = i
			continue
		}
		b = append(b, p[begin:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		begin = i
	}
	return append(b, p[begin:]...)
}

// plain says which bytes stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()
