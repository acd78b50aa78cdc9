package bastion

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/twokey/twokey/session"
)

// This file is what a browser sees of a login: plain HTML, no script, nothing
// cached, nothing that another site could frame, read or post to.

// What can be wrong with a link; sorry has the pages.
var (
	errGone    = errors.New("the login is over")
	errTaken   = errors.New("the link was opened in another browser")
	errShown   = errors.New("the code was shown already")
	errStale   = errors.New("the answer was used already, or is an older one")
	errForeign = errors.New("the answer came to another browser")
)

// page is what the template shows.
type page struct {
	Title string
	Text  string
	Next  string // what to do
	Again string // a link to the same login, when it can be tried again
	Style template.CSS

	// Of the last page.
	Code, Name, Key, From string
	Finish                string // hands the code to twokey login on the browser's own machine
}

// sorry is the page for a link with something wrong.
func sorry(err error) (status int, p page) {
	const again = "Connect with ssh again: it prints a new link."
	switch {
	case errors.Is(err, errTaken):
		return http.StatusConflict, page{Title: "This link is in use", Text: "It was opened before, in another browser, or this one keeps no cookies. A link is good for one browser.",
			Next: "If that was not you, somebody may have read it. " + again}
	case errors.Is(err, errShown):
		return http.StatusConflict, page{Title: "The code was shown already", Text: "You are signed in, and the page with the code was shown once.",
			Next: "If you have not typed it yet and cannot see it any more, connect with ssh again: it prints a new link."}
	case errors.Is(err, errStale):
		return http.StatusConflict, page{Title: "This page is an old one", Text: "Your browser came back with an answer that was used already.",
			Next: "Open the link in your terminal again. " + again}
	case errors.Is(err, errForeign):
		return http.StatusForbidden, page{Title: "This login was not begun here", Text: "Your browser comes back from the identity provider to a login that another browser began.",
			Next: "If somebody sent you a link, do not go on. If it was yours, allow cookies, connect with ssh again, and open the new link in this browser."}
	case errors.Is(err, errGone):
		return http.StatusGone, page{Title: "This link has ended", Text: "It was used, or it is older than five minutes, or it never was one.", Next: again}
	}
	return http.StatusInternalServerError, page{Title: "That went wrong", Text: "Something here is broken; it is in the log.", Next: again}
}

var (
	//go:embed page.html.tmpl
	pageText string
	//go:embed page.css
	pageStyle string

	pageTemplate = template.Must(template.New("page").Parse(pageText))
)

const (
	maxQuery    = 8 << 10 // bytes
	pageTimeout = 15 * time.Second
)

// Handler serves the pages.
func (l *Logins) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login/{id}", l.begin)
	mux.HandleFunc("GET /login/callback", l.callback)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	for path, text := range l.served {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			io.WriteString(w, text)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		l.show(w, http.StatusNotFound, page{Title: "There is nothing here", Text: "twokey speaks SSH.", Next: "Connect with ssh; it prints a link when you have to sign in."})
	})
	// Nothing here is changed by anything but GET; this refuses what another site
	// posts before a handler could come to be that forgets to.
	return l.guarded(http.NewCrossOriginProtection().Handler(mux))
}

// guarded sets what every answer says, bounds every request, and keeps a
// mistake of ours from telling anything.
func (l *Logins) guarded(next http.Handler) http.Handler {
	hash := sha256.Sum256([]byte(pageStyle))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if l.https() {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if len(r.URL.RawQuery) > maxQuery {
			http.Error(w, "too long", http.StatusRequestURITooLong)
			return
		}
		defer func() {
			if v := recover(); v != nil {
				l.log.Error("a page panicked", "path", r.Pattern, "panic", v)
				status, p := sorry(nil)
				l.show(w, status, p)
			}
		}()
		ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, 0)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (l *Logins) https() bool { return strings.HasPrefix(l.base, "https://") }

// opened reports whether a person opened the page. Browsers that look ahead,
// chat programs that draw previews and pages that embed must not use up what is good
// for one use.
func opened(r *http.Request) bool {
	ahead := r.Header.Get("Sec-Purpose") + r.Header.Get("Purpose") + r.Header.Get("X-Moz")
	dest := r.Header.Get("Sec-Fetch-Dest")
	return r.Method == http.MethodGet && ahead == "" && (dest == "" || dest == "document")
}

func (l *Logins) notOpened(w http.ResponseWriter) {
	l.show(w, http.StatusForbidden, page{Title: "Open this link yourself", Text: "It works in the address bar of a browser, and nowhere else.", Next: "Copy the link from your terminal."})
}

// begin sends the browser that opened a link to the identity provider.
func (l *Logins) begin(w http.ResponseWriter, r *http.Request) {
	if !opened(r) {
		l.notOpened(w)
		return
	}
	id := typedLoginID(r.PathValue("id"))
	x, cookie, err := l.start(id, l.cookie(r, id), portIn(r))
	if err != nil {
		status, p := sorry(err)
		l.show(w, status, p)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: l.cookieName(id), Value: cookie, Path: "/", MaxAge: int(loginLife / time.Second),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: l.https(),
	})
	url, err := l.provider.AuthURL(r.Context(), x.state, x.nonce, x.verifier)
	if err != nil {
		l.log.Error("identity provider", "error", err)
		l.show(w, http.StatusBadGateway, page{Title: "The identity provider does not answer", Text: "Nobody can sign in while it is away.",
			Next: "Certificates that were issued before still let people in. In a minute,", Again: l.link(id)})
		return
	}
	http.Redirect(w, r, url, http.StatusSeeOther)
}

// cookieName is a login's own, so that several in one browser do not meet.
// With __Host- no other site of the same domain can set it.
func (l *Logins) cookieName(id string) string {
	if l.https() {
		return "__Host-twokey-" + id
	}
	return "twokey-" + id
}

func (l *Logins) cookie(r *http.Request, id string) string {
	c, err := r.Cookie(l.cookieName(id))
	if err != nil {
		return ""
	}
	return c.Value
}

// callback is where the identity provider sends the browser back to.
func (l *Logins) callback(w http.ResponseWriter, r *http.Request) {
	if !opened(r) {
		l.notOpened(w)
		return
	}
	q := r.URL.Query()
	x, err := l.come(q.Get("state"), l.cookie(r, loginOf(q.Get("state"))))
	if err != nil {
		if errors.Is(err, errForeign) {
			l.log.Warn("a login came back to another browser", "browser", hostOf(r.RemoteAddr))
		}
		status, p := sorry(err)
		l.show(w, status, p)
		return
	}
	if said := q.Get("error"); said != "" {
		l.log.Info("login refused", "from", x.from, "error", "the identity provider says "+session.OneLine(said, 100))
		l.show(w, http.StatusForbidden, l.notSignedIn(x, "the identity provider did not let you sign in here"))
		return
	}
	who, err := l.provider.Exchange(r.Context(), q.Get("code"), x.verifier, x.nonce, q.Get("iss"))
	if err != nil {
		l.log.Warn("login refused", "from", x.from, "error", session.OneLine(err.Error(), 1000))
		l.show(w, http.StatusForbidden, l.notSignedIn(x, sentence(err)))
		return
	}
	code, err := l.settle(x.id, who)
	if err != nil {
		l.log.Warn("login refused", "from", x.from, "error", err)
		status, p := sorry(err)
		l.show(w, status, p)
		return
	}
	l.log.Info("signed in", "person", who.Name, "subject", who.Subject, "from", x.from, "key", x.key)
	l.show(w, http.StatusOK, page{Title: "Signed in", Code: code, Name: who.Name, Key: x.key, From: hostOf(x.from), Finish: x.finish(code)})
}

// portIn is where twokey login waits beside the browser, as it says in the link; 0
// when nothing does. Ports of the system's own services are not among them.
func portIn(r *http.Request) int {
	port, err := strconv.ParseUint(r.URL.Query().Get("port"), 10, 16)
	if err != nil || port < 1024 {
		return 0
	}
	return int(port)
}

// finish is the link that hands over the code. It leads to the machine that the
// browser is on, whoever made the link: a code that was begun elsewhere does not get there.
// It is a link and no redirect, so that the person reads first for whom it is.
func (x login) finish(code string) string {
	if x.port == 0 {
		return ""
	}
	q := url.Values{"login": {x.id}, "code": {code}}
	return fmt.Sprintf("http://127.0.0.1:%d/?%s", x.port, q.Encode())
}

func (l *Logins) notSignedIn(x login, why string) page {
	return page{Title: "You are not signed in", Text: "Why: " + session.OneLine(why, 300) + ".", Next: "When that is mended, or to sign in as somebody else,", Again: l.link(x.id)}
}

// sentence is what the person may read of a provider's error.
func sentence(err error) string {
	var said interface{ Sentence() string }
	if errors.As(err, &said) {
		return said.Sentence()
	}
	return "the identity provider's answer was not accepted; it is in the log"
}

func (l *Logins) show(w http.ResponseWriter, status int, p page) {
	p.Style = template.CSS(pageStyle)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := pageTemplate.Execute(w, p); err != nil {
		l.log.Debug("page not sent", "error", err)
	}
}

// NewHTTPServer is an http.Server with every limit set.
func NewHTTPServer(h http.Handler) *http.Server {
	browsers := &browsers{all: map[net.Conn]browser{}, crowd: crowd{}}
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
		ConnState: browsers.note,
	}
}
