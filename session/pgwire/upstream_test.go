package pgwire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/pgwire"
)

func TestConfigurationMistakes(t *testing.T) {
	cases := map[string]func(*pgwire.Upstream){
		"host is missing":      func(u *pgwire.Upstream) { u.Host = "" },
		"user is missing":      func(u *pgwire.Upstream) { u.User = "" },
		"database is missing":  func(u *pgwire.Upstream) { u.Database = "" },
		"not within 1..65535":  func(u *pgwire.Upstream) { u.Port = 0 },
		"one host, please":     func(u *pgwire.Upstream) { u.Host = "a,b" },
		"none of disable":      func(u *pgwire.Upstream) { u.SSLMode = "verify" },
		"cannot be read":       func(u *pgwire.Upstream) { u.SSLRootCert = "/nowhere.pem" },
		"control character":    func(u *pgwire.Upstream) { u.Database = "x\x00y" },
		"superuser names":      func(u *pgwire.Upstream) { u.Superuser = "other" },
		"settings cannot be u": func(u *pgwire.Upstream) { u.SSLRootCert = "/dev/null" },
	}
	for want, change := range cases {
		u := upstream()
		change(&u)
		if _, err := pgwire.NewDatabase(u); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Nothing of libpq's environment has a say.
func TestTheEnvironmentHasNoSay(t *testing.T) {
	home := t.TempDir()
	for name, text := range map[string]string{".pgpass": "*:*:*:*:wrong\n", ".pg_service.conf": "[evil]\nhost=evil\n"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]string{
		"HOME": home, "PGHOST": "evil", "PGPORT": "1", "PGDATABASE": "evil", "PGUSER": "evil", "PGPASSWORD": "evil", "PGPASSFILE": home + "/.pgpass",
		"PGSERVICE": "evil", "PGSERVICEFILE": home + "/.pg_service.conf", "PGSSLMODE": "disable", "PGSSLCERT": "/evil", "PGSSLKEY": "/evil",
		"PGSSLROOTCERT": "/evil", "PGSSLCERTMODE": "evil", "PGSSLNEGOTIATION": "direct", "PGOPTIONS": "-c search_path=evil", "PGAPPNAME": "evil",
		"PGCONNECT_TIMEOUT": "evil", "PGTARGETSESSIONATTRS": "evil", "PGTZ": "evil", "PGMINPROTOCOLVERSION": "9", "PGMAXPROTOCOLVERSION": "9",
		"PGCHANNELBINDING": "evil", "PGREQUIREAUTH": "none", "PGSSLSNI": "0", "PGSSLPASSWORD": "evil",
	} {
		t.Setenv(name, value)
	}
	db, err := pgwire.NewDatabase(upstream())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
	u := upstream()
	u.Password = nil
	db, err = pgwire.NewDatabase(u)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Check(t.Context()); err == nil {
		t.Error("a password was found somewhere")
	}
}

func TestCheck(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := closed.Addr().(*net.TCPAddr).Port
	closed.Close()
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	boss := func(u *pgwire.Upstream) { u.User, u.Password = "boss", password("boss") }
	cases := []struct {
		want   string
		change func(*pgwire.Upstream)
	}{
		{"", func(*pgwire.Upstream) {}},
		{"", func(u *pgwire.Upstream) { u.Host, u.SSLRootCert = cluster.Socket, "" }},
		{"", func(u *pgwire.Upstream) { u.Host = "localhost" }},
		{"", func(u *pgwire.Upstream) { boss(u); u.Superuser = "boss" }},
		{"is a superuser", boss},
		{"may become boss, who is a superuser", func(u *pgwire.Upstream) { u.User, u.Password = "heir", password("heir") }},
		{"refused the password of role app", func(u *pgwire.Upstream) { u.Password = password("hunter2") }},
		{"there is no database nowhere", func(u *pgwire.Upstream) { u.Database = "nowhere" }},
		{"no database answers at 127.0.0.1", func(u *pgwire.Upstream) { u.Port = port }},
		{"cannot be found", func(u *pgwire.Upstream) { u.Host = "no-such-host.invalid" }},
		{"cannot prove who it is", func(u *pgwire.Upstream) { u.SSLRootCert = "" }},
		{"did not answer in time", func(u *pgwire.Upstream) {
			u.Port, u.ConnectTimeout = deaf.Addr().(*net.TCPAddr).Port, 100*time.Millisecond
		}},
		{"could not be read: file is gone", func(u *pgwire.Upstream) {
			u.Password = func(context.Context) (string, error) { return "", errors.New("file is gone") }
		}},
	}
	for _, c := range cases {
		u := upstream()
		c.change(&u)
		db, err := pgwire.NewDatabase(u)
		if err != nil {
			t.Fatal(err)
		}
		report, err := db.Check(t.Context())
		if c.want == "" {
			if err != nil || !strings.HasPrefix(report.Version, "1") {
				t.Errorf("%v, %+v", err, report)
			}
			continue
		}
		var cause session.Cause
		if !errors.As(err, &cause) || cause.Code != session.NoDatabase || !strings.Contains(cause.Text, c.want) || strings.Contains(cause.Text, "hunter2") {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func TestASharedRoleThatWasTamperedWith(t *testing.T) {
	admin(t, `alter role app set search_path = evil; alter role app set statement_timeout = '1h';
		alter role app in database orders set default_tablespace = 'pg_default'; alter role app in database postgres set search_path = elsewhere;
		alter database orders set "evil.x" = 'y'; alter database postgres set "evil.z" = 'not hers'`)
	defer admin(t, "alter role app reset all; alter role app in database orders reset all; alter role app in database postgres reset all; alter database orders reset all; alter database postgres reset all")
	db, err := pgwire.NewDatabase(upstream())
	if err != nil {
		t.Fatal(err)
	}
	report, err := db.Check(t.Context())
	if all := strings.Join(report.Warnings, "\n"); err != nil || len(report.Warnings) != 3 || !strings.Contains(all, "search_path=evil") || !strings.Contains(all, "owns, has evil.x=y") {
		t.Errorf("%v, %+v", err, report)
	}
	r := listen(t, db)
	r.connect()
	if tape := r.door.tape(); !strings.Contains(tape, "alarm: role app has search_path=evil") || strings.Count(tape, "alarm") != 3 || strings.Contains(tape, "statement_timeout") {
		t.Error(tape)
	}
}

// A role that may become a superuser is none that an engineer can be given,
// neither a shared one nor as what a session's role is a member of.
func TestNobodyBecomesASuperuser(t *testing.T) {
	for what, up := range map[string]pgwire.Upstream{"shared": upstream(), "of a session": perSession(t)} {
		t.Run(what, func(t *testing.T) {
			if len(up.MemberOf) == 0 {
				up.User, up.Password = "heir", password("heir")
			} else {
				admin(t, "create role climber in role boss; grant climber to maker with admin option")
				defer admin(t, "drop role climber")
				up.MemberOf = append(up.MemberOf, "climber")
			}
			db, err := pgwire.NewDatabase(up)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "may become boss, who is a superuser") {
				t.Errorf("the doctor says %v", err)
			}
			r := listen(t, db)
			if err := r.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "may become boss, who is a superuser") {
				t.Errorf("at the start: %v", err)
			}
			if _, err := r.tryConnect(r.User(), "orders"); err == nil || !strings.Contains(err.Error(), "may become boss") {
				t.Errorf("at the door: %v", err)
			}
			if err := r.Close(); err != nil || sessionRoles(t) != "" {
				t.Errorf("%v, left are %q", err, sessionRoles(t))
			}
		})
	}
}

// A database that refuses: psql and the log say why, and nothing is left.
func TestADatabaseThatRefuses(t *testing.T) {
	u := upstream()
	u.Password = password("hunter2")
	r := open(t, u)
	_, errs := r.psql("select 1;")
	if !strings.Contains(errs, "FATAL:  twokey: the database at") || !strings.Contains(errs, "refused the password of role app") {
		t.Errorf("psql printed %q", errs)
	}
	if err := r.Ready(t.Context()); err == nil {
		t.Error("ready")
	}
	if log := r.log.String(); !strings.Contains(log, "refused the password") || strings.Contains(log+errs, "hunter2") {
		t.Error(log)
	}
}

func TestTimeoutsAreSet(t *testing.T) {
	u := upstream()
	u.StatementTimeout, u.IdleInTransactionTimeout = 1500*time.Millisecond, time.Minute
	r := open(t, u)
	out, _ := r.psql("show statement_timeout; show idle_in_transaction_session_timeout;", "-At")
	if out != "1500ms\n1min\n" {
		t.Errorf("psql printed %q", out)
	}
}

// wire is a wire to the database on which things go wrong.
type wire struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn // as accepted: the control connection is the first
}

func (w *wire) run() {
	for {
		c, err := w.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", net.JoinHostPort(cluster.Host, itoa(cluster.Port)))
		if err != nil {
			c.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, c)
		w.mu.Unlock()
		go func() { io.Copy(up, c); up.Close() }()
		go func() { io.Copy(c, up); c.Close() }()
	}
}

// TestADatabaseThatSpeaksNonsense injects bytes between the database and an
// idle client.
func TestADatabaseThatSpeaksNonsense(t *testing.T) {
	cases := map[string]string{
		"not a protocol":           "HTTP/1.1 400 Bad Request\r\n\r\n",
		"asks for a password":      "R\x00\x00\x00\x08\x00\x00\x00\x03",
		"new cancel keys":          "K\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x00\x00\x01",
		"ready out of turn":        "Z\x00\x00\x00\x05I",
		"a row nobody asked for":   "D\x00\x00\x00\x06\x00\x00",
		"copy data nobody wants":   "d\x00\x00\x00\x05x",
		"complete out of turn":     "C\x00\x00\x00\x07ok\x00",
		"parse complete":           "1\x00\x00\x00\x04",
		"copy in out of turn":      "G\x00\x00\x00\x07\x00\x00\x00",
		"copy both":                "W\x00\x00\x00\x07\x00\x00\x00",
		"a message of 2 GiB":       "N\x7f\xff\xff\xff",
		"a message of minus one":   "N\xff\xff\xff\xff",
		"an answer to a fast call": "V\x00\x00\x00\x08\xff\xff\xff\xff",
	}
	for name, bytes := range cases {
		t.Run(name, func(t *testing.T) {
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer lis.Close()
			w := &wire{Listener: lis}
			go w.run()
			u := upstream()
			u.Port, u.SSLMode, u.SSLRootCert = lis.Addr().(*net.TCPAddr).Port, "disable", ""
			r := open(t, u)
			c := r.enter()
			w.mu.Lock()
			w.conns[1].Write([]byte(bytes))
			w.mu.Unlock()
			if got := c.until("nothing"); !strings.Contains(got, "FATAL 08006 twokey: the database sent") {
				t.Errorf("the client read %q", got)
			}
			eventually(t, "the backend is gone", func() bool { return backends(t) == "0" })
		})
	}
}

// A database that restarts ends the connection with its own words, and the
// next one works.
func TestABackendThatIsTerminated(t *testing.T) {
	r := open(t, upstream())
	c := r.enter()
	admin(t, "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'twokey %'")
	if got := c.until("nothing"); !strings.Contains(got, "FATAL 57P01") {
		t.Errorf("the client read %q", got)
	}
	r.enter()
}

// A login by certificate, which asks for no password.
func TestAClientCertificate(t *testing.T) {
	admin(t, "create role carrie login in role certified")
	cert, key, err := cluster.ClientCert(t.TempDir(), "carrie")
	if err != nil {
		t.Fatal(err)
	}
	up := upstream()
	up.User, up.Password = "carrie", nil
	if _, err := open(t, up).tryConnect("carrie", "orders"); err == nil {
		t.Error("came in without a certificate")
	}
	up.SSLCert, up.SSLKey = cert, key
	if _, err := open(t, up).tryConnect("carrie", "orders"); err != nil {
		t.Error(err)
	}
}
