package pgwire_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
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
// database. Whatever they are, the gateway ends the connection in time and
// every statement that the database saw is on the tape.
func FuzzClient(f *testing.F) {
	sync := &pgproto3.Sync{}
	f.Add(encode(&pgproto3.Query{String: "select 1"}))
	f.Add(encode(&pgproto3.Parse{Query: "select $1"}, &pgproto3.Bind{Parameters: [][]byte{[]byte("x")}}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, sync))
	f.Add(encode(&pgproto3.Query{String: "create temp table c (n int); copy c from stdin"}, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}))
	f.Add(encode(&pgproto3.Close{ObjectType: 'S', Name: "x"}, &pgproto3.Flush{}, sync, &pgproto3.Terminate{}))
	db, err := pgwire.NewDatabase(upstream())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		r := listen(t, db)
		c := r.enter()
		c.send(sent)
		c.Conn.(*net.UnixConn).CloseWrite()
		c.until("nothing")
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if log := r.log.String(); strings.Contains(log, "panic") {
			t.Error(log)
		}
	})
}

// FuzzDialogue holds the relay between a client and a server that both say
// anything, well-formed or not, in an order given by the input. Whatever they
// say, it ends, nothing panics, and the server gets no statement that is not on
// the tape, in the tape's order.
func FuzzDialogue(f *testing.F) {
	f.Add([]byte("Q\x80C\x80Z"), []byte("x"))
	f.Add([]byte("PBDES\x801\x802\x80n\x80C\x80Z"), []byte("y"))
	f.Add([]byte("Q\x80Gddc\x80C\x80ZQ\x80E\x80Z"), []byte("z"))
	f.Add([]byte("PBESQ\x80E\x80Z"), []byte("Q\x00\x00\x00\x05\x00"))
	f.Fuzz(func(t *testing.T, script, junk []byte) { dialogue(t, script, junk) })
}

// TestDialogues is the same with scripts made at random from a seed.
func TestDialogues(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const clients, servers = "QQPPBBEECDHSSSddcfFXp!", "11223CCCIEEZZZZZsGHdcDDTtnNSAKRW!"
	for range 1000 {
		var script []byte
		for range random.IntN(40) {
			if random.IntN(2) == 0 {
				script = append(script, clients[random.IntN(len(clients))])
			} else {
				script = append(script, 0x80, servers[random.IntN(len(servers))])
			}
		}
		dialogue(t, script, []byte{byte(random.IntN(256))})
	}
}

// dialogue plays a script: a byte below 0x80 is a message of the client's with
// that type, 0x80 makes the next one the server's; '!' is junk.
func dialogue(t *testing.T, script, junk []byte) {
	t.Helper()
	var theirs, ours []byte
	for i := 0; i < len(script); i++ {
		if script[i] == 0x80 && i+1 < len(script) {
			i++
			theirs = append(theirs, message(script[i], servers, junk)...)
			continue
		}
		ours = append(ours, message(script[i], clients, junk)...)
	}
	client, near := net.Pipe()
	server, far := net.Pipe()
	d := newDoor()
	ended := make(chan error, 1)
	go func() { ended <- pgwire.Relay(near, far, d); near.Close(); far.Close() }()
	go func() { client.Write(ours); server.Close() }()
	go io.Copy(io.Discard, client)
	go func() { server.Write(theirs) }()
	var got bytes.Buffer
	io.Copy(&got, server)
	client.Close()
	select {
	case err := <-ended:
		if strings.Contains(err.Error(), "mistake in twokey") {
			t.Fatalf("panic at %q", script)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("does not end: %q", script)
	}
	sameAsTape(t, got.Bytes(), d, script)
}

// sameAsTape walks what the server got.
func sameAsTape(t *testing.T, got []byte, d *door, script []byte) {
	t.Helper()
	var tape []string
	for _, e := range d.events {
		if e.Statement != nil && e.Statement.Protocol != "execute" {
			tape = append(tape, e.Statement.Text)
		}
	}
	for len(got) >= 5 {
		n := int(binary.BigEndian.Uint32(got[1:]))
		if len(got) < n+1 {
			return // the end came in the middle
		}
		body := got[5 : 1+n]
		if got[0] == 'Q' || got[0] == 'P' {
			text := strings.SplitN(string(body), "\x00", 3)
			sql := text[0]
			if got[0] == 'P' {
				sql = text[1]
			}
			if len(tape) == 0 || tape[0] != sql {
				t.Fatalf("the server got %q, the tape has %q, after %q", sql, tape, script)
			}
			tape = tape[1:]
		}
		got = got[1+n:]
	}
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

func TestWithoutPassword(t *testing.T) {
	cases := []struct {
		sql, want string
		secret    bool
	}{
		{"select 1", "select 1", false},
		{"select password from users", "select password from users", false},
		{"ALTER USER \"x\" PASSWORD 'SCRAM-SHA-256$4096:abc'", "ALTER USER \"x\" PASSWORD '[password]'", true},
		{"create role x login encrypted password 'ab' ;\n", "create role x login encrypted password '[password]' ;\n", true},
		{"create role x login encrypted password 'a''b'", "create role x login encrypted password '[password]'", true},
		{"create role x login encrypted password 'ab'; select 2", "create role x login encrypted password 'ab'; select 2", true},
		{`alter role x password 'a\'; delete from t --'`, `alter role x password 'a\'; delete from t --'`, true},
		{`alter user x password 'x\''; rollback; delete from t; --'`, `alter user x password 'x\''; rollback; delete from t; --'`, true},
		{"select 'alter role x password ', evil(), ' '", "select 'alter role x password ', evil(), ' '", true},
		{"alter role x valid until 'now' password 'y'", "alter role x valid until 'now' password 'y'", true},
	}
	for _, c := range cases {
		if got, secret := pgwire.WithoutPassword(c.sql); got != c.want || secret != c.secret {
			t.Errorf("%s became %s, %v", c.sql, got, secret)
		}
	}
}
