package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// This file is what zitadel/oidc asks of a storage: logins on their way, and
// one signing key. What the code flow does not need is refused.

const (
	loginLifetime = 10 * time.Minute // from the first redirect to the token
	tokenLifetime = 5 * time.Minute
	maxLogins     = 1000 // on their way at once, and as many refresh tokens
)

var errNotOffered = errors.New("not offered here")

// storage keeps the logins that are on their way.
type storage struct {
	client client
	key    signingKey

	mu     sync.Mutex
	people map[string]person
	logins map[string]*login // by id
	grants map[string]*login // by refresh token
}

func newStorage(c client) (*storage, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return &storage{client: c, people: people(), key: signingKey{"demo", private}, logins: map[string]*login{}, grants: map[string]*login{}}, nil
}

// login is one person's way from the client here and back. All of it is
// written under the storage's lock before op reads it.
type login struct {
	id       string
	request  *oidc.AuthRequest
	started  time.Time
	userName string // empty until they have signed in
	subject  string
	at       time.Time
	code     string
}

func (l *login) GetID() string                      { return l.id }
func (l *login) GetACR() string                     { return "" }
func (l *login) GetAMR() []string                   { return []string{"pwd"} }
func (l *login) GetAudience() []string              { return []string{l.request.ClientID} }
func (l *login) GetAuthTime() time.Time             { return l.at }
func (l *login) GetClientID() string                { return l.request.ClientID }
func (l *login) GetNonce() string                   { return l.request.Nonce }
func (l *login) GetRedirectURI() string             { return l.request.RedirectURI }
func (l *login) GetResponseType() oidc.ResponseType { return l.request.ResponseType }
func (l *login) GetResponseMode() oidc.ResponseMode { return l.request.ResponseMode }
func (l *login) GetScopes() []string                { return l.request.Scopes }
func (l *login) GetState() string                   { return l.request.State }
func (l *login) GetSubject() string                 { return l.subject }
func (l *login) Done() bool                         { return l.userName != "" }

func (l *login) GetCodeChallenge() *oidc.CodeChallenge {
	if l.request.CodeChallenge == "" {
		return nil
	}
	return &oidc.CodeChallenge{Challenge: l.request.CodeChallenge, Method: l.request.CodeChallengeMethod}
}

// CreateAuthRequest begins a login.
func (s *storage) CreateAuthRequest(_ context.Context, r *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	if slices.Contains(r.Prompt, oidc.PromptNone) {
		return nil, oidc.ErrLoginRequired()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	if len(s.logins) >= maxLogins {
		return nil, oidc.ErrServerError()
	}
	l := &login{id: rand.Text(), request: r, started: time.Now()}
	s.logins[l.id] = l
	return l, nil
}

// forget drops logins that nobody finished. The caller holds mu.
func (s *storage) forget() {
	for id, l := range s.logins {
		if time.Since(l.started) > loginLifetime {
			delete(s.logins, id)
		}
	}
}

// signIn notes who somebody is, if they know their password. A login can be
// given to one person once.
func (s *storage) signIn(id, userName, password string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.logins[id]
	if !ok || l.Done() {
		return errOver
	}
	p, ok := s.people[userName]
	if !ok || subtle.ConstantTimeCompare([]byte(userName), []byte(password)) != 1 {
		return errWrong
	}
	done := *l
	done.userName, done.subject, done.at = userName, p.subject, time.Now()
	s.logins[id] = &done
	return nil
}

func (s *storage) find(is func(*login) bool) (*login, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.logins {
		if is(l) {
			return l, nil
		}
	}
	return nil, errOver
}

func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	return s.find(func(l *login) bool { return l.id == id })
}

func (s *storage) AuthRequestByCode(_ context.Context, code string) (op.AuthRequest, error) {
	return s.find(func(l *login) bool { return l.code != "" && l.code == code })
}

func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.logins[id]
	if !ok {
		return errOver
	}
	coded := *l
	coded.code = code
	s.logins[id] = &coded
	return nil
}

// DeleteAuthRequest is called once the tokens are made: a code works once.
func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.logins, id)
	return nil
}

// SetUserinfoFromRequest fills the ID token, which is where twokey looks.
func (s *storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, r op.IDTokenRequest, scopes []string) error {
	var l *login
	switch r := r.(type) {
	case *login:
		l = r
	case *again:
		l = r.login
	default:
		return errNotOffered
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	info.Subject = l.subject // op takes it from here
	for name, value := range s.people[l.userName].claims(l.userName, scopes) {
		info.AppendClaims(name, value)
	}
	return nil
}

func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil // SetUserinfoFromRequest does it
}

func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id != s.client.id {
		return nil, errors.New("unknown client")
	}
	return s.client, nil
}

func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	if id != s.client.id || subtle.ConstantTimeCompare([]byte(secret), []byte(s.client.secret)) != 1 {
		return errors.New("unknown client or wrong secret")
	}
	return nil
}

// CreateAccessToken makes a token that opens nothing: this provider has no
// other service than the login.
func (s *storage) CreateAccessToken(context.Context, op.TokenRequest) (string, time.Time, error) {
	return rand.Text(), time.Now().Add(tokenLifetime), nil
}

// again is a login whose refresh token is used.
type again struct {
	op.IDTokenRequest
	login *login
}

// SetCurrentScopes does nothing: all that were asked for at the login stay.
func (*again) SetCurrentScopes([]string) {}

// CreateAccessAndRefreshTokens gives a refresh token, in place of the one that was
// used: each is good once.
func (s *storage) CreateAccessAndRefreshTokens(ctx context.Context, r op.TokenRequest, used string) (access, refresh string, ends time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := r.(*login)
	if a, is := r.(*again); is {
		if l, ok = s.grants[used]; ok && l != a.login {
			ok = false
		}
	}
	if !ok || len(s.grants) >= maxLogins {
		return "", "", ends, op.ErrInvalidRefreshToken
	}
	delete(s.grants, used)
	refresh = rand.Text()
	s.grants[refresh] = l
	return rand.Text(), refresh, time.Now().Add(tokenLifetime), nil
}

func (s *storage) TokenRequestByRefreshToken(_ context.Context, token string) (op.RefreshTokenRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.grants[token]
	if !ok {
		return nil, op.ErrInvalidRefreshToken
	}
	return &again{l, l}, nil
}

// move puts somebody into other groups.
func (s *storage) move(userName string, groups []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.people[userName]
	if !ok {
		return errWrong
	}
	p.groups = groups
	s.people[userName] = p
	return nil
}

// everyone is who there is by now.
func (s *storage) everyone() map[string]person {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.people)
}

func (s *storage) SigningKey(context.Context) (op.SigningKey, error) { return s.key, nil }
func (s *storage) KeySet(context.Context) ([]op.Key, error) {
	return []op.Key{publicKey{s.key}}, nil
}
func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.RS256}, nil
}
func (s *storage) Health(context.Context) error { return nil }

// The rest of op.Storage belongs to flows that are not offered.

func (s *storage) TerminateSession(context.Context, string, string) error { return nil }
func (s *storage) RevokeToken(context.Context, string, string, string) *oidc.Error {
	return oidc.ErrInvalidRequest()
}
func (s *storage) GetRefreshTokenInfo(context.Context, string, string) (string, string, error) {
	return "", "", op.ErrInvalidRefreshToken
}
func (s *storage) SetUserinfoFromToken(context.Context, *oidc.UserInfo, string, string, string) error {
	return errNotOffered
}
func (s *storage) SetIntrospectionFromToken(context.Context, *oidc.IntrospectionResponse, string, string, string) error {
	return errNotOffered
}
func (s *storage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, nil
}
func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errNotOffered
}
func (s *storage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, errNotOffered
}

// signingKey signs tokens, RS256.
type signingKey struct {
	id      string
	private *rsa.PrivateKey
}

func (k signingKey) ID() string                                  { return k.id }
func (k signingKey) Key() any                                    { return k.private }
func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }

// publicKey is its other half, for everybody.
type publicKey struct{ of signingKey }

func (k publicKey) ID() string                         { return k.of.id }
func (k publicKey) Key() any                           { return &k.of.private.PublicKey }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
