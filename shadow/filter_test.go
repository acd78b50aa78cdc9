package shadow_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/twokey/twokey/shadow"
)

func filtered(in string) string {
	var b bytes.Buffer
	shadow.NewFilter(&b).Write([]byte(in))
	return b.String()
}

func TestFilter(t *testing.T) {
	tests := map[string]string{
		"plain\r\n\ttext":                        "plain\r\n\ttext",
		"grüße 世界 🎉":                             "grüße 世界 🎉",
		"\x1b[1;31mred\x1b[0m":                   "\x1b[1;31mred\x1b[0m",
		"\x1b[38;5;8mgrey":                       "\x1b[90mgrey",
		"\x1b[38;2;8;8;8m":                       "\x1b[38;2;9;9;9m",
		"\x1b[8mhidden":                          "hidden",
		"\x1b[1;8;31mx":                          "\x1b[1;31mx",
		"\x1b[08mx":                              "x",
		"\x1b[8:1mx":                             "x",
		"\x1b[38;8mx":                            "x",
		"\x1b]52;c;aGk=\x07x":                    "x",
		"\x1b]52;c;aGk=\x1b\\x":                  "x",
		"\x1b]0;title\x07x":                      "x",
		"\x1bP1$qm\x1b\\x":                       "x",
		"\x1b_apc\x1b\\x":                        "x",
		"\x1b^pm\x1b\\x":                         "x",
		"\x1bXsos\x1b\\x":                        "x",
		"\x1b]never ending":                      "",
		"\x1b]cut\x18x":                          "x",
		"\x1b]a\x1b[2Jx":                         "\x1b[2Jx",
		"\u009b31mx":                             "31mx",
		"\x9b31mx":                               "\uFFFD31mx",
		"\u009d52;c;x\x07":                       "52;c;x\x07",
		"\x1b[6nx":                               "x",
		"\x1b[cx":                                "x",
		"\x1b[>cx":                               "x",
		"\x1b[?6nx":                              "x",
		"\x1b[?1$px":                             "x",
		"\x1b[>qx":                               "x",
		"\x1b[14tx":                              "x",
		"\x1b[21tx":                              "x",
		"\x1b[!px":                               "x",
		"\x1b[4ix":                               "x",
		"\x1bcx":                                 "x",
		"\x1bZx":                                 "x",
		"\x05x":                                  "x",
		"\x0e\x0fx":                              "x",
		"a\x00b\x7fc":                            "abc",
		"\x1b[?2004h\x1b[?25l":                   "\x1b[?2004h\x1b[?25l",
		"\x1b[?1049h":                            "\x1b[?1049h",
		"\x1b[?1000h\x1b[?1006hx":                "x",
		"\x1b[?1;1000;25h":                       "\x1b[?1;25h",
		"\x1b[?69hx":                             "x",
		"\x1b[20hx":                              "x",
		"\x1b[4h":                                "\x1b[4h",
		"\x1b[2J\x1b[1;1H\x1b[K":                 "\x1b[2J\x1b[1;1H\x1b[K",
		"\x1b[99999999999999999999A":             "\x1b[9999A",
		"\x1b[" + strings.Repeat("1;", 99) + "m": "",
		"\x1b[" + strings.Repeat("1", 999) + "A": "",
		"\x1b(0qqq\x1b(B":                        "\x1b(0qqq\x1b(B",
		"\x1b(Kx":                                "x",
		"\x1b%Gx":                                "x",
		"\x1b#8x":                                "x",
		"\x1b7\x1b8\x1bM":                        "\x1b7\x1b8\x1bM",
		"\u202eevil\u2066x\u200b":                "evilx",
		"\ufeffx":                                "x",
		"\xc3(":                                  "\uFFFD(",
		"\xff\xfe":                               "\uFFFD\uFFFD",
		"\xed\xa0\x80":                           "\uFFFD\uFFFD\uFFFD",
		"\x1b[3\x1b[1mx":                         "\x1b[1mx",
		"\x1b[3\r1mx":                            "\r\x1b[31mx",
		"\x1b\x1b[1mx":                           "\x1b[1mx",
		"\x1b[<1mx":                              "x",
		"\x1b[ qx":                               "x",
		"\x1b[1\"qx":                             "x",
		"\x1b[0'zx":                              "x",
		"\x1b[1;2;3*yx":                          "x",
		"\x1b[5S\x1b[2;9r":                       "\x1b[5S\x1b[2;9r",
	}
	for in, want := range tests {
		if got := filtered(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
		for cut := range len(in) {
			var b bytes.Buffer
			f := shadow.NewFilter(&b)
			f.Write([]byte(in[:cut]))
			f.Write([]byte(in[cut:]))
			if b.String() != want {
				t.Errorf("%q cut at %d became %q, want %q", in, cut, b.String(), want)
			}
		}
	}
}

// allowed is written apart from the filter: what a terminal may be sent.
var allowed = regexp.MustCompile(`\A(?:[\x07\x08\t\n\r\x20-\x7e]|[^\x00-\x{9f}]|` +
	`\x1b[78DEM=>]|\x1b[()][B0]|\x1b\[\?(?:(?:1|5|7|12|25|47|1047|1048|1049|2004);?)+[hl]|\x1b\[4[hl]|\x1b\[[0-9:;]*[A-Z@` + "`" + `adefmrsu])*\z`)

var hidden = regexp.MustCompile(`\x1b\[(?:[0-9:]*;)*0*8(?::[0-9:]*)?(?:;[0-9:;]*)?m`)
var colour = regexp.MustCompile(`[345]8;(?:5;[0-9]*|2;[0-9]*;[0-9]*;[0-9]*)`)

func FuzzFilter(f *testing.F) {
	f.Add([]byte("\x1b]52;c;x\x07\x1b[1;8m\xc3\x1b[?1049h"), 5)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		whole := filtered(string(in))
		if !utf8.ValidString(whole) || !allowed.MatchString(whole) {
			t.Fatalf("%q let through %q", in, whole)
		}
		if hidden.MatchString(colour.ReplaceAllString(whole, "0")) {
			t.Fatalf("%q let hidden text through: %q", in, whole)
		}
		cut = max(0, min(cut, len(in)))
		var b bytes.Buffer
		fl := shadow.NewFilter(&b)
		fl.Write(in[:cut])
		fl.Write(in[cut:])
		if b.String() != whole {
			t.Fatalf("%q cut at %d: %q, whole: %q", in, cut, b.String(), whole)
		}
	})
}

func BenchmarkFilterPlain(b *testing.B) {
	text := []byte(strings.Repeat("0123456789 abcdefghijklmnopqrstuvwxyz\r\n", 800))
	b.SetBytes(int64(len(text)))
	f := shadow.NewFilter(nowhere{})
	for b.Loop() {
		f.Write(text)
	}
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

func ExampleClean() {
	fmt.Println(shadow.Clean("drop\ttable\n\x1b[2Jorders\u202e;"))
	// Output: drop table ␛[2Jorders;
}
