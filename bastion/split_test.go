package bastion_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/session"
)

func TestWords(t *testing.T) {
	for command, want := range map[string][]string{
		"":                            {},
		"  a\tb\n":                    {"a", "b"},
		`a 'b c' "d e"`:               {"a", "b c", "d e"},
		`'a'"b"c`:                     {"abc"},
		`'' ""`:                       {"", ""},
		`"a\"b\\c\n\$d" 'e\f'`:        {`a"b\c\n$d`, `e\f`},
		`a\ b \'c \`:                  {"a b", "'c", `\`},
		`that's it`:                   {"that's", "it"},
		`say "hi`:                     {"say", `"hi`},
		`$(id) $HOME * ~ ; | & > < #`: {"$(id)", "$HOME", "*", "~", ";", "|", "&", ">", "<", "#"},
	} {
		if got := bastion.Words(command); !slices.Equal(got, want) {
			t.Errorf("%q is read as %q, want %q", command, got, want)
		}
	}
}

func TestPsqlArguments(t *testing.T) {
	for command, c := range map[string]struct {
		args   []string
		reason string
	}{
		"":                                      {[]string{}, ""},
		"--csv":                                 {[]string{"--csv"}, ""},
		"--csv -c select 1":                     {[]string{"--csv", "-c", "select 1"}, ""},
		"--csv -c 'select 1'":                   {[]string{"--csv", "-c", "select 1"}, ""},
		"-c 'select 1' --csv":                   {[]string{"-c", "select 1", "--csv"}, ""},
		"-c 'select 1' -c 'select 2'":           {[]string{"-c", "select 1", "-c", "select 2"}, ""},
		`-c "select 'a  b'"`:                    {[]string{"-c", "select 'a  b'"}, ""},
		"-c select 'a  b', \"C\" from t":        {[]string{"-c", "select 'a  b', \"C\" from t"}, ""},
		`-c \d orders`:                          {[]string{"-c", `\d orders`}, ""},
		`-c select e'it\'s' -- that's all`:      {[]string{"-c", `select e'it\'s' -- that's all`}, ""},
		"-c select 1\n,2 ":                      {[]string{"-c", "select 1\n,2"}, ""},
		"-Atc select 1":                         {[]string{"-Atc", "select 1"}, ""},
		"-At -F , -c select 1":                  {[]string{"-At", "-F", ",", "-c", "select 1"}, ""},
		"-cselect 1":                            {[]string{"-c", "select 1"}, ""},
		"-c'select 1' --csv":                    {[]string{"-c", "select 1", "--csv"}, ""},
		"--command=select 1":                    {[]string{"-c", "select 1"}, ""},
		"--command select 1":                    {[]string{"-c", "select 1"}, ""},
		"-P null=(null) --set 'x=a b'":          {[]string{"-P", "null=(null)", "--set", "x=a b"}, ""},
		"--reason 'a b' --csv":                  {[]string{"--csv"}, "a b"},
		"--reason ticket 42 - late -c select 1": {[]string{"-c", "select 1"}, "ticket 42 - late"},
		"--reason=ticket 42":                    {[]string{}, "ticket 42"},
		"--reason x":                            {[]string{}, "x"},
		"-c select 1 --reason x y":              {[]string{"-c", "select 1 --reason x y"}, ""},
	} {
		args, reason, err := bastion.PsqlArguments(command)
		if err != nil || !slices.Equal(args, c.args) || reason != c.reason {
			t.Errorf("%q is read as %q, reason %q, %v; want %q, %q", command, args, reason, err, c.args, c.reason)
		}
	}
	for _, command := range []string{"-c", "--csv -c ", "--command", "-c select 1 --csv", "-At -c select 1 --pset=null=x", "--reason", "--reason=", "--reason --csv", "a\x00b", strings.Repeat("a ", 1000)} {
		if args, _, err := bastion.PsqlArguments(command); err == nil {
			t.Errorf("%q is read as %q", command, args)
		}
	}
}

func TestBreakGlassStandsBeforeWhatIsPsqls(t *testing.T) {
	for command, c := range map[string]struct {
		glass  bool
		args   []string
		reason string
	}{
		"--break-glass": {true, []string{}, ""},
		"--break-glass --reason db down -c select 1":  {true, []string{"-c", "select 1"}, "db down"},
		"--reason db down --break-glass --csv":        {true, []string{"--csv"}, "db down"},
		"--reason 'db down' --break-glass":            {true, []string{}, "db down"},
		"--csv --break-glass":                         {false, []string{"--csv", "--break-glass"}, ""},
		"--reason the glass -- break-glass":           {false, []string{"--", "break-glass"}, "the glass"},
		"-c select 1 --break-glass now":               {false, []string{"-c", "select 1 --break-glass now"}, ""},
		"--break-glass=no":                            {false, []string{"--break-glass=no"}, ""},
		"--reason a --break-glass --reason b c --csv": {true, []string{"--reason", "b", "c", "--csv"}, "a"},
	} {
		args, reason, err := bastion.PsqlArguments(command)
		if err != nil || bastion.BreaksGlass(command) != c.glass || !slices.Equal(args, c.args) || reason != c.reason {
			t.Errorf("%q is read as glass %v, %q, reason %q, %v; want %+v", command, bastion.BreaksGlass(command), args, reason, err, c)
		}
	}
}

func TestSessionID(t *testing.T) {
	for typed, want := range map[string]string{
		"7kq2m": "7KQ2M", "oil0l": "01101", "01jd0000000000000000000001": "01JD0000000000000000000001",
		"": "", "7KQ2": "", "7KQ2MM": "", "81JD0000000000000000000001": "", "7KQ2U": "", "../..": "", "7KQ2\x00": "", "ⅦKQ2M": "",
	} {
		if got, err := bastion.SessionID(typed); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v; want %q", typed, got, err, want)
		}
	}
}

// Whatever a client sends, reading it ends, and what comes out is bounded.
func FuzzRequests(f *testing.F) {
	f.Add([]byte("\xff\xff\xff\xfexterm"))
	f.Add([]byte("\x00\x00\x00\x05xterm\x00\x00\x00\x50\x00\x00\x00\x18\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x04LANG\x00\x00\x00\x01C"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if _, size, err := bastion.ParsePTY(payload); err == nil && size != size.Clamp() {
			t.Errorf("size %v", size)
		}
		if size, err := bastion.ParseWindow(payload); err == nil && (size != size.Clamp() || size == session.Size{}) {
			t.Errorf("size %v", size)
		}
		if e, err := bastion.ParseEnv(payload); err == nil && (len(e.Value) > 64 || strings.ContainsAny(e.Value, " \x00\x1b=")) {
			t.Errorf("environment %+v", e)
		}
		command, err := bastion.ParseExec(payload)
		if err != nil {
			return
		}
		if args, _, err := bastion.PsqlArguments(command); err == nil && strings.Contains(strings.Join(args, ""), "\x00") {
			t.Errorf("arguments %q", args)
		}
	})
}

// A user name asks for a target and a mode that are there, by their exact names, or
// for nothing.
func FuzzRoute(f *testing.F) {
	targets := []session.Target{
		{Name: "orders", Modes: []session.Mode{{Name: "read"}, {Name: "write"}}},
		{Name: "read", Modes: []session.Mode{{Name: "orders"}}},
	}
	for _, user := range []string{"orders", "orders+write", "orders+", "+write", "ORDERS", "orders+write+read", "orders\x00", "", "read+orders", "x+\x1b[2J"} {
		f.Add(user)
	}
	f.Fuzz(func(t *testing.T, user string) {
		target, mode, note, err := bastion.Route(user, targets)
		switch {
		case err != nil || target == "":
			if target != "" || mode != "" {
				t.Errorf("%q: %q, %q, %v", user, target, mode, err)
			}
		case user != target && user != target+"+"+mode:
			t.Errorf("%q leads to %s, mode %s", user, target, mode)
		case user == target && mode != "read" && mode != "orders":
			t.Errorf("%q is not the first mode: %s", user, mode)
		}
		if len(note) > 300 || strings.ContainsAny(note, "\x00\x1b\n") {
			t.Errorf("note %q", note)
		}
	})
}
