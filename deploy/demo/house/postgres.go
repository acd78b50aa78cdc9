package house

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// This file is the database that production stands for: a private Postgres
// cluster, made for the demo and removed after it. It lies in the system's
// folder for temporary files: Postgres refuses to be root, and its own user
// may not be able to reach into the repository.

// Postgres is a cluster of its own.
type Postgres struct {
	*Part
	dir   string
	port  string
	owner *syscall.Credential // nil: whoever runs the demo
}

// schema is what the story is about.
const schema = `
create role app_ro login password '` + PasswordRO + `';
create role app_rw login password '` + passwordRW + `';
create role app_own;
create role maker createrole login password '` + passwordMaker + `';
grant app_own to maker with admin option;
create table customers (id int primary key, name text not null);
create table orders (id int primary key, customer int not null references customers, amount numeric(10,2) not null, state text not null default 'new');
insert into customers select n, (array['Ada','Grace','Edsger','Barbara','Donald'])[n] from generate_series(1,5) n;
insert into orders select n, 1 + n % 5, 10 + n * 7 % 90 from generate_series(1,40) n;
grant select on customers, orders to app_ro, app_rw, app_own;
grant insert, update, delete on orders to app_rw;
`

// ServerProgram finds one of Postgres's own programs, which are not in PATH on
// Debian; its psql in PATH is a wrapper.
func ServerProgram(name string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return name
	}
	return found[len(found)-1]
}

// startPostgres makes a cluster with the schema in it. It leaves nothing when it fails.
func startPostgres(ctx context.Context, log string) (*Postgres, error) {
	dir, err := os.MkdirTemp("", "twokey-demo-")
	if err != nil {
		return nil, err
	}
	db := &Postgres{dir: dir}
	if err := db.start(ctx, log); err != nil {
		return nil, errors.Join(err, db.stop())
	}
	return db, nil
}

func (db *Postgres) start(ctx context.Context, log string) error {
	if err := db.settle(); err != nil {
		return err
	}
	if err := db.initialize(ctx); err != nil {
		return err
	}
	if err := db.run(ctx, log); err != nil {
		return err
	}
	if _, err := db.Exec(ctx, "postgres", "create database orders"); err != nil {
		return err
	}
	_, err := db.Exec(ctx, "orders", schema)
	return err
}

// settle finds out who the server runs as.
func (db *Postgres) settle() error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	db.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(db.dir, int(uid), int(gid))
}

func (db *Postgres) data() string { return filepath.Join(db.dir, "data") }

func (db *Postgres) initialize(ctx context.Context) error {
	c := exec.CommandContext(ctx, ServerProgram("initdb"), "-D", db.data(), "-U", "postgres", "-N", "-E", "UTF8", "--locale=C.UTF-8",
		"--auth-local=trust", "--auth-host=scram-sha-256")
	c.Dir, c.SysProcAttr = db.dir, &syscall.SysProcAttr{Credential: db.owner}
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

func (db *Postgres) run(ctx context.Context, log string) error {
	address, err := FreeAddress()
	if err != nil {
		return err
	}
	if _, db.port, err = net.SplitHostPort(address); err != nil {
		return err
	}
	server := exec.Command(ServerProgram("postgres"), "-D", db.data(), "-p", db.port, "-k", db.dir,
		"-h", "127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=1000", "-c", "logging_collector=off")
	server.Dir, server.SysProcAttr = db.dir, &syscall.SysProcAttr{Credential: db.owner}
	if db.Part, err = startPart("postgres", log, server); err != nil {
		return err
	}
	return Within(ctx, Patience, func() (bool, error) {
		_, err := db.Exec(ctx, "postgres", "select 1")
		return err == nil, nil
	}, func() error { return fmt.Errorf("postgres does not start: %s", db.lastWords()) })
}

// Port is where it listens, on 127.0.0.1, for those who have a password.
func (db *Postgres) Port() string { return db.port }

// Socket is the folder of its unix socket, which trusts everybody.
func (db *Postgres) Socket() string { return db.dir }

// Psql is the path of Debian's psql itself, not of its wrapper.
func (db *Postgres) Psql() string { return ServerProgram("psql") }

// Exec is the operator's own way in, beside the bastion: how the story checks
// what really happened.
func (db *Postgres) Exec(ctx context.Context, database, sql string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	psql := db.Operator(database)
	c := exec.CommandContext(ctx, psql.Path, append(psql.Args[1:], "-c", sql)...)
	c.WaitDelay = time.Second
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", sql, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// Operator is a psql of the operator's, not started yet.
func (db *Postgres) Operator(database string) *exec.Cmd {
	return exec.Command(db.Psql(), "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", db.dir, "-p", db.port, "-U", "postgres", "-d", database)
}

func (db *Postgres) stop() error {
	if db.Part != nil {
		if err := db.End(syscall.SIGQUIT); err != nil { // at once; it is thrown away
			return err
		}
	}
	return os.RemoveAll(db.dir)
}
