// Package oidc turns a login at an OpenID provider into an Identity.
//
// Its one idea: an ID token is believed only after every check, those of
// go-oidc (signature, issuer, expiry) and those it leaves to us: algorithm, exact
// audience, nonce, issue time, and the shape of what is claimed. A person is
// the pair (issuer, subject); names and groups are what the provider says today.
//
// It knows nothing of SSH and keeps no state but the provider's keys.
package oidc

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/twokey/twokey/session"
)

// Bounds of what a provider may say and how long it may take.
const (
	timeout      = 10 * time.Second
	maxBody      = 1 << 20
	maxGroups    = 500
	maxGroup     = 256 // bytes
	maxClaim     = 256 // bytes
	maxTokenAge  = 5 * time.Minute
	clockSkew    = time.Minute
	retryAfter   = 5 * time.Second // between two tries to reach a provider that is down
	maxSubject   = 255             // bytes (OpenID Connect Core 2)
	claimIsEmail = "email"
)

// algorithms that an ID token may be signed with: asymmetric ones only.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// Claims name the claims of the ID token that say who somebody is.
type Claims struct {
	Name       string            // how people are called
	Groups     string            // a list of strings, or one
	SamePerson string            // empty: not configured
	Others     map[string]string // role, such as "team", to claim, such as "department"
}

// Config is how to reach the provider.
type Config struct {
	Issuer       string
	ClientID     string
	ClientSecret string // empty for a public client
	RedirectURL  string
	Scopes       []string
	Claims       Claims
}

// Provider is the identity provider. It is safe for concurrent use.
type Provider struct {
	c      Config
	client *http.Client

	mu    sync.Mutex
	known *known
	tried time.Time
	err   error
}

// known is what discovery told.
type known struct {
	oauth    oauth2.Config
	verifier *oidc.IDTokenVerifier
}

// New returns a provider; it is reached at the first use, and again after a
// failure, so that one that is down at start does no lasting harm.
func New(c Config) *Provider {
	return &Provider{c: c, client: &http.Client{Timeout: timeout, Transport: bounded{http.DefaultTransport}}}
}

// Reach asks the provider for its configuration, if that is not known yet.
func (p *Provider) Reach(ctx context.Context) error {
	_, err := p.reach(ctx)
	return err
}

func (p *Provider) reach(ctx context.Context) (*known, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil {
		return p.known, nil
	}
	if p.err != nil && time.Since(p.tried) < retryAfter {
		return nil, p.err
	}
	p.tried = time.Now()
	// The key set outlives this request, so it must not end with its context.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.client), p.c.Issuer)
	if err != nil {
		p.err = fmt.Errorf("the identity provider %s cannot be reached: %w", p.c.Issuer, err)
		return nil, p.err
	}
	p.known = &known{
		oauth: oauth2.Config{
			ClientID: p.c.ClientID, ClientSecret: p.c.ClientSecret, Endpoint: found.Endpoint(),
			RedirectURL: p.c.RedirectURL, Scopes: p.c.Scopes,
		},
		verifier: found.Verifier(&oidc.Config{ClientID: p.c.ClientID, SupportedSigningAlgs: algorithms}),
	}
	return p.known, nil
}

// AuthURL is where the browser goes to sign in. The verifier is PKCE's (RFC 7636, S256).
func (p *Provider) AuthURL(ctx context.Context, state, nonce, verifier string) (string, error) {
	k, err := p.reach(ctx)
	if err != nil {
		return "", err
	}
	return k.oauth.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), nil
}

// Exchange turns the code that the browser brought back into an identity.
// issuer is the iss parameter of the answer (RFC 9207), empty when there was none.
func (p *Provider) Exchange(ctx context.Context, code, verifier, nonce, issuer string) (session.Identity, error) {
	var none session.Identity
	if issuer != "" && issuer != p.c.Issuer {
		return none, fmt.Errorf("the answer comes from another identity provider")
	}
	k, err := p.reach(ctx)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), timeout)
	defer cancel()
	token, err := k.oauth.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return none, fmt.Errorf("the identity provider did not accept the code: %w", err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return none, errors.New("the identity provider sent no ID token")
	}
	id, err := k.verifier.Verify(ctx, raw)
	if err != nil {
		return none, fmt.Errorf("the ID token is not valid: %w", err)
	}
	if err := p.check(id, nonce, time.Now()); err != nil {
		return none, err
	}
	return p.identity(id)
}

// check makes the checks that go-oidc leaves to its user (OpenID Connect Core 3.1.3.7).
func (p *Provider) check(id *oidc.IDToken, nonce string, now time.Time) error {
	var extra struct {
		AuthorizedParty string `json:"azp"`
	}
	if err := id.Claims(&extra); err != nil {
		return fmt.Errorf("the ID token cannot be read: %w", err)
	}
	switch {
	case id.Issuer != p.c.Issuer:
		return errors.New("the ID token is another issuer's")
	case nonce == "" || subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1:
		return errors.New("the ID token is not for this login")
	case !slices.Contains(id.Audience, p.c.ClientID):
		return errors.New("the ID token is not for us")
	case len(id.Audience) > 1 && extra.AuthorizedParty == "":
		return errors.New("the ID token is for several and does not say for whom it was made")
	case extra.AuthorizedParty != "" && extra.AuthorizedParty != p.c.ClientID:
		return errors.New("the ID token was made for somebody else")
	case id.IssuedAt.IsZero() || id.IssuedAt.After(now.Add(clockSkew)) || now.Sub(id.IssuedAt) > maxTokenAge:
		return errors.New("the ID token was not made just now; is a clock wrong?")
	case id.Subject == "" || len(id.Subject) > maxSubject:
		return errors.New("the ID token names nobody")
	}
	return nil
}

// identity reads the claims.
func (p *Provider) identity(id *oidc.IDToken) (session.Identity, error) {
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return session.Identity{}, fmt.Errorf("the ID token cannot be read: %w", err)
	}
	who := session.Identity{Issuer: id.Issuer, Subject: id.Subject, Claims: map[string]string{}}
	var err error
	if who.Name, err = p.name(claims); err != nil {
		return session.Identity{}, err
	}
	if who.Groups, err = groups(claims[p.c.Claims.Groups]); err != nil {
		return session.Identity{}, err
	}
	if c := p.c.Claims.SamePerson; c != "" {
		if who.SamePerson, err = text(claims, c); err != nil {
			return session.Identity{}, err
		}
	}
	for role, claim := range p.c.Claims.Others {
		if who.Claims[role], err = text(claims, claim); err != nil {
			return session.Identity{}, err
		}
	}
	return who, nil
}

// name is the configured claim, cleaned; an email must have been verified.
func (p *Provider) name(claims map[string]any) (string, error) {
	claim := p.c.Claims.Name
	value, err := text(claims, claim)
	if err != nil {
		return "", err
	}
	if verified, _ := claims["email_verified"].(bool); claim == claimIsEmail && !verified {
		return "", errors.New("the identity provider has not verified your email address")
	}
	if value = clean(value); value == "" {
		return "", fmt.Errorf("the identity provider does not say your %s", claim)
	}
	return value, nil
}

// text reads a claim that is a string or a number; "" when it is not there.
func text(claims map[string]any, name string) (string, error) {
	switch v := claims[name].(type) {
	case nil:
		return "", nil
	case string:
		if len(v) > maxClaim || !utf8.ValidString(v) {
			return "", fmt.Errorf("the claim %s is too long or no text", name)
		}
		return v, nil
	case json.Number:
		return v.String(), nil
	case float64:
		if v != float64(int64(v)) {
			return "", fmt.Errorf("the claim %s is no whole number", name)
		}
		return fmt.Sprint(int64(v)), nil
	}
	return "", fmt.Errorf("the claim %s is no text", name)
}

// groups reads the groups: exact strings, bounded in number and size.
func groups(claim any) ([]string, error) {
	if one, ok := claim.(string); ok {
		claim = []any{one}
	}
	list, ok := claim.([]any)
	if claim != nil && !ok {
		return nil, errors.New("the groups are no list")
	}
	if len(list) > maxGroups {
		return nil, fmt.Errorf("you are in %d groups; at most %d are taken. Let the provider send only those that twokey needs", len(list), maxGroups)
	}
	var all []string
	for _, g := range list {
		name, ok := g.(string)
		if !ok || name == "" || len(name) > maxGroup || !utf8.ValidString(name) {
			return nil, errors.New("a group is no text, or too long")
		}
		all = append(all, name)
	}
	return all, nil
}

// clean makes a name fit for terminals and logs: no control, format (bidi) or
// exotic space characters, at most 100 of them.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, name)
	if r := []rune(name); len(r) > 100 {
		name = string(r[:100])
	}
	for len(name) > 120 { // certs allows 128 bytes
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return strings.TrimSpace(name)
}

// bounded is a transport whose answers end after 1 MiB.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxBody)
	}
	return resp, err
}
