package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

const callback = "http://127.0.0.1:1/login/callback" // nobody listens; the test reads the redirect

// front is a provider and a browser on the way to it.
type front struct {
	t       *testing.T
	issuer  string
	browser *http.Client
}

func start(t *testing.T) *front {
	server := httptest.NewUnstartedServer(nil)
	issuer := "http://" + server.Listener.Addr().String()
	handler, err := newProvider(issuer, client{id: "twokey", secret: "demo", redirects: []string{callback}})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = handler
	server.Start()
	t.Cleanup(server.Close)
	jar, _ := cookiejar.New(nil)
	stop := func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), callback) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return &front{t, issuer, &http.Client{Jar: jar, CheckRedirect: stop, Timeout: 10 * time.Second}}
}

const verifier = "a-verifier-of-at-least-43-characters-for-this-test"

func (f *front) authorize(change func(url.Values)) (page string, status int) {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"client_id": {"twokey"}, "response_type": {"code"}, "redirect_uri": {callback}, "state": {"st"}, "nonce": {"no"},
		"scope": {"openid email profile groups"}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
	}
	if change != nil {
		change(q)
	}
	resp, body := f.do(f.browser.Get(f.issuer + "/authorize?" + q.Encode()))
	return body, resp.StatusCode
}

func (f *front) do(resp *http.Response, err error) (*http.Response, string) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp, string(body)
}

var loginID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// signIn fills in the form and returns where the browser is sent.
func (f *front) signIn(page, user, password string) (*http.Response, string) {
	f.t.Helper()
	m := loginID.FindStringSubmatch(page)
	if m == nil {
		f.t.Fatalf("no login form: %s", page)
	}
	return f.do(f.browser.PostForm(f.issuer+"/login", url.Values{"id": {m[1]}, "username": {user}, "password": {password}}))
}

func (f *front) code(user string) string {
	f.t.Helper()
	page, _ := f.authorize(nil)
	resp, body := f.signIn(page, user, user)
	to, err := resp.Location()
	if err != nil {
		f.t.Fatalf("no redirect: %s %s", resp.Status, body)
	}
	q := to.Query()
	if q.Get("state") != "st" || q.Get("code") == "" {
		f.t.Fatalf("redirected to %s", to)
	}
	return q.Get("code")
}

func (f *front) token(code, secret, verifier string) (status int, idToken string) {
	f.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	r, _ := http.NewRequest("POST", f.issuer+"/oauth/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("twokey", secret)
	resp, body := f.do(http.DefaultClient.Do(r))
	var answer struct {
		ID string `json:"id_token"`
	}
	json.Unmarshal([]byte(body), &answer)
	return resp.StatusCode, answer.ID
}

// claims checks the signature with the keys that the provider publishes.
func (f *front) claims(idToken string) map[string]any {
	f.t.Helper()
	_, body := f.do(http.Get(f.issuer + "/.well-known/openid-configuration"))
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal([]byte(body), &discovery); err != nil || discovery.Issuer != f.issuer {
		f.t.Fatalf("discovery: %v: %s", err, body)
	}
	_, body = f.do(http.Get(discovery.Keys))
	var keys jose.JSONWebKeySet
	token, err := jose.ParseSigned(idToken, []jose.SignatureAlgorithm{jose.RS256})
	if err = errors.Join(err, json.Unmarshal([]byte(body), &keys)); err != nil || len(keys.Keys) != 1 {
		f.t.Fatalf("keys: %v: %s", err, body)
	}
	text, err := token.Verify(keys.Keys[0])
	claims := map[string]any{}
	if err = errors.Join(err, json.Unmarshal(text, &claims)); err != nil {
		f.t.Fatal(err)
	}
	return claims
}

func TestCodeFlow(t *testing.T) {
	f := start(t)
	code := f.code("alice")
	status, idToken := f.token(code, "demo", verifier)
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	got := f.claims(idToken)
	want := map[string]any{
		"iss": f.issuer, "sub": "u-alice", "nonce": "no", "email": "alice@example.com", "email_verified": true,
		"department": "checkout", "employee_id": "1001", "preferred_username": "alice",
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %v, want %v", name, got[name], value)
		}
	}
	if groups, _ := got["groups"].([]any); !slices.Equal(groups, []any{"engineering"}) {
		t.Errorf("groups are %v", got["groups"])
	}
	if status, _ := f.token(code, "demo", verifier); status == http.StatusOK {
		t.Error("a code worked twice")
	}
}

func TestRefusals(t *testing.T) {
	f := start(t)
	if status, _ := f.token(f.code("bob"), "wrong", verifier); status == http.StatusOK {
		t.Error("a wrong secret got a token")
	}
	if status, _ := f.token(f.code("bob"), "demo", strings.ToUpper(verifier)); status == http.StatusOK {
		t.Error("a wrong verifier got a token")
	}
	page, _ := f.authorize(nil)
	if resp, body := f.signIn(page, "alice", "guess"); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, errWrong.Error()) {
		t.Errorf("a wrong password: %s", resp.Status)
	}
	if resp, _ := f.signIn(page, "alice", "alice"); resp.StatusCode != http.StatusFound {
		t.Errorf("after a wrong password: %s", resp.Status)
	}
	if resp, _ := f.signIn(page, "bob", "bob"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a login was taken over: %s", resp.Status)
	}
	for name, change := range map[string]func(url.Values){
		"redirect": func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1:2/") },
		"client":   func(q url.Values) { q.Set("client_id", "other") },
		"implicit": func(q url.Values) { q.Set("response_type", "id_token") },
	} {
		if page, _ := f.authorize(change); loginID.MatchString(page) {
			t.Errorf("%s: a login began", name)
		}
	}
}

func TestEmailThatNobodyChecked(t *testing.T) {
	f := start(t)
	_, idToken := f.token(f.code("mallory"), "demo", verifier)
	if got := f.claims(idToken); got["email"] != "alice@example.com" || got["email_verified"] == true {
		t.Errorf("mallory is %v", got)
	}
}

func TestPickingSomebodyFillsInTheForm(t *testing.T) {
	f := start(t)
	page, _ := f.authorize(nil)
	link := regexp.MustCompile(`href="([^"]*as=bob)"`).FindStringSubmatch(page)
	if link == nil {
		t.Fatal(page)
	}
	_, page = f.do(f.browser.Get(f.issuer + strings.ReplaceAll(link[1], "&amp;", "&")))
	if !strings.Contains(page, `name="password" value="bob"`) {
		t.Error(page)
	}
}

func TestLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "example.com:0", "[::]:0"} {
		if l, err := listen(address); err == nil {
			l.Close()
			t.Errorf("listens on %s", address)
		}
	}
}

func TestUnfinishedLoginsAreForgotten(t *testing.T) {
	s, err := newStorage(client{id: "twokey"})
	if err != nil {
		t.Fatal(err)
	}
	s.logins["old"] = &login{id: "old", started: time.Now().Add(-loginLifetime - time.Second)}
	s.forget()
	if _, err := s.AuthRequestByID(context.Background(), "old"); err == nil {
		t.Error("it is still there")
	}
}
