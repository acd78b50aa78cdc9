package pgwire_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/pgwire"
)

// This file holds a real gateway between a client and a server that both say
// anything, in any order, well-formed or not. Whatever they say: the connection
// ends, nothing panics, memory is bounded, and at the moment when a statement
// reaches the server it is on the tape already, in the same order.

// liar is a server that logs twokey in and answers its control connection as
// Postgres does. What it says to a client's connection is the test's to choose.
type liar struct {
	net.Listener
	links chan net.Conn // that have logged in
}

func startLiar(t testing.TB) *liar {
	t.Helper()
	lis, err := net.Listen("unix", t.TempDir()+"/.s.PGSQL.5432")
	if err != nil {
		t.Fatal(err)
	}
	s := &liar{Listener: lis, links: make(chan net.Conn, 16)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			all.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { lis.Close(); all.Wait() })
	return s
}

func (s *liar) serve(conn net.Conn) {
	be := pgproto3.NewBackend(oneByOne{conn}, conn)
	hello, err := be.ReceiveStartupMessage()
	start, ok := hello.(*pgproto3.StartupMessage)
	if err != nil || !ok { // a cancel request, most likely
		conn.Close()
		return
	}
	be.Send(&pgproto3.AuthenticationOk{})
	for name, value := range map[string]string{"server_version": "15.0", "client_encoding": "UTF8", "standard_conforming_strings": "on", "is_superuser": "off"} {
		be.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
	}
	be.Send(&pgproto3.BackendKeyData{ProcessID: 7, SecretKey: []byte{1, 2, 3, 4}})
	be.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	be.Flush()
	if start.Parameters["application_name"] != "twokey control" {
		s.links <- conn
		return
	}
	defer conn.Close()
	for controlled(be) == nil {
	}
}

// controlled answers one query of the control connection: every backend began
// now, and is gone when it is to be buried.
func controlled(be *pgproto3.Backend) error {
	sql := ""
	for {
		m, err := be.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.Parse:
			sql = m.Query
			be.Send(&pgproto3.ParseComplete{})
		case *pgproto3.Bind:
			be.Send(&pgproto3.BindComplete{})
		case *pgproto3.Describe:
			be.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("x"), DataTypeOID: 25}}})
		case *pgproto3.Execute:
			if strings.HasPrefix(sql, "select backend_start") {
				be.Send(&pgproto3.DataRow{Values: [][]byte{[]byte("now")}})
			}
			be.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 0")})
		case *pgproto3.Sync:
			be.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			return be.Flush()
		}
	}
}

// stage is where scripts are played: one gateway for many.
type stage struct {
	*rig
	server *liar
	asks   bool // the mode asks for approval
}

func newStage(t testing.TB, approve session.Approve) *stage {
	t.Helper()
	server := startLiar(t)
	db, err := pgwire.NewDatabase(pgwire.Upstream{Host: strings.TrimSuffix(server.Addr().String(), "/.s.PGSQL.5432"), Port: 5432, Database: "orders", User: "app"})
	if err != nil {
		t.Fatal(err)
	}
	want := request()
	want.Mode.Approve = approve
	s := &stage{rig: listenFor(t, db, want), server: server, asks: approve != session.ApproveNone}
	n := 0
	s.door.decide = func(session.AskInfo) session.Answer {
		n++
		return session.Answer{Yes: n%3 > 0, All: n%2 > 0, By: "bob"}
	}
	return s
}

// A script is a byte for each message: one below 0x80 is the client's, with that type,
// '!' being junk; 0x80 makes the next one the server's. Without any of the server's
// the server is one that keeps to the protocol.
func (s *stage) play(t testing.TB, script, junk []byte) {
	t.Helper()
	s.t = t
	s.door.set(func(d *door) { d.events, d.asked = nil, nil })
	c := s.dial()
	c.send(startup(196608, good))
	var server net.Conn
	select {
	case server = <-s.server.links:
	case <-time.After(20 * time.Second):
		t.Fatalf("no login: %s", s.log.String())
	}
	defer server.Close()
	c.until("Z")
	seen := &witness{stage: s, script: script}
	var ends sync.WaitGroup
	defer ends.Wait()
	if slices.Contains(script, 0x80) {
		ends.Go(func() { io.Copy(seen, server) })
	} else {
		m := &model{Conn: watched{server, io.TeeReader(server, seen)}, random: rand.New(rand.NewPCG(uint64(len(script)), 5))}
		ends.Go(m.run)
	}
	ends.Go(func() { io.Copy(io.Discard, c) })
	server.SetDeadline(time.Now().Add(20 * time.Second))
	for i := 0; i < len(script); i++ {
		if script[i] == 0x80 && i+1 < len(script) {
			i++
			server.Write(message(script[i], servers, junk))
			continue
		}
		c.Write(message(script[i], clients, junk))
	}
	if len(script)%2 == 0 {
		c.Write(encode(&pgproto3.Terminate{}))
	} else {
		server.Close()
	}
	c.Conn.(*net.UnixConn).CloseWrite()
	ends.Wait()
	seen.verdict(t)
}

// watched is a connection whose reads somebody else sees too.
type watched struct {
	net.Conn
	io.Reader
}

func (w watched) Read(p []byte) (int, error) { return w.Reader.Read(p) }

// witness sees what reaches the server, as it does.
type witness struct {
	*stage
	script []byte
	part   []byte
	next   int // of the tape's events
	fault  string
}

func (w *witness) Write(p []byte) (int, error) {
	w.part = append(w.part, p...)
	for len(w.part) >= 5 {
		n := 1 + int(binary.BigEndian.Uint32(w.part[1:]))
		if len(w.part) < n {
			break
		}
		w.message(w.part[0], string(w.part[5:n]))
		w.part = w.part[n:]
	}
	return len(p), nil
}

// message checks that what reaches the server now is on the tape by now.
func (w *witness) message(kind byte, body string) {
	switch texts := strings.Split(body, "\x00"); kind {
	case 'Q':
		w.statement("simple", texts[0])
	case 'P':
		w.statement("parse", texts[1])
	case 'E':
		w.statement("execute", "")
	case 'F', 'p':
		w.fault = fmt.Sprintf("a message %q", kind)
	}
}

// own is what the gateway says by itself in the modes that ask.
var own = []string{"begin", "begin read only", "commit", "rollback", "twokey: a shadow said no"}

func (w *witness) statement(protocol, text string) {
	if w.asks && (text == "" || slices.Contains(own, text)) {
		return
	}
	found := w.door.get(func(d *door) bool {
		from := w.next
		if w.asks { // statements are prepared again, and sent in other ways
			from = 0
		}
		for i := from; i < len(d.events); i++ {
			s := d.events[i].Statement
			if s == nil || !w.asks && s.Protocol != protocol || protocol != "execute" && s.Text != text {
				continue
			}
			w.next = i + 1
			return true
		}
		return false
	})
	if !found && w.fault == "" {
		w.fault = fmt.Sprintf("the server got %s %q, which is not on the tape:\n%s", protocol, text, w.door.tape())
	}
}

func (w *witness) verdict(t testing.TB) {
	t.Helper()
	if w.fault != "" {
		t.Fatalf("after %q: %s", w.script, w.fault)
	}
	if log := w.log.String(); strings.Contains(log, "panic") {
		t.Fatalf("after %q: %s", w.script, log)
	}
}

// stages are one for each kind of mode.
func stages(t testing.TB) (all []*stage) {
	for _, approve := range []session.Approve{session.ApproveNone, session.ApproveEach, session.ApproveWrites, session.ApproveCommit} {
		all = append(all, newStage(t, approve))
	}
	return all
}

func FuzzSequences(f *testing.F) {
	f.Add([]byte("Q\x80C\x80Z"), []byte("x"))
	f.Add([]byte("PBDES\x801\x802\x80n\x80C\x80Z"), []byte("y"))
	f.Add([]byte("Q\x80Gddc\x80C\x80ZQ\x80E\x80Z"), []byte("z"))
	f.Add([]byte("PBESQ\x80E\x80Z"), []byte("Q\x00\x00\x00\x05\x00"))
	f.Add([]byte("PBDESPBEHESQQddcS"), []byte{})
	all := stages(f)
	f.Fuzz(func(t *testing.T, script, junk []byte) {
		if len(script) > 500 || len(junk) > 10000 {
			return // the time that it takes says nothing new
		}
		for _, s := range all {
			s.play(t, script, junk)
		}
	})
}

// TestSequences is the same with scripts made at random from a seed, and looks
// at what they leave behind in memory.
func TestSequences(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const from, to = "QQPPBBEECDHSSSddcfFXp!", "11223CCCIEEZZZZZsGHdcDDTtnNSAKRW!"
	all := stages(t)
	scripts := func(n int) {
		for i := range n {
			var script []byte
			for range random.IntN(40) {
				if i%3 == 0 || random.IntN(2) == 0 {
					script = append(script, from[random.IntN(len(from))])
				} else {
					script = append(script, 0x80, to[random.IntN(len(to))])
				}
			}
			all[i%len(all)].play(t, script, []byte{byte(random.IntN(256))})
		}
	}
	scripts(50)
	before := inUse()
	scripts(500)
	if grown := int64(inUse()) - int64(before); grown > 4<<20 {
		t.Errorf("500 connections left %d bytes", grown)
	}
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
