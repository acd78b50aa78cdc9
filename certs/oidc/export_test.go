package oidc

import (
	"bytes"
	"encoding/json"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/twokey/twokey/session"
)

// IdentityOf reads the claims of a token that passed every check.
func IdentityOf(payload []byte, c Claims) (session.Identity, error) {
	var all claims
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		return session.Identity{}, err
	}
	p := &Provider{c: Config{Claims: c}}
	return p.identity(&oidc.IDToken{Issuer: "https://idp.example.com", Subject: "u-alice"}, all)
}
