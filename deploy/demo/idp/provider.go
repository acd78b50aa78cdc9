package main

import (
	"crypto/rand"
	_ "embed"
	"errors"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/op"
)

// This file puts the protocol and the login page behind one address.

//go:embed login.html.tmpl
var loginPage string

var (
	errWrong = errors.New("that is not the name of anybody here, or not their password")
	errOver  = errors.New("this login is over; start again where you came from")
)

// newProvider is the whole identity provider.
func newProvider(issuer string, c client) (http.Handler, error) {
	store, err := newStorage(c)
	if err != nil {
		return nil, err
	}
	config := &op.Config{
		CodeMethodS256:        true,
		GrantTypeRefreshToken: true,
		SupportedScopes:       []string{"openid", "email", "profile", "groups", "offline_access"},
		SupportedClaims:       []string{"sub", "email", "email_verified", "name", "preferred_username", "groups", "department", "employee_id"},
	}
	if _, err := rand.Read(config.CryptoKey[:]); err != nil {
		return nil, err
	}
	provider, err := op.NewProvider(config, store, op.StaticIssuer(issuer), op.WithAllowInsecure())
	if err != nil {
		return nil, err
	}
	page, err := template.New("login").Parse(loginPage)
	if err != nil {
		return nil, err
	}
	d := &door{store: store, page: page, back: strings.TrimSuffix(issuer, "/") + provider.AuthorizationEndpoint().Relative() + "/callback?id="}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", d.show)
	mux.HandleFunc("POST /login", d.signIn)
	mux.HandleFunc("POST /groups", d.move)
	mux.Handle("/", provider)
	return mux, nil
}

// door is the login page.
type door struct {
	store *storage
	page  *template.Template
	back  string // where the provider goes on, up to the login's id
}

// view is what the page shows.
type view struct {
	ID, As, Client string
	Sorry          string
	People         []choice
}

type choice struct{ UserName, Name, Groups string }

func (d *door) show(w http.ResponseWriter, r *http.Request) {
	d.render(w, http.StatusOK, view{ID: r.FormValue("id"), As: r.FormValue("as")})
}

func (d *door) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	id, userName := r.PostFormValue("id"), strings.TrimSuffix(r.PostFormValue("username"), "@example.com")
	err := d.store.signIn(id, userName, r.PostFormValue("password"))
	if err != nil {
		d.render(w, http.StatusUnauthorized, view{ID: id, Sorry: err.Error()})
		return
	}
	http.Redirect(w, r, d.back+template.URLQueryEscaper(id), http.StatusSeeOther)
}

// move is what somebody's manager does: curl -d username=bob -d groups=engineering,dba .../groups
func (d *door) move(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	groups := strings.FieldsFunc(r.PostFormValue("groups"), func(c rune) bool { return c == ',' })
	if err := d.store.move(r.PostFormValue("username"), groups); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
	}
}

func (d *door) render(w http.ResponseWriter, status int, v view) {
	v.Client = d.store.client.id
	people := d.store.everyone()
	if _, ok := people[v.As]; !ok {
		v.As = "" // the page fills in names of people, nothing else
	}
	for _, name := range slices.Sorted(maps.Keys(people)) {
		p := people[name]
		v.People = append(v.People, choice{name, p.name, strings.Join(p.groups, ", ")})
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	d.page.Execute(w, v) // fails only when the browser has left
}
