package bastion

import (
	"context"
	_ "embed"
	"errors"
	"html/template"
	"io"
	"net/http"
	"strings"
	"time"
)

// This file is what a browser sees of a login: plain HTML, no script, nothing
// cached, nothing that another site could frame or post to.

var (
	errGone    = errors.New("gone")
	errUsed    = errors.New("used")
	errForeign = errors.New("foreign")
)

// page is what the template shows.
type page struct {
	Title string
	Text  string
	Next  string // what to do

	// Of the last page.
	Code, Name, Key, From string
}

// sorry are the pages for what can go wrong.
var sorry = map[error]page{
	errGone: {Title: "This link has ended", Text: "It was used, or it is older than five minutes, or it never was one.",
		Next: "Connect with ssh again: it prints a new link."},
	errUsed: {Title: "This link is in use", Text: "It was opened before, perhaps in another browser. A link is good for one.",
		Next: "If that was not you, somebody may have read it. Connect with ssh again: it prints a new link."},
	errForeign: {Title: "This login was not begun here", Text: "Your browser comes back from the identity provider to a login that another browser began.",
		Next: "If somebody sent you a link, do not go on. If it was yours, connect with ssh again and open the new link in this browser."},
}

//go:embed page.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

const (
	cookieName  = "twokey_login"
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
	return guarded(mux)
}

// guarded sets what every answer says, and bounds every request.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if len(r.URL.RawQuery) > maxQuery {
			http.Error(w, "too long", http.StatusRequestURITooLong)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, 0)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// begin sends the browser that opened a link to the identity provider.
func (l *Logins) begin(w http.ResponseWriter, r *http.Request) {
	cookie := secret()
	if had, err := r.Cookie(cookieName); err == nil && len(had.Value) == len(cookie) {
		cookie = had.Value // the same browser may open the link twice
	}
	x, err := l.start(strings.ToUpper(r.PathValue("id")), cookie)
	if err != nil {
		l.show(w, http.StatusGone, sorry[err])
		return
	}
	url, err := l.provider.AuthURL(r.Context(), x.state, x.nonce, x.verifier)
	if err != nil {
		l.log.Error("identity provider", "error", err)
		l.show(w, http.StatusBadGateway, page{Title: "The identity provider does not answer",
			Text: "Nobody can sign in while it is away.", Next: "Reload this page in a minute. Certificates that were issued before still let people in."})
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: cookie, Path: "/login", MaxAge: int(loginLife / time.Second),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: strings.HasPrefix(l.base, "https://"),
	})
	http.Redirect(w, r, url, http.StatusSeeOther)
}

// callback is where the identity provider sends the browser back to.
func (l *Logins) callback(w http.ResponseWriter, r *http.Request) {
	cookie := ""
	if c, err := r.Cookie(cookieName); err == nil {
		cookie = c.Value
	}
	q := r.URL.Query()
	x, err := l.come(q.Get("state"), cookie)
	if err != nil {
		l.show(w, http.StatusForbidden, sorry[err])
		return
	}
	who, err := l.provider.Exchange(r.Context(), q.Get("code"), x.verifier, x.nonce, q.Get("iss"))
	if said := q.Get("error"); said != "" {
		err = errors.New("the identity provider said no: " + oneLine(said, 100))
	}
	if err != nil {
		l.log.Warn("login refused", "from", x.from, "error", err)
		l.show(w, http.StatusForbidden, page{Title: "You are not signed in", Text: oneLine(err.Error(), 300) + ".", Next: "Connect with ssh again: it prints a new link."})
		return
	}
	if x, err = l.settle(x.id, who); err != nil {
		l.show(w, http.StatusGone, sorry[errGone])
		return
	}
	l.log.Info("signed in", "person", who.Name, "subject", who.Subject, "from", x.from, "key", x.key)
	l.show(w, http.StatusOK, page{Title: "Signed in", Code: x.code, Name: who.Name, Key: x.key, From: hostOf(x.from)})
}

func (l *Logins) show(w http.ResponseWriter, status int, p page) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := pageTemplate.Execute(w, p); err != nil {
		l.log.Debug("page not sent", "error", err)
	}
}

// NewHTTPServer is an http.Server with every limit set.
func NewHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
	}
}
