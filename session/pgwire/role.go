package pgwire

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/twokey/twokey/session"
)

// This file makes a role for each session, so that a DBA reads the person and
// the session wherever the database names a user, and nothing that an engineer
// does to their own role lasts. The role is made by the login of the
// configuration, which then is an admin's, and is gone with the session; what a
// bastion that died has left, a sweep finds.

// Roles are found by the beginning of their name and what is written in their
// comment: which node made them, for which session.
const (
	rolePrefix  = "twokey_"
	roleComment = "twokey session "
	roleLinks   = maxLinks         // connections that a role may have
	roleLife    = 25 * time.Hour   // of a session's role, when nothing ends the session before: more than a certificate lives
	roleWork    = 10 * time.Second // for making a role, or for dropping one
	sweepEvery  = time.Minute
)

// login is who a link logs in as.
type login struct {
	user     string
	password func(ctx context.Context) (string, error)
}

// perSession reports whether each session gets a role of its own.
func (d *Database) perSession() bool { return len(d.up.MemberOf) > 0 }

// roleName is such as twokey_alice_example_com_01J…: Postgres cuts names at 63 bytes.
func roleName(want session.Request) string {
	person := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r | 0x20
		}
		return '_'
	}, want.Engineer.Name)
	id := strings.ToLower(want.ID[:min(len(want.ID), 26)])
	return rolePrefix + person[:min(len(person), 63-len(rolePrefix)-1-len(id))] + "_" + id
}

// makeRole makes the role of this gateway's session: a member of the configured
// roles and nothing else.
func (g *Gateway) makeRole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, roleWork)
	defer cancel()
	var secret [24]byte
	rand.Read(secret[:])
	password := hex.EncodeToString(secret[:])
	name := roleName(g.o.For)
	verifier, err := scramVerifier(password)
	if err != nil {
		return err
	}
	until := time.Now().Add(roleLife)
	if ends := g.o.For.Engineer.Credential.Expires; !ends.IsZero() {
		until = ends
	}
	made := fmt.Sprintf("create role %s login password '%s' valid until '%s' connection limit %d nosuperuser nocreatedb nocreaterole noreplication nobypassrls inherit in role %s",
		quoteName(name), verifier, until.UTC().Format(time.RFC3339), roleLinks, quoteNames(g.db.up.MemberOf))
	// The admin must be able to end the role's backends and to give its objects
	// away, which takes membership.
	g.db.keep(name)
	err = g.db.control.do(ctx, atOnce(made, "grant "+quoteName(name)+" to current_user",
		"comment on role "+quoteName(name)+" is "+quoteText(roleComment+g.o.For.ID+" of node "+g.db.up.Node)))
	if err != nil {
		g.db.release(name)
		return noDatabase("no role could be made for this session: " + innermost(err))
	}
	g.as = login{user: name, password: func(context.Context) (string, error) { return password, nil }}
	return nil
}

// atOnce makes one statement of several: all take effect, or none.
func atOnce(statements ...string) string {
	return "do $twokey$ begin " + strings.Join(statements, "; ") + "; end $twokey$"
}

// dropRole ends what makeRole began, as far as it got. What is left, the sweep finds.
func (g *Gateway) dropRole() {
	if !g.db.perSession() || g.as.user == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), roleWork)
	defer cancel()
	if err := g.db.drop(ctx, g.as.user); err != nil {
		g.log.Error("role of the session not dropped", "role", g.as.user, "error", err)
	}
	g.db.release(g.as.user)
}

// drop gives a role's objects to the first of the configured roles, and drops
// it. Backends it may have had are gone, or go now.
func (d *Database) drop(ctx context.Context, name string) error {
	role := quoteName(name)
	given := []string{"reassign owned by " + role + " to " + quoteName(d.up.MemberOf[0]), "drop owned by " + role}
	err := d.control.do(ctx, "alter role "+role+" nologin",
		"select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity where usename = "+quoteText(name))
	if err != nil {
		return err
	}
	for _, other := range d.up.Others { // objects are each database's own
		if err := d.doIn(ctx, other, given...); err != nil {
			return err
		}
	}
	return d.control.do(ctx, append(given, "drop role "+role)...)
}

// doIn runs statements in another database.
func (d *Database) doIn(ctx context.Context, database string, statements ...string) error {
	conn, err := d.dial(ctx, d.own(), database, controlParams())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("in database %s: %w", database, err)
		}
	}
	return nil
}

// keep notes that a role is in use, so that no sweep takes it.
func (d *Database) keep(role string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roles[role] = true
}

func (d *Database) release(role string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.roles, role)
}

func (d *Database) keeps(role string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.roles[role]
}

// Sweep drops the roles of sessions that are no more: those this node made and
// does not keep, and those of any node whose time is over and that nobody uses.
// It returns how many.
func (d *Database) Sweep(ctx context.Context) (dropped int, err error) {
	if !d.perSession() {
		return 0, nil
	}
	d.control.open()
	defer d.control.close()
	rows, err := d.control.query(ctx, `
		select r.rolname, pg_catalog.shobj_description(r.oid, 'pg_authid') like $2,
			coalesce(r.rolvaliduntil < pg_catalog.now() - '1 hour'::interval, false)
				and not exists (select from pg_catalog.pg_stat_activity a where a.usesysid = r.oid)
		from pg_catalog.pg_roles r
		where r.rolname like 'twokey\_%' and pg_catalog.shobj_description(r.oid, 'pg_authid') like $1
			and pg_catalog.pg_has_role(r.oid, 'member')`, roleComment+"%", roleComment+"% of node "+d.up.Node)
	if err != nil {
		return 0, err
	}
	for _, row := range rows {
		name, ours, over := row[0], row[1] == "t", row[2] == "t"
		if d.keeps(name) || !ours && !over {
			continue
		}
		if e := d.drop(ctx, name); e != nil {
			err = e
			continue
		}
		dropped++
	}
	return dropped, err
}

// Sweeper sweeps now and every minute until ctx ends. report hears what came of it.
func (d *Database) Sweeper(ctx context.Context, report func(dropped int, err error)) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		short, cancel := context.WithTimeout(ctx, sweepEvery)
		dropped, err := d.Sweep(short)
		cancel()
		if ctx.Err() == nil && (dropped > 0 || err != nil) {
			report(dropped, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// do runs statements one after another.
func (c *control) do(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if _, err := c.query(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// scramVerifier is what Postgres keeps of a password (RFC 5803, with
// SCRAM-SHA-256 of RFC 7677): sent instead of it, so that no log of the server
// ever holds the password.
func scramVerifier(password string) (string, error) {
	const iterations = 4096
	var salt [16]byte
	rand.Read(salt[:])
	salted, err := pbkdf2.Key(sha256.New, password, salt[:], iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt[:]), b64(stored[:]), b64(mac(salted, "Server Key"))), nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// quoteName writes an identifier, and quoteText a literal without backslashes.
func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoteText(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func quoteNames(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quoteName(n)
	}
	return strings.Join(quoted, ", ")
}
