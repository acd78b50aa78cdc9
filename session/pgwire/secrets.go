package pgwire

import (
	"regexp"
	"slices"
	"strings"
)

// This file keeps passwords that statements set from the tape, the shadows and
// the log: of roles, and in the options of user mappings, servers and subscriptions.
//
// Nothing else may be hidden, above all no SQL. So only string literals are cut
// out, and only where it is certain where they end. That depends on the
// connection's settings when there is a backslash or another encoding; then such
// a statement is refused.

const cutOut = "'[password]'"

// Statements with passwords in them, by their first two words, and names of
// options that hold one, by what is in the name.
var (
	secretKinds = []string{"role", "user", "group", "server", "foreign", "subscription"}
	secretNames = []string{"password", "passwd", "pwd", "secret", "token", "credential"}
)

// between two words of a statement are white space and comments, which nest.
const between = `(?:[\s\v]|/\*.*\*/|--[^\n\r]*[\n\r])+`

// secretive are statements that set a role's password or make a role with one,
// anywhere in the text: also in a function or a block that may put it together.
var secretive = regexp.MustCompile(`(?is)\b(alter|create)` + between + `(role|user|group)\b.*\bpassword\b`)

// suspicious are those that withoutPasswords may find something in.
var suspicious = regexp.MustCompile(`(?is)\b(alter|create)` + between + `(` + strings.Join(secretKinds, "|") + `)\b.*(` + strings.Join(secretNames, "|") + `|connection)`)

// suspect reports whether a text is one of those. Most are told by a look for
// words, which is much faster.
func suspect(sql string, of *regexp.Regexp) bool {
	lower := strings.ToLower(sql)
	return mentions(lower, "alter", "create") && (mentions(lower, secretNames...) || mentions(lower, "connection")) && of.MatchString(sql)
}

// withoutPasswords cuts the passwords out of a text, as it is read with
// standard_conforming_strings on, and returns the pieces between their quotes.
func withoutPasswords(sql string) (text string, hidden []string) {
	if !suspect(sql, suspicious) {
		return sql, nil
	}
	var out strings.Builder
	var words []string // the first two of the statement
	last := ""         // the name before this token
	for sql != "" {
		kind, n := piece(sql)
		token := sql[:n]
		sql = sql[n:]
		switch {
		case kind == blank:
		case (kind == literal || kind == named) && secret(words, last, token):
			hidden = append(hidden, strings.FieldsFunc(token, func(r rune) bool { return strings.ContainsRune(`'"`, r) })...)
			token, last = cutOut, ""
		case kind == word:
			last = strings.ToLower(token)
			if len(words) < 2 {
				words = append(words, last)
			}
		case kind == named:
			last = strings.ToLower(strings.Trim(token, `"`))
		case token == ";":
			words, last = nil, ""
		default:
			last = ""
		}
		out.WriteString(token)
	}
	return out.String(), hidden
}

// piece is next, but that a literal is whole: with its prefix, and with what
// continues it behind white space, which ends as its beginning does (manual 4.1.2).
func piece(sql string) (token, int) {
	prefix := 0
	if len(sql) > 3 && (sql[0] == 'u' || sql[0] == 'U') && strings.HasPrefix(sql[1:], "&'") {
		prefix = 2
	}
	kind, n := next(sql[prefix:])
	n += prefix
	if kind != literal || !strings.Contains(sql[:n], "'") || sql[0] == '$' {
		return kind, n
	}
	for {
		gap := n
		for gap < len(sql) {
			kind, more := next(sql[gap:])
			if kind != blank {
				break
			}
			gap += more
		}
		if gap == len(sql) || sql[gap] != '\'' {
			return literal, n
		}
		n = gap + quoteEnd(sql[gap:], sql[0] == 'e' || sql[0] == 'E')
	}
}

// secret reports whether a literal is a password, by the statement that it is
// in and by the name that it follows. One in double quotes is an error of the
// engineer's, and a password no less.
func secret(words []string, name, literal string) bool {
	if len(words) < 2 || words[0] != "alter" && words[0] != "create" || !slices.Contains(secretKinds, words[1]) || isDigit(literal[0]) {
		return false
	}
	if name == "connection" { // a URI has one between ":" and "@"
		return words[1] == "subscription" && mentions(literal, "password", "://")
	}
	return mentions(name, secretNames...)
}

// uncertain reports whether a text may have a password in it that nobody can
// say the end of.
func (l *link) uncertain(sql string) bool {
	return suspect(sql, suspicious) && !l.talk.literal(sql)
}

// whatToDo is for whoever sent one.
const whatToDo = "what may be a password in this statement cannot be kept from the recording for certain: send it by itself, with client_encoding UTF8 and standard_conforming_strings on, or use \\password"

// literal reports whether it is certain how the database reads a text's literals.
func (d *dialogue) literal(sql string) bool {
	backslash, plain := strings.Contains(sql, `\`), plainText(sql)
	if !backslash && plain {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.stirred && (d.conforming || !backslash) && (plain || keepsASCII(d.charset))
}

// keepsASCII reports whether, in an encoding, each byte that is a character of
// ASCII stands for that, and is no part of another: not so in SJIS, BIG5, GBK,
// UHC, GB18030 and JOHAB (Postgres manual 24.3.1).
func keepsASCII(charset string) bool {
	return slices.ContainsFunc([]string{"UTF8", "LATIN", "WIN125", "WIN8", "ISO_8859_", "KOI8", "EUC_"}, func(family string) bool {
		return strings.HasPrefix(charset, family)
	})
}

// stirs reports whether a text that is bound or executed may change a setting.
// A driver's BEGIN, which goes with the first statement of a transaction, does not.
func stirs(text string) bool {
	const longest = 100
	return len(text) > longest || strings.HasSuffix(text, doubt) || wordsOf(text).class() != marking
}

// plainText reports whether a text means the same in every encoding that a
// client of Postgres may have: they all have ASCII in them.
func plainText(texts ...string) bool {
	return !slices.ContainsFunc(texts, func(text string) bool {
		return strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 })
	})
}

// hide remembers what was cut out of a statement that is about to be sent, so that
// the database's error does not repeat it.
func (d *dialogue) hide(passwords []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.pending) == 0 {
		d.hidden = nil
	}
	if len(d.hidden) < maxPending {
		d.hidden = append(d.hidden, passwords...)
	}
}

// clean takes out of an error message what was hidden. The caller holds mu.
func (d *dialogue) clean(message string) string {
	for _, p := range d.hidden {
		if len(p) >= 4 { // a shorter one is in the database's own words as well
			message = strings.ReplaceAll(message, p, "[password]")
		}
	}
	return message
}
