//go:build linux

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// This file reads YAML strictly, and knows at every moment where in the file
// it is. It walks the syntax tree itself instead of decoding into structs, so
// that one run finds every mistake and each has its line and column.

// What bounds the parser: it recurses into what is nested and into what begins
// on one line, and takes time by the square of the keys.
const (
	deepest      = 24
	lineOpened   = 128
	mostKeys     = 20_000
	mostMistakes = 100 // of a file that are said
)

// configReader collects what is wrong with a file.
type configReader struct {
	file     string
	dir      string // relative paths start here
	mistakes Mistakes
	warnings []string
}

func (r *configReader) mistake(at place, format string, args ...any) {
	r.mistakes = append(r.mistakes, Mistake{
		File: r.file, Line: max(at.line, 1), Column: max(at.column, 1), Text: singleLine(fmt.Sprintf(format, args...)),
	})
}

func (r *configReader) warn(at place, format string, args ...any) {
	m := Mistake{File: r.file, Line: max(at.line, 1), Column: max(at.column, 1), Text: singleLine(fmt.Sprintf(format, args...))}
	r.warnings = append(r.warnings, m.Error())
}

// sorted returns the mistakes in the order of the file, each once, and a
// sentence for those beyond the first hundred.
func (r *configReader) sorted() Mistakes {
	slices.SortStableFunc(r.mistakes, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Text, b.Text))
	})
	all := slices.Compact(r.mistakes)
	if more := len(all) - mostMistakes; more > 0 {
		all = all[:mostMistakes]
		all[mostMistakes-1].Text = fmt.Sprintf("and %d more mistakes from here on", more+1)
	}
	return all
}

// place is a position in the file, both counted from 1; the zero place is the
// start of the file.
type place struct{ line, column int }

func placeOf(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{}
	}
	return place{t.Position.Line, t.Position.Column}
}

// parse returns the top of the file, or false after noting why there is none.
func (r *configReader) parse(data []byte) (root entry, ok bool) {
	switch {
	case len(data) > configLimit:
		r.mistake(place{}, "the file is larger than %d KiB; is this the configuration?", configLimit>>10)
		return entry{}, false
	case !utf8.Valid(data):
		r.mistake(placeOfInvalid(data), "the file is not UTF-8 text")
		return entry{}, false
	}
	if !r.plain(lexer.Tokenize(string(data))) {
		return entry{}, false
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.syntax(err, data)
		return entry{}, false
	}
	return r.top(file)
}

func (r *configReader) top(file *ast.File) (root entry, ok bool) {
	var bodies []ast.Node
	for _, d := range file.Docs {
		if d.Body != nil && d.Body.Type() != ast.CommentType && d.Body.Type() != ast.CommentGroupType {
			bodies = append(bodies, d.Body)
		}
	}
	switch len(bodies) {
	case 0:
		r.mistake(place{}, "the configuration is empty; `twokey init` writes one to start from")
		return entry{}, false
	case 1:
		return entry{configReader: r, name: "the configuration", node: bodies[0]}, true
	}
	r.mistake(startOf(bodies[1]), "a second document begins here; a configuration is one document")
	return entry{}, false
}

// plain refuses the parts of YAML that a configuration has no need for, before
// the parser spends time and stack on them.
func (r *configReader) plain(tokens token.Tokens) bool {
	before := len(r.mistakes)
	depth, line, opened, keys := 0, 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, opened = t.Position.Line, 0
		}
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			r.mistake(placeOf(t), "anchors, aliases and merge keys are not allowed; write the value out")
		case token.TagType:
			r.mistake(placeOf(t), "tags are not allowed; put text in quotes")
		case token.DirectiveType:
			r.mistake(placeOf(t), "directives are not allowed")
		case token.MappingKeyType:
			r.mistake(placeOf(t), "complex keys (?) are not allowed; write key: value")
		case token.MappingStartType, token.SequenceStartType:
			depth++
			opened++
		case token.SequenceEntryType:
			opened++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.MappingValueType:
			keys++
		}
		if keys > mostKeys {
			r.mistake(placeOf(t), "more than %d keys; is this the configuration?", mostKeys)
			return false
		}
		if depth > deepest || opened > lineOpened {
			r.mistake(placeOf(t), "nested too deeply")
			return false
		}
	}
	return len(r.mistakes) == before
}

func (r *configReader) syntax(err error, data []byte) {
	var wrong yaml.Error
	if !errors.As(err, &wrong) {
		r.mistake(place{}, "not YAML: %s", err)
		return
	}
	at := placeOf(wrong.GetToken())
	if column := tabIn(data, at.line); column > 0 {
		r.mistake(place{at.line, column}, "not YAML: a tab; indent with spaces")
		return
	}
	r.mistake(at, "not YAML: %s", wrong.GetMessage())
}

// tabIn returns the column of a tab among the spaces a line begins with, or 0.
func tabIn(data []byte, line int) int {
	lines := bytes.Split(data, []byte("\n"))
	if line < 1 || line > len(lines) {
		return 0
	}
	text := lines[line-1]
	indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
	return bytes.IndexByte(indent, '\t') + 1
}

func placeOfInvalid(data []byte) place {
	at := place{1, 1}
	for len(data) > 0 {
		c, n := utf8.DecodeRune(data)
		switch {
		case c == utf8.RuneError && n == 1:
			return at
		case c == '\n':
			at = place{at.line + 1, 1}
		default:
			at.column++
		}
		data = data[n:]
	}
	return at
}

// entry is something written at a place in the file, and what it is called there.
type entry struct {
	*configReader
	name string   // the key it stands behind
	key  place    // of the key; zero at the top and in lists
	node ast.Node // nil or null when nothing stands behind the key
}

// at is where the value begins, or its key when there is no value.
func (v entry) at() place {
	if v.empty() && v.key != (place{}) {
		return v.key
	}
	return startOf(v.node)
}

// begin is where the entry begins: its key, when it has one.
func (v entry) begin() place {
	if v.key != (place{}) {
		return v.key
	}
	return v.at()
}

func startOf(n ast.Node) place {
	switch n := n.(type) {
	case nil:
		return place{}
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return startOf(n.Values[0])
		}
		return placeOf(n.Start)
	case *ast.MappingValueNode:
		return placeOf(n.Key.GetToken())
	case *ast.SequenceNode:
		return placeOf(n.Start)
	}
	return placeOf(n.GetToken())
}

func (v entry) empty() bool {
	return v.node == nil || v.node.Type() == ast.NullType
}

// wrong notes a mistake about the value.
func (v entry) wrong(format string, args ...any) {
	v.mistake(v.at(), "%s: %s", v.name, fmt.Sprintf(format, args...))
}

// caution notes a warning about the value.
func (v entry) caution(format string, args ...any) {
	v.warn(v.at(), "%s: %s", v.name, fmt.Sprintf(format, args...))
}

// expected notes that another kind of value stands here.
func (v entry) expected(what string) {
	if v.empty() {
		v.wrong("has no value; expected %s", what)
		return
	}
	v.wrong("expected %s, not %s", what, kindOf(v.node))
}

func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return "true or false"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	}
	return "this"
}

// field is a key that a mapping may have, and what reads its value.
type field struct {
	key  string
	need presence
	read func(entry)
}

type presence bool

const (
	optional presence = false
	required presence = true
)

// fields reads a mapping with these keys and no others.
func (v entry) fields(list ...field) {
	pairs, ok := v.pairs()
	if !ok {
		v.expected("a mapping of " + strings.Join(keysOf(list), ", "))
		return
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		seen[p.name] = true
		i := slices.IndexFunc(list, func(f field) bool { return f.key == p.name })
		if i < 0 {
			seen[v.unknown(p, keysOf(list))] = true
			continue
		}
		list[i].read(p)
	}
	for _, f := range list {
		if f.need == required && !seen[f.key] {
			v.mistake(v.begin(), "%s: the key %q is missing", v.name, f.key)
		}
	}
}

// unknown notes a key that is not allowed. It returns the one that was
// probably meant, whose absence then needs no line of its own.
func (v entry) unknown(p entry, allowed []string) (meant string) {
	meant = nearest(p.name, allowed)
	name := " " + quoted(p.name)
	if !keyName.MatchString(p.name) {
		name = ""
	}
	v.mistake(p.key, "unknown key%s in %s%s; allowed: %s", name, v.name, suggestion(p.name, allowed), strings.Join(allowed, ", "))
	return meant
}

// keyName is what a key that somebody meant looks like. Other text is not repeated: the
// file may be none of ours, and hold what is not for whoever started this.
var keyName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,39}$`)

// pairs returns the keys and values of a mapping, the first of doubled ones.
// It returns false when the value is no mapping.
func (v entry) pairs() (pairs []entry, ok bool) {
	var nodes []*ast.MappingValueNode
	switch n := v.node.(type) {
	case *ast.MappingNode:
		nodes = n.Values
	case *ast.MappingValueNode:
		nodes = []*ast.MappingValueNode{n}
	default:
		return nil, false
	}
	first := map[string]place{}
	for _, n := range nodes {
		p := entry{configReader: v.configReader, name: keyText(n.Key), key: placeOf(n.Key.GetToken()), node: n.Value}
		if at, doubled := first[p.name]; doubled {
			v.mistake(p.key, "the key %s is given twice, first in line %d", quoted(p.name), at.line)
			continue
		}
		first[p.name] = p.key
		pairs = append(pairs, p)
	}
	return pairs, true
}

// get returns what stands behind a key; its node is nil when the key is not there.
func (v entry) get(key string) entry {
	pairs, _ := v.pairs()
	for _, p := range pairs {
		if p.name == key {
			return p
		}
	}
	return entry{configReader: v.configReader, name: key, key: v.begin()}
}

func keyText(key ast.MapKeyNode) string {
	if s, ok := key.(*ast.StringNode); ok {
		return s.Value
	}
	return key.GetToken().Value
}

func keysOf(list []field) []string {
	keys := make([]string, len(list))
	for i, f := range list {
		keys[i] = f.key
	}
	return keys
}

// items returns the values of a list. It returns false, having noted it, when
// the value is no list.
func (v entry) items(what string) (items []entry, ok bool) {
	list, ok := v.node.(*ast.SequenceNode)
	if !ok {
		v.expected("a list of " + what)
		return nil, false
	}
	for i, n := range list.Values {
		item := entry{configReader: v.configReader, name: v.name, node: n}
		if n == nil || n.Type() == ast.NullType {
			item.key = entryPlace(list, i) // an empty entry has no place of its own
		}
		items = append(items, item)
	}
	return items, true
}

func entryPlace(list *ast.SequenceNode, i int) place {
	if i < len(list.Entries) && list.Entries[i] != nil {
		return placeOf(list.Entries[i].Start)
	}
	return placeOf(list.Start)
}

// suggestion asks about the allowed word that was probably meant, if there is one.
func suggestion(word string, allowed []string) string {
	if meant := nearest(word, allowed); meant != "" {
		return fmt.Sprintf(" (did you mean %q?)", meant)
	}
	return ""
}

// nearest is the allowed word that at most two slips make into this one, or "".
func nearest(word string, allowed []string) (best string) {
	least := 3
	for _, a := range allowed {
		if d := distance(word, a); d < least && d < len(a) {
			best, least = a, d
		}
	}
	return best
}

// distance is how many letters to change, add, drop or swap with their
// neighbour to make b of a (optimal string alignment); long words are far from everything.
func distance(a, b string) int {
	if len(a) > 40 {
		return len(a)
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

// quoted shows what a person wrote, short and without control characters.
func quoted(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// singleLine makes text fit for one line of a terminal, whatever a file or a
// server put in it.
func singleLine(s string) string {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.Join(strings.Fields(clean), " ")
}

// path makes a path in the file absolute.
func (r *configReader) path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(r.dir, p)
}
