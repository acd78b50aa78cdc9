package pgwire_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/pgwire"
)

func TestPsqlWorks(t *testing.T) {
	r := open(t, upstream())
	out, errs := r.psql(`
create table if not exists t1 (id int primary key, name text);
truncate t1;
insert into t1 values (1, 'one'), (2, 'two');
select * from t1 order by id;
select * from nowhere;
begin; update t1 set name = 'x'; rollback;
\d t1
\copy t1 to stdout
\copy t1 from stdin
3	three
\.
copy t1 to stdout; 
select count(*) from t1 \; select 7;
\set FETCH_COUNT 1
select name from t1 order by id;
\c
select 'again';
`, "-At")
	for _, want := range []string{"1|one\n2|two\n", "3\tthree", "3\n7\n", "one\ntwo\nthree\n", "again"} {
		if !strings.Contains(out, want) {
			t.Errorf("psql printed %q, without %q", out, want)
		}
	}
	if !strings.Contains(errs, `relation "nowhere" does not exist`) || strings.Contains(errs, "FATAL") {
		t.Errorf("psql complained: %q", errs)
	}
	tape := r.door.tape()
	for _, want := range []string{
		"insert into t1 values (1, 'one'), (2, 'two');", "< INSERT 0 2 I", `42P01 relation "nowhere" does not exist I`, "< UPDATE 2 T",
		"< COPY 2 I", "< COPY 1 I", "> simple select count(*) from t1 ; select 7;", "< SELECT 1; SELECT 1 rows=2 I", "rows=1 T", "select 'again'",
	} {
		if !strings.Contains(tape, want) {
			t.Errorf("the tape lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(tape, errs)
	}
}

func TestCopyIsCountedAndHashed(t *testing.T) {
	admin(t, "create table if not exists blob (line text); truncate blob; alter table blob owner to app")
	r := open(t, upstream())
	var data strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&data, "line %d\n", i)
	}
	sum := sha256.Sum256([]byte(data.String()))
	want := hex.EncodeToString(sum[:])
	if _, errs := r.psql(data.String(), "-c", `\copy blob from stdin`); errs != "" {
		t.Fatal(errs)
	}
	out, errs := r.psql("", "-c", `\copy blob to stdout`)
	if out != data.String() || errs != "" {
		t.Errorf("got back %d bytes of %d, %q", len(out), data.Len(), errs)
	}
	rs := r.door.results()
	if len(rs) != 2 {
		t.Fatalf("%d results: %s", len(rs), r.door.tape())
	}
	for _, res := range rs {
		if res.CopySHA != want || res.Bytes != int64(data.Len()) || res.Tag != "COPY 200000" {
			t.Errorf("%+v, want sha %s of %d bytes", res, want, data.Len())
		}
	}
}

func TestCopyThatFails(t *testing.T) {
	admin(t, "create table if not exists num (n int); truncate num; alter table num owner to app")
	r := open(t, upstream())
	out, errs := r.psql("copy num from stdin;\n1\nx\n3\n\\.\nselect 'still here';\n", "-At")
	if !strings.Contains(errs, "invalid input syntax") || !strings.Contains(out, "still here") {
		t.Errorf("psql printed %q and %q", out, errs)
	}
	if tape := r.door.tape(); !strings.Contains(tape, "22P02") {
		t.Error(tape)
	}
	// A long one, of which much is on its way when the server gives up.
	out, errs = r.psql("copy num from stdin;\n"+strings.Repeat("x\n", 100_000)+"\\.\nselect 'still here';\n", "-At")
	if !strings.Contains(errs, "invalid input syntax") || !strings.Contains(out, "still here") {
		t.Errorf("psql printed %q and %q", out, errs)
	}
}

func TestCtrlC(t *testing.T) {
	r := open(t, upstream())
	p := r.start("select pg_sleep(60);\nselect 'after';\n", "-At")
	eventually(t, "the statement runs", func() bool {
		return admin(t, "select count(*) from pg_stat_activity where query like 'select pg_sleep(60)%' and state = 'active' and application_name like 'twokey%'") == "1"
	})
	p.Process.Signal(syscall.SIGINT)
	p.Wait()
	if !strings.Contains(p.err.String(), "canceling statement due to user request") {
		t.Errorf("psql printed %q and %q", p.out.String(), p.err.String())
	}
	if tape := r.door.tape(); !strings.Contains(tape, "57014") {
		t.Error(tape)
	}
}

func TestPsqlVanishes(t *testing.T) {
	admin(t, "create table if not exists v (n int); truncate v; alter table v owner to app")
	r := open(t, upstream())
	p := r.start("insert into v values (1) \\; select pg_sleep(60) \\; insert into v values (2);\n")
	eventually(t, "the statement runs", func() bool { return backends(t) == "1" && strings.Contains(r.door.tape(), "pg_sleep") })
	p.Process.Kill()
	p.Wait()
	start := time.Now()
	eventually(t, "the backend is gone", func() bool { return backends(t) == "0" })
	t.Logf("gone after %v", time.Since(start).Round(time.Millisecond))
	if n := admin(t, "select count(*) from v"); n != "0" {
		t.Errorf("%s rows were committed", n)
	}
	eventually(t, "its result is on the tape", func() bool { return strings.Contains(r.door.tape(), "08006") })
}

func TestLargeObjectsOverTheFastPathAreRefused(t *testing.T) {
	r := open(t, upstream())
	out, errs := r.psql("\\lo_import /etc/hostname\nselect 'still here';\nselect lo_from_bytea(4711, 'abc');\nselect lo_get(4711), lo_unlink(4711);\n", "-At")
	if !strings.Contains(errs, "fast path are refused") || !strings.Contains(out, "still here") || !strings.Contains(out, `\x616263`) {
		t.Errorf("psql printed %q and %q", out, errs)
	}
}

func TestOtherDatabasesAndRolesAreRefused(t *testing.T) {
	r := open(t, upstream())
	for connect, want := range map[string]string{
		"\\c postgres\n":        `this session is for database "orders"`,
		"\\c orders postgres\n": `this session is for role "app"`,
	} {
		if _, errs := r.psql(connect); !strings.Contains(errs, want) {
			t.Errorf("psql printed %q", errs)
		}
	}
}

// \c goes to the databases that the configuration names, on the same tape.
func TestOtherDatabasesOfTheSession(t *testing.T) {
	if strings.TrimSpace(admin(t, "select count(*) from pg_database where datname = 'archive'")) == "0" {
		admin(t, "create database archive owner app")
	}
	up := upstream()
	up.Others = []string{"archive"}
	r := open(t, up)
	out, errs := r.psql("\\c archive\nselect current_database();\n\\c elsewhere\n", "-At")
	if !strings.Contains(out, "archive\n") || !strings.Contains(errs, `this session is for database "orders" or "archive"`) {
		t.Errorf("psql printed %q, %q", out, errs)
	}
	if got := r.door.get(func(d *door) bool {
		return slices.ContainsFunc(d.events, func(e session.Event) bool { return e.Statement != nil && e.Statement.Database == "archive" })
	}); !got {
		t.Error("the tape does not say where it ran")
	}
}

// Sessions of one target and mode share a control connection, which the last
// one closes.
func TestSessionsShareTheControlConnection(t *testing.T) {
	db, err := pgwire.NewDatabase(upstream())
	if err != nil {
		t.Fatal(err)
	}
	controls := func() string {
		return admin(t, "select count(*) from pg_stat_activity where application_name = 'twokey control'")
	}
	eventually(t, "those of other tests are gone", func() bool { return controls() == "0" })
	a, b := listen(t, db), listen(t, db)
	a.connect()
	b.connect()
	if n := controls(); n != "1" {
		t.Errorf("%s control connections", n)
	}
	a.Close()
	if n := backends(t) + controls(); n != "11" {
		t.Errorf("%s left of the other session", n)
	}
	b.Close()
	eventually(t, "the last one closes it", func() bool { return controls() == "0" })
}
