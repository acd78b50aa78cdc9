package pgwire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// TestKill tries the eight kinds of statement of the hardening list, and more,
// each with a row before and a row after it that must not be committed.
func TestKill(t *testing.T) {
	kinds := []struct {
		name, sql string
		running   string // condition on pg_stat_activity that says it runs
	}{
		{"pg_sleep", "insert into k values (1); select pg_sleep(60); insert into k values (2)", "wait_event = 'PgSleep'"},
		{"update with sleep", "update held set n = n + 1, s = pg_sleep(60)::text", "wait_event = 'PgSleep'"},
		{"plpgsql loop", "do $$ begin loop perform pg_sleep(0.001); insert into k values (1); end loop; end $$", ""},
		{"tight loop", "insert into k values (1); do $$ begin loop null; end loop; end $$", ""},
		{"loop that catches the cancel", "insert into k values (1); do $$ begin loop begin perform pg_sleep(60); exception when query_canceled then null; end; end loop; end $$", "wait_event = 'PgSleep'"},
		{"copy out", "copy (select repeat('x', 1000), generate_series(1, 100000000)) to stdout", "wait_event = 'ClientWrite'"},
		{"rows out", "select repeat('x', 1000), generate_series(1, 100000000)", "wait_event = 'ClientWrite'"},
		{"copy in", "insert into k values (1); copy k from stdin", "wait_event = 'ClientRead'"},
		{"lock", "insert into k values (1); lock table held", "wait_event_type = 'Lock'"},
		{"ddl", "insert into k values (1); alter table held add column if not exists more int default 1", "wait_event_type = 'Lock'"},
		{"create index", "insert into k values (1); create index on big (md5(md5(md5(n::text)))); create table made_by_index ()", ""},
		{"idle in transaction", "begin; insert into k values (1)", ""},
	}
	admin(t, `drop table if exists k, held, big, made_by_index; create table k (n int); create table held (n int, s text); insert into held values (1);
		create table big as select n from generate_series(1, 1000000) n; alter table k owner to app; alter table held owner to app; alter table big owner to app`)
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			release := lockHeld(t, strings.Contains(kind.running, "Lock"))
			defer release()
			r := open(t, upstream())
			conn := r.connect()
			stuck(t, conn, kind.sql)
			eventually(t, "the statement runs", func() bool {
				condition := kind.running
				if condition == "" {
					condition = "(query_start < now() - interval '20 ms')"
				}
				return admin(t, "select count(*) > 0 from pg_stat_activity where application_name like 'twokey alice%' and "+condition) == "t"
			})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			start := time.Now()
			if err := r.Kill(ctx); err != nil {
				t.Fatal(err)
			}
			took := time.Since(start)
			if backends(t) != "0" {
				t.Error("a backend is still there")
			}
			release()
			if n := admin(t, "select (select count(*) from k) + (select n - 1 from held) + (select count(*) from pg_class where relname = 'made_by_index')"); n != "0" {
				t.Errorf("%s changes were committed", n)
			}
			t.Logf("gone after %v", took.Round(100*time.Microsecond))
			if took > time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// stuck sends a statement and reads nothing of the answer.
func stuck(t *testing.T, conn *pgconn.PgConn, sql string) {
	t.Helper()
	conn.Frontend().Send(&pgproto3.Query{String: sql})
	if err := conn.Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
}

// lockHeld holds a lock on the table held until release.
func lockHeld(t *testing.T, really bool) (release func()) {
	if !really {
		return func() {}
	}
	conn, err := pgconn.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=postgres dbname=orders", cluster.Socket, cluster.Port))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "begin; lock table held").ReadAll(); err != nil {
		t.Fatal(err)
	}
	return func() { conn.Close(context.Background()) }
}

func TestKillWithTheControlConnectionGone(t *testing.T) {
	r := open(t, upstream())
	stuck(t, r.connect(), "select pg_sleep(60)")
	eventually(t, "it runs", func() bool { return strings.Contains(r.door.tape(), "pg_sleep") })
	admin(t, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'twokey control'")
	eventually(t, "control is gone", func() bool {
		return admin(t, "select count(*) from pg_stat_activity where application_name = 'twokey control'") == "0"
	})
	if err := r.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if backends(t) != "0" {
		t.Error("a backend is still there")
	}
	if err := r.Kill(t.Context()); err != nil {
		t.Error("a second kill: ", err)
	}
}

// A backend that does not die is said by its pid, in time.
func TestKillThatCannotBeConfirmed(t *testing.T) {
	r := open(t, upstream())
	conn := r.connect()
	pid := int(conn.PID())
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err != nil {
		t.Skip("the backend is not a process of this machine")
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Skip(err)
	}
	defer syscall.Kill(pid, syscall.SIGCONT)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := r.Kill(ctx)
	if err == nil || !strings.Contains(err.Error(), strconv.Itoa(pid)) {
		t.Errorf("%v, want an error that names %d", err, pid)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
	syscall.Kill(pid, syscall.SIGCONT)
	if err := r.Kill(t.Context()); err != nil {
		t.Error("a second kill, of a backend that runs again: ", err)
	}
}

// Killing while a client is on its way in leaves nothing behind.
func TestKillAtAnyMoment(t *testing.T) {
	for i := range 15 {
		r := open(t, upstream())
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, err := r.tryConnect("app", "orders")
			if err == nil {
				conn.Exec(context.Background(), "select pg_sleep(60)").ReadAll()
			}
		}()
		time.Sleep(time.Duration(i) * 2 * time.Millisecond)
		if err := r.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-done
		eventually(t, "no backend is left", func() bool { return backends(t) == "0" })
	}
}

func TestNothingGoesAfterAKill(t *testing.T) {
	admin(t, "create table if not exists after (n int); truncate after; alter table after owner to app")
	r := open(t, upstream())
	conn := r.connect()
	r.door.set(func(d *door) { d.shut = true })
	stuck(t, conn, "insert into after values (1)")
	eventually(t, "it waits", func() bool { return r.door.get(func(d *door) bool { return d.waiting == 1 }) })
	if err := r.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.door.set(func(d *door) { d.shut = false })
	if n := admin(t, "select count(*) from after"); n != "0" {
		t.Error("committed")
	}
	if _, err := net.Dial("unix", r.dir+"/.s.PGSQL.5432"); err == nil {
		t.Error("the socket still accepts")
	}
	if _, err := r.tryConnect("app", "orders"); err == nil {
		t.Error("a client got in")
	}
}

func TestTheGate(t *testing.T) {
	admin(t, "create table if not exists gate (n int); truncate gate; alter table gate owner to app")
	r := open(t, upstream())
	conn := r.connect()
	if _, err := conn.Exec(t.Context(), "insert into gate values (1)").ReadAll(); err != nil {
		t.Fatal(err)
	}
	r.door.set(func(d *door) { d.shut = true })
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "insert into gate values (2)").ReadAll()
		done <- err
	}()
	eventually(t, "it waits", func() bool { return r.door.get(func(d *door) bool { return d.waiting == 1 }) })
	if n := admin(t, "select count(*) from gate"); n != "1" {
		t.Errorf("%s rows while the gate is shut", n)
	}
	r.door.set(func(d *door) { d.shut = false })
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.door.set(func(d *door) { d.refuse = errTape })
	_, err := conn.Exec(t.Context(), "insert into gate values (3)").ReadAll()
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || !strings.Contains(pg.Message, "no space left") {
		t.Errorf("the client reads %v", err)
	}
	if n := admin(t, "select count(*) from gate"); n != "2" {
		t.Errorf("%s rows", n)
	}
}

// COPY data asks at the gate like anything else.
func TestTheGateInTheMiddleOfACopy(t *testing.T) {
	admin(t, "create table if not exists gate (n int); truncate gate; alter table gate owner to app")
	r := open(t, upstream())
	conn := r.connect()
	data, feed := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := conn.CopyFrom(context.Background(), data, "copy gate from stdin")
		done <- err
	}()
	feed.Write([]byte("1\n"))
	eventually(t, "it copies", func() bool { return strings.Contains(r.door.tape(), "copy gate") })
	r.door.set(func(d *door) { d.shut = true })
	go func() { feed.Write([]byte("2\n")); feed.Close() }()
	eventually(t, "it waits", func() bool { return r.door.get(func(d *door) bool { return d.waiting == 1 }) })
	r.door.set(func(d *door) { d.refuse = errTape })
	if err := <-done; err == nil {
		t.Error("the COPY came to its end")
	}
	if n := admin(t, "select count(*) from gate"); n != "0" {
		t.Errorf("%s rows", n)
	}
}

// What cannot be noted is not shown.
func TestAResultThatCannotBeRecorded(t *testing.T) {
	r := open(t, upstream())
	conn := r.connect()
	r.door.set(func(d *door) { d.blind = errTape })
	results, err := conn.Exec(t.Context(), "select 'secret'").ReadAll()
	if err == nil || len(results) > 0 && len(results[0].Rows) > 0 {
		t.Errorf("the client read %v, %v", results, err)
	}
}
