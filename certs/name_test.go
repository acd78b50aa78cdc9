package certs_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/twokey/twokey/certs"
)

func TestCleanName(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain":              {"Alice Adams", "Alice Adams"},
		"email":              {"alice@example.com", "alice@example.com"},
		"accents":            {"Zoë Ångström", "Zoë Ångström"},
		"combining accents":  {"Zoe\u0308", "Zoe\u0308"},
		"other scripts":      {"山田太郎 محمد", "山田太郎 محمد"},
		"a flag":             {"🇩🇪", "🇩🇪"},
		"empty":              {"", ""},
		"spaces":             {" \t Alice \r\n\u00a0\u3000 Adams ", "Alice Adams"},
		"escape":             {"ali\x1b[2Jce", "ali[2Jce"},
		"C1":                 {"ali\u009b2Jce", "ali2Jce"},
		"NUL and DEL":        {"a\x00b\x7f", "ab"},
		"bidi override":      {"alice\u202e\u2066\u200f", "alice"},
		"zero width":         {"al\u200bi\u200dc\ufeffe", "alice"},
		"Hangul fillers":     {"alice\u3164\u115f\uffa0", "alice"},
		"blank Braille":      {"alice\u2800", "alice"},
		"variation selector": {"alice\ufe0f\U000e0100", "alice"},
		"tags":               {"alice\U000e0061", "alice"},
		"joiner":             {"al\u034fice", "alice"},
		"private use":        {"alice\ue000", "alice"},
		"line separators":    {"a\u2028b\u2029c", "a b c"},
		"invalid UTF-8":      {"al\xffice\xc3", "alice"},
		"nothing left":       {"\u202e\x1b", ""},
		"an accent on air":   {"\u0301alice", "alice"},
		"a pile of accents":  {"a" + strings.Repeat("\u0301", 50), "a\u0301\u0301"},
		"too long":           {strings.Repeat("a", 1000), strings.Repeat("a", 100)},
		"too many bytes":     {strings.Repeat("山", 100), strings.Repeat("山", 40)},
		"cut at a space":     {strings.Repeat("a", 99) + " b", strings.Repeat("a", 99)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := certs.CleanName(c.in); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"Alice", " a  b ", "\x1b]0;x\a", "a\u202eb", "\xff\xfe", strings.Repeat("é\u0301 ", 60)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		name := certs.CleanName(in)
		if again := certs.CleanName(name); again != name {
			t.Errorf("%q becomes %q becomes %q", in, name, again)
		}
		if len(name) > 120 || utf8.RuneCountInString(name) > 100 || !utf8.ValidString(name) || strings.TrimSpace(name) != name {
			t.Errorf("%q", name)
		}
		for _, r := range name {
			if !unicode.IsPrint(r) {
				t.Errorf("%q holds %U", name, r)
			}
		}
	})
}
