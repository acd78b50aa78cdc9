package pgwire

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

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
// so many bytes, but for those that are redacted.
func (r Redaction) params(m *pgproto3.Bind, types []uint32, most int) []string {
	if len(m.Parameters) == 0 {
		return nil
	}
	texts := make([]string, len(m.Parameters))
	for i, v := range m.Parameters {
		if v != nil && r.hides(v, types, i) {
			texts[i] = fmt.Sprintf("[redacted, %d bytes]", len(v))
		} else {
			texts[i] = param(v, format(m.ParameterFormatCodes, i), most)
		}
	}
	return texts
}

// Redaction says which parameters of statements nobody gets to read, neither a
// shadow nor on the tape: of them there is the length. The zero value hides none.
type Redaction struct {
	Types  []string // by the names of Postgres' own types (pg_type.typname); what has a type that is not known is hidden too
	Longer int      // than so many bytes, as sent; 0: no limit

	oids []uint32
}

// NewRedaction checks the types.
func NewRedaction(types []string, longer int) (Redaction, error) {
	r := Redaction{Types: types, Longer: longer}
	known := pgtype.NewMap()
	for _, name := range types {
		t, ok := known.TypeForName(name)
		if !ok {
			return Redaction{}, fmt.Errorf("%s is not one of Postgres' own types, such as bytea, jsonb or varchar", strconv.Quote(name))
		}
		r.oids = append(r.oids, t.OID)
	}
	return r, nil
}

// hides reports whether parameter i of a statement with parameters of these
// types (0: not said) is hidden.
func (r Redaction) hides(v []byte, types []uint32, i int) bool {
	if r.Longer > 0 && len(v) > r.Longer {
		return true
	}
	return len(r.oids) > 0 && (i >= len(types) || types[i] == 0 || slices.Contains(r.oids, types[i]))
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
