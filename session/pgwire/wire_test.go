package pgwire_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func TestExtendedProtocol(t *testing.T) {
	r := open(t, upstream())
	conn := r.connect()
	ctx := t.Context()
	if _, err := conn.Prepare(ctx, "add", "select $1::int + $2::int", nil); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		res := conn.ExecPrepared(ctx, "add", [][]byte{[]byte("40"), {0, 0, 0, byte(i)}}, []int16{0, 1}, nil).Read()
		if res.Err != nil || string(res.Rows[0][0]) != fmt.Sprint(40+i) {
			t.Fatal(res.Err, res.Rows)
		}
	}
	res := conn.ExecParams(ctx, "select $1::text is null", [][]byte{nil}, nil, nil, nil).Read()
	if res.Err != nil || string(res.Rows[0][0]) != "t" {
		t.Fatal(res.Err)
	}
	if res := conn.ExecParams(ctx, "select nothing", nil, nil, nil, nil).Read(); res.Err == nil {
		t.Error("no error")
	}
	if res := conn.ExecParams(ctx, "select 1/$1::int", [][]byte{[]byte("0")}, nil, nil, nil).Read(); res.Err == nil {
		t.Error("no error")
	}
	want := `1> parse select $1::int + $2::int name=add
2> execute select $1::int + $2::int name=add params=["40" "\\x00000000"]
2< SELECT 1 rows=1 I
3> execute select $1::int + $2::int name=add params=["40" "\\x00000001"]
3< SELECT 1 rows=1 I
4> parse select $1::text is null
5> execute select $1::text is null params=["null"]
5< SELECT 1 rows=1 I
6> parse select nothing
7> execute select nothing
6<  42703 column "nothing" does not exist 
7<  42703 not run: column "nothing" does not exist I
8> parse select 1/$1::int
9> execute select 1/$1::int params=["0"]
9<  22012 division by zero I
`
	if got := r.door.tape(); got != want {
		t.Errorf("the tape says\n%s\nwant\n%s", got, want)
	}
}

func TestPipelines(t *testing.T) {
	r := open(t, upstream())
	conn := r.connect()
	batch := &pgconn.Batch{}
	const n = 5000
	for i := range n {
		batch.ExecParams("select $1::int", [][]byte{fmt.Append(nil, i)}, nil, nil, nil)
	}
	results, err := conn.ExecBatch(t.Context(), batch).ReadAll()
	if err != nil || len(results) != n || string(results[n-1].Rows[0][0]) != fmt.Sprint(n-1) {
		t.Fatalf("%d results, %v", len(results), err)
	}
	if rs := r.door.results(); len(rs) != n || rs[n-1].Tx != "I" || rs[0].Tx != "" {
		t.Errorf("%d results on the tape", len(rs))
	}
	batch = &pgconn.Batch{}
	batch.ExecParams("create table pipe ()", nil, nil, nil, nil)
	batch.ExecParams("select 1/0", nil, nil, nil, nil)
	batch.ExecParams("select 3", nil, nil, nil, nil)
	if _, err := conn.ExecBatch(t.Context(), batch).ReadAll(); err == nil {
		t.Error("no error")
	}
	if tape := r.door.tape(); !strings.Contains(tape, "22012 division by zero") || strings.Count(tape, "not run") > 1 {
		t.Error(tape[len(tape)-500:])
	}
	p := conn.StartPipeline(t.Context())
	p.SendQueryParams("select 'one'", nil, nil, nil, nil)
	p.SendFlushRequest()
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	if res, err := p.GetResults(); err != nil || res.(*pgconn.ResultReader).Read().Err != nil {
		t.Error("a flushed result does not come before the Sync: ", err)
	}
	if err := errors.Join(p.Sync(), p.Close()); err != nil {
		t.Error(err)
	}
}

func TestNotificationsAndNotices(t *testing.T) {
	r := open(t, upstream())
	got := make(chan string, 10)
	cfg, err := pgconn.ParseConfig(fmt.Sprintf("host=%s port=5432 user=app dbname=orders", r.dir))
	if err != nil {
		t.Fatal(err)
	}
	cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { got <- n.Channel + " " + n.Payload }
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { got <- n.Message }
	conn, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "listen news; do $$ begin raise notice 'hear'; end $$").ReadAll(); err != nil {
		t.Fatal(err)
	}
	admin(t, "notify news, 'hot'")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := conn.WaitForNotification(ctx); err != nil {
		t.Error(err)
	}
	if a, b := <-got, <-got; a != "hear" || b != "news hot" {
		t.Errorf("got %q and %q", a, b)
	}
	name := conn.ParameterStatus("application_name")
	if name != "twokey alice 01JD00000000000000000000ZZ" {
		t.Errorf("the database knows it as %q", name)
	}
	if res := conn.ExecParams(t.Context(), "show client_connection_check_interval", nil, nil, nil, nil).Read(); string(res.Rows[0][0]) != "1s" {
		t.Errorf("client_connection_check_interval is %s", res.Rows)
	}
}

// client is a hand that writes what it likes.
type client struct {
	t testing.TB
	net.Conn
	fe *pgproto3.Frontend
}

func (r *rig) dial() *client {
	r.t.Helper()
	r.pid.Store(int64(os.Getpid()))
	conn, err := net.Dial("unix", r.dir+"/.s.PGSQL.5432")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return &client{t: r.t, Conn: conn, fe: pgproto3.NewFrontend(conn, conn)}
}

// enter is dial and a start-up.
func (r *rig) enter() *client {
	r.t.Helper()
	c := r.dial()
	c.send(encode(&pgproto3.StartupMessage{ProtocolVersion: 196608, Parameters: map[string]string{"user": "app", "database": "orders"}}))
	c.until("Z")
	return c
}

func encode(messages ...pgproto3.FrontendMessage) []byte {
	var b []byte
	var err error
	for _, m := range messages {
		if b, err = m.Encode(b); err != nil {
			panic(err)
		}
	}
	return b
}

func raw(kind byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
}

func (c *client) send(b ...[]byte) {
	c.t.Helper()
	if _, err := c.Write(bytes.Join(b, nil)); err != nil {
		c.t.Log(err) // the gateway may have hung up already
	}
}

// until reads up to a message of this kind and returns what came, as one
// letter each with the text of errors, or up to the end.
func (c *client) until(kind string) string {
	c.t.Helper()
	var all strings.Builder
	for {
		m, err := c.fe.Receive()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") {
				c.t.Errorf("%v after %s", err, all.String())
			}
			all.WriteString(" end")
			return all.String()
		}
		b, _ := m.(interface{ Encode([]byte) ([]byte, error) }).Encode(nil)
		all.WriteByte(b[0])
		switch m := m.(type) {
		case *pgproto3.ErrorResponse:
			all.WriteString("(" + m.Severity + " " + m.Code + " " + m.Message + ")")
		case *pgproto3.DataRow:
			all.WriteString("(" + string(bytes.Join(m.Values, []byte("|"))) + ")")
		case *pgproto3.NegotiateProtocolVersion:
			all.WriteString(fmt.Sprint(m.UnrecognizedOptions))
		}
		if string(b[:1]) == kind {
			return all.String()
		}
	}
}

func startup(code uint32, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+8))
	return append(binary.BigEndian.AppendUint32(b, code), body...)
}

const good = "user\x00app\x00database\x00orders\x00\x00"

func TestStartup(t *testing.T) {
	ssl, gss := startup(80877103, ""), startup(80877104, "")
	v3 := uint32(196608)
	cases := []struct {
		name string
		send [][]byte // each after the answer to the one before
		want string   // in what comes up to ReadyForQuery or the end
	}{
		{"plain", [][]byte{startup(v3, good)}, "RSSSS"},
		{"protocol 3.2", [][]byte{startup(v3+2, good)}, "v[]R"},
		{"_pq_ option", [][]byte{startup(v3, "_pq_.x\x00y\x00"+good)}, "v[_pq_.x]R"},
		{"options are dropped", [][]byte{startup(v3, "options\x00-c search_path=evil\x00replication\x00database\x00"+good)}, "RSSSS"},
		{"protocol 2.0", [][]byte{startup(2<<16, good)}, "FATAL 0A000"},
		{"protocol 4.0", [][]byte{startup(4<<16, good)}, "FATAL 0A000"},
		{"ssl, then in", [][]byte{ssl, startup(v3, good)}, "RSSSS"},
		{"both, then in", [][]byte{gss, ssl, startup(v3, good)}, "RSSSS"},
		{"ssl twice", [][]byte{ssl, ssl}, "FATAL 08P01"},
		{"data behind ssl", [][]byte{append(ssl, startup(v3, good)...)}, "FATAL 08P01"},
		{"ssl with a body", [][]byte{startup(80877103, "x")}, "FATAL 08P01"},
		{"a query behind the start-up", [][]byte{append(startup(v3, good), raw('Q', "select 1\x00")...)}, "FATAL 08P01"},
		{"no end", [][]byte{startup(v3, good[:len(good)-1])}, "FATAL 08P01"},
		{"data behind the end", [][]byte{startup(v3, good+"x\x00y\x00\x00")}, "FATAL 08P01"},
		{"a parameter twice", [][]byte{startup(v3, "user\x00app\x00"+good)}, "FATAL 08P01"},
		{"twice in two cases", [][]byte{startup(v3, "USER\x00postgres\x00"+good)}, "FATAL 08P01"},
		{"a key without a value", [][]byte{startup(v3, "user\x00")}, "FATAL 08P01"},
		{"a long value", [][]byte{startup(v3, "client_encoding\x00"+strings.Repeat("x", 300)+"\x00"+good)}, "FATAL 08P01"},
		{"another user", [][]byte{startup(v3, "user\x00postgres\x00database\x00orders\x00\x00")}, "FATAL 28000"},
		{"another database", [][]byte{startup(v3, "user\x00app\x00database\x00postgres\x00\x00")}, "FATAL 3D000"},
		{"no database", [][]byte{startup(v3, "user\x00app\x00\x00")}, "FATAL 3D000"},
		{"nothing", [][]byte{startup(v3, "\x00")}, "FATAL 28000"},
		{"empty", [][]byte{startup(v3, "")}, "FATAL 08P01"},
		{"too long", [][]byte{{0, 1, 0, 0, 0, 3, 0, 0}}, "FATAL 08P01"},
		{"too short", [][]byte{{0, 0, 0, 4, 0, 3, 0, 0}}, "FATAL 08P01"},
		{"direct tls", [][]byte{{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc}}, "FATAL 08P01"},
		{"a bad time zone", [][]byte{startup(v3, "timezone\x00Nowhere/Else\x00"+good)}, "invalid value for parameter"},
		{"cancel with a body too long", [][]byte{startup(80877102, "123456789")}, "FATAL 08P01"},
		{"forged cancel", [][]byte{startup(80877102, "12345678")}, " end"},
	}
	r := open(t, upstream())
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cl := r.dial()
			for i, b := range c.send {
				if i > 0 {
					n := make([]byte, 1)
					if _, err := io.ReadFull(cl, n); err != nil || n[0] != 'N' {
						t.Fatalf("answered %q, %v", n, err)
					}
				}
				cl.send(b)
			}
			if got := strings.TrimPrefix(cl.until("Z"), "N"); !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if log := r.log.String(); !strings.Contains(log, "forged cancel request ignored") || strings.Contains(log, "panic") {
		t.Error(log)
	}
}

func TestTheSocketIsForOneProcess(t *testing.T) {
	r := open(t, upstream())
	r.pid.Store(1)
	conn, err := net.Dial("unix", r.dir+"/.s.PGSQL.5432")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got, _ := io.ReadAll(conn)
	if !bytes.Contains(got, []byte("another process")) {
		t.Errorf("got %q", got)
	}
	info, err := os.Stat(r.dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestManyConnections(t *testing.T) {
	r := open(t, upstream())
	for range 16 {
		r.connect()
	}
	if _, err := r.tryConnect("app", "orders"); err == nil || !strings.Contains(err.Error(), "at most 16") {
		t.Errorf("the seventeenth: %v", err)
	}
	if err := r.Kill(t.Context()); err != nil || backends(t) != "0" {
		t.Error(err)
	}
}

// TestEvasions sends what a hostile client may. None reaches the database
// unseen, and each ends with a clear answer.
func TestEvasions(t *testing.T) {
	cases := []struct {
		name string
		send [][]byte // nil at the end: and then it hangs up
		want string   // in the answer
		tape string   // on the tape
		not  string   // not on the tape
	}{
		{"two strings in a query", [][]byte{raw('Q', "select 1\x00select 2\x00")}, "FATAL 08P01", "", "select"},
		{"a query without an end", [][]byte{raw('Q', "select 1")}, "FATAL 08P01", "", "select"},
		{"bytes behind a parse", [][]byte{raw('P', "\x00select 1\x00\x00\x00drop"), syncs}, "FATAL 08P01", "", "select"},
		{"bytes behind a bind", [][]byte{parse("", "select 1"), raw('B', "\x00\x00\x00\x00\x00\x00\x00\x00x"), syncs}, "FATAL 08P01", "", "execute"},
		{"bytes behind an execute", [][]byte{parse("", "select 1"), bind("", ""), raw('E', "\x00\x00\x00\x00\x00x"), syncs}, "FATAL 08P01", "", "execute"},
		{"bytes behind a syncs", [][]byte{raw('S', "x")}, "FATAL 08P01", "", ""},
		{"bytes behind a flush", [][]byte{raw('H', "x")}, "FATAL 08P01", "", ""},
		{"bytes behind a describe", [][]byte{raw('D', "S\x00x")}, "FATAL 08P01", "", ""},
		{"bytes behind a close", [][]byte{raw('C', "S\x00x")}, "FATAL 08P01", "", ""},
		{"a close of something else", [][]byte{raw('C', "X\x00")}, "FATAL 08P01", "", ""},
		{"a short bind", [][]byte{raw('B', "\x00\x00\xff\xff")}, "FATAL 08P01", "", ""},
		{"a negative parameter", [][]byte{raw('B', "\x00\x00\x00\x00\x00\x01\xff\xff\xff\xfe\x00\x00")}, "FATAL 08P01", "", ""},
		{"a function call", [][]byte{raw('F', "\x00\x00\x03\xbc\x00\x00\x00\x00\x00\x00"), query("select 5")}, "E(ERROR 0A000 twokey: large objects", "", ""},
		{"a function call in a batch", [][]byte{parse("", "select 1"), raw('F', "")}, "FATAL 08P01", "", ""},
		{"a query in a batch", [][]byte{parse("", "select 1"), query("select 2")}, "FATAL 08P01", "", "select 2"},
		{"a password message", [][]byte{raw('p', "secret\x00")}, "FATAL 08P01", "", "secret"},
		{"an unknown message", [][]byte{raw('!', "")}, "FATAL 08P01", "", ""},
		{"a type byte of zero", [][]byte{raw(0, "")}, "FATAL 08P01", "", ""},
		{"a length of three", [][]byte{{'Q', 0, 0, 0, 3}}, "FATAL 08P01", "", ""},
		{"a length beyond the limit", [][]byte{{'Q', 1, 0, 0, 1}}, "FATAL 08P01", "", ""},
		{"a negative length", [][]byte{{'Q', 0xff, 0xff, 0xff, 0xff}}, "FATAL 08P01", "", ""},
		{"copy data out of the blue", [][]byte{raw('d', "x"), raw('c', ""), query("select 5")}, "D(5)", "select 5", ""},
		{"copy data in a batch", [][]byte{parse("", "select 1"), raw('d', "x")}, "FATAL 08P01", "", ""},
		{"a query within copy data", [][]byte{query("create temp table c (n int); copy c from stdin"), query("drop table c")}, "FATAL 08P01", "copy c from", "drop"},
		{"copy both", [][]byte{query("START_REPLICATION SLOT x LOGICAL 0/0")}, "syntax error", "START_REPLICATION", ""},
		{"a statement behind its rename", [][]byte{parse("x", "select 'first'"), parse("x", "select 'second'"), syncs}, `already exists`, "42P05", ""},
		{"bytes that are not UTF-8", [][]byte{query("select '\xff'")}, "invalid byte sequence", "select '\xff'", ""},
		{"an empty query", [][]byte{query("")}, "IZ", "1> simple ", ""},
		{"an empty statement", [][]byte{parse("", ""), bind("", ""), execute("", 0), syncs}, "12IZ", "2> execute ", ""},
		{"a password", [][]byte{query("begin"), query(`alter role "app" password 'another''s secret'`), query("rollback")}, "C", "[password]'", "secret"},
		{"a password that may end early", [][]byte{query(`alter role "app" password 'app''s \ secret'`)}, "C", `[password]`, "secret"},
		{"a password in a second statement", [][]byte{query(`select 'role password ', 'evil', ' '; create role x password 'y'`)}, "permission denied", "'evil'", ""},
		{"a prepared statement of SQL's", [][]byte{query("prepare q as select 41"), bind("", "q"), execute("", 0), syncs}, "D(41)", `prepared statement "q" was made by SQL`, ""},
		{"a name given anew by SQL", [][]byte{parse("q", "select 42"), syncs, query("deallocate q; prepare q as select 43"), bind("", "q"), execute("", 0), syncs},
			"D(43)", "may have given this name", ""},
		{"a name given anew by a block", [][]byte{parse("q", "select 42"), syncs, query("do $$begin execute 'deall'||'ocate q'; execute 'pre'||'pare q as select 44'; end$$"), bind("", "q"), execute("", 0), syncs},
			"D(44)", "may have given this name", ""},
		{"a cursor as a portal", [][]byte{query("begin; declare p cursor for select 44"), execute("p", 0), syncs}, "D(44)", `portal "p" was made by SQL`, ""},
		{"a portal that was closed", [][]byte{query("begin"), parse("", "select 45"), bind("p", ""), syncs, query("close p; declare p cursor for select 46"), execute("p", 0), syncs},
			"D(46)", "may have given this name", ""},
		{"a failed parse keeps the old meaning", [][]byte{parse("q", "select 47"), syncs, parse("q", "select 48"), syncs, bind("", "q"), execute("", 0), syncs},
			"D(47)", "execute select 47", "execute select 48"},
		{"a statement that was closed", [][]byte{parse("q", "select 49"), syncs, encode(&pgproto3.Close{ObjectType: 'S', Name: "q"}), parse("q", "select 50"), bind("", "q"), execute("", 0), syncs},
			"D(50)", "execute select 50", "execute select 49"},
		{"what follows an error", [][]byte{parse("", "select 1/0"), bind("", ""), execute("", 0), parse("", "select 51"), bind("", ""), execute("", 0), syncs, query("select 52")}, "D(52)", "not run", ""},
		{"a portal in pieces", [][]byte{query("begin"), parse("", "select generate_series(1, 3)"), bind("p", ""), encode(&pgproto3.Execute{Portal: "p", MaxRows: 2}), encode(&pgproto3.Execute{Portal: "p"}), syncs},
			"D(1)D(2)sD(3)C", "execute select generate_series(1, 3)", ""},
		{"copy by the extended protocol", [][]byte{query("create temp table c (n int)"), parse("", "copy c from stdin"), bind("", ""), execute("", 0), syncs,
			raw('d', "1\n2\n"), raw('c', ""), syncs, query("select count(*) from c")}, "D(2)", "COPY 2", ""},
		{"copy by the extended protocol that fails", [][]byte{query("create temp table c (n int)"), parse("", "copy c from stdin"), bind("", ""), execute("", 0), syncs,
			raw('d', "x\n"), raw('c', ""), syncs, query("select 53")}, "D(53)", "22P02", ""},
		{"copy out by the extended protocol", [][]byte{parse("", "copy (select 1) to stdout"), bind("", ""), execute("", 0), syncs}, "12HdcCZ", "COPY 1", ""},
		{"copy that the client gives up", [][]byte{query("create temp table c (n int); copy c from stdin"), raw('f', "no\x00"), query("select 54")}, "D(54)", "57014", ""},
		{"two copies in one query", [][]byte{query("create temp table c (n int); copy c from stdin; copy c from stdin"), raw('d', "1\n"), raw('c', ""), raw('d', "2\n"), raw('c', ""), query("select sum(n) from c")},
			"D(3)", "COPY 1; COPY 1", ""},
		{"describe of nothing, then a syncs", [][]byte{encode(&pgproto3.Describe{ObjectType: 'S', Name: "none"}), encode(&pgproto3.Flush{}), parse("", "select 55"), syncs, query("select 56")}, "D(56)", "select 56", ""},
		{"a query in pieces", [][]byte{query("select 59")[:9], query("select 59")[9:]}, "D(59)", "simple select 59", ""},
		{"half a query", [][]byte{query("select 'half'")[:12], nil}, "", "", "half"},
		{"a message longer than is left", [][]byte{{'Q', 0, 0, 0, 200}, []byte("select 'short'\x00"), nil}, "", "", "short"},
		{"sixteen megabytes and one", [][]byte{binary.BigEndian.AppendUint32([]byte{'d'}, 16<<20+1)}, "FATAL 08P01", "", ""},
		{"a parse with too many types", [][]byte{raw('P', "\x00select 1\x00\xff\xff"), syncs}, "FATAL 08P01", "", "select"},
		{"a bind that counts wrong", [][]byte{raw('B', "\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00"), syncs}, "FATAL 08P01", "", ""},
		{"a bind of a huge parameter", [][]byte{raw('B', "\x00\x00\x00\x00\x00\x01\x7f\xff\xff\xff\x00\x00"), syncs}, "FATAL 08P01", "", ""},
		{"an execute without a count", [][]byte{raw('E', "\x00"), syncs}, "FATAL 08P01", "", ""},
		{"another start-up", [][]byte{startup(196608, good)}, "FATAL 08P01", "", ""},
		{"another request for TLS", [][]byte{startup(80877103, "")}, "FATAL 08P01", "", ""},
		{"a cancel request on the same connection", [][]byte{startup(80877102, "12345678")}, "FATAL 08P01", "", ""},
		{"what the server says", [][]byte{raw('Z', "I"), raw('T', "\x00\x00")}, "FATAL 08P01", "", ""},
		{"an authentication of the client's", [][]byte{raw('R', "\x00\x00\x00\x00")}, "FATAL 08P01", "", ""},
		{"a terminate with a body", [][]byte{query("select 60"), raw('X', "drop table x")}, "D(60)", "", "drop"},
		{"what follows a terminate", [][]byte{raw('X', ""), query("select 'late'")}, "", "", "late"},
		{"a copy done with a body", [][]byte{query("create temp table c (n int); copy c from stdin"), raw('c', "1\n")}, "FATAL 08P01", "", ""},
		{"a name of a thousand bytes", [][]byte{parse(strings.Repeat("n", 1000), "select 61"), bind("", strings.Repeat("n", 1000)), execute("", 0), syncs}, "D(61)", "execute select 61", ""},
		{"the gateway's own name", [][]byte{parse("twokey begin", "select 62"), bind("twokey begin", "twokey begin"), execute("twokey begin", 0), syncs}, "D(62)", "execute select 62", ""},
		{"a comment that hides nothing", [][]byte{query("select 63 -- '\n; select 64 /* */ -- x")}, "D(64)", "select 64 /*", ""},
		{"a carriage return", [][]byte{query("-- nothing\rselect 65")}, "D(65)", "-- nothing\rselect 65", ""},
		{"another role within", [][]byte{query("set session authorization postgres"), query("set role boss"), query("select 66")}, "D(66)", "set role boss", ""},
		{"every name at once", [][]byte{parse("q", "select 67"), syncs, query("discard all"), parse("q", "select 68"), bind("", "q"), execute("", 0), syncs}, "D(68)", "execute select 68", "execute select 67"},
		{"typing ahead", [][]byte{query("select 57"), query("select 58"), encode(&pgproto3.Terminate{})}, "D(58)", "select 58", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := open(t, upstream())
			cl := r.enter()
			cl.send(c.send...)
			cl.send(encode(&pgproto3.Terminate{}))
			if c.send[len(c.send)-1] == nil {
				cl.Conn.(*net.UnixConn).CloseWrite()
			}
			if got := cl.until("nothing"); !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			tape := r.door.tape()
			if !strings.Contains(tape, c.tape) || c.not != "" && strings.Contains(tape, c.not) {
				t.Errorf("the tape says %q, want %q and not %q", tape, c.tape, c.not)
			}
			if log := r.log.String(); strings.Contains(log, "panic") {
				t.Error(log)
			}
		})
	}
}
