package pgwire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// This file holds the gateway against the database for drivers, as same_test.go
// does for psql: the same messages, sent at once, must be answered by the same
// bytes. Drivers differ in how they put a batch together and where they wait.

func query(sql string) []byte { return encode(&pgproto3.Query{String: sql}) }

func parse(name, sql string, types ...uint32) []byte {
	return encode(&pgproto3.Parse{Name: name, Query: sql, ParameterOIDs: types})
}

func bind(portal, name string, params ...string) []byte {
	m := &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: name}
	for _, p := range params {
		m.Parameters = append(m.Parameters, []byte(p))
	}
	return encode(m)
}

func execute(portal string, most uint32) []byte {
	return encode(&pgproto3.Execute{Portal: portal, MaxRows: most})
}

func describe(kind byte, name string) []byte {
	return encode(&pgproto3.Describe{ObjectType: kind, Name: name})
}

func closes(kind byte, name string) []byte {
	return encode(&pgproto3.Close{ObjectType: kind, Name: name})
}

var (
	flush = encode(&pgproto3.Flush{})
	syncs = encode(&pgproto3.Sync{})
)

// runs is a statement as most drivers send it.
func runs(sql string, params ...string) []byte {
	return bytes.Join([][]byte{parse("", sql), bind("", "", params...), describe('P', ""), execute("", 0)}, nil)
}

// inBinary asks for every column in binary, and gives one parameter so.
func inBinary(sql string, param []byte) []byte {
	return bytes.Join([][]byte{parse("", sql), encode(&pgproto3.Bind{ParameterFormatCodes: []int16{1}, Parameters: [][]byte{param}, ResultFormatCodes: []int16{1}}), describe('P', ""), execute("", 0)}, nil)
}

// conversations of drivers.
var conversations = map[string][][]byte{
	// A transaction's BEGIN goes with its first statement; names come after five uses; rows in portions.
	"jdbc": {
		parse("", "BEGIN"), bind("", ""), execute("", 0), parse("", "select $1::int8 + 1", 20), bind("", "", "41"), describe('P', ""), execute("", 0), syncs,
		parse("S_1", "select g from generate_series(1, $1) g", 23), bind("C_1", "S_1", "10"), describe('P', "C_1"), execute("C_1", 4), syncs,
		execute("C_1", 4), syncs, execute("C_1", 4), syncs, closes('P', "C_1"), syncs,
		parse("S_2", "COMMIT"), bind("", "S_2"), execute("", 1), syncs,
		bind("", "S_1", "2"), execute("", 0), bind("", "S_1", "3"), execute("", 0), bind("", "S_1", "x"), execute("", 0), bind("", "S_1", "4"), execute("", 0), syncs,
		closes('S', "S_1"), closes('S', "S_2"), syncs,
	},
	"jdbc, a batch of inserts": {
		query("create temp table b (n int, t text)"), parse("", "BEGIN"), bind("", ""), execute("", 0),
		parse("S_1", "insert into b values ($1, $2) returning n"), describe('S', "S_1"), bind("", "S_1", "1", "one"), execute("", 1), bind("", "S_1", "2", "two"), execute("", 1), bind("", "S_1", "3", "three"), execute("", 1), syncs,
		runs("select * from b order by n"), syncs, runs("ROLLBACK"), syncs, runs("select * from b"), syncs,
	},
	// libpq in pipeline mode: many commands to one Sync, a failed one aborts the rest up to it.
	"libpq": {
		runs("select 1"), runs("select $1 || 'x'", "2"), syncs, runs("select 3"), runs("select 1/0"), runs("select 5"), syncs, runs("select 6"), syncs,
		parse("p", "select $1::text"), describe('S', "p"), bind("", "p", "7"), describe('P', ""), execute("", 0), flush, bind("", "p", "8"), describe('P', ""), execute("", 0), syncs, syncs, syncs,
		runs("begin"), runs("select nothing"), syncs, runs("select 'in a failed transaction'"), syncs, runs("rollback"), syncs,
	},
	// asyncpg and npgsql: describe and wait by Flush, then bind in binary.
	"asyncpg": {
		parse("a", "select $1::int4, now() is not null, array[1, 2], '{}'::jsonb"), describe('S', "a"), flush,
		encode(&pgproto3.Bind{PreparedStatement: "a", ParameterFormatCodes: []int16{1}, Parameters: [][]byte{{0, 0, 0, 7}}, ResultFormatCodes: []int16{1}}), execute("", 0), syncs,
		closes('S', "a"), syncs, query("begin"), parse("c", "select generate_series(1, 9)"), bind("k", "c"), execute("k", 2), syncs, execute("k", 0), syncs, execute("k", 0), syncs, query("rollback"),
	},
	"npgsql": {
		inBinary("select $1::bytea, 1.5::float8, null, 'x'::text, '2026-01-01'::date", []byte{0, 1, 0xff}), inBinary("select $1::int8", []byte{0, 0, 0, 0, 0, 0, 0, 9}), syncs,
		inBinary("select $1::int4", []byte{1, 2}), syncs, runs("select 'after it'"), syncs,
	},
	"go": {
		parse("", "select $1::text, $2::int"), describe('S', ""), syncs, bind("", "", "a", "1"), describe('P', ""), execute("", 0), syncs,
		query("select 1; select 2; select 1/0; select 3"), query(""), query(";;"), query("set timezone = 'Europe/Berlin'; select '2026-07-01 12:00+00'::timestamptz"),
	},
	"copy": {
		query("create temp table c (n int, t text)"), query("copy c from stdin"), raw('d', "1\tone\n2\tt"), raw('d', "wo\n"), raw('d', ""), raw('c', ""), query("copy c to stdout"),
		query("copy c from stdin (format binary)"), raw('d', "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x04\x00\x00\x00\x03\x00\x00\x00\x01x\xff\xff"), raw('c', ""),
		query("copy c to stdout (format binary)"), query("copy c from stdin"), raw('d', "3\tx\n"), raw('f', "changed my mind\x00"), query("copy c from stdin"), raw('d', "x\ty\n"), raw('c', ""),
		query("copy c from stdin; select count(*) from c; copy c to stdout; select 1"), raw('d', "4\tfour\n"), raw('c', ""),
		runs("copy (select 1, 2) to stdout"), syncs, parse("", "copy c from stdin"), bind("", ""), execute("", 0), syncs, raw('d', "5\tfive\n"), raw('c', ""), syncs,
		parse("", "copy c from stdin"), bind("", ""), execute("", 0), syncs, raw('d', "bad\n"), raw('d', "more\n"), raw('c', ""), syncs, query("select * from c order by n"),
	},
	"errors": {
		parse("x", "selec"), bind("", "x"), describe('S', "x"), execute("", 0), syncs, bind("", "none"), syncs, describe('S', "none"), syncs, describe('P', "none"), syncs, execute("none", 0), syncs,
		parse("y", "select 1"), parse("y", "select 2"), syncs, bind("", "y"), execute("", 0), syncs, bind("", "y", "too", "many"), syncs, closes('S', "never"), closes('P', "never"), syncs,
		parse("z", "select $1"), bind("", "z"), syncs, parse("", "select 1; select 2"), syncs, parse("", "select 1/0"), bind("", ""), execute("", 0), parse("", "select 2"), describe('S', ""), syncs, query("select 'fine'"),
	},
	"empty": {syncs, flush, syncs, parse("", ""), describe('S', ""), bind("", ""), describe('P', ""), execute("", 0), syncs, query("/* nothing */"), query(" ; "), runs("-- nothing"), syncs},
	"notices and notifications": {
		query("listen here"), runs("do $$ begin raise notice 'one'; raise warning 'two'; end $$"), runs("notify here, 'pay'"), syncs, query("do 'begin raise notice ''three''; end'; select 1; notify here; select 2"),
		query("begin"), query("notify here, 'later'"), query("select 1"), query("commit"), query("set client_encoding = 'LATIN1'"), query("set datestyle = 'German'"), query("set role none"), query("unlisten *"),
	},
	"transactions": {
		query("begin"), runs("savepoint a"), runs("select 1/0"), syncs, runs("rollback to a"), syncs, runs("select 1"), syncs, runs("commit and chain"), syncs, query("rollback"), query("commit"), query("begin; select 1/0; select 2"), query("rollback"),
		parse("", "begin"), bind("", ""), execute("", 0), runs("create temp table t ()"), runs("commit"), runs("drop table t"), syncs,
		runs("start transaction read only"), runs("create temp table u ()"), syncs, query("abort"), runs("vacuum"), syncs, runs("select 1"), runs("vacuum pg_am"), syncs,
	},
	"cursors of SQL and portals": {
		query("begin; declare s scroll cursor for select generate_series(1, 5)"), query("fetch 2 from s"), execute("s", 1), syncs, describe('P', "s"), syncs, closes('P', "s"), syncs, query("fetch s"), query("rollback"),
		query("prepare by_sql (int) as select $1 * 2"), bind("", "by_sql", "21"), execute("", 0), describe('S', "by_sql"), syncs, query("deallocate by_sql"), bind("", "by_sql", "21"), syncs,
		parse("by_parse", "select $1::int * 3"), syncs, query("execute by_parse (5)"), query("deallocate all"), describe('S', "by_parse"), syncs, query("discard all"),
	},
	"long": {runs("select repeat('x', 200000), g from generate_series(1, 20) g"), runs("select length($1)", strings.Repeat("p", 300000)), syncs, query("select '" + strings.Repeat("q", 500000) + "'"), query("select repeat('e', 100000)::int")},
}

func TestDriversReadTheSame(t *testing.T) {
	r := open(t, upstream())
	for name, sent := range conversations {
		t.Run(name, func(t *testing.T) { answeredTheSame(t, r, bytes.Join(sent, nil)) })
	}
}

// TestRandomDriversReadTheSame makes batches of any well-formed messages in any
// order, many conversations to a connection.
func TestRandomDriversReadTheSame(t *testing.T) {
	r := open(t, upstream())
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 11))
		var sent []byte
		for range 50 {
			sent = append(append(sent, batches(random)...), bytes.Join([][]byte{query("rollback"), query("discard all")}, nil)...)
		}
		answeredTheSame(t, r, sent)
	}
}

// batches is a conversation at random that no driver is too odd for.
func batches(random *rand.Rand) (sent []byte) {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	name := func() string { return pick("", "a", "b") }
	sql := func() string {
		return pick("select 1", "select $1::int", "select 1/0", "selec", "", "begin", "commit", "rollback", "savepoint s", "rollback to s", "select generate_series(1, 4)",
			"create temp table if not exists t (n int)", "insert into t values (1), (2) returning n", "copy (select 7) to stdout", "do $$ begin raise notice 'n'; end $$", "show timezone",
			"set timezone = 'UTC'", "prepare a as select 8", "deallocate a", "declare b cursor for select 9", "close b", "values (1), (2)", "select 1; select 2", "listen x", "notify x")
	}
	for range 1 + random.IntN(6) {
		if random.IntN(4) == 0 {
			sent = append(sent, query(sql()+pick("", "; select 3", "; select 1/0; select 4"))...)
			continue
		}
		for range random.IntN(12) {
			switch random.IntN(8) {
			case 0, 1:
				sent = append(sent, parse(name(), sql())...)
			case 2, 3:
				sent = append(sent, bind(name(), name(), []string{"5", "x"}[:random.IntN(2)]...)...)
			case 4, 5:
				sent = append(sent, execute(name(), uint32(random.IntN(3)))...)
			case 6:
				sent = append(sent, describe("SP"[random.IntN(2)], name())...)
			case 7:
				sent = append(sent, [][]byte{flush, closes('S', name()), closes('P', name())}[random.IntN(3)]...)
			}
		}
		sent = append(sent, syncs...)
	}
	return sent
}

// answeredTheSame sends bytes through the gateway and directly.
func answeredTheSame(t *testing.T, r *rig, sent []byte) {
	t.Helper()
	near, err := net.Dial("unix", fmt.Sprintf("%s/.s.PGSQL.%d", cluster.Socket, cluster.Port))
	if err != nil {
		t.Fatal(err)
	}
	want := comparable(t, answers(t, near, sent))
	got := comparable(t, answers(t, r.dial().Conn, sent))
	if bytes.Equal(got, want) {
		return
	}
	n := 0
	for n < min(len(got), len(want)) && got[n] == want[n] {
		n++
	}
	from := max(0, n-60)
	t.Errorf("different from byte %d on:\n%q\ndirectly\n%q", n, got[from:min(len(got), n+200)], want[from:min(len(want), n+200)])
}

// comparable takes out of the database's messages what no two connections have in
// common: the numbers of tables in RowDescription, of the process in NotificationResponse.
func comparable(t *testing.T, stream []byte) (out []byte) {
	t.Helper()
	for len(stream) > 0 {
		n := 1 + int(binary.BigEndian.Uint32(stream[1:5]))
		kind, body := stream[0], stream[5:n]
		switch kind {
		case 'T':
			var m pgproto3.RowDescription
			if err := m.Decode(body); err != nil {
				t.Fatal(err)
			}
			for i := range m.Fields {
				m.Fields[i].TableOID = 0
			}
			out, _ = m.Encode(out)
		case 'A':
			out = append(out, raw(kind, string(body[4:]))...)
		default:
			out = append(out, stream[:n]...)
		}
		stream = stream[n:]
	}
	return out
}

// answers logs in, sends, takes leave and returns all that came between.
func answers(t *testing.T, conn net.Conn, sent []byte) []byte {
	t.Helper()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	conn.Write(startup(196608, good))
	c := &client{t: t, Conn: conn, fe: pgproto3.NewFrontend(oneByOne{conn}, conn)}
	c.until("Z")
	go func() { conn.Write(append(sent, encode(&pgproto3.Terminate{})...)) }() // ends with conn
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%v after %q", err, all)
	}
	return all
}

// oneByOne reads a byte at a time, so that nothing is read ahead.
type oneByOne struct{ net.Conn }

func (r oneByOne) Read(p []byte) (int, error) { return r.Conn.Read(p[:min(len(p), 1)]) }
