package shadow_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/twokey/twokey/shadow"
)

// A text in its colours, with each look as one letter: s string, n name, c comment, w word, C change.
func coloured(text string, cols, page int) string {
	looks := strings.NewReplacer("\x1b[0;32m", "<s ", "\x1b[0;36m", "<n ", "\x1b[0;2m", "<c ", "\x1b[0;1m", "<w ", "\x1b[0;1;31m", "<C ", "\x1b[0m", ">")
	return looks.Replace(strings.Join(shadow.ReadSQL(text, cols, page), "|"))
}

func TestSQLHasColours(t *testing.T) {
	for in, want := range map[string]string{
		"select 'a''b', \"c\" from t":       `<w select> <s 'a''b'>, <n "c"> <w from> t`,
		"DELETE from orders -- all↵where 1": `<C DELETE> <w from> orders <c -- all>↵|<w where> 1`,
		"/* a /* b */ drop */ drop table x": `<c /* a /* b */ drop */> <C drop> <w table> x`,
		"do $x$ drop $$ x $x$; update":      `<C do> <s $x$ drop $$ x $x$>; <C update>`,
		"select e'a\\'b' , $1, a$b":         `<w select> e<s 'a\'b'> , $1, a$b`,
		"'never ending; drop":               `<s 'never ending; drop>`,
		"/* never ending":                   `<c /* never ending>`,
		"dropped updates":                   `dropped updates`,
	} {
		if got := coloured(in, 80, 0); got != want {
			t.Errorf("%q is\n%s, want\n%s", in, got, want)
		}
	}
	if got := coloured("select 'abcdefghijklmnopqrstuvwxyz' from t", 10, 1); got != "<s wxyz'> <w from>|> t" {
		t.Errorf("the second page is %s", got)
	}
}

var anySGR = regexp.MustCompile("\x1b\\[[0-9;]*m")

// Colours add nothing to a text and take nothing from it.
func FuzzSQLColours(f *testing.F) {
	f.Add("select $a$ ' \" -- /* $a$ */ x", 7)
	f.Fuzz(func(t *testing.T, sql string, cols int) {
		text := shadow.OneLine(sql)
		cols = min(max(cols, 2), 200)
		var all strings.Builder
		for page := 0; ; page++ {
			rows := shadow.ReadSQL(text, cols, page)
			if rows == nil {
				break
			}
			all.WriteString(strings.Join(rows, ""))
		}
		if got := anySGR.ReplaceAllString(all.String(), ""); got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}
