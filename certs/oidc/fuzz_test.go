package oidc_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/twokey/twokey/certs"
	"github.com/twokey/twokey/certs/oidc"
)

// Whatever a provider claims of somebody: it is refused in a sentence, or what comes
// out is bounded and can be shown on a terminal.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"email":"alice@example.com","email_verified":true,"groups":["a","b"],"department":"checkout","employee_id":"1001"}`))
	f.Add([]byte(`{"email":"al\u202eice@example.com","email_verified":true,"groups":"a","employee_id":12345678901234567891}`))
	f.Add([]byte(`{"email":"a\u001b[2J","email_verified":true,"groups":[["a"]],"employee_id":1e400}`))
	f.Add([]byte(`{"email":"a","email_verified":true,"_claim_names":{"groups":"x"},"hasgroups":true,"employee_id":" "}`))
	config := oidc.Claims{Name: "email", Groups: "groups", SamePerson: "employee_id", Others: map[string]string{"team": "department"}}
	f.Fuzz(func(t *testing.T, payload []byte) {
		who, err := oidc.IdentityOf(payload, config)
		if err != nil {
			if who.Valid() || who.Name != "" || len(who.Groups) > 0 {
				t.Errorf("an error and somebody: %+v, %v", who, err)
			}
			return
		}
		size := 0
		texts := append([]string{who.Name, who.SamePerson, who.Claims["team"]}, who.Groups...)
		for _, text := range texts {
			size += len(text)
			if len(text) > 256 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != '\u200d' }) {
				t.Errorf("%q is believed", text)
			}
		}
		if who.Name == "" || who.SamePerson == "" || certs.CleanName(who.Name) != who.Name || len(who.Groups) > 500 || size > 17<<10 {
			t.Errorf("is %+v, %d bytes", who, size)
		}
	})
}
