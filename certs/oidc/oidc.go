// Package oidc turns a login at an OpenID provider into an Identity.
//
// Its one idea: an ID token is believed only after every check, those of
// go-oidc (signature, issuer, expiry) and those it leaves to us: algorithm, exact
// audience, nonce, issue time, and the shape of what is claimed. A person is
// the pair (issuer, subject); names and groups are what the provider says today.
//
// It knows nothing of SSH or browsers and keeps, in memory, the provider's keys and the
// refresh tokens with which it asks again.
package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/twokey/twokey/session"
)

// This file speaks to the provider: where it is, and the code flow
// (OpenID Connect Core 3.1).

const (
	timeout    = 10 * time.Second // of one answer
	retryAfter = 5 * time.Second  // before a provider that was down is asked again
)

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
	Recheck      time.Duration // how long after a login Recheck may be asked about it; 0: not at all
}

// Provider is the identity provider. It is safe for concurrent use.
type Provider struct {
	c      Config
	client *http.Client
	known  atomic.Pointer[known]
	grants grants

	turn  chan struct{} // holds a token while somebody asks for the configuration; guards what follows
	tried time.Time     // when the last try ended
	err   error         // why it failed
}

// known is what discovery told.
type known struct {
	oauth    oauth2.Config
	verifier *oidc.IDTokenVerifier
	names    bool // its answers name the issuer (RFC 9207)
}

// New returns a provider; it is reached at the first use, and again after a
// failure, so that one that is down at start does no lasting harm.
func New(c Config) *Provider {
	return &Provider{c: c, client: newClient(), turn: make(chan struct{}, 1)}
}

// Refusal is why a login did not work.
type Refusal struct {
	Text string // a sentence for the person, with what to do where that helps; without a stop
	Err  error  // what the log should hold besides; may be nil
}

func (r *Refusal) Error() string {
	if r.Err == nil {
		return r.Text
	}
	return r.Text + ": " + r.Err.Error()
}

// Sentence is what the person reads.
func (r *Refusal) Sentence() string { return r.Text }
func (r *Refusal) Unwrap() error    { return r.Err }

func refuse(format string, args ...any) error { return &Refusal{Text: fmt.Sprintf(format, args...)} }

// Reach asks the provider for its configuration, if that is not known yet. For
// five seconds after a failure it returns that failure again.
func (p *Provider) Reach(ctx context.Context) error {
	_, err := p.reach(ctx)
	return err
}

func (p *Provider) reach(ctx context.Context) (*known, error) {
	if k := p.known.Load(); k != nil {
		return k, nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, away(ctx.Err())
	}
	if k := p.known.Load(); k != nil {
		return k, nil
	}
	if p.err != nil && time.Since(p.tried) < retryAfter {
		return nil, p.err
	}
	// Others wait for the answer too, so it must not end with this caller.
	ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	k, err := p.discover(ask)
	p.tried, p.err = time.Now(), err
	if err != nil {
		return nil, err
	}
	p.known.Store(k)
	return k, nil
}

// away is for a provider that does not answer as one does.
func away(err error) error {
	return &Refusal{Text: "the identity provider does not answer; try again in a minute", Err: err}
}

// discovered is what we read of the provider's configuration ourselves
// (OpenID Connect Discovery 3).
type discovered struct {
	Auth    string   `json:"authorization_endpoint"`
	Token   string   `json:"token_endpoint"`
	Keys    string   `json:"jwks_uri"`
	Methods []string `json:"token_endpoint_auth_methods_supported"`
	Names   bool     `json:"authorization_response_iss_parameter_supported"`
}

func (p *Provider) discover(ctx context.Context) (*known, error) {
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.c.Issuer)
	if err != nil {
		return nil, away(fmt.Errorf("asking %s for its configuration: %w", p.c.Issuer, err))
	}
	var d discovered
	if err := found.Claims(&d); err != nil {
		return nil, away(fmt.Errorf("the configuration of %s: %w", p.c.Issuer, err))
	}
	for _, endpoint := range []string{d.Auth, d.Token, d.Keys} {
		if endpoint == "" || strings.HasPrefix(p.c.Issuer, "https://") && !strings.HasPrefix(endpoint, "https://") {
			return nil, away(fmt.Errorf("the configuration of %s leads to %q, which is not https", p.c.Issuer, endpoint))
		}
	}
	return &known{
		oauth: oauth2.Config{
			ClientID: p.c.ClientID, ClientSecret: p.c.ClientSecret, RedirectURL: p.c.RedirectURL, Scopes: p.c.Scopes,
			Endpoint: oauth2.Endpoint{AuthURL: d.Auth, TokenURL: d.Token, AuthStyle: p.style(d.Methods)},
		},
		verifier: found.Verifier(&oidc.Config{ClientID: p.c.ClientID, SupportedSigningAlgs: algorithms}),
		names:    d.Names,
	}, nil
}

// style is how we prove who we are. It is never tried out: x/oauth2 would send
// the code a second time, which providers take for theft.
func (p *Provider) style(methods []string) oauth2.AuthStyle {
	if p.c.ClientSecret != "" && (len(methods) == 0 || slices.Contains(methods, "client_secret_basic")) {
		return oauth2.AuthStyleInHeader
	}
	return oauth2.AuthStyleInParams
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
// The error is a Refusal.
func (p *Provider) Exchange(ctx context.Context, code, verifier, nonce, issuer string) (session.Identity, error) {
	var none session.Identity
	k, err := p.reach(ctx)
	if err != nil {
		return none, err
	}
	if issuer != "" && issuer != p.c.Issuer || issuer == "" && k.names {
		return none, &Refusal{Text: "the answer comes from another identity provider", Err: fmt.Errorf("iss is %.100q", issuer)}
	}
	if code == "" || nonce == "" || verifier == "" {
		return none, refuse("the identity provider sent no code")
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), timeout)
	defer cancel()
	token, err := k.oauth.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return none, notAccepted(err)
	}
	id, claims, err := p.verified(ctx, k, token)
	if err != nil {
		return none, err
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1 || claims["nonce"] != id.Nonce {
		return none, refuse("the ID token is not for this login")
	}
	who, err := p.identity(id, claims)
	if err != nil {
		return none, err
	}
	p.keep(who, token.RefreshToken, nonce)
	return who, nil
}

// verified is the ID token of an answer, after every check but that of the nonce.
func (p *Provider) verified(ctx context.Context, k *known, token *oauth2.Token) (*oidc.IDToken, claims, error) {
	raw, ok := token.Extra("id_token").(string)
	if !ok || raw == "" {
		return nil, nil, refuse("the identity provider sent no ID token; is the scope openid asked for?")
	}
	id, err := k.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, nil, &Refusal{Text: "the ID token is not valid", Err: err}
	}
	all, err := p.check(id, time.Now())
	return id, all, err
}

// notAccepted keeps the provider's answer short: its body may hold anything.
func notAccepted(err error) error {
	const text = "the identity provider did not accept the code"
	if said := (*oauth2.RetrieveError)(nil); errors.As(err, &said) {
		status := 0
		if said.Response != nil {
			status = said.Response.StatusCode
		}
		return &Refusal{Text: text, Err: fmt.Errorf("status %d, %.100q %.200q", status, said.ErrorCode, said.ErrorDescription)}
	}
	return &Refusal{Text: text, Err: err}
}
