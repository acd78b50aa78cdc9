package pgwire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"github.com/twokey/twokey/session"
)

// This file logs in to the database, from what the configuration says and
// nothing else: libpq's environment variables, password file, service file and
// certificates in the home folder have no say.

// Upstream says where a database is and how twokey logs in to it.
type Upstream struct {
	Host     string // a name, an address, or the absolute path of a unix socket's folder
	Port     int    // 1..65535
	Database string
	Others   []string // databases that clients may connect to besides
	User     string
	// Password is asked at each connect. nil is for a database that asks for none.
	Password func(ctx context.Context) (string, error)
	// SSLMode is libpq's sslmode; empty means verify-full. A unix socket has no TLS.
	SSLMode     string
	SSLRootCert string // file of PEM certificates; empty means the system's
	// SSLCert and SSLKey are files of PEM: the certificate that User logs in with,
	// where the database asks for one. Both or none.
	SSLCert, SSLKey string

	// MemberOf, when it is not empty, makes User an admin's login, with which
	// each session gets a role of its own, a member of these. What such a role
	// leaves behind belongs to the first of them. The admin needs CREATEROLE and
	// these roles WITH ADMIN OPTION.
	MemberOf []string
	// Node tells this bastion's roles from those of others.
	Node string

	ConnectTimeout time.Duration // for the whole login; 0 means 10 s

	// Both are set at connect when they are not 0; whole milliseconds.
	StatementTimeout         time.Duration
	IdleInTransactionTimeout time.Duration

	// Superuser repeats User when that role is a superuser and shall be one.
	// Every other superuser is refused.
	Superuser string
}

const (
	defaultConnectTimeout = 10 * time.Second
	maxServerMessage      = 64 << 20 // bytes of one message from the database
)

// Database is one database and role. It is shared by all sessions that use
// them, and safe for concurrent use.
type Database struct {
	up      Upstream
	base    *pgconn.Config // without password and parameters
	control *control
	labels  *labels

	mu    sync.Mutex
	roles map[string]bool // of sessions that live
}

// NewDatabase checks what can be checked without connecting. Its errors are
// sentences for whoever writes the configuration.
func NewDatabase(up Upstream) (*Database, error) {
	if err := up.valid(); err != nil {
		return nil, err
	}
	if up.ConnectTimeout == 0 {
		up.ConnectTimeout = defaultConnectTimeout
	}
	base, err := up.config()
	if err != nil {
		return nil, err
	}
	d := &Database{up: up, base: base, labels: newLabels(), roles: map[string]bool{}}
	d.control = newControl(d)
	return d, nil
}

// offers reports whether clients may connect to a database.
func (d *Database) offers(name string) bool {
	return name == d.up.Database || slices.Contains(d.up.Others, name)
}

// names are the databases that clients may connect to, for people.
func (d *Database) names() string {
	text := strconv.Quote(d.up.Database)
	for _, name := range d.up.Others {
		text += " or " + strconv.Quote(name)
	}
	return text
}

// Name is the database's name: what a client must ask for, or be given as PGDATABASE.
func (d *Database) Name() string { return d.up.Database }

// own is the login of the configuration.
func (d *Database) own() login { return login{d.up.User, d.up.Password} }

func (up Upstream) valid() error {
	for what, text := range map[string]string{"host": up.Host, "database": up.Database, "user": up.User} {
		if text == "" {
			return fmt.Errorf("the database's %s is missing", what)
		}
	}
	for _, text := range append([]string{up.Host, up.Database, up.User, up.SSLMode, up.SSLRootCert, up.SSLCert, up.SSLKey, up.Node}, append(up.MemberOf, up.Others...)...) {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%q has a control character in it", text)
		}
	}
	switch {
	case strings.Contains(up.Host, ","):
		return fmt.Errorf("one host, please: %q", up.Host)
	case up.Port < 1 || up.Port > 65535:
		return fmt.Errorf("the database's port %d is not within 1..65535", up.Port)
	case up.Superuser != "" && up.Superuser != up.User:
		return fmt.Errorf("superuser names %q, but the login's user is %q", up.Superuser, up.User)
	}
	return nil
}

// config builds pgconn's configuration. Every setting that pgconn would
// otherwise take from the environment or the home folder is given.
func (up Upstream) config() (*pgconn.Config, error) {
	service, remove, err := emptyService()
	if err != nil {
		return nil, err
	}
	defer remove()
	mode := up.SSLMode
	if mode == "" {
		mode = "verify-full"
	}
	certs := "disable"
	if up.SSLCert != "" {
		certs = "require"
	}
	var dsn strings.Builder
	for _, s := range [][2]string{
		{"host", up.Host}, {"port", strconv.Itoa(up.Port)}, {"dbname", up.Database}, {"user", up.User},
		{"password", "not this one"}, {"passfile", ""}, {"service", "none"}, {"servicefile", service},
		{"sslmode", mode}, {"sslrootcert", up.SSLRootCert}, {"sslcert", up.SSLCert}, {"sslkey", up.SSLKey}, {"sslpassword", ""},
		{"sslcertmode", certs}, {"sslsni", "1"}, {"sslnegotiation", "postgres"}, {"channel_binding", "prefer"},
		{"require_auth", ""}, {"target_session_attrs", "any"}, {"min_protocol_version", "3.0"}, {"max_protocol_version", "3.0"},
		{"krbsrvname", ""}, {"krbspn", ""}, {"connect_timeout", strconv.Itoa(max(int(up.ConnectTimeout/time.Second), 1))},
	} {
		value := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s[1])
		fmt.Fprintf(&dsn, "%s='%s' ", s[0], value)
	}
	cfg, err := pgconn.ParseConfig(dsn.String())
	if err != nil {
		return nil, up.configError(err)
	}
	cfg.Password = ""
	cfg.RuntimeParams = map[string]string{} // PGOPTIONS, PGAPPNAME, PGTZ
	cfg.ConnectTimeout = up.ConnectTimeout
	cfg.MaxProtocolMessageBodyLen = maxServerMessage
	return cfg, nil
}

// configError says what is wrong; pgconn would print the whole setting.
func (up Upstream) configError(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		var file *os.PathError
		if errors.As(err, &file) {
			return fmt.Errorf("a certificate or key of the database cannot be read: %w", file)
		}
		if strings.Contains(cause.Error(), "sslmode") {
			return fmt.Errorf("sslmode %q is none of disable, allow, prefer, require, verify-ca, verify-full", up.SSLMode)
		}
		return fmt.Errorf("the database's settings cannot be used: %w", cause)
	}
	return errors.New("the database's settings cannot be used")
}

// emptyService makes a service file with one empty service. A service named in
// PGSERVICE would be looked up even when a setting says that there is none.
func emptyService() (path string, remove func(), err error) {
	fd, err := unix.MemfdCreate("no-service", unix.MFD_CLOEXEC)
	if err != nil {
		return "", nil, fmt.Errorf("memfd_create: %w", err)
	}
	if _, err := unix.Write(fd, []byte("[none]\n")); err != nil {
		unix.Close(fd)
		return "", nil, fmt.Errorf("writing to a memfd: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { unix.Close(fd) }, nil
}

// checkInterval makes the server notice within a second that the gateway has
// gone away, also while it computes. Postgres 14 and later, where the kernel can.
const checkInterval = "client_connection_check_interval"

// dial logs in to a database with these run-time parameters. An error is a
// session.Cause whose sentence holds no password.
func (d *Database) dial(ctx context.Context, as login, database string, params map[string]string) (*pgconn.PgConn, error) {
	cfg := d.base.Copy()
	cfg.Database, cfg.User, cfg.RuntimeParams = database, as.user, params
	if as.password != nil {
		password, err := as.password(ctx)
		if err != nil {
			return nil, noDatabase("the password of role " + as.user + " could not be read: " + err.Error())
		}
		cfg.Password = password
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && params[checkInterval] != "" && (pg.Code == "42704" || pg.Code == "22023") {
		delete(params, checkInterval) // the server does not know it, or its kernel can not
		conn, err = pgconn.ConnectConfig(ctx, cfg)
	}
	if err != nil {
		return nil, d.explain(err, as.user, database, cfg.Password)
	}
	if conn.ParameterStatus("is_superuser") == "on" && d.up.Superuser != as.user {
		conn.Close(ctx)
		return nil, noDatabase("role " + as.user + " is a superuser, who could leave the database and the cage;" +
			" give this mode a role that is none, or name it under superuser")
	}
	return conn, nil
}

func noDatabase(text string) session.Cause {
	return session.Cause{Code: session.NoDatabase, Text: readable(text, 500)}
}

// explain turns what went wrong into one sentence.
func (d *Database) explain(err error, user, database, password string) session.Cause {
	where := net.JoinHostPort(d.up.Host, strconv.Itoa(d.up.Port))
	if strings.HasPrefix(d.up.Host, "/") {
		where = fmt.Sprintf("%s/.s.PGSQL.%d", d.up.Host, d.up.Port)
	}
	text := d.reason(err, user, database, where)
	if len(password) >= 4 { // a shorter one is in our own words as well, and nobody's secret
		text = strings.ReplaceAll(text, password, "[password]")
	}
	return noDatabase(text)
}

func (d *Database) reason(err error, user, database, where string) string {
	var pg *pgconn.PgError
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &pg):
		return d.refused(pg, user, database, where)
	case errors.As(err, &dns):
		return "the database's host " + d.up.Host + " cannot be found: " + dns.Err
	case errors.As(err, &name), errors.As(err, &unknown), errors.As(err, &cert):
		return "the database at " + where + " cannot prove who it is: " + innermost(err)
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		return "the database at " + where + " did not answer in time"
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return "no database answers at " + where
	case strings.Contains(err.Error(), "refused TLS"):
		return "the database at " + where + " does not speak TLS, which sslmode asks for"
	}
	return "the database at " + where + " cannot be reached: " + innermost(err)
}

// refused words an error of the database's own (SQLSTATE, appendix A of its manual).
func (d *Database) refused(pg *pgconn.PgError, user, database, where string) string {
	switch pg.Code {
	case "28P01":
		return "the database at " + where + " refused the password of role " + user
	case "3D000":
		return "there is no database " + database + " at " + where
	case "53300":
		return "the database at " + where + " takes no more connections: " + pg.Message
	case "57P03":
		return "the database at " + where + " is not ready: " + pg.Message
	}
	return fmt.Sprintf("the database at %s refused role %s: %s (SQLSTATE %s)", where, user, pg.Message, pg.Code)
}

func innermost(err error) string {
	for {
		switch u := err.(type) {
		case interface{ Unwrap() error }:
			if u.Unwrap() == nil {
				return err.Error()
			}
			err = u.Unwrap()
		case interface{ Unwrap() []error }:
			if len(u.Unwrap()) == 0 {
				return err.Error()
			}
			err = u.Unwrap()[0]
		default:
			return err.Error()
		}
	}
}
