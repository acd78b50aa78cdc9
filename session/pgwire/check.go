package pgwire

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/twokey/twokey/session"
)

// This file is what the doctor asks: does the login work, and is the role one
// that an engineer can be given.

// Report is what Check found out about a database and role.
type Report struct {
	Version  string   // the server's, such as "15.18"
	Warnings []string // sentences; what works and should be changed
}

// Check logs in, tries what a kill needs, and judges the role. Its error is a
// session.Cause with a sentence.
func (d *Database) Check(ctx context.Context) (Report, error) {
	c := newControl(d)
	c.open()
	defer c.close()
	version, err := c.ready(ctx)
	if err != nil {
		return Report{}, err
	}
	r := Report{Version: version}
	if err := c.tryKilling(ctx); err != nil {
		return r, err
	}
	if d.perSession() {
		return r, d.tryRole(ctx)
	}
	if err := c.refuseSuperuser(ctx, d.up.User); err != nil {
		return r, err
	}
	powers, err := c.powers(ctx)
	if err != nil {
		return r, noDatabase("what role " + d.up.User + " may do cannot be read: " + err.Error())
	}
	for _, p := range powers {
		r.Warnings = append(r.Warnings, "role "+d.up.User+" "+p)
	}
	settings, err := c.settings(ctx, d.up.User, d.Name())
	if err != nil {
		return r, noDatabase("the settings of role " + d.up.User + " cannot be read: " + err.Error())
	}
	for _, s := range settings {
		r.Warnings = append(r.Warnings, s+"; whoever uses the role can set that, so make sure it was you (alter role … reset …, alter database … reset …)")
	}
	return r, nil
}

// tryRole makes a role as for a session, and drops it.
func (d *Database) tryRole(ctx context.Context) error {
	g := &Gateway{db: d, log: slog.New(slog.DiscardHandler)}
	g.o.For = session.Request{ID: fmt.Sprintf("check_%d", time.Now().UnixNano()), Engineer: session.Identity{Name: "check"}}
	if err := g.makeRole(ctx); err != nil {
		return err
	}
	defer d.release(g.as.user)
	powerful := d.control.refuseSuperuser(ctx, g.as.user)
	if err := d.drop(ctx, g.as.user); err != nil {
		return noDatabase("role " + g.as.user + " was made and cannot be dropped: " + innermost(err))
	}
	return powerful
}

// tryKilling makes sure that the role sees its own backends and may end them:
// the database answers for a pid that does not exist.
func (c *control) tryKilling(ctx context.Context) error {
	if _, err := c.query(ctx, "select pg_catalog.pg_terminate_backend(0)"); err != nil {
		return noDatabase("role " + c.db.up.User + " may not end its own backends, so no kill would work: " + err.Error())
	}
	rows, err := c.query(ctx, "select backend_start::text from pg_catalog.pg_stat_activity where pid = pg_catalog.pg_backend_pid()")
	if err != nil || len(rows) != 1 || rows[0][0] == "" {
		return noDatabase("role " + c.db.up.User + " does not see its own backends in pg_stat_activity, so no kill could be confirmed")
	}
	return nil
}

// powers are the ways of the role to more than data in this database.
func (c *control) powers(ctx context.Context) ([]string, error) {
	rows, err := c.query(ctx, `
		select r.rolname, r.rolsuper::text, r.rolname = current_user, r.rolcreaterole::text, r.rolreplication::text, r.rolbypassrls::text
		from pg_catalog.pg_roles r where pg_catalog.pg_has_role(current_user, r.oid, 'member')`)
	if err != nil {
		return nil, err
	}
	grim := map[string]string{
		"pg_execute_server_program": "may run programs on the database's machine",
		"pg_read_server_files":      "may read files of the database's machine",
		"pg_write_server_files":     "may write files of the database's machine",
		"pg_signal_backend":         "may end other people's statements",
	}
	var found []string
	for _, row := range rows {
		role := row[0]
		via := ""
		if row[2] != "t" {
			via = " (as " + role + ")"
		}
		switch {
		case row[1] == "true":
			found = append(found, "is a superuser"+via)
			continue
		case grim[role] != "":
			found = append(found, grim[role])
		}
		for i, why := range []string{"may make roles", "may replicate the whole cluster", "passes row security"} {
			if row[3+i] == "true" {
				found = append(found, why+via)
			}
		}
	}
	return found, nil
}

// harmless are settings that people do set for a role, and that can not make
// its statements mean something else.
var harmless = []string{
	"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout",
	"default_transaction_read_only", "default_transaction_isolation", "work_mem", "client_connection_check_interval",
	"log_statement", "log_min_duration_statement", "timezone", "tcp_keepalives_idle",
}

// settings returns, as sentences, what has been set for every session of a role
// and is not harmless, where somebody who has the role may have done that: for
// the role itself (ALTER ROLE … SET), and for a database that the role owns.
func (c *control) settings(ctx context.Context, role, database string) ([]string, error) {
	rows, err := c.query(ctx, `
		select s.setrole <> 0, pg_catalog.unnest(s.setconfig) from pg_catalog.pg_db_role_setting s
		left join pg_catalog.pg_database d on d.oid = s.setdatabase
		where (s.setdatabase = 0 or d.datname = $2)
			and (s.setrole = (select oid from pg_catalog.pg_roles where rolname = $1)
				or s.setrole = 0 and pg_catalog.pg_has_role($1::name, d.datdba, 'member'))`, role, database)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, row := range rows {
		name, value, _ := strings.Cut(row[1], "=")
		if slices.Contains(harmless, strings.ToLower(name)) {
			continue
		}
		whose := "role " + role + " has "
		if row[0] != "t" {
			whose = "database " + database + ", which role " + role + " owns, has "
		}
		found = append(found, whose+readable(name+"="+value, 200)+" set for every session of its own")
	}
	return found, nil
}

// refuseSuperuser refuses a role that is a superuser, or may become one by SET
// ROLE, unless the configuration says so by name.
func (c *control) refuseSuperuser(ctx context.Context, role string) error {
	if role == c.db.up.Superuser {
		return nil
	}
	rows, err := c.query(ctx, "select rolname from pg_catalog.pg_roles r where rolsuper and pg_catalog.pg_has_role($1::name, r.oid, 'member')", role)
	if err != nil {
		return fmt.Errorf("what role %s may become cannot be read: %w", role, err)
	}
	if len(rows) > 0 {
		return noDatabase("role " + role + " may become " + rows[0][0] + ", who is a superuser; give this mode a role that may not, or name it under superuser")
	}
	return nil
}
