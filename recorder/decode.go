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

	// skim leaves out the events of output and input, and most of what statements and
	// results say: those are checked and not decoded. A verifier has no use for them.
	skim bool

	data []byte  // of the last line, unescaped
	seen glimpse // the last statement or result that was skimmed over
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
	if e, known, err := d.quick(p); known {
		return e, err
	}
	at, code, data, err := splitLine(p)
	if err != nil {
		return nil, err
	}
	return d.said(at, code, data)
}

// quick reads a line that is written as lines usually are.
func (d *decoder) quick(p []byte) (e *session.Event, known bool, err error) {
	at, code, text, ok := scan(p)
	if !ok {
		return nil, false, nil
	}
	skimmed := d.skim && d.lines > 2
	if skimmed && (code == 'o' || code == 'i' || code == 'm') {
		if !isText(text) {
			return nil, false, nil
		}
		return nil, true, d.time(at)
	}
	var room []byte // an event keeps the bytes of output and input
	if code == 'e' {
		room = d.data[:0]
	}
	data, ok := unescape(room, text)
	if !ok {
		return nil, false, nil
	}
	if code == 'e' && cap(data) <= keptBuffer {
		d.data = data
	}
	if skimmed && code == 'e' && d.seen.glance(data) {
		d.seen.At = at
		return &d.seen.Event, true, d.time(at)
	}
	e, err = d.said(at, string(code), data)
	return e, true, err
}

// said takes what a line says.
func (d *decoder) said(at time.Duration, code string, data []byte) (*session.Event, error) {
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

func (d *decoder) begin(code string, data []byte) error {
	var b struct {
		Type    string `json:"type"`
		Session *About `json:"session"`
	}
	if err := json.Unmarshal(data, &b); code != "e" || err != nil || b.Type != typeBegin || b.Session == nil {
		return fmt.Errorf("%w: the second line does not say whose session it is", errLine)
	}
	d.about = b.Session
	return nil
}

func (d *decoder) event(at time.Duration, code string, data []byte) (*session.Event, error) {
	switch code {
	case "o":
		return &session.Event{At: at, Type: session.Output, Bytes: data}, nil
	case "i":
		return &session.Event{At: at, Type: session.Input, Bytes: data}, nil
	case "r":
		size, err := parseSize(string(data))
		return &session.Event{At: at, Type: session.Resize, Size: size}, err
	case "e":
		return d.object(at, data)
	}
	return nil, nil // markers, and what a later version may add
}

func (d *decoder) object(at time.Duration, data []byte) (*session.Event, error) {
	var p struct {
		session.Event
		Stream string `json:"stream"`
		Data   string `json:"data"`
		Base64 []byte `json:"base64"`
	}
	if err := json.Unmarshal(data, &p); err != nil {
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
func splitLine(p []byte) (at time.Duration, code string, data []byte, err error) {
	if !utf8.Valid(p) {
		return 0, "", nil, fmt.Errorf("%w: not UTF-8", errLine)
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(p, &parts); err != nil || len(parts) != 3 {
		return 0, "", nil, fmt.Errorf("%w: no list of time, code and data: %.40q", errLine, p)
	}
	var text string
	at, err = parseTime(string(parts[0]))
	if err == nil {
		err = json.Unmarshal(parts[1], &code)
	}
	if err == nil {
		err = json.Unmarshal(parts[2], &text)
	}
	if err != nil {
		return 0, "", nil, fmt.Errorf("%w: %w", errLine, err)
	}
	return at, code, []byte(text), nil
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
