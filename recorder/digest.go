package recorder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/twokey/twokey/session"
)

// This file is the writer's own account of a slice: what the manifest must say
// about it. While its session runs it is kept as events pass by, with a checksum that
// the bytes on disk must have; a slice that is found after its session is read.

// cut is a segment and what the manifest needs to know of its contents.
type cut struct {
	N int `json:"n"`
	Segment
	Digest digest `json:"digest"`
	Stored bool   `json:"stored,omitempty"` // the store has it
	// Before is the segment that another process made of the same slice, and that
	// it may have brought to the store without noting that.
	Before *cut `json:"before,omitempty"`
}

// digest is what happened in a slice.
type digest struct {
	About  *About            `json:"about,omitempty"` // in the first
	Totals Totals            `json:"totals"`
	Seats  []seatChange      `json:"seats,omitempty"`
	Alarm  bool              `json:"alarm,omitempty"`
	End    *session.Cause    `json:"end,omitempty"`   // in the last
	Carry  map[string][]byte `json:"carry,omitempty"` // by stream: runes not whole at its end
}

// seatChange is a shadow who sat down or got up.
type seatChange struct {
	At       float64           `json:"at"`
	Join     bool              `json:"join"`
	Who      string            `json:"who"`
	Identity *session.Identity `json:"identity,omitempty"`
}

// slice is a digest in the making.
type slice struct {
	digest
	first, last time.Duration
	lines       int

	bytes int    // of the slice
	check uint32 // CRC-32C of them
}

// wrote takes bytes into account that were written to the slice.
func (s *slice) wrote(p []byte) {
	s.bytes += len(p)
	s.check = crc32.Update(s.check, crc32.MakeTable(crc32.Castagnoli), p)
}

// is reports whether these are the bytes that were written.
func (s *slice) is(plain []byte) bool {
	return len(plain) == s.bytes && crc32.Checksum(plain, crc32.MakeTable(crc32.Castagnoli)) == s.check
}

// account reads the lines of a slice. carry is that of the slice before. It
// returns how many bytes are whole, well-formed lines; what comes after them was
// cut short by a crash.
func account(plain []byte, carry map[string][]byte) (s slice, whole int) {
	s.Carry = map[string][]byte{}
	for stream, p := range carry {
		s.Carry[stream] = p
	}
	for whole < len(plain) {
		line, _, found := bytes.Cut(plain[whole:], []byte{'\n'})
		if !found || s.line(line) != nil {
			break
		}
		whole += len(line) + 1
	}
	s.wrote(plain[:whole])
	return s, whole
}

// line takes a line into account.
func (s *slice) line(p []byte) error {
	if len(p) > 0 && p[0] == '{' {
		if !json.Valid(p) {
			return fmt.Errorf("a header cut short")
		}
		return nil
	}
	if at, code, ok := textLine(p); ok {
		s.time(at)
		delete(s.Carry, code)
		return nil
	}
	var at float64
	var code string
	var data json.RawMessage
	parts := []any{&at, &code, &data}
	if err := json.Unmarshal(p, &parts); err != nil || len(parts) != 3 || data == nil {
		return fmt.Errorf("a line cut short")
	}
	s.time(time.Duration(at*1e6+0.5) * time.Microsecond)
	switch code {
	case "o", "i":
		delete(s.Carry, code)
	case "e":
		return s.object(data)
	}
	return nil
}

func (s *slice) time(at time.Duration) {
	if s.lines == 0 {
		s.first = at
	}
	s.lines++
	s.last = at
}

// textLine recognises a line of output or input as this package writes them,
// without decoding it: these are most of a tape. A line that a power loss
// filled with zeros is none.
func textLine(p []byte) (at time.Duration, code string, ok bool) {
	const shortest = len(`[0.000000,"o",""]`)
	if len(p) < shortest || p[0] != '[' || !bytes.HasSuffix(p, []byte(`"]`)) || bytes.IndexByte(p, 0) >= 0 {
		return 0, "", false
	}
	i, us := 1, int64(0)
	for ; i < len(p) && i < 20 && p[i] != ','; i++ {
		switch {
		case '0' <= p[i] && p[i] <= '9':
			us = 10*us + int64(p[i]-'0')
		case p[i] != '.':
			return 0, "", false
		}
	}
	rest := p[i:]
	if i < 8 || p[i-7] != '.' || len(rest) < 7 {
		return 0, "", false
	}
	switch string(rest[:6]) {
	case `,"o","`:
		code = "o"
	case `,"i","`:
		code = "i"
	}
	return time.Duration(us) * time.Microsecond, code, code != ""
}

// object takes the event of an "e" line into account. Its time is taken already.
func (s *slice) object(data json.RawMessage) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	var e struct {
		session.Event
		Session *About `json:"session"`
		Stream  string `json:"stream"`
		Base64  []byte `json:"base64"`
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return err
	}
	switch e.Type {
	case typeBegin:
		s.About = e.Session
	case typeCarry:
		s.Carry[e.Stream] = e.Base64
	case typeRaw:
		delete(s.Carry, e.Stream)
	default:
		s.count(e.Event)
	}
	return nil
}

// count takes an event into account.
func (s *slice) count(e session.Event) {
	switch e.Type {
	case session.Statement:
		if e.Statement != nil && e.Statement.Protocol != "parse" {
			s.Totals.Statements++
		}
	case session.Result:
		s.Totals.result(e.Result)
	case session.Join, session.Leave:
		s.Seats = append(s.Seats, seatChange{At: seconds(s.last), Join: e.Type == session.Join, Who: e.Who, Identity: e.Identity})
	case session.Alarm:
		s.Alarm = true
	case session.End:
		s.End = e.Cause
		if s.End == nil {
			s.End = &session.Cause{}
		}
	}
}

func (t *Totals) result(r *session.ResultInfo) {
	t.Results++
	if r == nil {
		return
	}
	t.Rows += r.Rows
	t.Bytes += r.Bytes
	if r.SQLState != "" {
		t.Failed++
	}
}

func (t *Totals) add(o Totals) {
	t.Statements += o.Statements
	t.Results += o.Results
	t.Failed += o.Failed
	t.Rows += o.Rows
	t.Bytes += o.Bytes
}

// newCut describes a segment: the slice and the bytes it became.
func newCut(n int, s slice, plain, stored []byte, encrypted bool) cut {
	return cut{N: n, Digest: s.digest, Segment: Segment{
		Sum: sumLine(hash(stored), segmentName(n, encrypted)), Size: int64(len(stored)), Plain: int64(len(plain)),
		From: seconds(s.first), To: seconds(s.last),
	}}
}

func hash(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}

// chain continues the chain of a recording by one segment. It begins with the
// hash of the session's ID.
func chain(before, segment string) string {
	a, _ := hex.DecodeString(before)
	b, _ := hex.DecodeString(segment)
	return hash(slices.Concat(a, b))
}
