package oidc_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/twokey/twokey/certs/oidc"
	"github.com/twokey/twokey/session"
)

func TestLogin(t *testing.T) {
	p := newIDP(t)
	provider := oidc.New(p.config())
	to, err := provider.AuthURL(t.Context(), "the state", "the nonce", "the verifier")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"response_type": "code", "client_id": "twokey", "scope": "openid email profile groups", "state": "the state", "nonce": "the nonce",
		"redirect_uri": "https://bastion.example.com/login/callback", "code_challenge_method": "S256", "code_verifier": "", "client_secret": "",
	} {
		if got := u.Query().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	code, _ := p.signIn(to)
	who, err := provider.Exchange(t.Context(), code, "the verifier", "the nonce", p.URL)
	if err != nil {
		t.Fatal(err)
	}
	want := session.Identity{
		Issuer: p.URL, Subject: "u-alice", Name: "alice@example.com", Groups: []string{"engineering", "dba"},
		Claims: map[string]string{"team": "checkout"}, SamePerson: "1001",
	}
	if !reflect.DeepEqual(who, want) {
		t.Errorf("is %+v\nwant %+v", who, want)
	}
	if _, err := provider.Exchange(t.Context(), code, "the verifier", "the nonce", p.URL); err == nil {
		t.Error("a code is good twice")
	}
	if n := p.times("/token"); n != 2 {
		t.Errorf("%d requests for two exchanges: a code was sent twice", n)
	}
}

func header(alg string) func(string) string {
	return func(token string) string {
		parts := strings.Split(token, ".")
		parts[0] = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"` + alg + `","kid":"rsa"}`))
		if alg == "none" {
			parts[2] = ""
		}
		return strings.Join(parts, ".")
	}
}

func replaced(old, with string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(with), 1) }
}

func in(d time.Duration) int64 { return time.Now().Add(d).Unix() }

// Every row is a token as a good provider makes it, with one thing wrong.
func TestTokenMatrix(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*idp)
		want  string // in the error; empty: it is good
	}{
		{"RS256", func(*idp) {}, ""},
		{"PS256", func(p *idp) { p.alg = jose.PS256 }, ""},
		{"ES256", func(p *idp) { p.kid, p.alg = "ec", jose.ES256 }, ""},
		{"EdDSA", func(p *idp) { p.kid, p.alg = "ed", jose.EdDSA }, ""},
		{"HS256 with the public key", func(p *idp) { p.alg = jose.HS256 }, "not valid"},
		{"none", func(p *idp) { p.token = header("none") }, "not valid"},
		{"another algorithm than signed", func(p *idp) { p.token = header("PS256") }, "not valid"},
		{"another key under a known name", func(p *idp) { p.kid, p.named = "another", "rsa" }, "not valid"},
		{"a key that is not published", func(p *idp) { p.kid = "another" }, "not valid"},
		{"the right key under an unknown name", func(p *idp) { p.named = "2019" }, "not valid"},
		{"a changed payload", func(p *idp) {
			p.token = func(s string) string {
				parts := strings.Split(s, ".")
				body, _ := base64.RawURLEncoding.DecodeString(parts[1])
				parts[1] = base64.RawURLEncoding.EncodeToString(bytes.Replace(body, []byte("u-alice"), []byte("u-admin"), 1))
				return strings.Join(parts, ".")
			}
		}, "not valid"},
		{"a cut signature", func(p *idp) { p.token = func(s string) string { return s[:len(s)-8] } }, "not valid"},
		{"two parts", func(p *idp) { p.token = func(s string) string { return s[:strings.LastIndex(s, ".")] } }, "not valid"},
		{"no token", func(p *idp) { p.token = func(string) string { return "" } }, "no ID token"},

		{"for somebody else", func(p *idp) { p.claims = with("aud", "grafana") }, "not valid"},
		{"for nobody", func(p *idp) { p.claims = with("aud", nil) }, "not valid"},
		{"for nobody in a list", func(p *idp) { p.claims = with("aud", []string{}) }, "not valid"},
		{"for us in a list", func(p *idp) { p.claims = with("aud", []string{"twokey"}) }, ""},
		{"for two, made for us", func(p *idp) { p.claims = with2(map[string]any{"aud": []string{"twokey", "grafana"}, "azp": "twokey"}) }, ""},
		{"for two, made for nobody", func(p *idp) { p.claims = with("aud", []string{"twokey", "grafana"}) }, "does not say for whom"},
		{"for two, made for the other", func(p *idp) { p.claims = with2(map[string]any{"aud": []string{"twokey", "grafana"}, "azp": "grafana"}) }, "somebody else"},
		{"for us, made for another", func(p *idp) { p.claims = with("azp", "grafana") }, "somebody else"},
		{"made for a number", func(p *idp) { p.claims = with("azp", 7) }, "somebody else"},
		{"our name in capitals", func(p *idp) { p.claims = with("aud", "TWOKEY") }, "not valid"},

		{"another nonce", func(p *idp) { p.claims = with("nonce", "another") }, "not for this login"},
		{"no nonce", func(p *idp) { p.claims = with("nonce", nil) }, "not for this login"},
		{"a longer nonce", func(p *idp) { p.claims = with("nonce", "nonce ") }, "not for this login"},

		{"ended", func(p *idp) { p.claims = with("exp", in(-time.Second)) }, "not valid"},
		{"endless", func(p *idp) { p.claims = with("exp", nil) }, "not valid"},
		{"made long ago", func(p *idp) { p.claims = with("iat", in(-6*time.Minute)) }, "not made just now"},
		{"made in the future", func(p *idp) { p.claims = with("iat", in(2*time.Minute)) }, "not made just now"},
		{"made at no time", func(p *idp) { p.claims = with("iat", nil) }, "not made just now"},
		{"made at zero", func(p *idp) { p.claims = with("iat", 0) }, "not made just now"},
		{"not yet good", func(p *idp) { p.claims = with("nbf", in(time.Hour)) }, "not valid"},

		{"another issuer", func(p *idp) { p.claims = with("iss", "https://evil.example.com") }, "not valid"},
		{"our issuer with a slash", func(p *idp) { p.claims = with("iss", p.URL+"/") }, "not valid"},
		{"no subject", func(p *idp) { p.claims = with("sub", nil) }, "names nobody"},
		{"an empty subject", func(p *idp) { p.claims = with("sub", "") }, "names nobody"},
		{"a subject with escapes", func(p *idp) { p.claims = with("sub", "u-\x1b[2J") }, "names nobody"},
		{"a long subject", func(p *idp) { p.claims = with("sub", strings.Repeat("u", 256)) }, "names nobody"},
		{"a second subject in capitals", func(p *idp) { p.payload = replaced(`"sub":"u-alice"`, `"sub":"u-alice","SUB":"u-admin"`) }, "names nobody"},
		{"a second nonce in capitals", func(p *idp) { p.payload = replaced(`"nonce":"nonce"`, `"nonce":"evil","NONCE":"nonce"`) }, "not for this login"},
		{"no object", func(p *idp) { p.payload = func([]byte) []byte { return []byte(`["alice"]`) } }, "not valid"},

		{"an email nobody verified", func(p *idp) { p.claims = with("email_verified", false) }, "not verified your email address alice@example.com"},
		{"an email of which nothing is said", func(p *idp) { p.claims = with("email_verified", nil) }, "not verified"},
		{"verified in a string", func(p *idp) { p.claims = with("email_verified", "true") }, "not verified"},
		{"no email", func(p *idp) { p.claims = with("email", nil) }, "does not say your email"},
		{"a list of emails", func(p *idp) { p.claims = with("email", []string{"a@b"}) }, "claim email is no text"},
		{"no employee", func(p *idp) { p.claims = with("employee_id", nil) }, "does not say your employee_id"},
		{"a blank employee", func(p *idp) { p.claims = with("employee_id", " ") }, "does not say your employee_id"},
		{"half an employee", func(p *idp) { p.claims = with("employee_id", 1001.5) }, "no whole number"},
		{"a true employee", func(p *idp) { p.claims = with("employee_id", true) }, "employee_id is no text"},
		{"a team that moves", func(p *idp) { p.claims = with("department", "check\nout") }, "claim department"},
		{"no team", func(p *idp) { p.claims = with("department", nil) }, ""},

		{"no groups", func(p *idp) { p.claims = with("groups", nil) }, ""},
		{"groups that are a number", func(p *idp) { p.claims = with("groups", 7) }, "no list of groups"},
		{"a group that is a number", func(p *idp) { p.claims = with("groups", []any{"dba", 7}) }, "too long, or is no plain text"},
		{"an empty group", func(p *idp) { p.claims = with("groups", []string{""}) }, "too long, or is no plain text"},
		{"a group that turns text around", func(p *idp) { p.claims = with("groups", []string{"dba\u202e"}) }, "too long, or is no plain text"},
		{"a long group", func(p *idp) { p.claims = with("groups", []string{strings.Repeat("g", 257)}) }, "too long, or is no plain text"},
		{"500 groups", func(p *idp) { p.claims = with("groups", many(500, "g")) }, ""},
		{"501 groups", func(p *idp) { p.claims = with("groups", many(501, "g")) }, "you are in 501 groups"},
		{"too much text in groups", func(p *idp) { p.claims = with("groups", many(400, strings.Repeat("long", 20))) }, "take more than"},
		{"groups left out", func(p *idp) {
			p.claims = with2(map[string]any{"groups": nil, "_claim_names": map[string]string{"groups": "src1"},
				"_claim_sources": map[string]any{"src1": map[string]string{"endpoint": "https://graph.example.com"}}})
		}, "so many groups"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newIDP(t)
			c.spoil(p)
			who, err := login(p, p.config())
			if c.want == "" {
				if err != nil || who.Subject != "u-alice" || who.Name != "alice@example.com" {
					t.Errorf("is %+v, %v", who, err)
				}
				return
			}
			if !saidSo(err, c.want) || who.Valid() {
				t.Errorf("is %+v, error %v; want one with %q", who, err, c.want)
			}
		})
	}
}

func many(n int, name string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = name + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26))
	}
	return all
}

// saidSo reports whether the error's sentence for the person holds a text and
// nothing of the machine.
func saidSo(err error, text string) bool {
	var r *oidc.Refusal
	return errors.As(err, &r) && strings.Contains(r.Sentence(), text) && !strings.Contains(r.Sentence(), "oidc:")
}

func TestNamesAndNumbers(t *testing.T) {
	for name, c := range map[string]struct {
		claims func(map[string]any)
		config func(*oidc.Config)
		check  func(session.Identity) bool
	}{
		"a name is cleaned": {with("email", "ali\x1b[31mce\u202e@example.com"), nil, func(w session.Identity) bool { return w.Name == "ali[31mce@example.com" }},
		"a name in another script": {with("name", " 山田\u3000太郎 "), func(c *oidc.Config) { c.Claims.Name = "name" },
			func(w session.Identity) bool { return w.Name == "山田 太郎" }},
		"a long name is cut": {with("name", strings.Repeat("é", 5000)), func(c *oidc.Config) { c.Claims.Name = "name" },
			func(w session.Identity) bool { return w.Name == strings.Repeat("é", 60) }},
		"an employee is a number":        {with("employee_id", 1001), nil, func(w session.Identity) bool { return w.SamePerson == "1001" }},
		"an employee is a long number":   {with("employee_id", uint64(12345678901234567891)), nil, func(w session.Identity) bool { return w.SamePerson == "12345678901234567891" }},
		"an employee is spelled apart":   {with("employee_id", " AB-1001 "), nil, func(w session.Identity) bool { return w.SamePerson == "ab-1001" }},
		"an employee in odd letters":     {with("employee_id", "Empſ-ς\u212a1"), nil, func(w session.Identity) bool { return w.SamePerson == "emps-σk1" }},
		"nobody is told apart by config": {with("employee_id", nil), func(c *oidc.Config) { c.Claims.SamePerson = "" }, func(w session.Identity) bool { return w.SamePerson == "" }},
		"one group is a list":            {with("groups", "dba"), nil, func(w session.Identity) bool { return reflect.DeepEqual(w.Groups, []string{"dba"}) }},
		"groups are exact":               {with("groups", []string{"DBA", " dba", "dba", "dba"}), nil, func(w session.Identity) bool { return reflect.DeepEqual(w.Groups, []string{"DBA", " dba", "dba"}) }},
		"no team is no claim":            {with("department", nil), nil, func(w session.Identity) bool { return len(w.Claims) == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			p.claims = c.claims
			config := p.config()
			if c.config != nil {
				c.config(&config)
			}
			if who, err := login(p, config); err != nil || !c.check(who) {
				t.Errorf("is %+v, %v", who, err)
			}
		})
	}
}

// Another claim may hold the address that nobody verified.
func TestAnUnverifiedAddressInAnotherClaim(t *testing.T) {
	p := newIDP(t)
	config := p.config()
	config.Claims.Name = "preferred_username"
	p.claims = with2(map[string]any{"preferred_username": "Alice@example.com", "email_verified": false})
	if who, err := login(p, config); !saidSo(err, "not verified") {
		t.Errorf("is %+v, %v", who, err)
	}
	p.claims = with2(map[string]any{"preferred_username": "mal", "email_verified": false})
	if who, err := login(p, config); err != nil || who.Name != "mal" {
		t.Errorf("is %+v, %v", who, err)
	}
}

func TestTheWayBack(t *testing.T) {
	for name, c := range map[string]struct {
		discovery                     func(map[string]any)
		code, verifier, nonce, issuer string
		want                          string
	}{
		"another code":             {nil, "stolen", "verifier", "nonce", "", "did not accept the code"},
		"no code":                  {nil, "", "verifier", "nonce", "", "sent no code"},
		"another verifier":         {nil, "code-1", "guess", "nonce", "", "did not accept the code"},
		"no verifier":              {nil, "code-1", "", "nonce", "", "sent no code"},
		"no nonce":                 {nil, "code-1", "verifier", "", "", "sent no code"},
		"another login's nonce":    {nil, "code-1", "verifier", "other", "", "not for this login"},
		"another issuer":           {nil, "code-1", "verifier", "nonce", "https://evil.example.com", "another identity provider"},
		"no issuer where promised": {with("authorization_response_iss_parameter_supported", true), "code-1", "verifier", "nonce", "", "another identity provider"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			p.discovery = c.discovery
			provider := oidc.New(p.config())
			to, err := provider.AuthURL(t.Context(), "state", "nonce", "verifier")
			if err != nil {
				t.Fatal(err)
			}
			p.signIn(to)
			if who, err := provider.Exchange(t.Context(), c.code, c.verifier, c.nonce, c.issuer); !saidSo(err, c.want) {
				t.Errorf("is %+v, %v; want %q", who, err, c.want)
			}
		})
	}
}

// A code that was used is no good, nor the token of it in another login.
func TestACodeIsUsedOnce(t *testing.T) {
	p := newIDP(t)
	provider := oidc.New(p.config())
	first, err := provider.AuthURL(t.Context(), "state", "nonce", "verifier")
	if err != nil {
		t.Fatal(err)
	}
	code, _ := p.signIn(first)
	if _, err := provider.Exchange(t.Context(), code, "verifier", "nonce", p.URL); err != nil {
		t.Fatal(err)
	}
	if who, err := provider.Exchange(t.Context(), code, "verifier", "nonce", p.URL); !saidSo(err, "did not accept the code") {
		t.Errorf("again: %+v, %v", who, err)
	}
	var kept string
	p.token = func(token string) string {
		if kept == "" {
			kept = token
		}
		return kept
	}
	for _, nonce := range []string{"one", "two"} { // the second time the token of the first comes
		to, err := provider.AuthURL(t.Context(), "state", nonce, "verifier")
		if err != nil {
			t.Fatal(err)
		}
		code, _ := p.signIn(to)
		who, err := provider.Exchange(t.Context(), code, "verifier", nonce, "")
		if nonce == "one" && err != nil || nonce == "two" && !saidSo(err, "not for this login") {
			t.Errorf("%s: %+v, %v", nonce, who, err)
		}
	}
}

func TestAProviderThatIsNotItself(t *testing.T) {
	for name, spoil := range map[string]func(map[string]any){
		"another issuer":             with("issuer", "https://evil.example.com"),
		"an issuer with a slash":     func(d map[string]any) { d["issuer"] = d["issuer"].(string) + "/" },
		"no token endpoint":          with("token_endpoint", nil),
		"no keys":                    with("jwks_uri", ""),
		"an endpoint that is a list": with("token_endpoint", []string{"a"}),
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			p.discovery = spoil
			if _, err := login(p, p.config()); !saidSo(err, "does not answer") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A configuration that has no end is not read to its end.
func TestAnEndlessConfiguration(t *testing.T) {
	p := newIDP(t)
	p.padding = 2 << 20
	if _, err := login(p, p.config()); !saidSo(err, "does not answer") {
		t.Errorf("error %v", err)
	}
	p.padding = 1 << 10
	if _, err := login(p, p.config()); err != nil {
		t.Errorf("a little is fine: %v", err)
	}
}

// What a token endpoint says instead of a token is for the log, in short.
func TestAnswersThatAreNone(t *testing.T) {
	bomb := func(w http.ResponseWriter) bool {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		zeros := make([]byte, 1<<20)
		for range 64 {
			z.Write(zeros)
		}
		z.Close()
		return true
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("our secret and the code went elsewhere: %s", r.URL)
	}))
	defer elsewhere.Close()
	for name, answer := range map[string]func(http.ResponseWriter) bool{
		"a bomb": bomb,
		"a redirect": func(w http.ResponseWriter) bool {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(307)
			return true
		},
		"a page": func(w http.ResponseWriter) bool {
			w.WriteHeader(500)
			w.Write(bytes.Repeat([]byte("<p>secret"), 9000))
			return true
		},
		"nothing":        func(http.ResponseWriter) bool { return true },
		"endless header": func(w http.ResponseWriter) bool { w.Header().Set("X", strings.Repeat("x", 100<<10)); return true },
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			p.answer = answer
			_, err := login(p, p.config())
			if !saidSo(err, "did not accept the code") || len(err.Error()) > 600 {
				t.Errorf("error %.700v", err)
			}
		})
	}
}

func TestAProviderThatIsDownAtFirst(t *testing.T) {
	p := newIDP(t)
	p.setDown(true)
	provider := oidc.New(p.config())
	if err := provider.Reach(t.Context()); !saidSo(err, "does not answer; try again in a minute") || !strings.Contains(err.Error(), p.URL) {
		t.Fatalf("error %v", err)
	}
	for range 20 {
		if _, err := provider.AuthURL(t.Context(), "s", "n", "v"); err == nil {
			t.Fatal("it is down")
		}
	}
	if n := p.times("/.well-known/openid-configuration"); n != 1 {
		t.Errorf("asked %d times at once", n)
	}
}

// gate is a network on which nothing answers until it is let to.
type gate struct{ asked, open chan struct{} }

func TestWaitingForAProviderEndsWithTheCaller(t *testing.T) {
	g := gate{make(chan struct{}, 1), make(chan struct{})}
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		g.asked <- struct{}{}
		<-g.open
		w.WriteHeader(http.StatusNotFound)
	}))
	defer slow.Close()
	provider := oidc.New(oidc.Config{Issuer: slow.URL, ClientID: "twokey"})
	first := make(chan error, 1)
	go func() { first <- provider.Reach(context.WithoutCancel(t.Context())) }()
	<-g.asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := provider.Reach(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the second waits, or %v", err)
	}
	close(g.open)
	if err := <-first; !saidSo(err, "does not answer") {
		t.Errorf("the first: %v", err)
	}
}

// A provider is asked again five seconds after it was found down.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		provider := oidc.New(oidc.Config{Issuer: "http://127.0.0.1:1", ClientID: "twokey"})
		first := provider.Reach(t.Context())
		if again := provider.Reach(t.Context()); first == nil || again != first {
			t.Errorf("%v, then %v", first, again)
		}
		time.Sleep(5 * time.Second)
		if again := provider.Reach(t.Context()); again == nil || again == first {
			t.Errorf("after five seconds: %v", again)
		}
	})
}
