package pgwire_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/twokey/twokey/session"
)

// approving opens a gateway in a mode that asks, in front of a fresh table.
func approving(t *testing.T, mode session.Approve, decide func(session.AskInfo) session.Answer) *rig {
	t.Helper()
	admin(t, `drop table if exists paid; create table paid (id int primary key, state text); insert into paid values (1, 'new'), (2, 'new');
		alter table paid owner to app;
		create or replace function touch() returns int language sql volatile as $$ update paid set state = 'touched'; select 1 $$`)
	want := request()
	want.Mode.Approve = mode
	r := opened(t, upstream(), want)
	r.door.decide = decide
	return r
}

func yes(session.AskInfo) session.Answer { return session.Answer{Yes: true, By: "bob"} }
func noWay(session.AskInfo) session.Answer {
	return session.Answer{By: "bob", Why: "wrong table"}
}

// allYes says yes to everything in the transaction.
func allYes(session.AskInfo) session.Answer { return session.Answer{Yes: true, All: true, By: "bob"} }

// questions is what was asked, a line each.
func (d *door) questions() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	for _, a := range d.asked {
		fmt.Fprintf(&b, "%s %s", a.Kind, a.Text)
		if a.Params != nil {
			fmt.Fprintf(&b, " %q", a.Params)
		}
		for _, did := range a.Did {
			fmt.Fprintf(&b, " | %s", did)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func states(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(admin(t, `select coalesce(string_agg(id || state, ',' order by id), '') from paid`))
}

// What each mode asks, and what is there afterwards: the script is psql's
// standard input.
func TestApproval(t *testing.T) {
	type story struct {
		name, script string
		mode         session.Approve
		decide       func(session.AskInfo) session.Answer
		asked        string // lines
		paid         string // the table afterwards
		out, errs    string // what psql prints, in part
	}
	const update = "update paid set state = 'x' where id = 1"
	for _, s := range []story{
		{name: "a read is not asked for", mode: "writes", script: "select count(*) from paid;", out: "2", paid: "1new,2new"},
		{name: "catalogue queries are reads", mode: "writes", script: "\\d paid", out: "paid_pkey", paid: "1new,2new"},
		{name: "a write is asked for", mode: "writes", decide: yes, script: update + ";", asked: "run " + update + ";", paid: "1x,2new", out: "UPDATE 1"},
		{name: "a write is refused", mode: "writes", decide: noWay, script: update + "; select 7;", asked: "run " + update + ";", paid: "1new,2new", errs: "twokey: bob said no: wrong table", out: "7"},
		{name: "a function that writes", mode: "writes", script: "select touch();", paid: "1new,2new", errs: "read-only transaction"},
		{name: "a function that writes, commit", mode: "commit", script: "select touch();", paid: "1new,2new", errs: "BEGIN and COMMIT"},
		{name: "nobody decides", mode: "writes", decide: func(session.AskInfo) session.Answer { return session.Answer{Why: "nobody decided within 2m"} },
			script: update + ";", asked: "run " + update + ";", paid: "1new,2new", errs: "twokey: nobody decided within 2m"},
		{name: "a CTE that writes", mode: "writes", decide: noWay, script: "with x as (delete from paid returning 1) select * from x;", asked: "run with x as (delete from paid returning 1) select * from x;", paid: "1new,2new", errs: "said no"},
		{name: "explain analyze", mode: "writes", decide: noWay, script: "explain analyze " + update + ";", asked: "run explain analyze " + update + ";", paid: "1new,2new", errs: "said no"},
		{name: "a setting of a read is gone after it", mode: "writes", script: "select set_config('search_path', 'evil', false); show search_path;", out: "public", paid: "1new,2new"},
		{name: "commit hidden behind a comment", mode: "writes", script: "select /* ; */ 1; -- x\n/* /* */ select */ select touch();", errs: "read-only", paid: "1new,2new"},
		{name: "in a transaction everything is asked for", mode: "writes", decide: yes,
			script: "begin; select 1; " + update + "; commit;",
			asked:  "run select 1;\nrun " + update + "; | SELECT 1: select 1;", paid: "1x,2new"},
		{name: "yes to all ends with the transaction", mode: "writes", decide: allYes,
			script: "begin; select 1; " + update + "; commit; update paid set state = 'y' where id = 2;",
			asked:  "run select 1;\nrun update paid set state = 'y' where id = 2;", paid: "1x,2y"},
		{name: "yes to all ends with a chained transaction", mode: "writes", decide: allYes,
			script: "begin; select 1; commit and chain; " + update + "; commit;",
			asked:  "run select 1;\nrun " + update + ";", paid: "1x,2new"},
		{name: "yes to all is for one statement at a time", mode: "writes", decide: allYes,
			script: "begin; select 1; " + update + " \\; select 2; commit;",
			asked:  "run select 1;\nrun " + update + " ; select 2; | SELECT 1: select 1;", paid: "1x,2new"},
		{name: "no ends the transaction as an error does", mode: "writes", decide: noWay,
			script: "begin; " + update + "; commit; select 'after';", asked: "run " + update + ";", paid: "1new,2new", out: "ROLLBACK", errs: "said no"},
		{name: "several statements are asked for as one", mode: "writes", decide: yes,
			script: "select 1 \\; " + update + " \\; select 2;", asked: "run select 1 ; " + update + " ; select 2;", paid: "1x,2new"},
		{name: "do is asked for", mode: "writes", decide: noWay, script: "do $$ begin update paid set state = 'x'; commit; end $$;", asked: "run do $$ begin update paid set state = 'x'; commit; end $$;", paid: "1new,2new", errs: "said no"},
		{name: "prepare and execute", mode: "writes", decide: noWay, script: "prepare p as " + update + ";\nexecute p;", asked: "run prepare p as " + update + ";\nrun execute p;", paid: "1new,2new", errs: "said no"},
		{name: "copy in", mode: "writes", decide: yes, script: "copy paid from stdin;\n3\tc\n\\.\n", asked: "run copy paid from stdin;", paid: "1new,2new,3c", out: "COPY 1"},
		{name: "copy in, refused", mode: "writes", decide: noWay, script: "copy paid from stdin;\n3\tc\n\\.\nselect 7;", asked: "run copy paid from stdin;", paid: "1new,2new", errs: "said no"},
		{name: "vacuum", mode: "writes", decide: yes, script: "vacuum paid;", asked: "run vacuum paid;", paid: "1new,2new", out: "VACUUM"},

		{name: "each asks for reads too", mode: "each", decide: yes, script: "select 1;", asked: "run select 1;", out: "1", paid: "1new,2new"},
		{name: "each never asks for a rollback", mode: "each", decide: yes, script: "begin; rollback;", asked: "run begin;", out: "ROLLBACK", paid: "1new,2new"},
		{name: "each in a transaction", mode: "each", decide: allYes, script: "begin; " + update + "; select 1; commit; select 2;", asked: "run begin;\nrun " + update + ";\nrun commit; | UPDATE 1: " + update + "; | SELECT 1: select 1;\nrun select 2;", paid: "1x,2new"},

		{name: "commit waits", mode: "commit", decide: yes, script: update + ";", asked: "commit " + update + "; | UPDATE 1: " + update + ";", out: "UPDATE 1", paid: "1x,2new"},
		{name: "commit refused", mode: "commit", decide: noWay, script: "delete from paid; select 7;", asked: "commit delete from paid; | DELETE 2: delete from paid;", errs: "said no", out: "7", paid: "1new,2new"},
		{name: "a read is not asked for, commit", mode: "commit", script: "select count(*) from paid;", out: "2", paid: "1new,2new"},
		{name: "returning, refused", mode: "commit", decide: noWay, script: "delete from paid returning id;", asked: "commit delete from paid returning id; | DELETE 2: delete from paid returning id;", errs: "said no", paid: "1new,2new"},
		{name: "an error is not asked for", mode: "commit", script: "insert into paid values (1, 'again');", errs: "duplicate key", paid: "1new,2new"},
		{name: "a transaction", mode: "commit", decide: yes, script: "begin; " + update + "; delete from paid where id = 2; commit;",
			asked: "commit commit; | UPDATE 1: " + update + "; | DELETE 1: delete from paid where id = 2;", paid: "1x", out: "COMMIT"},
		{name: "a chained transaction begins anew", mode: "commit", decide: yes, script: "begin; " + update + "; commit and chain; delete from paid where id = 2; commit;",
			asked: "commit commit and chain; | UPDATE 1: " + update + ";\ncommit commit; | DELETE 1: delete from paid where id = 2;", paid: "1x"},
		{name: "a transaction, refused", mode: "commit", decide: noWay, script: "begin; " + update + "; end; select 'after';", asked: "commit end; | UPDATE 1: " + update + ";", errs: "said no", out: "after", paid: "1new,2new"},
		{name: "a transaction given up", mode: "commit", script: "begin; delete from paid; rollback;", out: "ROLLBACK", paid: "1new,2new"},
		{name: "prepare transaction", mode: "commit", decide: noWay, script: "begin; delete from paid; prepare transaction 'x';", asked: "commit prepare transaction 'x'; | DELETE 2: delete from paid;", errs: "said no", paid: "1new,2new"},
		{name: "several statements, commit", mode: "commit", decide: noWay, script: "delete from paid \\; commit;", asked: "run delete from paid ; commit;", errs: "said no", paid: "1new,2new"},
		{name: "several statements in a transaction", mode: "commit", decide: noWay, script: "begin; delete from paid \\; commit;", asked: "run delete from paid ; commit;", errs: "said no", paid: "1new,2new"},
		{name: "vacuum, commit", mode: "commit", decide: yes, script: "vacuum paid;", asked: "run vacuum paid;", out: "VACUUM", paid: "1new,2new"},
		{name: "vacuum, refused", mode: "commit", decide: noWay, script: "create index concurrently on paid (state);", asked: "run create index concurrently on paid (state);", errs: "said no", paid: "1new,2new"},
		{name: "do cannot commit", mode: "commit", script: "do $$ begin update paid set state = 'x'; commit; end $$;", errs: "invalid transaction termination", paid: "1new,2new"},
		{name: "a cursor that outlives", mode: "commit", decide: noWay, script: "declare c cursor with hold for select touch();", asked: "commit declare c cursor with hold for select touch(); | DECLARE CURSOR: declare c cursor with hold for select touch();", errs: "said no", paid: "1new,2new"},
		{name: "execute, commit", mode: "commit", decide: noWay, script: "prepare p as " + update + ";\nexecute p;", asked: "commit execute p; | UPDATE 1: execute p;", errs: "said no", paid: "1new,2new"},
		{name: "copy in, commit", mode: "commit", decide: yes, script: "copy paid from stdin;\n3\tc\n\\.\n", asked: "commit copy paid from stdin; | COPY 1: copy paid from stdin;", out: "COPY 1", paid: "1new,2new,3c"},
		{name: "copy in, commit refused", mode: "commit", decide: noWay, script: "copy paid from stdin;\n3\tc\n\\.\nselect 7;", asked: "commit copy paid from stdin; | COPY 1: copy paid from stdin;", errs: "said no", out: "7", paid: "1new,2new"},
		{name: "copy in that fails", mode: "commit", script: "copy paid from stdin;\n1\tc\n\\.\nselect 7;", errs: "duplicate key", out: "7", paid: "1new,2new"},
		{name: "a deferred constraint fails at the commit", mode: "commit", decide: yes,
			script: "create table d (id int references paid deferrable initially deferred);\ninsert into d values (9);\ndrop table d;",
			asked:  "commit create table d (id int references paid deferrable initially deferred); | CREATE TABLE: create table d (id int references paid deferrable initially deferred);\ncommit insert into d values (9); | INSERT 0 1: insert into d values (9);\ncommit drop table d; | DROP TABLE: drop table d;",
			errs:   "violates foreign key", paid: "1new,2new"},
		{name: "settings are free, commit", mode: "commit", script: "set work_mem = '8MB'; show work_mem;", out: "8MB", paid: "1new,2new"},
		{name: "savepoints", mode: "commit", decide: yes, script: "\\set ON_ERROR_ROLLBACK on\nbegin;\n" + update + ";\nselect 1/0;\ncommit;",
			asked: "commit commit; | UPDATE 1: " + update + ";", errs: "division by zero", out: "COMMIT", paid: "1x,2new"},
	} {
		t.Run(s.name, func(t *testing.T) {
			decide := s.decide
			if decide == nil {
				decide = func(a session.AskInfo) session.Answer { t.Errorf("asked: %+v", a); return session.Answer{} }
			}
			r := approving(t, s.mode, decide)
			out, errs := r.psql(s.script)
			if got := strings.TrimSpace(r.door.questions()); got != s.asked {
				t.Errorf("asked:\n%s\nwant:\n%s", got, s.asked)
			}
			if got := states(t); got != s.paid {
				t.Errorf("the table: %s, want %s", got, s.paid)
			}
			if !strings.Contains(out, s.out) || !strings.Contains(errs, s.errs) || s.errs == "" && errs != "" {
				t.Errorf("psql printed %q and %q", out, errs)
			}
			if t.Failed() {
				t.Log(r.door.tape())
			}
		})
	}
}

// Everything the database gets is on the tape, also what the gateway sends on its own.
func TestApprovalIsOnTheTape(t *testing.T) {
	r := approving(t, "commit", yes)
	r.psql("delete from paid where id = 1;")
	tape := r.door.tape()
	for _, want := range []string{"1> simple delete from paid where id = 1;", "1< DELETE 1 T", "2> gateway commit", "2< COMMIT I"} {
		if !strings.Contains(tape, want) {
			t.Errorf("not on the tape: %q\n%s", want, tape)
		}
	}
}

// Ctrl-C takes the question back; the connection goes on.
func TestAQuestionIsTakenBack(t *testing.T) {
	for _, mode := range []session.Approve{"writes", "commit"} {
		r := approving(t, mode, nil)
		conn := r.connect()
		go func() {
			eventually(t, "asked", func() bool { return r.door.questions() != "" })
			conn.CancelRequest(t.Context())
		}()
		_, err := conn.Exec(t.Context(), "delete from paid").ReadAll()
		if pg := (*pgconn.PgError)(nil); err == nil || !errors.As(err, &pg) || pg.Code != "57014" {
			t.Errorf("%s: %v", mode, err)
		}
		if _, err := conn.Exec(t.Context(), "select 1").ReadAll(); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		if got := states(t); got != "1new,2new" {
			t.Errorf("%s: %s", mode, got)
		}
	}
}

// A client that goes away while it waits leaves nothing behind.
func TestAQuestionOfAClientThatIsGone(t *testing.T) {
	r := approving(t, "commit", nil)
	p := r.start("delete from paid;")
	eventually(t, "asked", func() bool { return r.door.questions() != "" })
	p.Process.Kill()
	p.Wait()
	eventually(t, "gone", func() bool { return strings.TrimSpace(backends(t)) == "0" })
	if got := states(t); got != "1new,2new" {
		t.Error(got)
	}
}

// The extended protocol, as drivers speak it. A story is batches, each ended by a
// Sync; a batch is statements with a ; between them.
func TestApprovalOfTheExtendedProtocol(t *testing.T) {
	const update = "update paid set state = 'x' where id = 1"
	for _, s := range []struct {
		name    string
		mode    session.Approve
		decide  func(session.AskInfo) session.Answer
		batches []string
		asked   string // lines
		paid    string // the table afterwards
		tags    string // what the client reads, and the first error
		tx      byte   // as the client has it, when it is not I
	}{
		{name: "each, a read", mode: "each", decide: yes, batches: []string{"select 1"}, asked: "run select 1", tags: "SELECT 1"},
		{name: "each, all", mode: "each", decide: allYes, batches: []string{"begin", "select 1", update, "commit"}, asked: "run begin\nrun select 1\nrun commit | SELECT 1: select 1 | UPDATE 1: " + update, paid: "1x,2new", tags: "BEGIN,SELECT 1,UPDATE 1,COMMIT"},
		{name: "each, all, chained", mode: "each", decide: allYes, batches: []string{"begin", "select 1", "commit and chain", update, "rollback"}, asked: "run begin\nrun select 1\nrun commit and chain | SELECT 1: select 1\nrun " + update, tags: "BEGIN,SELECT 1,COMMIT,UPDATE 1,ROLLBACK"},
		{name: "each, given up", mode: "each", decide: yes, batches: []string{"begin", "rollback"}, asked: "run begin", tags: "BEGIN,ROLLBACK"},

		{name: "a read", mode: "writes", batches: []string{"select 1", "select 2; table paid"}, tags: "SELECT 1,SELECT 1,SELECT 2"},
		{name: "nothing", mode: "writes", batches: []string{""}, tags: ""},
		{name: "a read that writes", mode: "writes", batches: []string{"select touch()"}, tags: "25006"},
		{name: "a read that leaves a setting", mode: "writes", batches: []string{"select set_config('work_mem', '77kB', false)", "show work_mem"}, tags: "SELECT 1,SHOW=4MB"},
		{name: "a write", mode: "writes", decide: yes, batches: []string{update}, asked: "run " + update, paid: "1x,2new", tags: "UPDATE 1"},
		{name: "a write, refused", mode: "writes", decide: noWay, batches: []string{update, "select 1"}, asked: "run " + update, tags: "42501,SELECT 1"},
		{name: "a read, then a write", mode: "writes", batches: []string{"select 1; " + update, "select 1"}, tags: "SELECT 1,42501,SELECT 1"},
		{name: "a read, then the end of its bounds", mode: "writes", batches: []string{"select 1; commit; " + update}, tags: "SELECT 1,42501"},
		{name: "a read, then a rollback of its bounds", mode: "writes", batches: []string{"select 1; rollback; " + update}, tags: "SELECT 1,42501"},
		{name: "a write, then a read that writes", mode: "writes", decide: once(), batches: []string{update + "; select touch()"}, asked: "run " + update + "\nrun select touch()", tags: "UPDATE 1,42501"},
		{name: "a rollback, then a write", mode: "writes", decide: noWay, batches: []string{"rollback; " + update}, asked: "run " + update, tags: "ROLLBACK,42501"},
		{name: "in a transaction", mode: "writes", decide: allYes, batches: []string{"begin; select 1", update, "commit; select 2"}, asked: "run select 1\nrun select 2", paid: "1x,2new", tags: "BEGIN,SELECT 1,UPDATE 1,COMMIT,SELECT 1"},
		{name: "yes to all ends with the transaction", mode: "writes", decide: allYes, batches: []string{"begin", "select 1; commit; begin; " + update + "; commit"}, asked: "run select 1\nrun begin\nrun " + update + "\nrun commit", paid: "1x,2new", tags: "BEGIN,SELECT 1,COMMIT,BEGIN,UPDATE 1,COMMIT"},
		{name: "a transaction that failed", mode: "writes", decide: yes, batches: []string{"begin", "select 1/0", "select 1", "rollback; " + update}, asked: "run select 1/0\nrun " + update, paid: "1x,2new", tags: "BEGIN,22012,25P02,ROLLBACK,UPDATE 1"},
		{name: "a name that SQL made", mode: "writes", decide: once(), batches: []string{"prepare p as " + update, "=p"}, asked: "run prepare p as " + update + "\nrun -- twokey: prepared statement \"p\" was made by SQL", tags: "PREPARE,42501"},

		{name: "commit waits", mode: "commit", decide: yes, batches: []string{update}, asked: "commit " + update + " | UPDATE 1: " + update, paid: "1x,2new", tags: "UPDATE 1"},
		{name: "commit refused", mode: "commit", decide: noWay, batches: []string{update, "select 1"}, asked: "commit " + update + " | UPDATE 1: " + update, tags: "UPDATE 1,42501,SELECT 1"},
		{name: "two are committed as one", mode: "commit", decide: noWay, batches: []string{update + "; delete from paid"}, asked: "commit " + update + ";\ndelete from paid | UPDATE 1: " + update + " | DELETE 2: delete from paid", tags: "UPDATE 1,DELETE 2,42501"},
		{name: "a read, commit", mode: "commit", batches: []string{"select 1"}, tags: "SELECT 1"},
		{name: "an error is not asked for", mode: "commit", batches: []string{"insert into paid values (1, 'again')", "select 1"}, tags: "23505,SELECT 1"},
		{name: "the end of our bounds", mode: "commit", batches: []string{update + "; commit"}, tags: "UPDATE 1,42501"},
		{name: "what cannot wait", mode: "commit", batches: []string{"vacuum paid", "select 1"}, tags: "25001,SELECT 1"},
		{name: "a transaction", mode: "commit", decide: yes, batches: []string{"begin", update, "select 1", "commit"}, asked: "commit commit | UPDATE 1: " + update + " | SELECT 1: select 1", paid: "1x,2new", tags: "BEGIN,UPDATE 1,SELECT 1,COMMIT"},
		{name: "a transaction, refused", mode: "commit", decide: noWay, batches: []string{"begin; " + update, "commit", "rollback"}, asked: "commit commit | UPDATE 1: " + update, tags: "BEGIN,UPDATE 1,42501,ROLLBACK"},
		{name: "a transaction in one batch", mode: "commit", decide: noWay, batches: []string{"begin; " + update + "; commit"}, asked: "commit commit | not answered yet: " + update, tags: "BEGIN,UPDATE 1,42501", tx: 'E'},
		{name: "a transaction given up", mode: "commit", batches: []string{"begin; " + update + "; rollback", "select 1"}, tags: "BEGIN,UPDATE 1,ROLLBACK,SELECT 1"},
		{name: "an empty transaction", mode: "commit", batches: []string{"begin; commit"}, tags: "BEGIN,COMMIT"},
		{name: "what a commit hides", mode: "commit", decide: once(), batches: []string{"begin; " + update + "; commit; delete from paid"}, asked: "commit commit | not answered yet: " + update + "\nrun delete from paid", tags: "BEGIN,UPDATE 1,COMMIT,42501", paid: "1x,2new"},
		{name: "rows that are not all fetched", mode: "commit", decide: noWay, batches: []string{"begin", "1@delete from paid returning id", "commit"}, asked: "commit commit | the first rows: delete from paid returning id", tags: "BEGIN,42501", tx: 'E'},
		{name: "a name that SQL made of a commit", mode: "commit", batches: []string{"c:rollback", "begin", "do $$ begin execute 'deal'||'locate c';execute 'pre'||'pare c as delete from paid';end $$", "rollback", "=c"}, tags: "BEGIN,DO,ROLLBACK,ROLLBACK"},
		{name: "a commit that was bound before there was anything to commit", mode: "commit", decide: noWay, batches: []string{"begin", "p<commit", update + "; !p"}, asked: "run commit", tags: "BEGIN,UPDATE 1,42501", tx: 'E'},
		{name: "a write that was bound before a commit was asked for", mode: "commit", decide: once(), batches: []string{"begin; q<" + update + "; p<commit; !q; !p"}, asked: "commit commit\nrun " + update, tags: "BEGIN,42501", tx: 'E'},
		{name: "a write that was bound in an empty transaction", mode: "commit", decide: noWay, batches: []string{"begin; q<" + update, "p<commit; !q; !p"}, asked: "run " + update, tags: "BEGIN,42501", tx: 'E'},
		{name: "a portal that is fetched in pieces", mode: "commit", batches: []string{"begin; q<select id from paid", "1!q", "1!q", "rollback"}, tags: "BEGIN,ROLLBACK"},
		{name: "a write that was bound and is run later", mode: "commit", decide: noWay, batches: []string{"begin; q<" + update, "!q", "commit"}, asked: "commit commit | UPDATE 1: " + update, tags: "BEGIN,UPDATE 1,42501", tx: 'E'},
		{name: "a setting", mode: "commit", batches: []string{"set work_mem = '77kB'", "show work_mem"}, tags: "SET,SHOW=77kB"},
	} {
		t.Run(s.name, func(t *testing.T) {
			decide := s.decide
			if decide == nil {
				decide = func(a session.AskInfo) session.Answer { t.Errorf("asked: %+v", a); return session.Answer{} }
			}
			r := approving(t, s.mode, decide)
			c := r.enter()
			var tags []string
			tx := byte('I')
			for _, batch := range s.batches {
				var got []string
				got, tx = c.batch(batch)
				tags = append(tags, got...)
			}
			want := s.asked
			if want != "" {
				want += "\n"
			}
			if got := r.door.questions(); got != want {
				t.Errorf("asked:\n%swant:\n%s", got, want)
			}
			if got := strings.Join(tags, ","); got != s.tags {
				t.Errorf("she reads %s, want %s", got, s.tags)
			}
			if got, want := states(t), cmp.Or(s.paid, "1new,2new"); got != want {
				t.Errorf("the table is %s, want %s", got, want)
			}
			if tx != cmp.Or(s.tx, 'I') {
				t.Errorf("the transaction is %c", tx)
			}
			if text := r.door.tape(); strings.Contains(text, "alarm") {
				t.Error(text)
			}
		})
	}
}

// once says yes, and then no.
func once() func(session.AskInfo) session.Answer {
	asked := 0
	return func(session.AskInfo) session.Answer {
		asked++
		return session.Answer{Yes: asked == 1, By: "bob", Why: "no"}
	}
}

// batch sends statements and a Sync, and returns the tags, with the only value
// of a SHOW, and the first error's SQLSTATE. "p:" prepares p, "=p" executes it,
// "p<" binds a portal, "!p" executes it, "1@" and "1!p" ask for one row.
func (c *client) batch(text string) (tags []string, tx byte) {
	var messages []pgproto3.FrontendMessage
	for sql := range strings.SplitSeq(text, "; ") {
		var rows uint32
		if name, query, named := strings.Cut(sql, ":"); named && len(name) == 1 {
			messages = append(messages, &pgproto3.Parse{Name: name, Query: query})
			continue
		}
		if name, query, bound := strings.Cut(sql, "<"); bound && len(name) == 1 {
			messages = append(messages, &pgproto3.Parse{Query: query}, &pgproto3.Bind{DestinationPortal: name})
			continue
		}
		if rows, name, run := strings.Cut(sql, "!"); run && len(rows) < 2 {
			n, _ := strconv.Atoi(rows)
			messages = append(messages, &pgproto3.Execute{Portal: name, MaxRows: uint32(n)})
			continue
		}
		name, prepared := strings.CutPrefix(sql, "=")
		if one, ok := strings.CutPrefix(sql, "1@"); ok {
			sql, rows = one, 1
		}
		if !prepared {
			name = ""
			messages = append(messages, &pgproto3.Parse{Query: sql})
		}
		messages = append(messages, &pgproto3.Bind{PreparedStatement: name}, &pgproto3.Execute{MaxRows: rows})
	}
	c.send(encode(append(messages, &pgproto3.Sync{})...))
	var value string
	for {
		m, err := c.fe.Receive()
		if err != nil {
			c.t.Fatalf("%v after %v", err, tags)
		}
		switch m := m.(type) {
		case *pgproto3.DataRow:
			value = string(m.Values[0])
		case *pgproto3.CommandComplete:
			tag := string(m.CommandTag)
			if tag == "SHOW" {
				tag += "=" + value
			}
			tags = append(tags, tag)
		case *pgproto3.ErrorResponse:
			tags = append(tags, m.Code)
		case *pgproto3.ReadyForQuery:
			return tags, m.TxStatus
		}
	}
}

// In a batch, a no undoes what was said yes to before it.
func TestANoFailsTheBatch(t *testing.T) {
	n := 0
	r := approving(t, "writes", func(session.AskInfo) session.Answer {
		n++
		return session.Answer{Yes: n == 1, By: "bob", Why: "no"}
	})
	conn := r.connect()
	batch := &pgconn.Batch{}
	batch.ExecParams("update paid set state = 'a' where id = 1", nil, nil, nil, nil)
	batch.ExecParams("update paid set state = 'b' where id = 2", nil, nil, nil, nil)
	batch.ExecParams("update paid set state = 'c'", nil, nil, nil, nil)
	_, err := conn.ExecBatch(t.Context(), batch).ReadAll()
	if err == nil || !strings.Contains(err.Error(), "bob said no") {
		t.Error(err)
	}
	if got := states(t); got != "1new,2new" || n != 2 {
		t.Errorf("%s, asked %d times", got, n)
	}
}

// Rows beyond what may be shown wait; a result that was begun goes on where it was.
func TestRowsWait(t *testing.T) {
	r := open(t, upstream())
	r.door.set(func(d *door) { d.rows = 100 })
	var rows atomic.Int64
	done := make(chan error)
	go func() {
		result := r.connect().Exec(t.Context(), "select * from generate_series(1, 1000)")
		for result.NextResult() {
			for read := result.ResultReader(); read.NextRow(); {
				rows.Add(1)
			}
		}
		done <- result.Close()
	}()
	eventually(t, "a hundred rows", func() bool { return rows.Load() == 100 })
	time.Sleep(50 * time.Millisecond)
	if n := rows.Load(); n != 100 {
		t.Errorf("%d rows came", n)
	}
	r.door.set(func(d *door) { d.rows = 0 })
	if err := <-done; err != nil || rows.Load() != 1000 {
		t.Errorf("%d rows, %v", rows.Load(), err)
	}
}

// A kill does not wait for rows, nor for an answer.
func TestKillWhileWaiting(t *testing.T) {
	r := approving(t, "commit", nil)
	r.start("delete from paid;")
	eventually(t, "asked", func() bool { return r.door.questions() != "" })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := r.Kill(ctx); err != nil {
		t.Error(err)
	}
	if got := states(t); got != "1new,2new" {
		t.Error(got)
	}
}
