package pgwire_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twokey/twokey/session/pgwire"
)

// This file holds the login to the database against what libpq's documentation
// says of sslmode, sslrootcert and channel binding (manual 34.19, 55.3.1).

// between is a place on the way to the database where connections are tampered
// with. It returns its port.
func between(t *testing.T, host string, tamper func(client, server net.Conn)) int {
	t.Helper()
	lis, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lis.Close() })
	go func() { // ends with the listener, and what it starts with its connections
		for {
			client, err := lis.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", net.JoinHostPort(cluster.Host, itoa(cluster.Port)))
			if err != nil {
				client.Close()
				continue
			}
			go tamper(client, server)
		}
	}()
	return lis.Addr().(*net.TCPAddr).Port
}

// relay copies both ways until one side has enough.
func relay(a, b net.Conn) {
	defer a.Close()
	defer b.Close()
	go func() { io.Copy(a, b); a.Close() }()
	io.Copy(b, a)
}

// without answers that there is no TLS here, as a server that has none does.
func without(client, server net.Conn) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(client, head); err != nil {
		client.Close()
		server.Close()
		return
	}
	if string(head) == string(startup(80877103, "")) {
		client.Write([]byte("N"))
	} else {
		server.Write(head)
	}
	relay(client, server)
}

// inTheMiddle speaks TLS to both, with a certificate of its own.
func inTheMiddle(own tls.Certificate) func(client, server net.Conn) {
	return func(client, server net.Conn) {
		io.ReadFull(client, make([]byte, 8))
		client.Write([]byte("S"))
		server.Write(startup(80877103, ""))
		io.ReadFull(server, make([]byte, 1))
		relay(tls.Server(client, &tls.Config{Certificates: []tls.Certificate{own}}), tls.Client(server, &tls.Config{InsecureSkipVerify: true}))
	}
}

// stranger is a certificate that nobody knows, and the file it is in.
func stranger(t *testing.T) (own tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "stranger.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestTLSModes(t *testing.T) {
	own, unknown := stranger(t)
	elsewhere := between(t, "127.0.0.2", relay) // which is not in the server's certificate
	plain := between(t, "127.0.0.1", without)
	watched := between(t, "127.0.0.1", inTheMiddle(own))
	const refused = ""
	for _, c := range []struct {
		mode, root string
		host       string
		port       int
		want       string // whether TLS is in use, or refused and why
		why        string
	}{
		{"disable", "", "127.0.0.1", cluster.Port, "f", ""},
		{"allow", "", "127.0.0.1", cluster.Port, "f", ""},
		{"prefer", "", "127.0.0.1", cluster.Port, "t", ""},
		{"require", "", "127.0.0.1", cluster.Port, "t", ""},
		{"require", cluster.CAFile, "127.0.0.1", cluster.Port, "t", ""},
		{"require", unknown, "127.0.0.1", cluster.Port, refused, "cannot prove who it is"}, // with a root it is verify-ca
		{"verify-ca", cluster.CAFile, "127.0.0.1", cluster.Port, "t", ""},
		{"verify-ca", unknown, "127.0.0.1", cluster.Port, refused, "cannot prove who it is"},
		{"verify-ca", cluster.CAFile, "127.0.0.2", elsewhere, "t", ""},
		{"verify-full", cluster.CAFile, "127.0.0.1", cluster.Port, "t", ""},
		{"verify-full", cluster.CAFile, "localhost", cluster.Port, "t", ""},
		{"verify-full", cluster.CAFile, "127.0.0.2", elsewhere, refused, "cannot prove who it is"},
		{"verify-full", unknown, "127.0.0.1", cluster.Port, refused, "cannot prove who it is"},
		{"", cluster.CAFile, "127.0.0.2", elsewhere, refused, "cannot prove who it is"}, // none said is verify-full
		{"disable", "", "127.0.0.1", plain, "f", ""},
		{"allow", "", "127.0.0.1", plain, "f", ""},
		{"prefer", "", "127.0.0.1", plain, "f", ""},
		{"require", "", "127.0.0.1", plain, refused, "does not speak TLS"},
		{"verify-full", cluster.CAFile, "127.0.0.1", plain, refused, "does not speak TLS"},
		// A certificate that nobody looks at is looked at by SCRAM, which binds the
		// password's proof to the channel (RFC 5802 6, RFC 5929 4).
		{"require", "", "127.0.0.1", watched, refused, "channel binding"},
		{"verify-full", cluster.CAFile, "127.0.0.1", watched, refused, "cannot prove who it is"},
	} {
		t.Run(c.mode+" "+c.host+" "+filepath.Base(c.root), func(t *testing.T) {
			up := upstream()
			up.Host, up.Port, up.SSLMode, up.SSLRootCert = c.host, c.port, c.mode, c.root
			db, err := pgwire.NewDatabase(up)
			if err != nil {
				t.Fatal(err)
			}
			r := listen(t, db)
			err = r.Ready(t.Context())
			if c.want == refused {
				if err == nil || !strings.Contains(err.Error(), c.why) {
					t.Errorf("%v, want %q", err, c.why)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			conn := r.connect()
			res := conn.ExecParams(t.Context(), "select ssl from pg_stat_ssl where pid = pg_backend_pid()", nil, nil, nil, nil).Read()
			if res.Err != nil || string(res.Rows[0][0]) != c.want {
				t.Errorf("TLS: %s, %v, want %s", res.Rows, res.Err, c.want)
			}
		})
	}
}

// Where the server takes nothing but TLS, allow comes in at the second try.
func TestAllowFallsBackToTLS(t *testing.T) {
	admin(t, "create role callie login in role certified")
	cert, key, err := cluster.ClientCert(t.TempDir(), "callie")
	if err != nil {
		t.Fatal(err)
	}
	up := upstream()
	up.User, up.Password, up.SSLMode, up.SSLRootCert, up.SSLCert, up.SSLKey = "callie", nil, "allow", "", cert, key
	if _, err := open(t, up).tryConnect("callie", "orders"); err != nil {
		t.Error(err)
	}
}

// A database that goes away and comes back: what ran ends with a word, what
// comes meanwhile is told, and what comes after works.
func TestADatabaseThatRestarts(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var again net.Listener
	t.Cleanup(func() { again.Close() }) // after the gateway's
	address := lis.Addr().String()
	w := &wire{Listener: lis}
	go w.run()
	up := upstream()
	up.Port, up.SSLMode, up.SSLRootCert = lis.Addr().(*net.TCPAddr).Port, "disable", ""
	r := open(t, up)
	c := r.enter()
	c.send(query("select pg_sleep(60)"))
	eventually(t, "it runs", func() bool { return backends(t) == "1" })
	lis.Close()
	w.mu.Lock()
	for _, conn := range w.conns {
		conn.Close()
	}
	w.mu.Unlock()
	if got := c.until("nothing"); !strings.Contains(got, "FATAL 08006 twokey: the database closed the connection") {
		t.Errorf("she reads %q", got)
	}
	if _, err := r.tryConnect("app", "orders"); err == nil || !strings.Contains(err.Error(), "no database answers at") {
		t.Errorf("meanwhile: %v", err)
	}
	if again, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	go (&wire{Listener: again}).run()
	conn := r.connect()
	if res := conn.ExecParams(t.Context(), "select 1", nil, nil, nil, nil).Read(); res.Err != nil {
		t.Error(res.Err)
	}
	if tape := r.door.tape(); !strings.Contains(tape, "08006 the database closed the connection") {
		t.Error(tape)
	}
	eventually(t, "nothing is left of what ran", func() bool { return backends(t) == "1" })
}

// A database that hangs in the middle of an answer holds up neither a kill nor
// the one who asks what became of it.
func TestADatabaseThatHangs(t *testing.T) {
	var stuck atomic.Bool
	port := between(t, "127.0.0.1", func(client, server net.Conn) {
		defer client.Close()
		defer server.Close()
		go io.Copy(server, client)
		buf := make([]byte, 1000)
		for {
			n, err := server.Read(buf)
			for stuck.Load() {
				time.Sleep(time.Millisecond)
			}
			if err != nil {
				return
			}
			client.Write(buf[:n])
		}
	})
	up := upstream()
	up.Port, up.SSLMode, up.SSLRootCert = port, "disable", ""
	r := open(t, up)
	c := r.enter()
	stuck.Store(true)
	defer stuck.Store(false) // so that the backend can be seen to be gone
	c.send(query("select 'never answered'"))
	eventually(t, "it is on the tape", func() bool { return strings.Contains(r.door.tape(), "never answered") })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := r.Kill(ctx); err == nil || !strings.Contains(err.Error(), "has not confirmed") {
		t.Errorf("the kill says %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the kill took %v", took)
	}
	if got := c.until("nothing"); !strings.Contains(got, "FATAL 57P01 twokey: the session has ended") {
		t.Errorf("she reads %q", got)
	}
	if tape := r.door.tape(); !strings.Contains(tape, "1<  08006 the session has ended") {
		t.Error(tape)
	}
}
