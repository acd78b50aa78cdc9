package psql

import (
	"fmt"
	"strings"
)

// This file judges the arguments that an engineer gives psql.

// options are psql's, by their letter ("" when they have none): those that one
// may use, whether they take a value, and their long name.
var options = []struct {
	letter string
	long   string
	value  bool
	why    string // not empty: refused, because
}{
	{"c", "command", true, ""}, {"f", "file", true, ""}, {"v", "set", true, ""}, {"", "variable", true, ""},
	{"V", "version", false, ""}, {"X", "no-psqlrc", false, ""}, {"1", "single-transaction", false, ""}, {"?", "help", false, ""},
	{"a", "echo-all", false, ""}, {"b", "echo-errors", false, ""}, {"e", "echo-queries", false, ""}, {"E", "echo-hidden", false, ""},
	{"n", "no-readline", false, ""}, {"q", "quiet", false, ""}, {"S", "single-line", false, ""}, {"A", "no-align", false, ""},
	{"", "csv", false, ""}, {"F", "field-separator", true, ""}, {"H", "html", false, ""}, {"P", "pset", true, ""},
	{"R", "record-separator", true, ""}, {"t", "tuples-only", false, ""}, {"T", "table-attr", true, ""}, {"x", "expanded", false, ""},
	{"z", "field-separator-zero", false, ""}, {"0", "record-separator-zero", false, ""},
	{"s", "single-step", false, "there is nobody to step"},
	{"l", "list", false, "it connects to another database"},
	{"L", "log-file", true, "psql writes no files here"}, {"o", "output", true, "psql writes no files here; use your shell's >"},
	{"h", "host", true, connection}, {"p", "port", true, connection}, {"U", "username", true, connection}, {"d", "dbname", true, connection},
	{"w", "no-password", false, connection}, {"W", "password", false, connection},
}

const connection = "the target says where psql connects, and as whom"

// CheckArgs returns why these arguments for psql are refused, as a sentence,
// or nil. It reads them as getopt_long(3) does: bundled letters, values attached
// or apart, long names shortened.
func CheckArgs(args []string) error {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		next := func() (string, bool) {
			i++
			if i < len(args) {
				return args[i], true
			}
			return "", false
		}
		var err error
		switch {
		case len(arg) > 64<<10 || strings.ContainsRune(arg, 0):
			err = fmt.Errorf("an argument for psql is too long")
		case strings.HasPrefix(arg, "--") && len(arg) > 2:
			err = checkLong(arg[2:], next)
		case strings.HasPrefix(arg, "-") && len(arg) > 1 && arg != "--":
			err = checkLetters(arg[1:], next)
		default:
			err = fmt.Errorf("psql's %q is refused: %s", arg, connection)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkLetters(letters string, next func() (string, bool)) error {
	for i, l := range letters {
		found := false
		for _, o := range options {
			if o.letter != string(l) {
				continue
			}
			found = true
			if !o.value {
				if o.why != "" {
					return fmt.Errorf("psql's -%c is refused: %s", l, o.why)
				}
				break
			}
			value := letters[i+1:]
			if value == "" {
				value, _ = next()
			}
			return checkValue("-"+o.letter, o.long, value, o.why)
		}
		if !found {
			return fmt.Errorf("psql has no option -%c", l)
		}
	}
	return nil
}

func checkLong(text string, next func() (string, bool)) error {
	name, value, attached := strings.Cut(text, "=")
	match := -1
	for i, o := range options {
		if o.long == name {
			match = i
			break
		}
		if strings.HasPrefix(o.long, name) {
			if match >= 0 {
				return fmt.Errorf("psql's --%s is ambiguous; write it out", name)
			}
			match = i
		}
	}
	if match < 0 {
		return fmt.Errorf("psql has no option --%s", name)
	}
	o := options[match]
	if o.value && !attached {
		value, _ = next()
	}
	return checkValue("--"+o.long, o.long, value, o.why)
}

func checkValue(option, long, value, why string) error {
	if why != "" {
		return fmt.Errorf("psql's %s is refused: %s", option, why)
	}
	if long == "file" && value != "-" {
		return fmt.Errorf("psql's %s %s is refused: there are no files here; use -f - and standard input", option, value)
	}
	return nil
}
