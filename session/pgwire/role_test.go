package pgwire_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/session/pgwire"
)

// perSession is a login that makes a role for each session.
func perSession(t *testing.T) pgwire.Upstream {
	t.Helper()
	if strings.TrimSpace(admin(t, `select count(*) from pg_roles where rolname = 'maker'`)) == "0" {
		admin(t, `create role app_rw; create role maker createrole login password 'maker-secret'; grant app_rw to maker with admin option;
			grant usage, create on schema public to app_rw`)
	}
	up := upstream()
	up.User, up.Password, up.MemberOf, up.Node = "maker", password("maker-secret"), []string{"app_rw"}, "node-aaaaa"
	return up
}

func sessionRoles(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(admin(t, `select coalesce(string_agg(rolname, ' ' order by rolname), '') from pg_roles where rolname like 'twokey\_%'`))
}

// start makes psql ask for the session's role.
func (r *rig) ready() {
	r.t.Helper()
	if err := r.Ready(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func TestARoleForEachSession(t *testing.T) {
	r := open(t, perSession(t))
	r.ready()
	name := r.User()
	if name != "twokey_alice_01jd00000000000000000000zz" || sessionRoles(t) != name {
		t.Errorf("the role is %q, and there are %q", name, sessionRoles(t))
	}
	attributes := admin(t, `select rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolconnlimit, rolpassword like 'SCRAM-SHA-256$4096:%',
		rolvaliduntil between now() and now() + '26 hours' from pg_authid where rolname = '`+name+`'`)
	if strings.TrimSpace(attributes) != "f|f|f|f|f|16|t|t" {
		t.Errorf("attributes %s", attributes)
	}
	out, errs := r.psql(`select current_user = session_user, pg_has_role('app_rw', 'usage');
		create table if not exists left_behind (id int); insert into left_behind values (7);
		select usename from pg_stat_activity where pid = pg_backend_pid();
		create role friend; alter role app_rw login;`, "-At", "-U", name)
	if !strings.Contains(out, "t|t") || !strings.Contains(out, name) || strings.Count(errs, "permission denied") != 2 {
		t.Errorf("psql printed %q and %q", out, errs)
	}
	if _, errs := r.psql("select 1", "-U", "maker"); !strings.Contains(errs, "refused") {
		t.Errorf("as the admin: %q", errs)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if left := sessionRoles(t); left != "" {
		t.Errorf("left are %q", left)
	}
	if owner := strings.TrimSpace(admin(t, `select tableowner from pg_tables where tablename = 'left_behind'; drop table left_behind`)); !strings.HasPrefix(owner, "app_rw") {
		t.Errorf("the table belongs to %q", owner)
	}
}

// A session that ends with its backend stuck in the middle of a statement
// leaves no role; the control connection is not the engineer's role.
func TestARoleIsGoneAfterAKill(t *testing.T) {
	r := open(t, perSession(t))
	r.ready()
	r.start(`do $$ begin loop begin perform pg_sleep(0.01); exception when query_canceled then null; end; end loop; end $$`, "-U", r.User())
	eventually(t, "it runs", func() bool {
		return strings.TrimSpace(admin(t, `select count(*) from pg_stat_activity where usename = '`+r.User()+`' and state = 'active'`)) == "1"
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := r.Kill(ctx); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if left := sessionRoles(t); left != "" {
		t.Errorf("left are %q", left)
	}
}

// A kill holds though the engineer locks the role out of everything and ends
// whatever connection of it they see.
func TestARoleCannotResistAKill(t *testing.T) {
	r := open(t, perSession(t))
	r.ready()
	admin(t, `create table if not exists resist (id int); grant all on resist to app_rw`)
	r.start(`do $$ begin
		begin execute 'alter role ' || quote_ident(current_user) || ' password ''mine'''; exception when others then null; end;
		begin perform pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and application_name = 'twokey control'; exception when others then null; end;
		loop begin perform pg_sleep(0.01); exception when query_canceled then insert into resist values (1); end; end loop; end $$`, "-U", r.User())
	eventually(t, "it runs", func() bool {
		return strings.TrimSpace(admin(t, `select count(*) from pg_stat_activity where usename = '`+r.User()+`' and state = 'active'`)) == "1"
	})
	time.Sleep(50 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := r.Kill(ctx); err != nil {
		t.Error(err)
	}
	if n := strings.TrimSpace(admin(t, `select count(*) from resist`)); n != "0" {
		t.Errorf("%s rows were committed", n)
	}
}

func TestSweep(t *testing.T) {
	db, err := pgwire.NewDatabase(perSession(t))
	if err != nil {
		t.Fatal(err)
	}
	r := listen(t, db)
	r.ready()
	admin(t, `set role maker;
		create role twokey_old in role app_rw; comment on role twokey_old is 'twokey session 01X of node node-aaaaa'; grant twokey_old to maker;
		create role twokey_other in role app_rw valid until '2100-01-01'; comment on role twokey_other is 'twokey session 01Y of node node-bbbbb'; grant twokey_other to maker;
		create role twokey_over in role app_rw valid until '2000-01-01'; comment on role twokey_over is 'twokey session 01Z of node node-bbbbb'; grant twokey_over to maker;
		create role twokey_human; reset role`)
	defer admin(t, `drop role twokey_other; drop role twokey_human`)
	dropped, err := db.Sweep(t.Context())
	if dropped != 2 || err != nil {
		t.Errorf("dropped %d, %v", dropped, err)
	}
	if left := sessionRoles(t); left != r.User()+" twokey_human twokey_other" {
		t.Errorf("left are %q", left)
	}
}

// A role is made as a whole or not at all: one without the comment that says
// whose it is would be found by no sweep.
func TestARoleThatCannotBeMadeLeavesNothing(t *testing.T) {
	r := open(t, perSession(t))
	locked := make(chan struct{})
	go func() {
		defer close(locked)
		cluster.ExecIn("orders", `begin; lock table pg_shdescription in access exclusive mode; select pg_sleep(1.5)`)
	}()
	eventually(t, "locked", func() bool {
		return strings.TrimSpace(admin(t, `select count(*) from pg_locks where relation = 'pg_shdescription'::regclass and granted`)) == "1"
	})
	ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	if err := r.Ready(ctx); err == nil {
		t.Error("a role was made")
	}
	<-locked
	if left := sessionRoles(t); left != "" {
		t.Errorf("left are %q", left)
		admin(t, `drop role "`+left+`"`)
	}
}

// What a role of a session leaves in another database is given away there.
func TestARoleThatLeavesSomethingElsewhere(t *testing.T) {
	up := perSession(t)
	if strings.TrimSpace(admin(t, "select count(*) from pg_database where datname = 'attic'")) == "0" {
		admin(t, "create database attic owner app_rw")
	}
	up.Others = []string{"attic"}
	r := open(t, up)
	r.ready()
	if _, errs := r.psql("create table kept (id int);", "-d", "attic", "-U", r.User()); errs != "" {
		t.Error(errs)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if left := sessionRoles(t); left != "" {
		t.Errorf("left are %q", left)
	}
	owner, err := cluster.ExecIn("attic", "select tableowner from pg_tables where tablename = 'kept'; drop table kept")
	if err != nil || strings.TrimSpace(owner) != "app_rw" {
		t.Errorf("it belongs to %q, %v", owner, err)
	}
}

// What a bastion that died has left is found, with what it owns in every database
// of the target, and whatever it still has open is ended.
func TestSweepOfSeveralDatabases(t *testing.T) {
	up := perSession(t)
	admin(t, `do $$ begin create role twokey_dead login in role app_rw; exception when duplicate_object then null; end $$`)
	if strings.TrimSpace(admin(t, "select count(*) from pg_database where datname = 'attic'")) == "0" {
		admin(t, "create database attic owner app_rw")
	}
	admin(t, `set role maker; comment on role twokey_dead is 'twokey session 01X of node node-aaaaa'; reset role; grant twokey_dead to maker;
		create table dead_here (id int); alter table dead_here owner to twokey_dead`)
	if _, err := cluster.ExecIn("attic", "create table dead_there (id int); alter table dead_there owner to twokey_dead; grant select on dead_there to twokey_dead"); err != nil {
		t.Fatal(err)
	}
	up.Others = []string{"attic"}
	db, err := pgwire.NewDatabase(up)
	if err != nil {
		t.Fatal(err)
	}
	if dropped, err := db.Sweep(t.Context()); dropped != 1 || err != nil || sessionRoles(t) != "" {
		t.Errorf("dropped %d, %v, left are %q", dropped, err, sessionRoles(t))
	}
	here := admin(t, "select tableowner from pg_tables where tablename = 'dead_here'; drop table dead_here")
	there, err := cluster.ExecIn("attic", "select tableowner from pg_tables where tablename = 'dead_there'; drop table dead_there")
	if strings.TrimSpace(here) != "app_rw" || strings.TrimSpace(there) != "app_rw" || err != nil {
		t.Errorf("they belong to %q and %q, %v", here, there, err)
	}
}

// What a DBA reads of a session's statement: the person and the session, in
// pg_stat_activity and in the server's log. And what holds for it.
func TestWhatADBASees(t *testing.T) {
	up := perSession(t)
	up.StatementTimeout, up.IdleInTransactionTimeout = 90*time.Second, 2*time.Minute
	r := open(t, up)
	r.ready()
	out, _ := r.psql(`select usename || ' ' || application_name from pg_stat_activity where pid = pg_backend_pid();
		show statement_timeout; show idle_in_transaction_session_timeout; show client_connection_check_interval; select 1 / 0 as of_alice;`, "-At", "-U", r.User())
	if want := r.User() + " twokey alice 01JD00000000000000000000ZZ\n90s\n2min\n1s\n"; out != want {
		t.Errorf("psql printed %q, want %q", out, want)
	}
	log, err := os.ReadFile(cluster.Log)
	if err != nil {
		t.Fatal(err)
	}
	if line := r.User() + " twokey alice 01JD00000000000000000000ZZ STATEMENT:  "; !strings.Contains(string(log), line) {
		t.Errorf("the log has no %q", line)
	}
}
