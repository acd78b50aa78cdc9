package bastion_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/session"
)

// idp is a tiny identity provider: whoever comes is who the test says.
type idp struct {
	mu      sync.Mutex
	who     session.Identity
	begun   map[string][2]string // code -> nonce and verifier of its login
	down    error                // of AuthURL
	refuses error                // of Exchange
	deny    string               // the error parameter it sends back
	slow    func()               // called in Exchange
}

func (p *idp) AuthURL(_ context.Context, state, nonce, verifier string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down != nil {
		return "", p.down
	}
	code := fmt.Sprintf("code-%d", len(p.begun))
	p.begun[code] = [2]string{nonce, verifier}
	back := url.Values{"state": {state}, "code": {code}}
	if p.deny != "" {
		back = url.Values{"state": {state}, "error": {p.deny}, "error_description": {"<b>call 555-1234</b>"}}
	}
	return "https://idp.example.com/auth?" + back.Encode(), nil
}

func (p *idp) Exchange(_ context.Context, code, verifier, nonce, _ string) (session.Identity, error) {
	p.mu.Lock()
	slow := p.slow
	begun, ok := p.begun[code]
	delete(p.begun, code)
	p.mu.Unlock()
	if slow != nil {
		slow()
	}
	switch {
	case p.refuses != nil:
		return session.Identity{}, p.refuses
	case !ok || begun != [2]string{nonce, verifier}:
		return session.Identity{}, errors.New("a code of another login")
	}
	return p.who, nil
}

// ServeHTTP is its page: everybody is signed in already.
func (p *idp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "https://bastion.example.com/login/callback?"+r.URL.RawQuery, http.StatusFound)
}

// office is a desk, its pages, and the identity provider. Browsers reach both
// without a network, so that time can be made up.
type office struct {
	*bastion.Logins
	t     *testing.T
	idp   *idp
	log   *bytes.Buffer
	sites map[string]http.Handler
}

func newOffice(t *testing.T) *office {
	o := &office{t: t, idp: &idp{who: alice, begun: map[string][2]string{}}, log: &bytes.Buffer{}}
	o.Logins = bastion.NewLogins("https://bastion.example.com/", o.idp, map[string]string{"/known_hosts": "@cert-authority x\n"},
		slog.New(slog.NewTextHandler(o.log, nil)))
	o.sites = map[string]http.Handler{"bastion.example.com": o.Handler(), "idp.example.com": o.idp}
	return o
}

func (o *office) RoundTrip(r *http.Request) (*http.Response, error) {
	w, served := httptest.NewRecorder(), r.Clone(r.Context())
	served.Body = http.NoBody
	o.sites[r.URL.Host].ServeHTTP(w, served)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// browser is a new one, with no cookies.
func (o *office) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		o.t.Fatal(err)
	}
	return &http.Client{Transport: o, Jar: jar}
}

// blind follows no redirects.
func blind(b *http.Client) *http.Client {
	c := *b
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// begin starts a login as alice's terminal.
func (o *office) begin() (id, link string) {
	o.t.Helper()
	id, link, err := o.Begin("192.0.2.7:50122", "SHA256:abc")
	if err != nil {
		o.t.Fatal(err)
	}
	return id, link
}

// visit opens an address and returns what the page says.
func (o *office) visit(b *http.Client, link string) (status int, text string) {
	o.t.Helper()
	resp, err := b.Get(link)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return resp.StatusCode, html.UnescapeString(string(body))
}

// sees fails the test unless the page has a status and a text, and no code.
func (o *office) sees(b *http.Client, link string, status int, want string) {
	o.t.Helper()
	got, text := o.visit(b, link)
	if got != status || !strings.Contains(text, want) {
		o.t.Errorf("status %d, want %d with %q:\n%s", got, status, want, text)
	}
	if codeOn(text) != "" {
		o.t.Errorf("a code is shown:\n%s", text)
	}
}

var codeShown = regexp.MustCompile(`id="code">([0-9]{6})<`)

func codeOn(page string) string {
	if m := codeShown.FindStringSubmatch(page); m != nil {
		return m[1]
	}
	return ""
}

func (o *office) signIn(b *http.Client, link string) (code string) {
	o.t.Helper()
	status, text := o.visit(b, link)
	if code = codeOn(text); status != http.StatusOK || code == "" {
		o.t.Fatalf("status %d, no code:\n%s", status, text)
	}
	return code
}

func (o *office) redeem(id, code string) (session.Identity, error) {
	return o.Redeem(o.t.Context(), id, code)
}

func TestABrowserLogin(t *testing.T) {
	o := newOffice(t)
	id, link := o.begin()
	if !regexp.MustCompile(`^https://bastion\.example\.com/login/[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}$`).MatchString(link) {
		t.Errorf("link %q", link)
	}
	if _, err := o.redeem(id, "123456"); err == nil || !strings.Contains(err.Error(), "open the link first") {
		t.Errorf("before the link was opened: %v", err)
	}
	b := o.browser()
	status, text := o.visit(b, link)
	code := codeOn(text)
	for _, want := range []string{"Signed in", alice.Name, "192.0.2.7<", "SHA256:abc", "give the code to nobody"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q on the page, status %d:\n%s", want, status, text)
		}
	}
	who, err := o.redeem(id, code)
	if err != nil || who.Subject != alice.Subject {
		t.Fatalf("is %+v, %v", who, err)
	}
	if _, err := o.redeem(id, code); err == nil || !strings.Contains(err.Error(), "connect again") {
		t.Errorf("a code is good twice: %v", err)
	}
	o.sees(b, link, http.StatusGone, "This link has ended")
	if strings.Contains(o.log.String(), code) || !strings.Contains(o.log.String(), "signed in") {
		t.Errorf("log: %s", o.log)
	}
}

// twokey login waits on the browser's own machine: the page leads there when the
// person says so, and nowhere else.
func TestTheWayBackToTheTerminal(t *testing.T) {
	for query, want := range map[string]string{
		"?port=43121": "http://127.0.0.1:43121/?code=CODE&login=ID", "": "", "?port=22": "", "?port=0": "", "?port=70000": "",
		"?port=evil.example.com": "", "?port=80.evil.example.com:1": "", "?port=43121&port=22": "http://127.0.0.1:43121/?code=CODE&login=ID",
	} {
		o := newOffice(t)
		id, link := o.begin()
		b := o.browser()
		_, text := o.visit(b, link+query)
		code := codeOn(text)
		found := regexp.MustCompile(`id="finish" href="([^"]*)"`).FindStringSubmatch(text)
		want = strings.NewReplacer("CODE", code, "ID", id).Replace(want)
		switch {
		case code == "":
			t.Errorf("%q: no code on the page:\n%s", query, text)
		case want == "" && found != nil, want != "" && (found == nil || found[1] != want):
			t.Errorf("%q leads to %q, want %q", query, found, want)
		case strings.Contains(text, "http-equiv"):
			t.Errorf("%q goes there by itself", query)
		}
	}
	// Whoever opens the link first says where; nobody else can move it.
	o := newOffice(t)
	_, link := o.begin()
	mine := o.browser()
	back := o.redirected(mine, o.redirected(mine, link+"?port=43121"))
	o.sees(o.browser(), link+"?port=6666", http.StatusConflict, "This link is in use")
	if _, text := o.visit(mine, back); !strings.Contains(text, "127.0.0.1:43121/") || strings.Contains(text, "6666") {
		t.Errorf("the page:\n%s", text)
	}
}

// No other site posts anything here.
func TestForeignPosts(t *testing.T) {
	o := newOffice(t)
	_, link := o.begin()
	for name, c := range map[string]struct{ site, origin string }{
		"another site": {"cross-site", "https://evil.example.com"}, "another origin": {"", "https://evil.example.com"}, "a sibling": {"same-site", "https://x.example.com"},
	} {
		r, err := http.NewRequest(http.MethodPost, link, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Sec-Fetch-Site", c.site)
		r.Header.Set("Origin", c.origin)
		resp, err := o.browser().Do(r)
		if err != nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %v, %v", name, resp, err)
		}
	}
}

func TestLinksWithSomethingWrong(t *testing.T) {
	o := newOffice(t)
	_, link := o.begin()
	mine, other := o.browser(), o.browser()
	o.signIn(mine, link)
	o.sees(mine, link, http.StatusConflict, "The code was shown already")
	o.sees(other, link, http.StatusConflict, "This link is in use")
	o.sees(other, "https://bastion.example.com/login/0000-0000", http.StatusGone, "This link has ended")
	o.sees(other, "https://bastion.example.com/login/%3Cscript%3E", http.StatusGone, "This link has ended")
	o.sees(other, "https://bastion.example.com/login/"+strings.Repeat("A", 5000), http.StatusGone, "This link has ended")
	o.sees(other, "https://bastion.example.com/login/callback", http.StatusGone, "This link has ended")
	o.sees(other, "https://bastion.example.com/", http.StatusNotFound, "twokey speaks SSH")
	o.sees(other, "https://bastion.example.com/login/x?"+strings.Repeat("q", 9000), http.StatusRequestURITooLong, "too long")
}

func TestALinkTypedByHand(t *testing.T) {
	o := newOffice(t)
	id, link := o.begin()
	typed := strings.NewReplacer("-", "", "0", "o", "1", "l").Replace(strings.ToLower(id))
	o.signIn(o.browser(), strings.Replace(link, id, typed, 1))
}

// redirected is where a page sends a browser.
func (o *office) redirected(b *http.Client, link string) string {
	o.t.Helper()
	resp, err := blind(b).Get(link)
	if err != nil {
		o.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.Header.Get("Location")
}

// Mallory begins a login, signs in as herself up to the last step, and lets
// alice's browser take it: alice must not be signed in as mallory, nor see a code.
func TestAnAnswerInAnotherBrowser(t *testing.T) {
	o := newOffice(t)
	id, link := o.begin()
	mallory, victim := o.browser(), o.browser()
	back := o.redirected(mallory, o.redirected(mallory, link))
	if !strings.Contains(back, "/login/callback?") {
		t.Fatalf("redirected to %q", back)
	}
	o.sees(victim, back, http.StatusForbidden, "not begun here")
	if !strings.Contains(o.log.String(), "another browser") {
		t.Errorf("no line in the log: %s", o.log)
	}
	forged := strings.Replace(back, "state="+id+".", "state="+id+".x", 1)
	o.sees(mallory, forged, http.StatusConflict, "an old one")
	o.signIn(mallory, back) // her own still works
	o.sees(mallory, back, http.StatusConflict, "shown already")
}

// A cookie for one login is no good for another, whoever set it.
func TestACookieOfAnotherLogin(t *testing.T) {
	o := newOffice(t)
	first, link1 := o.begin()
	second, link2 := o.begin()
	b := o.browser()
	site, _ := url.Parse("https://bastion.example.com/")
	b.Jar.SetCookies(site, []*http.Cookie{{Name: "__Host-twokey-" + first, Value: strings.Repeat("m", 43), Path: "/", Secure: true}})
	o.redirected(b, link1)
	o.redirected(b, link2)
	values := map[string]string{}
	for _, c := range b.Jar.Cookies(site) {
		values[c.Name] = c.Value
	}
	one, two := values["__Host-twokey-"+first], values["__Host-twokey-"+second]
	if one == "" || two == "" || one == two || strings.HasPrefix(one, "mmm") {
		t.Errorf("cookies %v", values)
	}
}

func TestTheCookie(t *testing.T) {
	o := newOffice(t)
	_, link := o.begin()
	resp, err := blind(o.browser()).Get(link)
	if err != nil {
		t.Fatal(err)
	}
	got := resp.Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-twokey-", "; Path=/;", "; Max-Age=300", "; HttpOnly", "; Secure", "; SameSite=Lax"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	plain := bastion.NewLogins("http://127.0.0.1:8022", o.idp, nil, slog.New(slog.DiscardHandler))
	id, _, err := plain.Begin("127.0.0.1:1", "")
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	plain.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/login/"+id, nil))
	if got := w.Header().Get("Set-Cookie"); strings.Contains(got, "Secure") || !strings.HasPrefix(got, "twokey-") {
		t.Errorf("over plain http on loopback: %q", got)
	}
}

// Browsers look ahead and chat programs draw previews; that uses up nothing.
func TestOnlyAPersonOpensALink(t *testing.T) {
	o := newOffice(t)
	_, link := o.begin()
	b := o.browser()
	back := ""
	for range 2 {
		for name, ask := range map[string]func(*http.Request){
			"head":     func(r *http.Request) { r.Method = http.MethodHead },
			"prefetch": func(r *http.Request) { r.Header.Set("Sec-Purpose", "prefetch;prerender") },
			"mozilla":  func(r *http.Request) { r.Header.Set("X-Moz", "prefetch") },
			"image":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "image") },
			"frame":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Dest", "iframe") },
			"post":     func(r *http.Request) { r.Method = http.MethodPost },
		} {
			r, err := http.NewRequest(http.MethodGet, link, nil)
			if err != nil {
				t.Fatal(err)
			}
			ask(r)
			resp, err := blind(o.browser()).Do(r)
			if err != nil || resp.StatusCode < 400 || resp.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s: %v, %v", name, resp, err)
			}
		}
		if back == "" { // the same for the answer
			back = o.redirected(b, o.redirected(b, link))
			link = back
		}
	}
	o.signIn(b, back)
}

func TestALoginEnds(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		over  bool
	}{"just in time": {5*time.Minute - time.Nanosecond, false}, "too late": {5 * time.Minute, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOffice(t)
				id, link := o.begin()
				waits, waitsToo := o.browser(), o.browser()
				_, later := o.begin()
				back := o.redirected(waitsToo, o.redirected(waitsToo, later))
				code := o.signIn(waits, link)
				time.Sleep(c.after)
				if _, err := o.redeem(id, code); (err != nil) != c.over {
					t.Errorf("the code: %v", err)
				}
				if status, text := o.visit(waitsToo, back); (codeOn(text) == "") != c.over || c.over && status != http.StatusGone {
					t.Errorf("the way back: %d %s", status, text)
				}
				_, fresh := o.begin()
				o.signIn(o.browser(), fresh)
			})
		})
	}
}

func TestThreeTries(t *testing.T) {
	o := newOffice(t)
	id, link := o.begin()
	code := o.signIn(o.browser(), link)
	wrong := "000000"
	if code == wrong {
		wrong = "000001"
	}
	for _, guess := range []string{wrong, "", code + "0"} {
		if who, err := o.redeem(id, guess); err == nil || who.Valid() {
			t.Fatalf("%q is the code", guess)
		}
	}
	if who, err := o.redeem(id, code); err == nil || who.Valid() {
		t.Error("the right code after three wrong ones")
	}
}

// Many terminals guess at one login: three codes are looked at.
func TestGuessing(t *testing.T) {
	o := newOffice(t)
	id, link := o.begin()
	code := o.signIn(o.browser(), link)
	var wg sync.WaitGroup
	var mu sync.Mutex
	in := 0
	for w := range 8 {
		wg.Go(func() {
			for n := w; n < 4000; n += 8 {
				if guess := fmt.Sprintf("%06d", n); guess != code {
					if _, err := o.redeem(id, guess); err == nil {
						mu.Lock()
						in++
						mu.Unlock()
					}
				}
			}
		})
	}
	wg.Wait()
	if _, err := o.redeem(id, code); err == nil || in > 0 {
		t.Errorf("%d came in; then %v", in, err)
	}
}

func TestCaps(t *testing.T) {
	for name, c := range map[string]struct {
		from func(n int) string
		max  int
	}{
		"one address":       {func(n int) string { return fmt.Sprintf("192.0.2.7:%d", n) }, 50},
		"one network of v6": {func(n int) string { return fmt.Sprintf("[2001:db8::%x]:1", n) }, 50},
		"the same in two spellings": {func(n int) string {
			return []string{"192.0.2.7:1", "[::ffff:192.0.2.7]:1"}[n%2]
		}, 50},
		"the world": {func(n int) string { return fmt.Sprintf("10.%d.%d.%d:1", n>>16, n>>8&255, n&255) }, 10_000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := bastion.NewLogins("https://b", nil, nil, slog.New(slog.DiscardHandler))
				var last string
				for n := range c.max {
					id, _, err := l.Begin(c.from(n), "")
					if err != nil {
						t.Fatalf("login %d: %v", n, err)
					}
					last = id
				}
				if _, _, err := l.Begin(c.from(c.max), ""); err == nil || !strings.Contains(err.Error(), "too many logins") {
					t.Errorf("one more: %v", err)
				}
				if c.max < 1000 {
					if _, _, err := l.Begin("198.51.100.1:1", ""); err != nil {
						t.Errorf("somebody else: %v", err)
					}
				}
				l.Cancel(last)
				if _, _, err := l.Begin(c.from(c.max), ""); err != nil {
					t.Errorf("after one was cancelled: %v", err)
				}
				time.Sleep(5 * time.Minute)
				if _, _, err := l.Begin(c.from(0), ""); err != nil {
					t.Errorf("later: %v", err)
				}
			})
		})
	}
}

// said is an error of the provider with a sentence for the person.
type said struct{ text, detail string }

func (s said) Error() string    { return s.text + ": " + s.detail }
func (s said) Sentence() string { return s.text }

func TestNotSignedIn(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(*idp)
		status int
		page   string
		log    string
		never  string // on the page
	}{
		"refused": {func(p *idp) { p.refuses = said{"your email is not verified", "dial 10.0.0.1"} }, 403, "Why: your email is not verified.", "10.0.0.1", "10.0.0.1"},
		"broken":  {func(p *idp) { p.refuses = errors.New("secret") }, 403, "not accepted; it is in the log", "secret", "secret"},
		"nobody":  {func(p *idp) { p.who = session.Identity{Name: "toor"} }, 500, "That went wrong", "named nobody", "toor"},
		"denied":  {func(p *idp) { p.deny = "access_denied" }, 403, "did not let you sign in", "access_denied", "555"},
		"down":    {func(p *idp) { p.down = errors.New("dial 10.0.0.1") }, 502, "does not answer", "10.0.0.1", "10.0.0.1"},
		"panic":   {func(p *idp) { p.slow = func() { panic("a bug") } }, 500, "That went wrong", "a bug", "a bug"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			c.spoil(o.idp)
			id, link := o.begin()
			b := o.browser()
			status, text := o.visit(b, link)
			if status != c.status || !strings.Contains(text, c.page) || strings.Contains(text, c.never) || codeOn(text) != "" {
				t.Errorf("status %d:\n%s", status, text)
			}
			if !strings.Contains(o.log.String(), c.log) {
				t.Errorf("no %q in the log: %s", c.log, o.log)
			}
			if _, err := o.redeem(id, ""); err == nil {
				t.Error("an empty code is good")
			}
			// What was wrong is mended: the same browser tries again.
			o.idp.who, o.idp.refuses, o.idp.down, o.idp.deny, o.idp.slow = alice, nil, nil, "", nil
			code := o.signIn(b, link)
			if who, err := o.redeem(id, code); err != nil || who.Name != alice.Name {
				t.Errorf("then: %+v, %v", who, err)
			}
		})
	}
}

func TestALoginIsNotTriedForEver(t *testing.T) {
	o := newOffice(t)
	o.idp.deny = "access_denied"
	_, link := o.begin()
	b := o.browser()
	for range 10 {
		o.sees(b, link, http.StatusForbidden, "open the link again")
	}
	o.sees(b, link, http.StatusGone, "This link has ended")
}

// The terminal went away while the browser was at the identity provider.
func TestCancelled(t *testing.T) {
	o := newOffice(t)
	id, link := o.begin()
	b := o.browser()
	o.idp.slow = func() { o.Cancel(id) }
	o.sees(b, link, http.StatusGone, "This link has ended")
	if _, err := o.redeem(id, ""); err == nil {
		t.Error("redeemed")
	}
}

// The answer is good once, also while the identity provider thinks about it.
func TestAnAnswerTwiceAtOnce(t *testing.T) {
	o := newOffice(t)
	_, link := o.begin()
	b := o.browser()
	back := o.redirected(b, o.redirected(b, link))
	o.idp.slow = func() {
		o.idp.slow = nil
		o.sees(b, back, http.StatusConflict, "an old one")
	}
	o.signIn(b, back)
}

// Two tabs of one browser: one of them gets the code.
func TestTwoTabs(t *testing.T) {
	o := newOffice(t)
	_, link := o.begin()
	b := o.browser()
	older := o.redirected(b, o.redirected(b, link))
	newer := o.redirected(b, o.redirected(b, link))
	o.sees(b, older, http.StatusConflict, "an old one")
	o.signIn(b, newer)
	o.sees(b, older, http.StatusConflict, "shown already")
}

func TestPagesAreShielded(t *testing.T) {
	o := newOffice(t)
	_, link := o.begin()
	o.idp.who.Name = `<script>alert("x")</script>`
	resp, err := o.browser().Get(link)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(body), "<style>")
	style, _, ok := strings.Cut(rest, "</style>")
	hash := sha256.Sum256([]byte(style))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	for name, want := range map[string]string{
		"Content-Security-Policy": policy, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
		"X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		"Strict-Transport-Security": "max-age=31536000", "Content-Type": "text/html; charset=utf-8",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !ok || strings.Contains(string(body), "<script") || strings.Contains(string(body), " style=") || strings.Contains(string(body), "ZgotmplZ") {
		t.Errorf("page:\n%s", body)
	}
}

func TestServedTexts(t *testing.T) {
	o := newOffice(t)
	for path, want := range map[string]string{"/known_hosts": "@cert-authority x\n", "/healthz": "ok\n"} {
		status, text := o.visit(o.browser(), "https://bastion.example.com"+path)
		if status != http.StatusOK || text != want {
			t.Errorf("%s: %d %q", path, status, text)
		}
	}
}

// onePipe is a listener with a single connection.
type onePipe struct {
	conns chan net.Conn
}

func (l onePipe) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l onePipe) Close() error   { return nil }
func (l onePipe) Addr() net.Addr { return &net.TCPAddr{} }

func TestABrowserThatStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		l := onePipe{make(chan net.Conn, 1)}
		l.conns <- ours
		s := bastion.NewHTTPServer(http.NotFoundHandler())
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		begun := time.Now()
		theirs.Write([]byte("GET / HTTP/1.1\r\nHost: b\r\nX: "))
		if _, err := io.ReadAll(theirs); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took != 5*time.Second {
			t.Errorf("hung up on after %s", took)
		}
		close(l.conns)
		<-done
		s.Close()
	})
}
