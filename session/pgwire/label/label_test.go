package label_test

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/pgwire/label"
)

func TestWhatAStatementTouches(t *testing.T) {
	for sql, want := range map[string]string{
		"":                         "",
		"select 1":                 "",
		"begin; commit":            "",
		"select * from orders":     "select orders",
		`select * from "Or ders"`:  "select Or ders",
		"table shop.orders":        "select shop.orders",
		"select count(*) from a,b": "select a, select b",
		"select * from a join b using (x) where y in (select z from c)":     "select a, select b, select c",
		"select * from a union select * from b":                             "select a, select b",
		"select 1 from a; delete from b":                                    "select a, delete b",
		"insert into a select * from b returning 1":                         "insert a, select b",
		"update a set x = 1 from b where exists (select 1 from c.d)":        "select b, update a, select c.d",
		"delete from only a using b":                                        "delete a, select b",
		"with gone as (delete from a returning *) insert into b table gone": "delete a, insert b",
		"with a as (select 1) select * from a, public.a":                    "select public.a",
		"select * into b from a":                                            "select a, create b",
		"create table b as select * from a":                                 "create table b, select a",
		"merge into a using b on a.x = b.x when matched then delete":        "merge a, select b",
		"truncate a, b":                                       "truncate a, truncate b",
		"copy a from stdin":                                   "copy in a",
		"copy (select * from a) to stdout":                    "select a",
		"copy a to program 'x'":                               "copy program a",
		"drop table a, s.b":                                   "drop table a, s.b",
		"alter table a add column x int":                      "alter table a",
		"create index on a (x)":                               "create index on a",
		"create role r password 'x'":                          "create role r",
		"alter role r superuser":                              "alter role r",
		"grant select on a to r":                              "grant a",
		"set search_path = evil":                              "set search_path",
		"do $$ begin delete from a; end $$":                   "do",
		"explain analyze delete from a":                       "delete a",
		"prepare p as delete from a":                          "delete a, prepare p",
		"declare c cursor for select * from a":                "select a, declare cursor c",
		"select pg_terminate_backend(1)":                      "call pg_terminate_backend",
		"select s.f(x) from a":                                "select a, call s.f",
		"call s.p()":                                          "call s.p",
		"listen x":                                            "listen x",
		"refresh materialized view v":                         "refresh mat view v",
		"lock table a":                                        "lock a",
		"vacuum a":                                            "vacuum a",
		"select * from pg_catalog.pg_class c, pg_namespace n": session.Catalogue,
		"select pg_catalog.format_type(1, 2) from pg_catalog.pg_type": session.Catalogue,
		"select table_name from information_schema.tables":            session.Catalogue,
		"select * from pg_class, orders":                              "select pg_class, select orders",
		"select pg_read_file('/etc/passwd') from pg_class":            "select pg_class, call pg_read_file",
		"delete from pg_class":                                        "delete pg_class",
		"select 1 from pg_class; delete from a":                       "select pg_class, delete a",
	} {
		got, err := label.Of(sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		expected := strings.Split(want, ", ")
		if want == "" {
			expected = nil
		}
		if want == "drop table a, s.b" {
			expected = []string{want}
		}
		slices.Sort(got)
		slices.Sort(expected)
		if !slices.Equal(got, expected) {
			t.Errorf("%s\n got %q\nwant %q", sql, got, expected)
		}
	}
}

func TestWhatDoesNotParse(t *testing.T) {
	for _, sql := range []string{
		"selec 1", "select '", "select 1 \x00 ", "\xff\xfe", strings.Repeat("x", 64<<10+1),
		"select " + strings.Repeat("(", 30000), strings.Repeat("select 1 union ", 4000),
	} {
		if got, err := label.Of(sql); err == nil {
			t.Errorf("%.40q: %q, and no error", sql, got)
		}
	}
	if _, err := label.Of("select " + strings.Repeat("(", 10000) + "1" + strings.Repeat(")", 10000)); err != nil {
		t.Log("deep:", err)
	}
	if got, err := label.Of("select 1 from a"); err != nil || len(got) != 1 {
		t.Fatalf("after all that: %q, %v", got, err)
	}
}

func TestMain(m *testing.M) {
	if label.Main() {
		return
	}
	os.Exit(m.Run())
}

// The parser is a process of its own. When it dies nothing else does, and
// another one takes its place.
func TestProcess(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	p := label.Start(ctx, slog.New(slog.DiscardHandler))
	var got []string
	for got == nil {
		got = p.Labels("select * from orders")
		time.Sleep(time.Millisecond)
	}
	if !slices.Equal(got, []string{"select orders"}) {
		t.Fatalf("%q", got)
	}
	if got := p.Labels("selec"); got != nil {
		t.Errorf("of what does not parse: %q", got)
	}
	stop()
	<-p.Done()
	if got := p.Labels("select * from orders"); got != nil {
		t.Errorf("from a process that is no more: %q", got)
	}
}
