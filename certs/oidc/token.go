package oidc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/twokey/twokey/session"
)

// This file makes the checks that go-oidc leaves to its user (OpenID Connect
// Core 3.1.3.7), and reads who it is.

// Bounds of what a token says. Groups and claims must fit into a certificate.
const (
	maxSubject  = 255 // bytes (OpenID Connect Core 2)
	maxClaim    = 256 // bytes
	maxGroup    = 256 // bytes
	maxGroups   = 500
	allGroups   = 16 << 10 // bytes
	maxTokenAge = 5 * time.Minute
	clockSkew   = time.Minute
)

// algorithms that an ID token may be signed with: asymmetric ones only.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// claims are all claims of a token by their exact names. encoding/json finds
// fields of structs in any case of letters, so nothing is believed that is
// not in here too.
type claims map[string]any

// check returns the token's claims if it is for this client and was made just now. The
// nonce is the caller's to compare.
func (p *Provider) check(id *oidc.IDToken, now time.Time) (claims, error) {
	all, err := read(id)
	if err != nil {
		return nil, &Refusal{Text: "the ID token cannot be read", Err: err}
	}
	azp, hasParty := all["azp"].(string)
	switch {
	case id.Issuer != p.c.Issuer || all["iss"] != id.Issuer:
		return nil, refuse("the ID token is another issuer's")
	case !slices.Contains(id.Audience, p.c.ClientID) || all["aud"] == nil:
		return nil, refuse("the ID token is not for us")
	case len(id.Audience) > 1 && !hasParty:
		return nil, refuse("the ID token is for several and does not say for whom it was made")
	case all["azp"] != nil && azp != p.c.ClientID:
		return nil, refuse("the ID token was made for somebody else")
	case all["iat"] == nil || id.IssuedAt.After(now.Add(clockSkew)) || now.Sub(id.IssuedAt) > maxTokenAge:
		return nil, &Refusal{Text: "the ID token was not made just now; is a clock wrong?", Err: fmt.Errorf("iat is %s", id.IssuedAt)}
	case all["sub"] != id.Subject || !isSubject(id.Subject):
		return nil, refuse("the ID token names nobody")
	}
	return all, nil
}

// read keeps numbers as they are written: an employee number with 20 digits
// is not its neighbour.
func read(id *oidc.IDToken) (claims, error) {
	var raw json.RawMessage
	if err := id.Claims(&raw); err != nil {
		return nil, err
	}
	var all claims
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return all, d.Decode(&all)
}

// isSubject: at most 255 ASCII characters (OpenID Connect Core 2), and none
// that moves a cursor.
func isSubject(s string) bool {
	return s != "" && len(s) <= maxSubject && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// identity reads the claims that the configuration names.
func (p *Provider) identity(id *oidc.IDToken, all claims) (session.Identity, error) {
	who := session.Identity{Issuer: id.Issuer, Subject: id.Subject}
	var err error
	if who.Name, err = all.name(p.c.Claims.Name); err != nil {
		return session.Identity{}, err
	}
	if who.Groups, err = all.groups(p.c.Claims.Groups); err != nil {
		return session.Identity{}, err
	}
	if claim := p.c.Claims.SamePerson; claim != "" {
		if who.SamePerson, err = all.samePerson(claim); err != nil {
			return session.Identity{}, err
		}
	}
	for role, claim := range p.c.Claims.Others {
		value, err := all.text(claim)
		if err != nil {
			return session.Identity{}, err
		}
		if value == "" {
			continue
		}
		if who.Claims == nil {
			who.Claims = map[string]string{}
		}
		who.Claims[role] = value
	}
	return who, nil
}
