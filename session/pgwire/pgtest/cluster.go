// Package pgtest starts a private Postgres for tests: a cluster in a temporary
// folder, on a unix socket for the test itself and on a loopback port with
// SCRAM passwords and TLS for the code under test. Its one idea: a real
// server, started once for a test binary, in a second.
//
// It is for tests alone; nothing in the product imports it.
package pgtest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Cluster is a running Postgres.
type Cluster struct {
	Host      string // 127.0.0.1; asks for SCRAM passwords
	Port      int
	Socket    string // folder of the unix socket, which trusts everybody; same port
	Superuser string // "postgres"; its password, over TCP, is Password
	Password  string
	CAFile    string // PEM certificate for sslrootcert; the server's is for localhost and 127.0.0.1
	Log       string // the server's log

	dir       string
	server    *exec.Cmd
	gone      chan error
	authority *x509.Certificate
	key       *ecdsa.PrivateKey
}

// Bin finds Postgres's own programs; the psql in PATH is a wrapper on Debian.
func Bin(name string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return name
	}
	return found[len(found)-1]
}

// Start makes a cluster and waits until it takes connections. Stop it.
func Start() (c *Cluster, err error) {
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, err
	}
	c = &Cluster{
		Host: "127.0.0.1", Socket: dir, Superuser: "postgres", Password: "super secret",
		CAFile: filepath.Join(dir, "ca.pem"), Log: filepath.Join(dir, "log"), dir: dir, gone: make(chan error, 1),
	}
	defer func() {
		if err != nil {
			c.Stop()
			c = nil
		}
	}()
	owner, err := c.owner()
	if err != nil {
		return nil, err
	}
	if err := c.init(owner); err != nil {
		return nil, err
	}
	if err := c.run(owner); err != nil {
		return nil, err
	}
	return c, c.wait()
}

// owner is whom the server runs as: it refuses to be root.
func (c *Cluster) owner() (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	if os.Getuid() != 0 {
		return attr, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, os.Chown(c.dir, uid, gid)
}

func (c *Cluster) init(owner *syscall.SysProcAttr) error {
	pw := filepath.Join(c.dir, "pw")
	if err := os.WriteFile(pw, []byte(c.Password), 0o644); err != nil {
		return err
	}
	initdb := exec.Command(Bin("initdb"), "-D", c.data(), "-U", c.Superuser, "--pwfile", pw, "-N", "-E", "UTF8", "--locale=C.UTF-8",
		"--auth-local=trust", "--auth-host=scram-sha-256")
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: owner.Credential}
	initdb.Dir = c.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	hba := filepath.Join(c.data(), "pg_hba.conf")
	rules, err := os.ReadFile(hba)
	if err == nil {
		err = os.WriteFile(hba, append([]byte("hostssl all +certified all cert\nhostnossl all +certified all reject\n"), rules...), 0o600)
	}
	return errors.Join(err, c.certify(owner))
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// certify makes the server's certificate, which is its own authority.
func (c *Cluster) certify(owner *syscall.SysProcAttr) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pgtest"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	c.authority, c.key = template, key
	private := filepath.Join(c.data(), "server.key")
	err = errors.Join(
		os.WriteFile(c.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(private, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600),
	)
	if err == nil && owner.Credential != nil {
		err = os.Chown(private, int(owner.Credential.Uid), int(owner.Credential.Gid))
	}
	return err
}

// ClientCert makes a certificate that logs in as a user of the group certified,
// and its key, as files in a folder.
func (c *Cluster) ClientCert(dir, user string) (cert, key string, err error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: user}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.authority, &private.PublicKey, c.key)
	if err != nil {
		return "", "", err
	}
	secret, err := x509.MarshalECPrivateKey(private)
	cert, key = filepath.Join(dir, user+".pem"), filepath.Join(dir, user+".key")
	return cert, key, errors.Join(err,
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600),
	)
}

// findPort looks for a free port below those that the kernel gives to clients,
// so that none takes it before the server does.
func (c *Cluster) findPort() (err error) {
	for range 100 {
		var free net.Listener
		c.Port = 10_000 + mathrand.N(20_000)
		if free, err = net.Listen("tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port))); err == nil {
			return free.Close()
		}
	}
	return err
}

func (c *Cluster) run(owner *syscall.SysProcAttr) error {
	if err := c.findPort(); err != nil {
		return err
	}
	log, err := os.Create(c.Log)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-D", c.data(), "-p", strconv.Itoa(c.Port), "-k", c.Socket, "-h", c.Host}
	for _, s := range []string{
		"fsync=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=50", "logging_collector=off", "ssl=on",
		"ssl_cert_file=" + c.CAFile, "ssl_key_file=server.key", "ssl_ca_file=" + c.CAFile, "autovacuum=off", "log_error_verbosity=terse", "log_line_prefix=%u %a ",
	} {
		args = append(args, "-c", s)
	}
	c.server = exec.Command(Bin("postgres"), args...)
	c.server.SysProcAttr, c.server.Stdout, c.server.Stderr, c.server.Dir = owner, log, log, c.dir
	if err := c.server.Start(); err != nil {
		return err
	}
	// Stop waits for it.
	go func() { c.gone <- c.server.Wait() }()
	return nil
}

func (c *Cluster) wait() error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		_, err := c.Exec("select 1")
		if err == nil {
			return nil
		}
		select {
		case err := <-c.gone:
			c.gone <- err
			log, _ := os.ReadFile(c.Log)
			return fmt.Errorf("postgres ended: %v: %s", err, log)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// Stop ends the server, and every connection to it, and removes all of it.
func (c *Cluster) Stop() {
	if c.server != nil && c.server.Process != nil {
		c.server.Process.Signal(syscall.SIGQUIT) // immediate shutdown
		<-c.gone
	}
	os.RemoveAll(c.dir)
}

// Exec runs statements as the superuser, over the unix socket, and returns the
// rows of all of them as psql -At prints them.
func (c *Cluster) Exec(sql string) (string, error) { return c.ExecIn("postgres", sql) }

// ExecIn is Exec in another database.
func (c *Cluster) ExecIn(database, sql string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgconn.Connect(ctx, fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable", c.Socket, c.Port, c.Superuser, database))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	var lines []string
	for _, r := range results {
		for _, row := range r.Rows {
			lines = append(lines, string(bytes.Join(row, []byte("|"))))
		}
	}
	return strings.Join(lines, "\n"), nil
}
