package recorder

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"time"
	"unicode/utf8"
)

// This file is the quick way through a tape: it takes lines apart that are written
// as lines usually are, and checks all of them that splitLine checks, without a
// general reader of JSON. What it does not know for certain it leaves to that one.

// scan takes a line apart: [12.000345,"o","text"]. The text is what isText and unescape
// know whether it is the inside of a JSON string.
func scan(p []byte) (at time.Duration, code byte, text []byte, ok bool) {
	at, n := scanTime(p)
	p = p[n:]
	const middle, end = `,"o","`, `"]`
	if n == 0 || len(p) < len(middle)+len(end) || p[0] != ',' || p[1] != '"' || p[3] != '"' || p[4] != ',' || p[5] != '"' {
		return 0, 0, nil, false
	}
	code = p[2]
	text, closed := bytes.CutSuffix(p[len(middle):], []byte(end))
	return at, code, text, closed && 'a' <= code && code <= 'z'
}

// scanTime reads the beginning of a line, [12.000345 with six decimals, and returns
// how long it is; 0 when it is something else.
func scanTime(p []byte) (at time.Duration, n int) {
	const decimals = 6
	dot := bytes.IndexByte(p[:min(len(p), len("[999999999."))], '.')
	if dot < 2 || p[0] != '[' || len(p) <= dot+decimals || p[1] == '0' && dot > 2 {
		return 0, 0
	}
	us := time.Duration(0)
	for i, c := range p[1 : dot+1+decimals] {
		switch {
		case i+1 == dot:
		case c < '0' || c > '9':
			return 0, 0
		default:
			us = 10*us + time.Duration(c-'0')
		}
	}
	return us * time.Microsecond, dot + 1 + decimals
}

// isText reports whether it is the inside of a JSON string (RFC 8259 7), in UTF-8.
func isText(p []byte) bool {
	for {
		p = p[ordinary(p):]
		for len(p) > 0 && (p[0] == '\\' || p[0] >= utf8.RuneSelf) { // these seldom come alone
			n := special(p)
			if n == 0 {
				return false
			}
			p = p[n:]
		}
		if len(p) == 0 {
			return true
		}
		if p[0] < ' ' || p[0] == '"' {
			return false
		}
	}
}

// ordinary is how many bytes stand for themselves in a JSON string, up to the first that
// is no printable ASCII, or is a quote or a backslash.
func ordinary(p []byte) (n int) {
	for ; len(p)-n >= 32; n += 32 {
		four := (*[32]byte)(p[n:])
		a, b := binary.LittleEndian.Uint64(four[0:]), binary.LittleEndian.Uint64(four[8:])
		c, d := binary.LittleEndian.Uint64(four[16:]), binary.LittleEndian.Uint64(four[24:])
		if specials(a)|specials(b)|specials(c)|specials(d) != 0 {
			break
		}
	}
	for ; len(p)-n >= 8; n += 8 {
		if special := specials(binary.LittleEndian.Uint64(p[n:])); special != 0 {
			return n + bits.TrailingZeros64(special)/8
		}
	}
	for n < len(p) && p[n] >= ' ' && p[n] < utf8.RuneSelf && p[n] != '"' && p[n] != '\\' {
		n++
	}
	return n
}

// specials has the highest bit set of each of eight bytes that is not ordinary; of those
// behind the first such byte it may be wrong.
func specials(eight uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quotes, backslashes := eight^ones*'"', eight^ones*'\\'
	return (eight | (eight - ones*0x20) | (quotes - ones) | (backslashes - ones)) & highs
}

// special is the length of a character that is not ordinary; 0 when it is none.
func special(p []byte) int {
	if p[0] == '\\' {
		return escapeLength(p)
	}
	if r, n := utf8.DecodeRune(p); r >= utf8.RuneSelf && (r != utf8.RuneError || n > 1) {
		return n
	}
	return 0
}

func escapeLength(p []byte) int {
	if len(p) < 2 {
		return 0
	}
	switch p[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(p) >= 6 && isHex(p[2:6]) {
			return 6
		}
	}
	return 0
}

func isHex(p []byte) bool {
	for _, c := range p {
		if !('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f') {
			return false
		}
	}
	return true
}

// unescape appends what the inside of a JSON string says. It leaves surrogates, of which
// JSON makes one rune or none, to others.
func unescape(b, text []byte) ([]byte, bool) {
	b = slices.Grow(b, len(text)+8) // it gets no longer, and eight bytes are written at once
	for len(text) > 0 {
		n := 0
		if len(text) >= 8 {
			eight := binary.LittleEndian.Uint64(text)
			binary.LittleEndian.PutUint64(b[len(b):len(b)+8], eight)
			n = bits.TrailingZeros64(specials(eight)) / 8
		} else {
			n = copy(b[len(b):len(b)+8], text[:ordinary(text)])
		}
		b, text = b[:len(b)+n], text[n:]
		if n == 8 || len(text) == 0 {
			continue
		}
		if len(text) > 1 && text[0] == '\\' && text[1] == '"' { // most of them, in what holds JSON
			b, text = append(b, '"'), text[2:]
			continue
		}
		var ok bool
		if b, n, ok = unescapeOne(b, text); !ok {
			return b, false
		}
		text = text[n:]
	}
	return b, true
}

// unescapeOne appends the first character, which is not ordinary, and says how long it
// is in the text.
func unescapeOne(b, text []byte) (_ []byte, n int, ok bool) {
	if n = special(text); n == 0 {
		return b, 0, false
	}
	if text[0] != '\\' {
		return append(b, text[:n]...), n, true
	}
	r := escaped(text[:n])
	if 0xd800 <= r && r < 0xe000 {
		return b, 0, false
	}
	return utf8.AppendRune(b, r), n, true
}

// escaped is the rune that an escape stands for.
func escaped(p []byte) rune {
	switch p[1] {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'u':
		return unhex(p[2:])
	}
	return rune(p[1])
}

func unhex(digits []byte) (r rune) {
	for _, c := range digits {
		if c > '9' {
			c = c&^0x20 - 'A' + 10 + '0'
		}
		r = r<<4 | rune(c-'0')
	}
	return r
}
