package pgwire_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/twokey/twokey/session/pgwire"
)

// What is a password is cut out, and nothing else is: SQL must not hide behind one.
func TestWithoutPasswords(t *testing.T) {
	cases := []struct {
		sql, want string // empty: the text stays as it is
	}{
		{"select 1", ""},
		{"select password from users", ""},
		{"create role x; select token 'of a type of that name'", ""},
		{"select 'alter role x password ', evil(), ' '", ""},
		{"update users set password = 'x' where name = 'y'", ""},
		{"comment on role x is 'password'", ""},
		{"create table users (password text default 'x')", ""},
		{"alter role x password null", ""},
		{"alter role password set search_path = 'x'", ""},
		{"alter role x valid until 'now'", ""},
		{"do $$ begin execute 'alter role x password ''y'''; end $$", ""}, // it may be anything
		{`ALTER USER "x" PASSWORD 'SCRAM-SHA-256$4096:abc'`, `ALTER USER "x" PASSWORD '[password]'`},
		{"create role x login encrypted password 'ab' ;\n", "create role x login encrypted password '[password]' ;\n"},
		{"create group x password 'ab'", "create group x password '[password]'"},
		{"create role x login password 'a''b'", "create role x login password '[password]'"},
		{"create role x password 'ab'; select 2", "create role x password '[password]'; select 2"},
		{"select 'x'; create role x password 'ab'", "select 'x'; create role x password '[password]'"},
		{"alter role x valid until 'now' password 'y' connection limit 3", "alter role x valid until 'now' password '[password]' connection limit 3"},
		{"alter role x /* ' */ password -- '\n 'y'", "alter role x /* ' */ password -- '\n '[password]'"},
		{"alter role x password $a$y$a$; select $a$z$a$", "alter role x password '[password]'; select $a$z$a$"},
		{"alter role x password 'a'\n'b'", "alter role x password '[password]'"},
		{`alter role x password E'a\'b'; select 1`, `alter role x password '[password]'; select 1`},
		{"alter role x password E'a'\n'b\\'c'; select 'd'", `alter role x password '[password]'; select 'd'`},
		{`alter role x password U&'\0061'`, `alter role x password '[password]'`},
		{`alter role x password "in the wrong quotes"`, `alter role x password '[password]'`},
		{`alter role x password 'a\'; delete from t --'`, `alter role x password '[password]'; delete from t --'`},
		{`alter user x password 'x\''; rollback; delete from t; --'`, `alter user x password '[password]'`}, // one literal, as '' is a quote in it
		{"alter role x password 'unterminated", "alter role x password '[password]'"},
		{"create user mapping for x server s options (user 'u', password 'y')", "create user mapping for x server s options (user 'u', password '[password]')"},
		{"alter user mapping for x server s options (set password 'y', add \"sslPassword\" 'z')", "alter user mapping for x server s options (set password '[password]', add \"sslPassword\" '[password]')"},
		{"create server s foreign data wrapper w options (host 'h', aws_secret_key 'k')", "create server s foreign data wrapper w options (host 'h', aws_secret_key '[password]')"},
		{"create subscription s connection 'host=h password=y' publication p", "create subscription s connection '[password]' publication p"},
		{"create subscription s connection 'host=h' publication p", ""},
		{"create subscription s connection 'postgres://me:pw@h/d' publication p", "create subscription s connection '[password]' publication p"},
	}
	for _, c := range cases {
		want := c.want
		if want == "" {
			want = c.sql
		}
		if got, hidden := pgwire.WithoutPasswords(c.sql); got != want || (len(hidden) > 0) != (c.want != "") {
			t.Errorf("%s became %s, %q", c.sql, got, hidden)
		}
	}
}

// FuzzWithoutPasswords: whatever is cut out, the rest is as it was.
func FuzzWithoutPasswords(f *testing.F) {
	f.Add("alter role x password 'y'; drop table t")
	f.Add(`create user u&"x" password e'\''`)
	f.Fuzz(func(t *testing.T, sql string) {
		text, _ := pgwire.WithoutPasswords(sql)
		rest := sql
		for i, part := range strings.Split(text, "'[password]'") {
			at := strings.Index(rest, part)
			if at < 0 || i == 0 && at > 0 {
				t.Fatalf("%q became %q: %q is not in it", sql, text, part)
			}
			rest = rest[at+len(part):]
		}
	})
}

// Passwords are neither on the tape nor in the log, however they are sent and
// whatever comes of it; where nobody can say where one ends, nothing is sent.
func TestPasswordsStayOffTheTape(t *testing.T) {
	sent := map[string][][]byte{
		"simple":              {query("alter role app password 'app''s \\ hunter2'")},
		"a failed one":        {query("alter role nobody password 'hunter2'")},
		"a syntax error":      {query(`alter role nobody password "hunter2"`)},
		"another near it":     {query("alter role nobody password 'x' 'hunter2'")},
		"extended":            {parse("p", "alter role app password 'hunter2'"), bind("", "p"), execute("", 0), syncs},
		"in a transaction":    {query("begin"), query("create role x password 'hunter2'"), query("rollback")},
		"among others":        {query("select 1; alter role app valid until 'infinity' password 'hunter2'; select 2")},
		"a user mapping":      {query("create user mapping for app server nowhere options (password 'hunter2')")},
		"a subscription":      {query("create subscription s connection 'password=hunter2' publication p")},
		"backslashes escape":  {query("set standard_conforming_strings = off"), query(`alter role app password 'x\'hunter2'`), query("select 'still here'")},
		"another encoding":    {query("set client_encoding = 'SJIS'"), query("alter role app password '\x83\x5chunter2'"), query("select 'still here'")},
		"in a URI":            {query("create subscription s connection 'postgresql://app:hunter2@nowhere/orders' publication p")},
		"spaced with tabs":    {query("alter\v/* x */role -- y\n app password 'hunter2'")},
		"behind what may set": {parse("", "set standard_conforming_strings = off"), bind("", ""), execute("", 0), parse("", `alter role app password '\hunter2'`), bind("", ""), execute("", 0), syncs, query("select 'still here'")},
	}
	for name, messages := range sent {
		t.Run(name, func(t *testing.T) {
			r := open(t, upstream())
			c := r.enter()
			c.send(messages...)
			c.send(encode(&pgproto3.Terminate{}))
			answer := c.until("nothing")
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			admin(t, `alter role app password 'app''s \ secret'`)
			tape := r.door.tape()
			if strings.Contains(tape+r.log.String(), "hunter2") {
				t.Errorf("the tape:\n%s\nthe log:\n%s", tape, r.log.String())
			}
			refused := strings.Contains(answer, "cannot be kept from the recording for certain")
			if cut := strings.Contains(tape, "[password]"); cut == refused || refused != strings.Contains(answer, "still here") {
				t.Errorf("she reads %q, and on the tape is\n%s", answer, tape)
			}
		})
	}
}

// Settings are told only with ReadyForQuery: until it has come, what ran in a
// batch may have changed how a literal is read, though all of it was answered.
func TestAPasswordBehindASettingOfItsBatch(t *testing.T) {
	r := open(t, upstream())
	c := r.enter()
	c.send(parse("", "set standard_conforming_strings = off"), bind("", ""), execute("", 0), flush)
	c.until("C")
	c.send(parse("", `alter role app password 'x\'\n' connection limit -1 --'`), bind("", ""), execute("", 0), syncs)
	answer := c.until("Z")
	admin(t, `alter role app password 'app''s \ secret'`)
	if !strings.Contains(answer, "cannot be kept from the recording for certain") {
		t.Errorf("she reads %q, and on the tape is\n%s", answer, r.door.tape())
	}
}

// Statements with such words in them that set no password are taken, as drivers
// and scripts send them.
func TestHonestWordsAreTaken(t *testing.T) {
	honest := []string{
		`create temp table people (id int, password text, reset_token text default E'\\x', note text default 'ü')`,
		`alter table people add column client_secret text; comment on column people.client_secret is 'größe \ token'`,
		`create or replace function pg_temp.f() returns text language sql as $$ select 'password \ é'::text $$`,
		"do $$ begin alter role current_user password null; exception when others then null; end $$",
		`create temp view v as select 'user é' as "password", '\' as connection`,
		"insert into people (password) values ('create user mapping é')",
		`select * from people where password ~ '^\$2[aby]\$' -- create role`,
	}
	for _, setting := range []string{"set client_encoding = 'UTF8'", "set client_encoding = 'LATIN1'", "set standard_conforming_strings = off; set backslash_quote = on; set escape_string_warning = off"} {
		r := open(t, upstream())
		c := r.enter()
		c.send(query(setting))
		c.until("Z")
		for _, sql := range honest {
			c.send(parse("", "begin"), bind("", ""), execute("", 0), syncs)
			c.until("Z")
			c.send(query(sql))
			simple := c.until("Z")
			c.send(query("rollback"))
			c.until("Z")
			c.send(parse("", "begin"), bind("", ""), execute("", 0), parse("", sql), bind("", ""), describe('P', ""), execute("", 0), syncs)
			extended := c.until("Z")
			c.send(query("rollback"))
			c.until("Z")
			if strings.Contains(simple+extended, "twokey:") {
				t.Errorf("%s: %s became %s and %s", setting, sql, simple, extended)
			}
		}
	}
}

// A driver's BEGIN goes with its first statement, and changes no setting.
func TestAPasswordBehindADriversBegin(t *testing.T) {
	r := open(t, upstream())
	c := r.enter()
	c.send(parse("", "BEGIN"), bind("", ""), execute("", 0), parse("", `create role someone password 'hunter2 \ é'`), bind("", ""), execute("", 0), syncs)
	answer := c.until("Z")
	c.send(query("rollback"))
	c.until("Z")
	if tape := r.door.tape(); strings.Contains(answer, "twokey:") || strings.Contains(tape, "hunter2") || !strings.Contains(tape, "[password]") {
		t.Errorf("she reads %q, and on the tape is\n%s", answer, tape)
	}
}
