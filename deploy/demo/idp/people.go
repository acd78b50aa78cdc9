package main

// This file says who there is. The cast is the one of the documentation; a few
// are there only to be refused.

// person is somebody with an account.
type person struct {
	subject    string // sub
	email      string
	unverified bool // the provider never checked the email
	name       string
	groups     []string
	department string
	employee   string // the same for all accounts of one human
}

// people are all accounts by user name, which is also the password.
func people() map[string]person {
	return map[string]person{
		"alice": {subject: "u-alice", email: "alice@example.com", name: "Alice Adams", groups: []string{"engineering"}, department: "checkout", employee: "1001"},
		"bob":   {subject: "u-bob", email: "bob@example.com", name: "Bob Brown", groups: []string{"engineering", "dba"}, department: "checkout", employee: "1002"},
		"carol": {subject: "u-carol", email: "carol@example.com", name: "Carol Clark", groups: []string{"marketing"}, department: "marketing", employee: "1003"},
		"dave":  {subject: "u-dave", email: "dave@example.com", name: "Dave Davis", groups: []string{"security"}, department: "security", employee: "1004"},
		"sam":   {subject: "u-sam", email: "sam@example.com", name: "Sam Smith", groups: []string{"platform", "engineering"}, department: "platform", employee: "1005"},
		"frank": {subject: "u-frank", email: "frank@example.com", name: "Frank Fox", groups: []string{"engineering"}, department: "payments", employee: "1006"},

		// erin moves to another team while somebody watches.
		"erin": {subject: "u-erin", email: "erin@example.com", name: "Erin Evans", groups: []string{"engineering", "dba"}, department: "payments", employee: "1007"},

		// alice's second account: another subject, the same human.
		"alice2": {subject: "u-alice2", email: "alice.adams@example.com", name: "Alice Adams", groups: []string{"engineering"}, department: "payments", employee: "1001"},
		// mallory says that alice's address is hers, and nobody ever checked.
		"mallory": {subject: "u-mallory", email: "alice@example.com", unverified: true, name: "Mallory", groups: []string{"engineering"}, department: "payments", employee: "6666"},
	}
}

// claims is what the ID token says of a person, for the scopes that were asked for.
func (p person) claims(userName string, scopes []string) map[string]any {
	all := map[string]map[string]any{
		"email":   {"email": p.email, "email_verified": !p.unverified},
		"profile": {"name": p.name, "preferred_username": userName, "department": p.department, "employee_id": p.employee},
		"groups":  {"groups": p.groups},
	}
	claims := map[string]any{}
	for _, scope := range scopes {
		for name, value := range all[scope] {
			claims[name] = value
		}
	}
	return claims
}
