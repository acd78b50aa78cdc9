package shadow_test

import (
	"testing"

	"github.com/twokey/twokey/shadow"
)

// Text that is hidden by its colour is shown in another.
func TestColoursHideNothing(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[31;41m":                 "\x1b[0;7m",
		"\x1b[38;5;1;41m":             "\x1b[0;7m",
		"\x1b[38;2;1;2;3;48;2;3;2;1m": "\x1b[0;7m",
		"\x1b[38;2;205;0;0;41m":       "\x1b[0;7m",
		"\x1b[38;5;16;40m":            "\x1b[0;7m",
		"\x1b[38;5;232;48;5;16m":      "\x1b[0;7m",
		"\x1b[30m":                    "\x1b[0m",
		"\x1b[97m":                    "\x1b[0m",
		"\x1b[38;2;250;250;250m":      "\x1b[0m",
		"\x1b[40m":                    "\x1b[0;38;5;231;40m",
		"\x1b[107m":                   "\x1b[0;38;5;16;107m",
		"\x1b[7;30m":                  "\x1b[0;7m",
		"\x1b[32m":                    "\x1b[0;32m",
		"\x1b[33m":                    "\x1b[0;33m",
		"\x1b[37;44m":                 "\x1b[0;37;44m",
		"\x1b[1;4m":                   "\x1b[0;1;4m",
	} {
		m := shadow.NewModel(20, 5)
		m.Print([]byte(in + "x"))
		if got := m.Seen(0, 0); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}
