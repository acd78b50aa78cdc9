package bastion

import (
	"regexp"
	"slices"
	"strings"
)

// This file reads the command of an exec request. It is what ssh made of the
// words that somebody typed: joined by spaces, and stripped of the quotes that
// their own shell took away. So
//
//	ssh orders@HOST -- --csv -c 'select 1'
//
// arrives as `--csv -c select 1`. Quotes that do arrive (typed twice) are
// honoured as in a POSIX shell. Text that comes last, the SQL of -c and a
// reason, is taken as it stands when it is not quoted.

// word is one word of a command.
type word struct {
	text   string
	start  int  // where it begins in the command
	end    int  // where it ends
	quoted bool // it began with a quote
}

// split cuts a command into words as a POSIX shell quotes them: '…' takes
// everything as it is, "…" knows \" \\ \$ \`, a backslash takes the next
// character. No variable, pattern or substitution means anything. A quote that
// never ends is a character like any other: people write apostrophes.
func split(command string) []word {
	var words []word
	for at := 0; at < len(command); {
		if isBlank(command[at]) {
			at++
			continue
		}
		w := word{start: at, quoted: command[at] == '\'' || command[at] == '"'}
		w.text, at = scanWord(command, at)
		w.end = at
		words = append(words, w)
	}
	return words
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// scanWord reads the word that begins at at, and returns where it ends.
func scanWord(s string, at int) (text string, end int) {
	var out strings.Builder
	for at < len(s) && !isBlank(s[at]) {
		switch c := s[at]; c {
		case '\'', '"':
			inner, after, ok := scanQuote(s, at)
			if !ok {
				inner, after = string(c), at+1
			}
			out.WriteString(inner)
			at = after
		case '\\':
			if at+1 < len(s) {
				at++
			}
			out.WriteByte(s[at])
			at++
		default:
			out.WriteByte(c)
			at++
		}
	}
	return out.String(), at
}

// scanQuote reads the quoted text that begins at at.
func scanQuote(s string, at int) (inner string, after int, ok bool) {
	quote := s[at]
	var out strings.Builder
	for i := at + 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return out.String(), i + 1, true
		case quote == '"' && s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\"\\$`", s[i+1]) >= 0:
			i++
			out.WriteByte(s[i])
		default:
			out.WriteByte(s[i])
		}
	}
	return "", 0, false
}

// texts are the words without where they stood.
func texts(words []word) []string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = w.text
	}
	return list
}

// maxWords bounds the arguments of a command.
const maxWords = 256

// What is for twokey and not for psql.
const (
	breakGlass = "--break-glass" // opens a mode alone
	noPsql     = "--no-psql"     // only the engineer's own clients, on a forwarded port
)

// order is what an engineer's command says.
type order struct {
	breakGlass bool
	noPsql     bool
	reason     string
	args       []string // psql's
}

// readOrder reads what an engineer wants: what is for twokey, at the beginning, and
// psql's arguments.
func readOrder(command string) (o order, err error) {
	if strings.ContainsRune(command, 0) {
		return order{}, misuse("the command holds a NUL character")
	}
	words := split(command)
	if len(words) > maxWords {
		return order{}, misuse("more than %d words; put SQL into a file and pipe it in: %s < file.sql", maxWords, "ssh TARGET@HOST")
	}
	if words, err = o.takeOurs(words); err != nil {
		return order{}, err
	}
	o.args, err = psqlArguments(command, words)
	return o, err
}

// takeOurs reads --break-glass, --no-psql and --reason, in any order, up to the
// first word that is none of them.
func (o *order) takeOurs(words []word) (rest []word, err error) {
	for len(words) > 0 {
		switch {
		case words[0].text == breakGlass:
			o.breakGlass = true
			words = words[1:]
			continue
		case words[0].text == noPsql:
			o.noPsql = true
			words = words[1:]
			continue
		case o.reason != "":
			return words, nil
		}
		if words, o.reason, err = takeReason(words); err != nil || o.reason == "" {
			return words, err
		}
	}
	return words, nil
}

// psqlArguments reads the arguments for psql.
func psqlArguments(command string, words []word) ([]string, error) {
	args := []string{}
	for i, w := range words {
		option, attached, ok := commandOption(w.text)
		if !ok || w.quoted {
			args = append(args, w.text)
			continue
		}
		asWritten := command[w.start:w.end] == w.text
		switch {
		case attached != "" && !asWritten:
			args = append(args, option, attached) // -c'select 1', quotes and all
		case attached == "" && i+1 < len(words) && words[i+1].quoted:
			args = append(args, option) // the next word is the SQL, as it was quoted
		default:
			sql, err := trailingSQL(command[w.end-len(attached):])
			return append(args, option, sql), err
		}
	}
	return args, nil
}

// takeReason reads --reason 'text', or --reason and the words up to the next option.
func takeReason(words []word) (rest []word, reason string, err error) {
	if len(words) == 0 {
		return words, "", nil
	}
	first := words[0].text
	if text, ok := strings.CutPrefix(first, "--reason="); ok {
		words[0].text = text
	} else if first == "--reason" {
		words = words[1:]
	} else {
		return words, "", nil
	}
	if len(words) == 0 || words[0].text == "" {
		return nil, "", misuse("--reason needs a text: --reason 'ticket 42'")
	}
	end := 1
	if !words[0].quoted {
		option := func(w word) bool { return len(w.text) > 1 && w.text[0] == '-' }
		if end = slices.IndexFunc(words, option); end < 0 {
			end = len(words)
		}
	}
	if end == 0 {
		return nil, "", misuse("--reason needs a text: --reason 'ticket 42'")
	}
	return words[end:], strings.Join(texts(words[:end]), " "), nil
}

// psql's flags without a value, which may stand together before c: -Atc 'select 1'.
var commandFlag = regexp.MustCompile(`^(-[aAbeEHnlqsStwWxXVz01]*c)(.*)$`)

// commandOption recognises psql's -c and --command, alone, with flags before
// it, or with the SQL attached.
func commandOption(text string) (option, attached string, ok bool) {
	if text == "--command" {
		return "-c", "", true
	}
	if sql, ok := strings.CutPrefix(text, "--command="); ok {
		return "-c", sql, true
	}
	if strings.HasPrefix(text, "--") {
		return "", "", false
	}
	m := commandFlag.FindStringSubmatch(text)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// trailingSQL is the rest of the command after -c, exactly as it came: it was
// quoted for the local shell only, and its own quotes are SQL's.
func trailingSQL(rest string) (string, error) {
	sql := strings.TrimSpace(rest)
	if sql == "" {
		return "", misuse("-c needs SQL behind it")
	}
	if lateOption.MatchString(sql) {
		return "", misuse("put -c and its SQL last, behind every other option; or quote the whole twice: ssh … -- \"--csv -c 'select 1'\"")
	}
	return sql, nil
}

// An option behind unquoted SQL would be read as a comment in it, without a word.
var lateOption = regexp.MustCompile(`\s--[a-z]+[a-z-]*(=\S*)?\s*$`)
