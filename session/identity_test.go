package session_test

import (
	"testing"

	"github.com/twokey/twokey/session"
)

// Who is one human and who is two. Every row is asked both ways; being wrong in one
// direction lets somebody watch themselves.
func TestIdentityMatrix(t *testing.T) {
	with := func(issuer, subject, same string) session.Identity {
		return session.Identity{Issuer: issuer, Subject: subject, SamePerson: same, Name: "somebody"}
	}
	const idp, other = "https://idp", "https://other"
	for name, c := range map[string]struct {
		a, b session.Identity
		same bool
	}{
		"one account":                            {with(idp, "1", ""), with(idp, "1", ""), true},
		"two accounts":                           {with(idp, "1", ""), with(idp, "2", ""), false},
		"one subject at two providers":           {with(idp, "1", ""), with(other, "1", ""), false},
		"an issuer with a slash is another":      {with(idp, "1", ""), with(idp+"/", "1", ""), false},
		"subjects are exact":                     {with(idp, "u-A", ""), with(idp, "u-a", ""), false},
		"two accounts of one employee":           {with(idp, "1", "e-7"), with(idp, "2", "e-7"), true},
		"at two providers too":                   {with(idp, "1", "e-7"), with(other, "2", "e-7"), true},
		"one account, its employee changed":      {with(idp, "1", "e-7"), with(idp, "1", "e-8"), true},
		"two employees":                          {with(idp, "1", "e-7"), with(idp, "2", "e-8"), false},
		"an employee and somebody unknown":       {with(idp, "1", "e-7"), with(idp, "2", ""), false},
		"nobody knows their employees":           {with(idp, "1", ""), with(idp, "2", ""), false},
		"nobody is everybody":                    {session.Identity{}, with(idp, "1", ""), true},
		"nobody is nobody":                       {session.Identity{}, session.Identity{}, true},
		"without a subject one is nobody":        {with(idp, "", "e-7"), with(idp, "2", "e-8"), true},
		"without an issuer one is nobody":        {with("", "1", "e-7"), with(idp, "2", "e-8"), true},
		"names decide nothing":                   {session.Identity{Issuer: idp, Subject: "1", Name: "al"}, session.Identity{Issuer: idp, Subject: "2", Name: "al"}, false},
		"keys decide nothing":                    {session.Identity{Issuer: idp, Subject: "1", Credential: session.Credential{Key: "a"}}, session.Identity{Issuer: idp, Subject: "1", Credential: session.Credential{Key: "b"}}, true},
		"issuer and subject do not run together": {with("https://idp/1", "2", ""), with("https://idp/", "12", ""), false},
	} {
		if c.a.SamePersonAs(c.b) != c.same || c.b.SamePersonAs(c.a) != c.same {
			t.Errorf("%s: want the same person: %v", name, c.same)
		}
	}
	for name, who := range map[string]session.Identity{
		"nobody": {}, "no subject": with(idp, "", ""), "no issuer": with("", "1", ""), "a name alone": {Name: "alice"}, "an employee alone": {SamePerson: "e-7"},
	} {
		if who.Valid() {
			t.Errorf("%s is somebody", name)
		}
	}
	who := session.Identity{Issuer: idp, Subject: "1", Groups: []string{"dba", " dba"}}
	for group, in := range map[string]bool{"dba": true, " dba": true, "DBA": false, "db": false, "dba ": false, "": false} {
		if who.InAny([]string{group}) != in {
			t.Errorf("in %q: want %v", group, in)
		}
	}
	if who.InAny(nil) || (session.Identity{}).InAny([]string{""}) {
		t.Error("in no group")
	}
}
