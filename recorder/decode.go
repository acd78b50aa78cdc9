package recorder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twokey/twokey/session"
)

// This file reads tapes: lines of an asciicast v2 file become events again.
// What it reads comes from a store that somebody may have written to, so that
// everything is bounded and nothing is believed.

// errLine is wrapped by every complaint about a line.
var errLine = errors.New("not a line of a recording")

// decoder reads the lines of one tape in order.
type decoder struct {
	lines int // read so far
	at    time.Duration
	about *About // from the second line
	ended bool   // an end event was read

	// skim leaves out the events of output and input, whose lines are checked and
	// not decoded: a verifier has no use for what they say.
	skim bool
}

// line reads the next line, without its line break. It returns an event, or
// none for a line that carries none of its own (header, begin, marker,
// carry).
func (d *decoder) line(p []byte) (*session.Event, error) {
	d.lines++
	if len(p) > maxLine {
		return nil, fmt.Errorf("%w: longer than %d bytes", errLine, maxLine)
	}
	if d.lines == 1 {
		return nil, d.header(p)
	}
	if d.skim && d.lines > 2 {
		if at, ok := skim(p); ok {
			return nil, d.time(at)
		}
	}
	at, code, data, err := splitLine(p)
	if err != nil {
		return nil, err
	}
	if err := d.time(at); err != nil {
		return nil, err
	}
	if d.lines == 2 {
		return nil, d.begin(code, data)
	}
	return d.event(at, code, data)
}

// time takes the time of a line.
func (d *decoder) time(at time.Duration) error {
	switch {
	case at < d.at:
		return fmt.Errorf("%w: its time lies before that of the line before it", errLine)
	case d.ended:
		return fmt.Errorf("%w: it comes after the end", errLine)
	}
	d.at = at
	return nil
}

// skim reads a line of output or input, in the way that they are usually
// written, and checks that it is one: UTF-8, and a JSON string. What it does not
// know it leaves to splitLine.
func skim(p []byte) (at time.Duration, ok bool) {
	comma := bytes.IndexByte(p[:min(len(p), 24)], ',')
	if comma < 2 || p[0] != '[' || !utf8.Valid(p) {
		return 0, false
	}
	at, err := parseTime(string(p[1:comma]))
	text, isText := bytes.CutSuffix(p[comma:], []byte(`"]`))
	if err != nil || !isText || !bytes.HasPrefix(text, []byte(`,"o","`)) && !bytes.HasPrefix(text, []byte(`,"i","`)) || !isDigits(p[1:comma]) {
		return 0, false
	}
	text = text[len(`,"o","`):]
	for i := 0; i < len(text); i++ {
		if plainInString[text[i]] {
			continue
		}
		if text[i] != '\\' || i+1 == len(text) {
			return 0, false
		}
		i++
		switch text[i] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			if len(text)-i < 5 || !isHex(text[i+1:i+5]) {
				return 0, false
			}
			i += 4
		default:
			return 0, false
		}
	}
	return at, true
}

// plainInString are the bytes that stand for themselves in a JSON string (RFC 8259 7).
var plainInString = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return plain
}()

// isDigits reports whether it is a number as times are written: 12.000345.
func isDigits(p []byte) bool {
	whole, fraction, _ := bytes.Cut(p, []byte{'.'})
	digits := func(p []byte) bool {
		for _, c := range p {
			if c < '0' || c > '9' {
				return false
			}
		}
		return len(p) > 0
	}
	return digits(whole) && digits(fraction) && (len(whole) == 1 || whole[0] != '0')
}

func isHex(p []byte) bool {
	for _, c := range p {
		if !('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f') {
			return false
		}
	}
	return true
}

func (d *decoder) header(p []byte) error {
	var h header
	if err := json.Unmarshal(p, &h); err != nil {
		return fmt.Errorf("%w: the header: %w", errLine, err)
	}
	if h.Version != 2 {
		return fmt.Errorf("%w: the header says version %d of asciicast", errLine, h.Version)
	}
	return nil
}

func (d *decoder) begin(code, data string) error {
	var b struct {
		Type    string `json:"type"`
		Session *About `json:"session"`
	}
	if err := json.Unmarshal([]byte(data), &b); code != "e" || err != nil || b.Type != typeBegin || b.Session == nil {
		return fmt.Errorf("%w: the second line does not say whose session it is", errLine)
	}
	d.about = b.Session
	return nil
}

func (d *decoder) event(at time.Duration, code, data string) (*session.Event, error) {
	switch code {
	case "o":
		return &session.Event{At: at, Type: session.Output, Bytes: []byte(data)}, nil
	case "i":
		return &session.Event{At: at, Type: session.Input, Bytes: []byte(data)}, nil
	case "r":
		size, err := parseSize(data)
		return &session.Event{At: at, Type: session.Resize, Size: size}, err
	case "e":
		return d.object(at, data)
	}
	return nil, nil // markers, and what a later version may add
}

func (d *decoder) object(at time.Duration, data string) (*session.Event, error) {
	var p struct {
		session.Event
		Stream string `json:"stream"`
		Data   string `json:"data"`
		Base64 []byte `json:"base64"`
	}
	if err := json.Unmarshal([]byte(data), &p); err != nil {
		return nil, fmt.Errorf("%w: %w", errLine, err)
	}
	e := p.Event
	e.At, e.Bytes = at, p.Base64
	if p.Data != "" {
		e.Bytes = []byte(p.Data)
	}
	switch e.Type {
	case typeCarry:
		return nil, nil // the bytes come again, with the rest of their rune
	case typeRaw:
		return &session.Event{At: at, Type: streamType(p.Stream), Bytes: p.Base64}, nil
	case session.Statement:
		if e.Statement != nil && len(p.Base64) > 0 {
			e.Statement.Text, e.Bytes = string(p.Base64), nil
		}
	case session.End:
		d.ended = true
	case "":
		return nil, fmt.Errorf("%w: an event without a type", errLine)
	}
	return &e, nil
}

func streamType(stream string) session.EventType {
	if stream == "i" {
		return session.Input
	}
	return session.Output
}

func parseSize(s string) (session.Size, error) {
	cols, rows, found := strings.Cut(s, "x")
	c, err1 := strconv.ParseUint(cols, 10, 16)
	r, err2 := strconv.ParseUint(rows, 10, 16)
	if !found || err1 != nil || err2 != nil {
		return session.Size{}, fmt.Errorf("%w: %.20q is no size", errLine, s)
	}
	return session.Size{Cols: int(c), Rows: int(r)}, nil
}

// splitLine takes a line apart: [seconds, "code", "data"].
func splitLine(p []byte) (at time.Duration, code, data string, err error) {
	if !utf8.Valid(p) {
		return 0, "", "", fmt.Errorf("%w: not UTF-8", errLine)
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(p, &parts); err != nil || len(parts) != 3 {
		return 0, "", "", fmt.Errorf("%w: no list of time, code and data: %.40q", errLine, p)
	}
	at, err = parseTime(string(parts[0]))
	if err == nil {
		err = json.Unmarshal(parts[1], &code)
	}
	if err == nil {
		err = json.Unmarshal(parts[2], &data)
	}
	if err != nil {
		return 0, "", "", fmt.Errorf("%w: %w", errLine, err)
	}
	return at, code, data, nil
}

// parseTime reads seconds exactly to the microsecond.
func parseTime(s string) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(s, 64)
	if err != nil || !(seconds >= 0 && seconds < 1e9) {
		return 0, fmt.Errorf("%.20q is no time", s)
	}
	return time.Duration(math.Round(seconds*1e6)) * time.Microsecond, nil
}

// eachLine calls yield with each line of a slice of the tape, which must end
// with a line break.
func eachLine(plain []byte, yield func(line []byte) error) error {
	for len(plain) > 0 {
		line, rest, found := bytes.Cut(plain, []byte{'\n'})
		if !found {
			return fmt.Errorf("%w: the last line has no end", errLine)
		}
		if err := yield(line); err != nil {
			return err
		}
		plain = rest
	}
	return nil
}
