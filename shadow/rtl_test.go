package shadow_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// rtlTexts read as something else where a terminal turns right-to-left text around:
// Hebrew, Arabic, Syriac, Thaana, N'Ko, presentation forms, Adlam, Phoenician.
var rtlTexts = []string{
	"set \u05d0 = 1000, \u05d1 = 2", "a in ('\u05d0', 10, 20, '\u05d1')", "\u0627\u0644\u0641 > 1 - \u0628", "\u0710 <> \u0712", "\u0780(1)\u0781",
	"\u07ca1\u07cb", "\ufb1d 1 \ufb2a", "\ufe8d 1 \ufe8f", "\U0001e900 1 \U0001e901", "\U00010900 1 \U00010901", "x \u05d0",
}

// Whoever judges a statement is told that terminals may turn a part of it around, at
// the seat, in lines, in a question and in a replay, and can have it spelled out.
func TestRightToLeftTextIsMarked(t *testing.T) {
	size := session.Size{Cols: 80, Rows: 24}
	for _, text := range rtlTexts {
		sql := "update t " + text
		v := shadow.NewView(size)
		r := v.Read()
		v.Apply(runs(1, sql))
		v.Apply(prints(0, text+"\r\n"))
		asks(v, session.AskInfo{N: 1, Kind: session.AskRun, Text: sql})
		for _, line := range v.Take(r) {
			if !strings.Contains(line, "[rtl] ") {
				t.Errorf("a line is not marked: %q", line)
			}
		}
		if got := v.Frame(size); strings.Count(got, "[rtl] update t") < 1 || !strings.Contains(got, "right-to-left text on the screen") {
			t.Errorf("the seat does not say that it is from right to left: %q", got)
		}
		played := func(yield func(session.Event, error) bool) { yield(runs(1, sql), nil) }
		var pipe bytes.Buffer
		if _, err := shadow.Play(context.Background(), played, shadow.PlayTerminal{Out: &pipe}, shadow.PlayOptions{}); err != nil || !strings.Contains(pipe.String(), "[rtl] update") {
			t.Errorf("a replay does not say so: %q, %v", pipe.String(), err)
		}
	}
}

// The blocks are those of the scripts that Unicode has from right to left.
func TestRightToLeftScripts(t *testing.T) {
	for _, script := range []*unicode.RangeTable{
		unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko, unicode.Samaritan, unicode.Mandaic, unicode.Adlam, unicode.Phoenician,
		unicode.Imperial_Aramaic, unicode.Old_South_Arabian, unicode.Avestan, unicode.Old_Turkic, unicode.Hanifi_Rohingya, unicode.Mende_Kikakui, unicode.Yezidi,
	} {
		for r := range all(script) {
			if unicode.IsLetter(r) && !shadow.Turns("select "+string(r)) {
				t.Errorf("%U is not known", r)
			}
		}
	}
	for _, text := range []string{"select 1", "Grüße, Zoë", "привет", "日本語", "┌─┐ … ↵", "😀", "ไทย", "हिन्दी"} {
		if shadow.Turns(text) {
			t.Errorf("%q turns", text)
		}
	}
}

func all(table *unicode.RangeTable) func(func(rune) bool) {
	return func(yield func(rune) bool) {
		for _, x := range table.R16 {
			for r := rune(x.Lo); r <= rune(x.Hi); r += rune(x.Stride) {
				if !yield(r) {
					return
				}
			}
		}
		for _, x := range table.R32 {
			for r := rune(x.Lo); r <= rune(x.Hi); r += rune(x.Stride) {
				if !yield(r) {
					return
				}
			}
		}
	}
}

func TestRightToLeftTextIsSpelledOut(t *testing.T) {
	size := session.Size{Cols: 80, Rows: 24}
	v := shadow.NewView(size)
	b := newBob(t, size)
	var sent bytes.Buffer
	b.sit(v, writer(func(p []byte) { b.Write(p); sent.Write(p) }), 0)
	v.Apply(runs(1, "update t set \u05d0 = 1000, \u05d1 = 2"))
	b.sees("[rtl] update t")
	b.types("u")
	b.sees("set <U+05D0> = 1000, <U+05D1> = 2")
	b.types("u")
	asks(v, session.AskInfo{N: 1, Kind: session.AskRun, Text: "drop table \u05d2"})
	b.sees("asks to run")
	b.types("u")
	b.sees("drop table <U+05D2>")
	b.types("\x1b[27~\x1b")
	b.sees("^Y yes")
	b.keys.Close()
	b.ends <- <-b.ends
	in, out := strings.Index(sent.String(), "\x1b[8l\x1b[1 k"), strings.Index(sent.String(), "\x1b[8h\x1b[0 k")
	if in < 0 || out < in {
		t.Errorf("the terminal is not asked to leave characters where they are, and let do so again: %q", fmt.Sprint(in, out))
	}
}
