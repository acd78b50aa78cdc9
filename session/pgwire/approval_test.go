package pgwire_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

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

// The extended protocol: each Bind is asked for, whatever it looks like.
func TestApprovalOfTheExtendedProtocol(t *testing.T) {
	for _, mode := range []session.Approve{"each", "writes", "commit"} {
		t.Run(string(mode), func(t *testing.T) {
			r := approving(t, mode, yes)
			conn := r.connect()
			query := func() error {
				_, err := conn.ExecParams(t.Context(), "update paid set state = $1 where id = $2", [][]byte{[]byte("x"), []byte("1")}, nil, nil, nil).Close()
				return err
			}
			if err := query(); err != nil {
				t.Fatal(err)
			}
			if got := r.door.questions(); got != "run update paid set state = $1 where id = $2 [\"x\" \"1\"]\n" {
				t.Errorf("asked %s", got)
			}
			r.door.set(func(d *door) { d.decide = noWay })
			admin(t, "update paid set state = 'new'")
			if err := query(); err == nil || !strings.Contains(err.Error(), "bob said no") {
				t.Error(err)
			}
			if got := states(t); got != "1new,2new" {
				t.Error(got)
			}
			r.door.set(func(d *door) { d.decide = yes })
			if err := query(); err != nil {
				t.Error(err)
			}
			if got := states(t); got != "1x,2new" {
				t.Error(got)
			}
		})
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
