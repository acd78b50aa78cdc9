package oidc_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/twokey/twokey/certs/oidc"
	"github.com/twokey/twokey/session"
)

// keys are made once: RSA takes its time.
var keys = sync.OnceValue(func() map[string]any {
	rsaKey, err1 := rsa.GenerateKey(rand.Reader, 2048)
	stolen, err2 := rsa.GenerateKey(rand.Reader, 2048)
	ec, err3 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, ed, err4 := ed25519.GenerateKey(rand.Reader)
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			panic(err)
		}
	}
	return map[string]any{"rsa": rsaKey, "ec": ec, "ed": ed, "another": stolen}
})

// idp is an OpenID provider with faults. It serves no pages: the tests take
// the parameters of the browser's way out of its address.
type idp struct {
	*httptest.Server
	t *testing.T

	mu    sync.Mutex
	asked map[string]int // requests by path
	down  bool
	codes map[string]url.Values // code -> parameters of the authorization request
	grant string                // the refresh token that is good; empty: none are given
	stays bool                  // it is good more than once
	gave  int                   // refresh tokens

	claims    func(map[string]any)           // spoils the claims
	payload   func([]byte) []byte            // spoils their JSON
	kid       string                         // the key that signs
	named     string                         // the kid it says, when it is not kid
	alg       jose.SignatureAlgorithm        // how it signs
	token     func(string) string            // spoils what is signed
	discovery func(map[string]any)           // spoils the configuration
	padding   int                            // bytes in front of the configuration
	answer    func(http.ResponseWriter) bool // answers instead of the token endpoint
}

func newIDP(t *testing.T) *idp {
	p := &idp{t: t, asked: map[string]int{}, codes: map[string]url.Values{}, kid: "rsa", alg: jose.RS256}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.configuration)
	mux.HandleFunc("GET /keys", p.keySet)
	mux.HandleFunc("POST /token", p.exchange)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked[r.URL.Path]++
		down := p.down
		p.mu.Unlock()
		if down {
			http.Error(w, "be right back", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *idp) configuration(w http.ResponseWriter, _ *http.Request) {
	d := map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"}, // what it says is not what we take
	}
	if p.discovery != nil {
		p.discovery(d)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(bytes.Repeat([]byte(" "), p.padding))
	writeJSON(w, d)
}

func (p *idp) keySet(w http.ResponseWriter, _ *http.Request) {
	var set jose.JSONWebKeySet
	for _, kid := range []string{"rsa", "ec", "ed"} {
		key := jose.JSONWebKey{Key: keys()[kid], KeyID: kid}
		set.Keys = append(set.Keys, key.Public())
	}
	writeJSON(w, set)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// exchange is the token endpoint: one code once, with its PKCE verifier and
// our secret.
func (p *idp) exchange(w http.ResponseWriter, r *http.Request) {
	if p.answer != nil && p.answer(w) {
		return
	}
	if r.FormValue("grant_type") == "refresh_token" {
		p.refresh(w, r)
		return
	}
	p.mu.Lock()
	request, ok := p.codes[r.FormValue("code")]
	delete(p.codes, r.FormValue("code"))
	p.mu.Unlock()
	id, secret, _ := r.BasicAuth()
	hash := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	switch {
	case !ok, base64.RawURLEncoding.EncodeToString(hash[:]) != request.Get("code_challenge"), r.FormValue("redirect_uri") != request.Get("redirect_uri"):
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"invalid_grant","error_description":"that code is no good"}`)
		return
	case id != "twokey" || secret != "s3cret":
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_client"}`)
		return
	}
	answer := map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": p.sign(request.Get("nonce"))}
	if strings.Contains(request.Get("scope"), "offline_access") {
		answer["refresh_token"] = p.nextGrant()
	}
	writeJSON(w, answer)
}

func (p *idp) nextGrant() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gave++
	p.grant = fmt.Sprintf("refresh-%d", p.gave)
	return p.grant
}

// refresh takes the newest token alone, and gives another unless that one stays.
func (p *idp) refresh(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	good := p.grant != "" && r.FormValue("refresh_token") == p.grant
	p.mu.Unlock()
	id, secret, _ := r.BasicAuth()
	if !good || id != "twokey" || secret != "s3cret" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"invalid_grant","error_description":"not any more"}`)
		return
	}
	answer := map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": p.sign("nonce")}
	if !p.stays {
		answer["refresh_token"] = p.nextGrant()
	}
	writeJSON(w, answer)
}

func (p *idp) sign(nonce string) string {
	now := time.Now()
	all := map[string]any{
		"iss": p.URL, "sub": "u-alice", "aud": "twokey", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "nonce": nonce,
		"email": "alice@example.com", "email_verified": true, "groups": []string{"engineering", "dba"}, "department": "checkout", "employee_id": "1001",
	}
	if p.claims != nil {
		p.claims(all)
	}
	payload, err := json.Marshal(all)
	if err != nil {
		p.t.Error(err)
	}
	if p.payload != nil {
		payload = p.payload(payload)
	}
	named := p.named
	if named == "" {
		named = p.kid
	}
	var key any = jose.JSONWebKey{Key: keys()[p.kid], KeyID: named}
	if strings.HasPrefix(string(p.alg), "HS") { // the public key as a shared secret
		public, _ := (&jose.JSONWebKey{Key: keys()["rsa"].(*rsa.PrivateKey).Public()}).MarshalJSON()
		key = jose.JSONWebKey{Key: public, KeyID: "rsa"}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: p.alg, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		p.t.Error(err)
		return ""
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		p.t.Error(err)
	}
	if p.token != nil {
		text = p.token(text)
	}
	return text
}

// signIn is what a browser and a person do: it returns the code.
func (p *idp) signIn(authURL string) (code, state string) {
	p.t.Helper()
	u, err := url.Parse(authURL)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	code = fmt.Sprintf("code-%d", len(p.codes)+1)
	p.codes[code] = u.Query()
	return code, u.Query().Get("state")
}

func (p *idp) times(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func (p *idp) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// config is what an operator would write for it.
func (p *idp) config() oidc.Config {
	return oidc.Config{
		Issuer: p.URL, ClientID: "twokey", ClientSecret: "s3cret", RedirectURL: "https://bastion.example.com/login/callback",
		Scopes: []string{"openid", "email", "profile", "groups"},
		Claims: oidc.Claims{Name: "email", Groups: "groups", SamePerson: "employee_id", Others: map[string]string{"team": "department"}},
	}
}

// login is a whole login.
func login(p *idp, c oidc.Config) (session.Identity, error) {
	provider := oidc.New(c)
	to, err := provider.AuthURL(p.t.Context(), "state", "nonce", "verifier")
	if err != nil {
		return session.Identity{}, err
	}
	code, _ := p.signIn(to)
	return provider.Exchange(p.t.Context(), code, "verifier", "nonce", "")
}

// with sets a claim; nil removes it.
func with(name string, value any) func(map[string]any) {
	return func(all map[string]any) {
		if value == nil {
			delete(all, name)
			return
		}
		all[name] = value
	}
}

func with2(changes map[string]any) func(map[string]any) {
	return func(all map[string]any) { maps.Copy(all, changes) }
}
