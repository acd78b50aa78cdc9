//go:build linux

package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"github.com/twokey/twokey/session"
)

// This file reads single values: text, numbers, durations, sizes, addresses,
// names, secrets. A value that is wrong is noted and leaves what it was to be
// read into as it was, so that later checks see the default.

const (
	longestText = 1024 // characters of a single value
	mostTexts   = 256  // entries of a list of words
)

// A name is a part of an SSH user name ("orders+write"), of a path in the
// store and of what people say aloud.
var nameRule = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

var (
	roleName   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	hostName   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?$`)
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`) // the rules of S3, roughly
	envName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// scalar returns a single word as written. It is not ok for lists and mappings.
func (v entry) scalar() (text string, ok bool) {
	switch n := v.node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// text reads text. Numbers and the like must be in quotes, because YAML may
// have read them as something else than what was typed.
func (v entry) text() (string, bool) {
	text, ok := v.scalar()
	if !ok {
		v.expected("text")
		return "", false
	}
	switch v.node.(type) {
	case *ast.StringNode, *ast.LiteralNode:
	default:
		v.wrong("expected text, not %s; put it in quotes: %q", kindOf(v.node), text)
		return "", false
	}
	switch {
	case strings.TrimSpace(text) == "":
		v.wrong("is empty")
	case len(text) > longestText:
		v.wrong("is longer than %d characters", longestText)
	case strings.ContainsFunc(text, unicode.IsControl):
		v.wrong("has a line break or another control character in it")
	default:
		return text, true
	}
	return "", false
}

func (v entry) textInto(to *string) {
	if text, ok := v.text(); ok {
		*to = text
	}
}

// pathInto reads a path; relative ones start at the configuration's folder.
func (v entry) pathInto(to *string) {
	if text, ok := v.text(); ok {
		*to = v.path(text)
	}
}

// wordInto reads one of a few words.
func (v entry) wordInto(to *string, allowed ...string) {
	word, ok := v.scalar()
	switch {
	case !ok:
		v.expected("one of " + strings.Join(allowed, ", "))
	case !slices.Contains(allowed, word):
		v.wrong("%s is not known%s; allowed: %s", quoted(word), suggestion(word, allowed), strings.Join(allowed, ", "))
	default:
		*to = word
	}
}

func (v entry) boolInto(to *bool) {
	n, ok := v.node.(*ast.BoolNode)
	if !ok {
		v.expected("true or false")
		return
	}
	*to = n.Value
}

func (v entry) numberInto(to *int, least, most int) {
	if _, ok := v.node.(*ast.IntegerNode); !ok {
		v.expected(fmt.Sprintf("a number from %d to %d", least, most))
		return
	}
	text, _ := v.scalar()
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		v.wrong("%s is out of range; allowed: %d to %d", text, least, most)
		return
	}
	*to = n
}

// nameInto reads the name of a target or a mode, which must be new.
func (v entry) nameInto(to *string, taken map[string]place) {
	name, ok := v.text()
	if !ok {
		return
	}
	before, doubled := taken[name]
	switch {
	case !nameRule.MatchString(name):
		v.wrong("%s cannot be a name; allowed: a letter a-z, then up to 62 of a-z, 0-9 and -", quoted(name))
	case name == "lobby":
		v.wrong("%q is the word for the lobby; choose another name", name)
	case doubled:
		v.wrong("%q is given twice, first in line %d", name, before.line)
	default:
		taken[name] = v.at()
		*to = name
	}
}

// texts reads a list of words that is not empty and names nothing twice.
func (v entry) texts(what string) (texts []string) {
	for _, item := range v.someItems(what) {
		text, ok := item.text()
		switch {
		case !ok:
		case slices.Contains(texts, text):
			item.wrong("%s is given twice", quoted(text))
		default:
			texts = append(texts, text)
		}
	}
	return texts
}

// words reads a list that is not empty; its words may repeat.
func (v entry) words(what string) (words []string) {
	for _, item := range v.someItems(what) {
		text, ok := item.text()
		if !ok {
			return nil
		}
		words = append(words, text)
	}
	return words
}

// someItems are those of a list that is neither empty nor too long.
func (v entry) someItems(what string) []entry {
	items, ok := v.items(what)
	if !ok {
		return nil
	}
	if len(items) == 0 || len(items) > mostTexts {
		v.wrong("has %d entries; allowed: 1 to %d", len(items), mostTexts)
		return nil
	}
	return items
}

// secretInto reads {file: PATH}, {env: NAME}, or a literal, which is warned about.
func (v entry) secretInto(to *Secret) {
	if _, ok := v.scalar(); ok && !v.empty() {
		if text, ok := v.text(); ok {
			v.caution("is written in the configuration; better {file: PATH} or {env: NAME}")
			*to = Secret{literal: text}
		}
		return
	}
	v.placeOfSecret(to, "{file: PATH} or {env: NAME}")
}

// keyInto reads where a private key is; a literal is refused.
func (v entry) keyInto(to *Secret) {
	v.placeOfSecret(to, "{file: PATH} or {env: NAME}; `twokey init` makes the keys")
}

func (v entry) placeOfSecret(to *Secret, shape string) {
	pairs, ok := v.pairs()
	if !ok {
		v.expected(shape)
		return
	}
	var s Secret
	before := len(v.mistakes)
	v.fields(
		field{"file", optional, func(v entry) { v.pathInto(&s.File) }},
		field{"env", optional, func(v entry) {
			if v.textInto(&s.Env); s.Env != "" && !envName.MatchString(s.Env) {
				v.wrong("%s is not the name of an environment variable", quoted(s.Env))
			}
		}},
	)
	switch {
	case len(v.mistakes) > before:
	case len(pairs) != 1:
		v.wrong("expected one of file and env; allowed: %s", shape)
	default:
		*to = s
	}
}

// caInto reads where a CA's key is: a secret, or an ssh-agent's.
func (v entry) caInto(to *CAKey) {
	const shape = "{file: PATH}, {env: NAME} or {agent: SOCKET, key: SHA256:… or FILE.pub}; `twokey init` makes the keys"
	if _, ok := v.pairs(); !ok {
		v.expected(shape)
		return
	}
	if v.get("agent").node == nil {
		v.placeOfSecret(&to.Secret, shape)
		return
	}
	v.fields(
		field{"agent", required, func(v entry) { v.pathInto(&to.Agent) }},
		field{"key", required, func(v entry) {
			if v.textInto(&to.Key); to.Key != "" && !strings.HasPrefix(to.Key, "SHA256:") {
				to.Key = v.path(to.Key)
			}
		}},
	)
}

// momentInto reads a point in time.
func (v entry) momentInto(to *time.Time) {
	text, ok := v.scalar()
	if !ok {
		v.expected("a point in time such as 2026-11-30T12:00:00Z")
		return
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		v.wrong("%s is no point in time; expected one such as 2026-11-30T12:00:00Z", quoted(text))
		return
	}
	*to = t
}

func (v entry) durationInto(to *time.Duration, least, most time.Duration) {
	text, ok := v.scalar()
	if !ok {
		v.expected("a duration such as 30s, 15m or 8h")
		return
	}
	d, err := parseDuration(text)
	switch {
	case err != nil:
		v.wrong("%s %s", quoted(text), err)
	case d < least || d > most:
		v.wrong("%s is out of range; allowed: %s to %s", text, session.Brief(least), session.Brief(most))
	default:
		*to = d
	}
}

// limitInto reads a duration of at most a day, or none, which is zero.
func (v entry) limitInto(to *time.Duration) {
	if word, ok := v.scalar(); ok && word == "none" {
		*to = 0
		return
	}
	v.durationInto(to, time.Second, 24*time.Hour)
}

// parseDuration reads what time.ParseDuration does, and days: "7d", "1d12h".
func parseDuration(text string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Errorf("has no unit; write %ss, %sm or %sh", text, text, text)
	}
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "0", text
	}
	if rest == "" {
		rest = "0s"
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("is not a duration; expected one such as 30s, 15m, 8h or 7d")
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, fmt.Errorf("is not a duration; expected one such as 30s, 15m, 8h or 7d")
	}
	return d + time.Duration(n)*24*time.Hour, nil
}

// sizeUnits are the units of sizes, larger ones first.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1},
}

func (v entry) sizeInto(to *int64, least, most int64) {
	text, ok := v.scalar()
	if !ok {
		v.expected("a size such as 256KiB or 64MiB")
		return
	}
	n, err := parseSize(text)
	switch {
	case err != nil:
		v.wrong("%s %s", quoted(text), err)
	case n < least || n > most:
		v.wrong("%s is out of range; allowed: %s to %s", text, sizeText(least), sizeText(most))
	default:
		*to = n
	}
}

// parseSize reads a whole number of bytes with a unit.
func parseSize(text string) (int64, error) {
	for _, u := range sizeUnits {
		number, found := strings.CutSuffix(text, u.name)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 33) // times a GiB still fits 63 bits
		if err != nil {
			break
		}
		return int64(n) * u.bytes, nil
	}
	if _, err := strconv.ParseUint(text, 10, 64); err == nil {
		return 0, fmt.Errorf("has no unit; write %sB, or a number of KiB or MiB", text)
	}
	return 0, fmt.Errorf("is not a size; expected a whole number with a unit: B, KiB, MiB or GiB")
}

// sizeText writes a size with the largest unit that divides it.
func sizeText(n int64) string {
	for _, u := range sizeUnits {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// addressInto reads an address to listen on.
func (v entry) addressInto(to *string) {
	text, ok := v.text()
	if !ok {
		return
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		v.wrong("%s is not an address; expected HOST:PORT or :PORT, such as :2222 or 127.0.0.1:2222", quoted(text))
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		v.wrong("%s is not a port; allowed: 1 to 65535", quoted(port))
		return
	}
	if host != "" && net.ParseIP(host) == nil && !hostName.MatchString(host) {
		v.wrong("%s is not a host; expected a name, an address or nothing for all addresses", quoted(host))
		return
	}
	*to = text
}

// loopback reports whether an address to listen on is reached from this machine alone.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && loopbackHost(host)
}

func loopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// url reads a URL of one of the schemes, with a host (file apart), and without user, query and fragment.
// prefixesInto reads addresses and networks: 10.0.0.4, 10.0.1.0/24, 2001:db8::/32.
func (v entry) prefixesInto(to *[]netip.Prefix) {
	items, ok := v.items("addresses or networks, such as [10.0.0.4, 10.0.1.0/24]")
	if !ok {
		return
	}
	for _, item := range items {
		text, ok := item.text()
		if !ok {
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if addr, single := netip.ParseAddr(text); single == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		switch {
		case err != nil:
			item.wrong("%s is neither an address nor a network; write 10.0.0.4 or 10.0.1.0/24", quoted(text))
		case prefix != prefix.Masked():
			item.wrong("%s is an address within a network; write %s for all of it, or %s", quoted(text), prefix.Masked(), prefix.Addr())
		case prefix.Bits() == 0:
			item.wrong("%s is everybody, who could then say to come from anywhere; name your proxies", quoted(text))
		default:
			*to = append(*to, prefix)
		}
	}
}

func (v entry) url(schemes ...string) (*url.URL, bool) {
	text, ok := v.text()
	if !ok {
		return nil, false
	}
	u, err := url.Parse(text)
	allowed := strings.Join(schemes, "://, ") + "://"
	switch {
	case err != nil:
		v.wrong("%s is not a URL; expected one that begins with %s", quoted(text), strings.ReplaceAll(allowed, ", ", " or "))
	case !slices.Contains(schemes, u.Scheme) || u.Opaque != "":
		v.wrong("%s has another scheme; allowed: %s", quoted(text), allowed)
	case u.User != nil:
		v.wrong("has a user or password in it; remove it")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		v.wrong("has a query or fragment (? or #) in it; remove it")
	case u.Scheme != "file" && u.Hostname() == "":
		v.wrong("%s has no host", quoted(text))
	default:
		return u, true
	}
	return nil, false
}
