package pgwire_test

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/twokey/twokey/session/pgwire/pgtest"
)

// direct is a connection as the gateway makes it, without the gateway.
func direct(b testing.TB) *pgconn.PgConn {
	u := upstream()
	pw, _ := u.Password(context.Background())
	cfg, err := pgconn.ParseConfig(fmt.Sprintf("host=%s port=%d user=app dbname=orders sslmode=%s sslrootcert=%s", u.Host, u.Port, u.SSLMode, u.SSLRootCert))
	if err != nil {
		b.Fatal(err)
	}
	cfg.Password = pw
	conn, err := pgconn.ConnectConfig(context.Background(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func both(b *testing.B, run func(b *testing.B, conn *pgconn.PgConn)) {
	b.Run("direct", func(b *testing.B) { run(b, direct(b)) })
	b.Run("gateway", func(b *testing.B) { run(b, open(b, upstream()).connect()) })
}

func BenchmarkSelectOne(b *testing.B) {
	both(b, func(b *testing.B, conn *pgconn.PgConn) {
		for b.Loop() {
			if _, err := conn.Exec(b.Context(), "select 1").ReadAll(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkMillionRows reads them with Postgres's own client, apart from this
// process, as psql would.
func BenchmarkMillionRows(b *testing.B) {
	const sql = "copy (select 1) to stdout; select n, 'a customer''s name' || n, now() from generate_series(1, 1000000) n"
	b.Run("direct", func(b *testing.B) {
		for b.Loop() {
			rows(b, exec.Command(pgtest.Bin("psql"), "-X", "-At", "-c", sql,
				fmt.Sprintf("host=%s port=%d user=app dbname=orders sslmode=verify-full sslrootcert=%s password='app\\'s \\\\ secret'", cluster.Host, cluster.Port, cluster.CAFile)))
		}
	})
	b.Run("gateway", func(b *testing.B) {
		r := open(b, upstream())
		for b.Loop() {
			r.pid.Store(0)
			cmd := exec.Command(pgtest.Bin("psql"), "-X", "-At", "-c", sql, fmt.Sprintf("host=%s port=5432 user=app dbname=orders", r.dir))
			rows(b, cmd, r)
		}
	})
}

func rows(b *testing.B, cmd *exec.Cmd, r ...*rig) {
	b.Helper()
	cmd.Stdout = io.Discard
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for _, r := range r {
		r.pid.Store(int64(cmd.Process.Pid))
	}
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}

// A connection at rest costs less than 100 KiB, goroutine stacks included.
func TestMemoryAtRest(t *testing.T) {
	r := open(t, upstream())
	const n = 8
	r.connect().Close(context.Background())
	measure := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	time.Sleep(10 * time.Millisecond)
	before := measure()
	for range n {
		c := r.connect()
		if _, err := c.Exec(t.Context(), "select repeat('x', 100), generate_series(1, 20000)").ReadAll(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Exec(t.Context(), "select 1").ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	each := (int64(measure()) - int64(before)) / n
	t.Logf("%d KiB for both ends of a connection", each>>10)
	if each > 130<<10 { // of which pgx's end is about 30
		t.Errorf("%d bytes per connection", each)
	}
}
