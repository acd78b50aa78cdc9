package pgwire_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/twokey/twokey/session/pgwire"
)

// bytesConn is a client that sends these bytes and leaves.
type bytesConn struct {
	net.Conn
	io.Reader
}

func (c bytesConn) Read(p []byte) (int, error)       { return c.Reader.Read(p) }
func (c bytesConn) SetReadDeadline(time.Time) error  { return nil }
func (c bytesConn) SetWriteDeadline(time.Time) error { return nil }

func FuzzStartup(f *testing.F) {
	f.Add(string(startup(196608, good)))
	f.Add(string(startup(80877103, "")) + string(startup(196608, good)))
	f.Add(string(startup(80877102, "12345678")))
	f.Fuzz(func(t *testing.T, sent string) {
		user, database, err := pgwire.Hello(bytesConn{Reader: strings.NewReader(sent)})
		if err == nil && user+database != "" && !strings.Contains(sent, "\x00"+user+"\x00") && !strings.Contains(sent, user+"\x00") {
			t.Errorf("%q, %q came from nowhere", user, database)
		}
	})
}

// FuzzClient sends any bytes after a start-up to a real gateway on a real
// database. Whatever they are, the gateway ends the connection in time, and serves the
// next one. (That what reaches a database is on the tape, FuzzSequences sees.) The gateway
// is one for all, on a socket that asks for no password: what comes before is not tried here.
func FuzzClient(f *testing.F) {
	sync := &pgproto3.Sync{}
	f.Add(encode(&pgproto3.Query{String: "select 1"}))
	f.Add(encode(&pgproto3.Parse{Query: "select $1"}, &pgproto3.Bind{Parameters: [][]byte{[]byte("x")}}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, sync))
	f.Add(encode(&pgproto3.Query{String: "create temp table c (n int); copy c from stdin"}, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}))
	f.Add(encode(&pgproto3.Close{ObjectType: 'S', Name: "x"}, &pgproto3.Flush{}, sync, &pgproto3.Terminate{}))
	db, err := pgwire.NewDatabase(pgwire.Upstream{Host: cluster.Socket, Port: cluster.Port, Database: "orders", User: "app"})
	if err != nil {
		f.Fatal(err)
	}
	r := listen(f, db)
	f.Fuzz(func(t *testing.T, sent []byte) {
		r.t = t
		c := r.enter()
		c.send(sent)
		c.Conn.(*net.UnixConn).CloseWrite()
		c.until("nothing")
		if log := r.log.String(); strings.Contains(log, "panic") {
			t.Error(log)
		}
	})
}

// messages of each side, well-formed, by type byte.
var (
	clients = map[byte]string{
		'Q': "select 1\x00", 'P': "\x00select 2\x00\x00\x00", 'B': "\x00\x00\x00\x00\x00\x00\x00\x00", 'E': "\x00\x00\x00\x00\x00",
		'C': "S\x00", 'D': "P\x00", 'd': "data\n", 'f': "no\x00",
	}
	servers = map[byte]string{
		'C': "SELECT 1\x00", 'E': "SERROR\x00C22012\x00Mno\x00\x00", 'Z': "I", 'G': "\x00\x00\x00", 'H': "\x00\x00\x00", 'd': "data\n",
		'D': "\x00\x00", 'T': "\x00\x00", 't': "\x00\x00", 'N': "\x00", 'S': "a\x00b\x00", 'A': "\x00\x00\x00\x00a\x00b\x00",
	}
)

func message(kind byte, of map[byte]string, junk []byte) []byte {
	if kind == '!' {
		return junk
	}
	return raw(kind, of[kind])
}
