package pgwire_test

import (
	"testing"

	"github.com/twokey/twokey/session/pgwire"
)

// What a text seems to be decides in which of the database's bounds it is run.
func TestWhatAStatementSeemsToBe(t *testing.T) {
	for sql, want := range map[string]string{
		"":                        "nothing",
		" \t\r\n;; -- delete":     "nothing",
		"/* delete /* from */ */": "nothing",

		"select 1":                             "reading",
		"SELECT 1;":                            "reading",
		";;select 1;;":                         "reading",
		"((select 1))":                         "reading",
		"-- delete\nselect 1":                  "reading",
		"--\rselect 1":                         "reading",
		"/* ; /* ; */ ; */ table paid":         "reading",
		"with x as (select 1) select * from x": "reading",
		"explain select 1":                     "reading",
		"show all":                             "reading",
		"values (1)":                           "reading",
		"select 'delete; from' from paid":      "reading",
		"select E'\\'; delete from paid'":      "reading",
		`select ";delete"`:                     "reading",
		"select $$; delete $$":                 "reading",
		"select $é1$; delete $$ $é1$":          "reading",
		"select 1 as a$b$, 2 as c$b$":          "reading",
		"select U&'\\0027; delete'":            "reading",

		"-- select\ndelete from paid":                      "other",
		"--\rdelete from paid":                             "other",
		"/* select */ delete from paid":                    "other",
		"/**/delete/**/from paid":                          "other",
		"/*/*/ select */ */ delete from paid":              "other",
		"with x as (delete from paid returning 1) table x": "other",
		"explain analyze delete from paid":                 "other",
		"select * into other from paid":                    "other",
		"select * from paid for share":                     "other",
		"select nextval('s')":                              "other",
		"insert into paid values (1)":                      "other",
		"call f()":                                         "other",
		"fetch c":                                          "other",
		"commit prepared 'x'":                              "other",
		"rollback prepared 'x'":                            "other",
		"select 1; delete from paid":                       "other, may end",
		"select 1;/**/;delete from paid":                   "other, may end",
		"select '\\'; delete from paid --'":                "other, may end",
		"select $a$ $b$ $a$; delete from paid":             "other, may end",
		"select a$b$; delete from paid; select c$b$":       "other, may end",
		"blorp":  "other, may end",
		"délete": "other, may end",

		"set search_path = evil":        "setting",
		"listen x":                      "setting",
		"prepare p as delete from paid": "setting",
		"begin":                         "marking",
		"savepoint a":                   "marking",
		"commit":                        "ending, may end",
		"commit and chain":              "ending, may end",
		"end":                           "ending, may end",
		"prepare transaction 'x'":       "ending, may end",
		"rollback":                      "undoing",
		"abort":                         "undoing",
		"rollback to a":                 "undoing",
	} {
		if got := pgwire.Class(sql); got != want {
			t.Errorf("%q seems to be %s, want %s", sql, got, want)
		}
	}
}
