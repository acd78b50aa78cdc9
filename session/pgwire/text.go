package pgwire

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/twokey/twokey/session"
)

// This file turns bytes of both sides into text that a tape, a log or an error
// message can hold.

// readable makes one bounded line of a peer's text, for errors and logs.
func readable(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, faithful(text))
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}

// faithful keeps valid UTF-8 as it is and writes every other byte as \xNN, so
// that text in another client_encoding is whole on the tape.
func faithful(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		if r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&b, `\x%02x`, text[0])
		} else {
			b.WriteString(text[:size])
		}
		text = text[size:]
	}
	return b.String()
}

// paramLimit is how many bytes of one parameter the tape shows; of a longer
// one it has the beginning, the length and the SHA-256 of the whole.
const paramLimit = 64 << 10

// params writes Bind's parameters as StatementInfo.Params says, of each at most
// so many bytes.
func params(values [][]byte, formats []int16, most int) []string {
	if len(values) == 0 {
		return nil
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = param(v, format(formats, i), most)
	}
	return texts
}

// format is that of parameter i: none given means text for all, one means that
// one for all (Bind, Postgres 55.7).
func format(formats []int16, i int) int16 {
	switch {
	case len(formats) == 0:
		return 0
	case len(formats) == 1:
		return formats[0]
	case i < len(formats):
		return formats[i]
	}
	return 1
}

func param(v []byte, format int16, most int) string {
	if v == nil {
		return "null"
	}
	show, rest := v, ""
	if len(v) > most {
		sum := sha256.Sum256(v)
		show, rest = v[:most], fmt.Sprintf("… (%d bytes, sha256 %s)", len(v), hex.EncodeToString(sum[:]))
	}
	if format == 0 {
		return faithful(string(show)) + rest
	}
	return `\x` + hex.EncodeToString(show) + rest
}

// applicationName is what a DBA reads in pg_stat_activity and in the server's
// log: "twokey alice 01J…". Postgres cuts it at 63 bytes and shows ASCII only.
func applicationName(want session.Request) string {
	name := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, want.Engineer.Name)
	id := want.ID[:min(len(want.ID), 26)]
	return "twokey " + name[:min(len(name), 63-len("twokey  ")-len(id))] + " " + id
}
