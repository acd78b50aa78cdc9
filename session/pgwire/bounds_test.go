package pgwire_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/twokey/twokey/session"
)

// A name that SQL has given to something else: what was asked for is what runs.
func TestAYesIsForTheTextThatWasAskedFor(t *testing.T) {
	for _, mode := range []session.Approve{"each", "writes", "commit"} {
		t.Run(string(mode), func(t *testing.T) {
			r := approving(t, mode, yes)
			conn := r.connect()
			if _, err := conn.Prepare(t.Context(), "s", "select $1::int", nil); err != nil {
				t.Fatal(err)
			}
			for _, sql := range []string{"begin", "do $$ begin execute 'deal'||'locate s'; execute 'pre'||'pare s(int) as delete from paid where id = $1 returning id'; end $$", "rollback"} {
				if _, err := conn.Exec(t.Context(), sql).ReadAll(); err != nil {
					t.Fatal(sql, err)
				}
			}
			result := conn.ExecPrepared(t.Context(), "s", [][]byte{[]byte("1")}, nil, nil).Read()
			if result.Err != nil || len(result.Rows) != 1 {
				t.Error(result.Rows, result.Err)
			}
			if got := states(t); got != "1new,2new" {
				t.Error(got)
			}
		})
	}
}

// A yes to all ends with its transaction, also when the extended protocol ends it.
func TestYesToAllEndsWithItsTransaction(t *testing.T) {
	r := approving(t, "writes", allYes)
	conn := r.connect()
	for _, sql := range []string{"begin", "select 1"} {
		if _, err := conn.Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.ExecParams(t.Context(), "rollback and chain", nil, nil, nil, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "delete from paid").ReadAll(); err != nil {
		t.Fatal(err)
	}
	if got := r.door.questions(); !strings.Contains(got, "delete from paid") {
		t.Errorf("asked:\n%s", got)
	}
}

// Nobody says yes to a parameter that is shown in part.
func TestParametersAreShownWhole(t *testing.T) {
	r := approving(t, "writes", yes)
	conn := r.connect()
	for _, size := range []int{100 << 10, 1 << 20} {
		long := append(bytes.Repeat([]byte("a"), size), '!')
		_, err := conn.ExecParams(t.Context(), "update paid set state = $1", [][]byte{long}, nil, nil, nil).Close()
		whole := r.door.get(func(d *door) bool {
			return len(d.asked) > 0 && d.asked[len(d.asked)-1].Params[0] == string(long)
		})
		if (err == nil) != whole {
			t.Errorf("%d: shown whole: %v, %v", size, whole, err)
		}
		r.door.set(func(d *door) { d.asked = nil })
	}
}

// A shadow reads what the database reads.
func TestTheShadowReadsWhatTheDatabaseReads(t *testing.T) {
	r := approving(t, "commit", yes)
	conn := r.connect()
	exec := func(sql string) error {
		_, err := conn.Exec(t.Context(), sql).ReadAll()
		return err
	}
	if err := exec("update paid set state = 'é' where id = 1"); err != nil {
		t.Error(err)
	}
	if err := exec("set client_encoding = latin1"); err != nil {
		t.Error(err)
	}
	if err := exec("update paid set state = 'é' where id = 2"); err == nil {
		t.Error("the shadow read é, the database Ã©")
	}
	if err := exec("update paid set state = 'x' where id = 2"); err != nil {
		t.Error(err)
	}
	if got := states(t); got != "1é,2x" {
		t.Error(got)
	}
}

// A trigger that refuses a COPY before it takes any data.
func TestCopyThatIsRefusedAtOnce(t *testing.T) {
	for _, mode := range []session.Approve{"writes", "commit"} {
		r := approving(t, mode, yes)
		admin(t, `create or replace function never() returns trigger language plpgsql as $$ begin raise exception 'never'; end $$;
			create trigger never before insert on paid for each statement execute function never()`)
		out, errs := r.psql("copy paid from stdin;\n3\tc\n\\.\nselect 7;")
		if !strings.Contains(errs, "never") || !strings.Contains(out, "7") {
			t.Errorf("%s: %q %q\n%s", mode, out, errs, r.door.tape())
		}
	}
}

// Read-only bounds that a read tries to leave.
func TestAReadCannotLeaveItsBounds(t *testing.T) {
	for _, mode := range []session.Approve{"writes", "commit"} {
		r := approving(t, mode, func(a session.AskInfo) session.Answer { t.Errorf("%+v", a); return session.Answer{} })
		admin(t, `create or replace function touchy(text) returns text language plpgsql as $$ begin execute $1; update paid set state = 'touched'; return 'done'; end $$;
		create or replace function quiet(text) returns text language plpgsql as $$ begin begin execute $1; exception when others then end; begin update paid set state = 'touched'; exception when others then end; return 'done'; end $$`)
		var script strings.Builder
		for _, sql := range []string{
			"set transaction read write", "commit", "rollback", "set session characteristics as transaction read write", "set local transaction_read_only = off",
			"begin", "commit; begin", "rollback; begin read write", "commit and chain", "prepare x as select 1",
		} {
			for _, f := range []string{"touchy", "quiet"} {
				script.WriteString("select " + f + "('" + sql + "');\n")
			}
		}
		script.WriteString("select set_config('transaction_read_only', 'off', false), touch();\n")
		script.WriteString("with x as materialized (select set_config('transaction_read_only', 'off', true)) select * from x, touch();\n")
		r.psql(script.String())
		if got := states(t); got != "1new,2new" {
			t.Error(mode, got)
		}
	}
}

// A cancel that comes in the middle of the gateway's own statements leaves nothing open.
func TestACancelledCommitLeavesNothingOpen(t *testing.T) {
	r := approving(t, "commit", yes)
	admin(t, `create or replace function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(20); return null; end $$;
		create constraint trigger slow after update on paid deferrable initially deferred for each row execute function slow()`)
	conn := r.connect()
	go func() {
		eventually(t, "committing", func() bool { return strings.Contains(r.door.tape(), "gateway commit") })
		time.Sleep(50 * time.Millisecond)
		conn.CancelRequest(context.Background())
	}()
	_, err := conn.Exec(t.Context(), "update paid set state = 'x'").ReadAll()
	if err == nil || conn.TxStatus() != 'I' {
		t.Errorf("%v, transaction %c", err, conn.TxStatus())
	}
	if got := states(t); got != "1new,2new" {
		t.Error(got)
	}
}

// What the gateway prepares again, the client sees nothing of: neither in a
// pipeline, nor when it fails.
func TestPreparedAgainUnseen(t *testing.T) {
	r := approving(t, "writes", yes)
	conn := r.connect()
	p := conn.StartPipeline(t.Context())
	p.SendPrepare("a", "update paid set state = $1 where id = 1 returning state", nil)
	p.SendPrepare("b", "select count(*) from paid where state = $1", nil)
	p.SendQueryPrepared("a", [][]byte{[]byte("x")}, nil, nil)
	p.SendQueryPrepared("b", [][]byte{[]byte("x")}, nil, nil)
	p.SendQueryPrepared("a", [][]byte{[]byte("y")}, nil, nil)
	p.SendDeallocate("b")
	if err := p.Sync(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		result, err := p.GetResults()
		if err != nil {
			t.Fatal(err)
		}
		if _, is := result.(*pgconn.PipelineSync); is {
			break
		}
		if rows, is := result.(*pgconn.ResultReader); is {
			read := rows.Read()
			if read.Err != nil {
				t.Fatal(read.Err)
			}
			got = append(got, string(read.Rows[0][0]))
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, " ") != "x 1 y" {
		t.Errorf("got %q", got)
	}
	admin(t, "alter table paid rename column state to status")
	if err := conn.ExecPrepared(t.Context(), "a", [][]byte{[]byte("z")}, nil, nil).Read().Err; err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("of a column that is gone: %v", err)
	}
	if _, err := conn.Exec(t.Context(), "select 1").ReadAll(); err != nil {
		t.Error(err)
	}
}
