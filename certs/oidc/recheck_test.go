package oidc_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/certs/oidc"
)

// kept is a provider that somebody has logged in with, and whose refresh tokens count for so long.
func kept(t *testing.T, p *idp, lasts time.Duration) *oidc.Provider {
	t.Helper()
	c := p.config()
	c.Scopes, c.Recheck = append(c.Scopes, "offline_access"), lasts
	provider := oidc.New(c)
	logIn(t, p, provider)
	return provider
}

func logIn(t *testing.T, p *idp, provider *oidc.Provider) {
	t.Helper()
	to, err := provider.AuthURL(t.Context(), "state", "nonce", "verifier")
	if err != nil {
		t.Fatal(err)
	}
	code, _ := p.signIn(to)
	if _, err := provider.Exchange(t.Context(), code, "verifier", "nonce", ""); err != nil {
		t.Fatal(err)
	}
}

func TestRecheckSaysWhoSomebodyIsByNow(t *testing.T) {
	for _, stays := range []bool{false, true} { // the refresh token, when it was used
		p := newIDP(t)
		p.stays = stays
		provider := kept(t, p, time.Hour)
		for range 3 {
			who, asked, err := provider.Recheck(t.Context(), p.URL, "u-alice")
			if err != nil || !asked || !slices.Equal(who.Groups, []string{"engineering", "dba"}) {
				t.Fatal(who, asked, err)
			}
		}
		p.claims = with("groups", []string{"engineering"})
		if who, _, err := provider.Recheck(t.Context(), p.URL, "u-alice"); err != nil || !slices.Equal(who.Groups, []string{"engineering"}) {
			t.Error(who, err)
		}
	}
}

func TestNobodyIsAskedAboutWithoutAToken(t *testing.T) {
	p := newIDP(t)
	for name, provider := range map[string]*oidc.Provider{
		"not configured": kept(t, p, 0), "the login is over": kept(t, p, time.Nanosecond), "after a restart": oidc.New(p.config()),
	} {
		if _, asked, err := provider.Recheck(t.Context(), p.URL, "u-alice"); asked || err != nil {
			t.Error(name, asked, err)
		}
	}
	if _, asked, _ := kept(t, p, time.Hour).Recheck(t.Context(), "https://other.example.com", "u-alice"); asked {
		t.Error("another issuer's person was asked about")
	}
}

// Every row is a refresh with one thing wrong. ended is whether the login is over at once.
func TestRecheckMatrix(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*idp)
		ended bool
	}{
		{"the token is no good any more", func(p *idp) { p.grant = "" }, true},
		{"somebody else", func(p *idp) { p.claims = with("sub", "u-mallory") }, true},
		{"another issuer", func(p *idp) { p.claims = with("iss", "https://other.example.com") }, false},
		{"for another client", func(p *idp) { p.claims = with("aud", "grafana") }, false},
		{"made for another client", func(p *idp) { p.claims = with("azp", "grafana") }, false},
		{"another login's nonce", func(p *idp) { p.claims = with("nonce", "another") }, false},
		{"the nonce is no text", func(p *idp) { p.claims = with("nonce", 7) }, false},
		{"an old token", func(p *idp) { p.claims = with("iat", in(-time.Hour)) }, false},
		{"a stolen key", func(p *idp) { p.kid, p.named = "another", "rsa" }, false},
		{"no signature", func(p *idp) { p.token = header("none") }, false},
		{"no ID token", func(p *idp) { p.token = func(string) string { return "" } }, false},
		{"too many groups", func(p *idp) { p.claims = with("groups", make([]string, 501)) }, false},
		{"down", func(p *idp) { p.setDown(true) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newIDP(t)
			provider := kept(t, p, time.Hour)
			c.spoil(p)
			who, asked, err := provider.Recheck(t.Context(), p.URL, "u-alice")
			if err == nil || !asked || who.Valid() {
				t.Fatal(who, asked, err)
			}
			if strings.Contains(err.Error(), "refresh-") {
				t.Error("the error holds a token:", err)
			}
			ended := (*oidc.Ended)(nil)
			if errors.As(err, &ended) != c.ended {
				t.Error(err)
			}
			p.setDown(false)
			p.claims, p.token, p.kid, p.named = nil, nil, "rsa", ""
			if _, asked, err := provider.Recheck(t.Context(), p.URL, "u-alice"); asked == c.ended || err != nil {
				t.Error("afterwards:", asked, err)
			}
		})
	}
}

// No nonce is needed in a refreshed ID token (OpenID Connect Core 12.2).
func TestRecheckWithoutNonce(t *testing.T) {
	p := newIDP(t)
	provider := kept(t, p, time.Hour)
	p.claims = with("nonce", nil)
	if _, _, err := provider.Recheck(t.Context(), p.URL, "u-alice"); err != nil {
		t.Error(err)
	}
}

func TestTheNewestLoginCounts(t *testing.T) {
	p := newIDP(t)
	provider := kept(t, p, time.Hour)
	logIn(t, p, provider) // the first refresh token is no good any more
	if _, asked, err := provider.Recheck(t.Context(), p.URL, "u-alice"); !asked || err != nil {
		t.Error(asked, err)
	}
}
