package oidc

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/twokey/twokey/certs"
)

// This file reads single claims. Each is bounded and is what it should be, or
// the login is refused; a group or a claim that cannot be shown is never
// quietly made into another.

// name is what people are called, cleaned. An email address is a name only
// when the provider has verified it: else anybody could be called like anybody.
func (c claims) name(claim string) (string, error) {
	value, ok := c[claim].(string)
	if c[claim] != nil && !ok {
		return "", refuse("the claim %s is no text", claim)
	}
	verified, said := c["email_verified"].(bool)
	email, _ := c["email"].(string)
	if claim == "email" && value != "" && !verified || said && !verified && value != "" && strings.EqualFold(value, email) {
		return "", refuse("the identity provider has not verified your email address %s; have that done there, then sign in again", certs.CleanName(email))
	}
	if value = certs.CleanName(value); value == "" {
		return "", refuse("the identity provider does not say your %s; ask an admin to have it send the claim", claim)
	}
	return value, nil
}

// samePerson is what two accounts of one human have in common. Without it
// nobody comes in where it is configured, as four eyes could be two.
// Spelling in other case or with spaces around makes no other human.
func (c claims) samePerson(claim string) (string, error) {
	value, err := c.text(claim)
	if err != nil {
		return "", err
	}
	// By way of capitals, as some letters have two small forms (s and ſ, σ and ς).
	if value = strings.ToLower(strings.ToUpper(strings.TrimSpace(value))); value == "" {
		return "", refuse("the identity provider does not say your %s, by which people are told apart here; ask an admin to have it set", claim)
	}
	return value, nil
}

// text reads a claim that is a line of text or a whole number; "" when it is
// not there.
func (c claims) text(claim string) (string, error) {
	switch v := c[claim].(type) {
	case nil:
		return "", nil
	case string:
		if !isLine(v, maxClaim) {
			return "", refuse("the claim %s is too long, or no plain text", claim)
		}
		return v, nil
	case json.Number:
		if len(v) > maxClaim || strings.ContainsAny(v.String(), ".eE") {
			return "", refuse("the claim %s is no whole number", claim)
		}
		return v.String(), nil
	}
	return "", refuse("the claim %s is no text", claim)
}

// groups reads a list of groups, or one: exact strings, bounded in number and
// size, each once.
func (c claims) groups(claim string) ([]string, error) {
	value := c[claim]
	if one, ok := value.(string); ok {
		value = []any{one}
	}
	list, ok := value.([]any)
	switch {
	case value == nil && c.elsewhere(claim):
		return nil, refuse("you are in so many groups that the identity provider leaves them out; let it send only those that twokey needs")
	case value == nil:
		return nil, nil
	case !ok:
		return nil, refuse("the claim %s is no list of groups", claim)
	case len(list) > maxGroups:
		return nil, refuse("you are in %d groups and at most %d are taken; let the identity provider send only those that twokey needs", len(list), maxGroups)
	}
	var all []string
	size := 0
	for _, g := range list {
		name, ok := g.(string)
		if !ok || name == "" || !isLine(name, maxGroup) {
			return nil, refuse("one of your groups has a name that is too long, or is no plain text")
		}
		if size += len(name); size > allGroups {
			return nil, refuse("the names of your groups take more than %d bytes; let the identity provider send only those that twokey needs", allGroups)
		}
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all, nil
}

// elsewhere reports that the provider left a claim out as it was too long
// (OpenID Connect Core 5.6.2, as Microsoft's uses it).
func (c claims) elsewhere(claim string) bool {
	names, _ := c["_claim_names"].(map[string]any)
	has, _ := c["has"+claim].(bool)
	return names[claim] != nil || has
}

// isLine reports whether a text is one line without control and bidi
// characters. Emoji are joined by an invisible character, which does no harm.
func isLine(s string, most int) bool {
	const joiner = '\u200d'
	return len(s) <= most && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && r != joiner })
}
