package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/twokey/twokey/session"
)

// This file asks the provider anew about people who have logged in, with the refresh
// tokens that it gave at their logins (OpenID Connect Core 12). The tokens never leave
// it: they are in memory alone, the newest of each account, for as long as the login counts.

// maxKept is how many refresh tokens are kept. Who comes after is not asked about.
const maxKept = 10_000

// account is a person.
type account struct{ issuer, subject string }

// grant is what a login left us with.
type grant struct {
	token string
	nonce string // of the login; a refreshed ID token carries it or none
	ends  time.Time
}

// grants are those that count. It is safe for concurrent use.
type grants struct {
	mu sync.Mutex
	of map[account]grant
}

// keep notes the token of a login, in place of an earlier one's, for as long as the
// configuration says that the login counts.
func (p *Provider) keep(who session.Identity, token, nonce string) {
	if token == "" || p.c.Recheck <= 0 {
		return
	}
	p.grants.mu.Lock()
	defer p.grants.mu.Unlock()
	if p.grants.of == nil {
		p.grants.of = map[account]grant{}
	}
	if len(p.grants.of) >= maxKept {
		p.grants.sweep(time.Now())
	}
	whose := account{who.Issuer, who.Subject}
	if _, has := p.grants.of[whose]; has || len(p.grants.of) < maxKept {
		p.grants.of[whose] = grant{token, nonce, time.Now().Add(p.c.Recheck)}
	}
}

// sweep forgets what has ended. The caller holds mu.
func (g *grants) sweep(now time.Time) {
	for whose, x := range g.of {
		if !now.Before(x.ends) {
			delete(g.of, whose)
		}
	}
}

func (g *grants) find(whose account) (grant, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sweep(time.Now())
	x, ok := g.of[whose]
	return x, ok
}

// replace puts another in the place of one, or nothing when it is empty. It reports
// whether that was still there: a newer login is not touched.
func (g *grants) replace(whose account, old, by grant) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of[whose] != old {
		return false
	}
	if g.of[whose] = by; by.token == "" {
		delete(g.of, whose)
	}
	return true
}

// Ended is the provider's word that a login does not count any more.
type Ended struct{ Err error }

func (e *Ended) Error() string { return "the identity provider ended the login: " + e.Err.Error() }
func (e *Ended) Unwrap() error { return e.Err }

// Ended tells it from an answer that did not come.
func (e *Ended) Ended() bool { return true }

// Recheck asks the provider who somebody is by now. asked is false when it cannot be
// asked: it gave no refresh token at their login, or that was before we started. The
// error is an Ended when it says that the login does not count any more; any other
// means that there is no answer, and may go away by itself.
func (p *Provider) Recheck(ctx context.Context, issuer, subject string) (now session.Identity, asked bool, err error) {
	whose := account{issuer, subject}
	had, ok := p.grants.find(whose)
	if !ok {
		return now, false, nil
	}
	now, renewed, err := p.refresh(ctx, had)
	if err == nil && whose != (account{now.Issuer, now.Subject}) {
		err = &Ended{errors.New("it speaks of somebody else now")}
	}
	left := had
	if renewed != "" {
		left.token = renewed // where they are good for one use, the old one is not any more
	}
	if ended := (*Ended)(nil); errors.As(err, &ended) {
		left = grant{}
	}
	if !p.grants.replace(whose, had, left) {
		return session.Identity{}, true, errors.New("they logged in anew just now")
	}
	if err != nil {
		return session.Identity{}, true, err
	}
	return now, true, nil
}

// refresh uses a token once. What it returns as renewed takes its place, whatever else
// is wrong with the answer.
func (p *Provider) refresh(ctx context.Context, g grant) (who session.Identity, renewed string, err error) {
	k, err := p.reach(ctx)
	if err != nil {
		return who, "", err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), timeout)
	defer cancel()
	token, err := k.oauth.TokenSource(ctx, &oauth2.Token{RefreshToken: g.token}).Token()
	if err != nil {
		return who, "", notRefreshed(err)
	}
	id, all, err := p.verified(ctx, k, token)
	if err != nil {
		return who, token.RefreshToken, err
	}
	if all["nonce"] != nil && (all["nonce"] != id.Nonce || subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(g.nonce)) != 1) {
		return who, token.RefreshToken, refuse("the ID token is another login's")
	}
	who, err = p.identity(id, all)
	return who, token.RefreshToken, err
}

// notRefreshed tells a login that is over (RFC 6749 5.2) from an answer that did not come.
func notRefreshed(err error) error {
	said := (*oauth2.RetrieveError)(nil)
	if !errors.As(err, &said) {
		return away(err)
	}
	short := fmt.Errorf("%.100q %.200q", said.ErrorCode, said.ErrorDescription)
	if said.ErrorCode == "invalid_grant" {
		return &Ended{short}
	}
	return away(short)
}
