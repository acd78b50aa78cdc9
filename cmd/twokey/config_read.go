//go:build linux

package main

import (
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/pgwire"
)

// This file is the configuration's grammar: a function per section, a line
// per key, with its default and its bounds. The order of the keys is the order
// in which messages list them.

func (c *Config) read(v entry) {
	c.Drain = 10 * time.Second
	v.fields(
		field{"ssh", required, c.SSH.read},
		field{"http", required, c.HTTP.read},
		field{"state", required, func(v entry) { v.pathInto(&c.State) }},
		field{"login", required, c.Login.read},
		field{"certificates", required, c.Certificates.read},
		field{"recordings", required, c.Recordings.read},
		field{"auditors", optional, func(v entry) { c.Auditors = v.people() }},
		field{"admins", optional, func(v entry) { c.Admins = v.people() }},
		field{"targets", required, func(entry) {}}, // read below: shadows speak about the claims of the login
		field{"cage", optional, c.Cage.read},
		field{"history", optional, c.readHistory},
		field{"drain", optional, func(v entry) { v.durationInto(&c.Drain, time.Second, time.Hour) }},
		field{"notify", optional, c.readNotify},
		field{"monitor", optional, c.Monitor.read},
	)
	if targets := v.get("targets"); targets.node != nil {
		c.readTargets(targets)
	}
	c.readTogether(v)
}

// readNotify reads where notices go: each item is a webhook or Slack.
func (c *Config) readNotify(v entry) {
	items, ok := v.items("webhook: {url: .., secret: ..} or slack: {url: ..}")
	if !ok {
		return
	}
	for _, item := range items {
		item.name = "notify"
		var n NotifyConfig
		before := len(v.mistakes)
		item.fields(
			field{"webhook", optional, n.readWebhook},
			field{"slack", optional, func(v entry) {
				v.fields(field{"url", required, func(v entry) { v.secretInto(&n.Slack) }})
			}},
		)
		if pairs, _ := item.pairs(); len(pairs) != 1 && len(v.mistakes) == before {
			item.wrong("expected one of webhook and slack in each item")
		}
		c.Notify = append(c.Notify, n)
	}
}

func (n *NotifyConfig) readWebhook(v entry) {
	v.fields(
		field{"url", required, func(v entry) {
			u, ok := v.url("http", "https")
			switch {
			case !ok:
			case u.Scheme == "http" && !loopbackHost(u.Hostname()):
				v.wrong("plain http is for loopback only; write https://%s", u.Host)
			default:
				n.URL = u.String()
			}
		}},
		field{"secret", required, func(v entry) { v.secretInto(&n.Secret) }},
	)
}

// readTogether checks what no section can know alone.
func (c *Config) readTogether(v entry) {
	if clash(c.SSH.Listen, c.HTTP.Listen) {
		v.get("http").get("listen").wrong("%s is taken by ssh.listen", c.HTTP.Listen)
	}
	for _, taken := range []string{c.SSH.Listen, c.HTTP.Listen} {
		if clash(c.Monitor.Listen, taken) {
			v.get("monitor").get("listen").wrong("%s is taken by another part", c.Monitor.Listen)
		}
	}
	if c.Recordings.Store.Dir != "" && c.Recordings.Store.Dir == c.State {
		v.get("recordings").get("store").wrong("the folder is that of state; give the recordings their own")
	}
	if u, err := url.Parse(c.HTTP.URL); err == nil && c.SSH.Name == "" && c.SSH.Listen != "" {
		_, port, _ := net.SplitHostPort(c.SSH.Listen)
		c.SSH.Name = net.JoinHostPort(u.Hostname(), port)
	}
	owners := map[CAKey]string{}
	for _, k := range []struct {
		key    CAKey
		what   string
		inside string
	}{
		{CAKey{Secret: c.SSH.HostKey}, "host_key", "ssh"}, {c.Certificates.UserCA, "user_ca", "certificates"},
		{c.Certificates.HostCA, "host_ca", "certificates"}, {CAKey{Secret: c.Recordings.SigningKey}, "signing_key", "recordings"},
	} {
		if before, used := owners[k.key]; used && k.key.Given() {
			v.get(k.inside).get(k.what).wrong("is the same key as %s; one key, one purpose: give each its own", before)
		}
		owners[k.key] = k.what
	}
}

// clash reports whether two addresses cannot both be listened on.
func clash(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || hostA == "" || hostB == ""
}

func (c *SSHConfig) read(v entry) {
	v.fields(
		field{"listen", required, func(v entry) { v.addressInto(&c.Listen) }},
		field{"host_key", required, func(v entry) { v.keyInto(&c.HostKey) }},
		field{"name", optional, c.readName},
		field{"proxies", optional, func(v entry) { v.prefixesInto(&c.Proxies) }},
	)
}

func (c *MonitorConfig) read(v entry) {
	v.fields(field{"listen", required, func(v entry) { v.addressInto(&c.Listen) }})
}

func (c *SSHConfig) readName(v entry) {
	var name string
	v.textInto(&name)
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		host, port = name, "22"
	}
	if n, err := strconv.ParseUint(port, 10, 16); name != "" && (err != nil || n == 0 || !hostName.MatchString(host) && net.ParseIP(host) == nil) {
		v.wrong("%s is not how people reach a bastion; expected HOST or HOST:PORT, such as bastion.example.com", quoted(name))
		return
	}
	c.Name = name
}

func (c *HTTPConfig) read(v entry) {
	v.fields(
		field{"listen", required, func(v entry) { v.addressInto(&c.Listen) }},
		field{"url", required, c.readURL},
		field{"tls", optional, c.TLS.read},
	)
	if c.Listen == "" || c.URL == "" {
		return
	}
	plain, local := strings.HasPrefix(c.URL, "http://"), loopback(c.Listen)
	switch {
	case plain && c.TLS != (TLSConfig{}):
		v.get("url").wrong("is http:// although tls is configured; write https://")
	case plain && !local:
		v.get("listen").wrong("plain http is for loopback only; listen on 127.0.0.1, or give tls: {cert: FILE, key: FILE} and an https url")
	case !plain && c.TLS == (TLSConfig{}) && !local:
		v.get("listen").caution("speaks plain http to everyone who reaches it: let only the proxy that ends TLS reach it, or give tls: {cert: FILE, key: FILE}")
	}
}

func (c *HTTPConfig) readURL(v entry) {
	u, ok := v.url("http", "https")
	if !ok {
		return
	}
	switch {
	case strings.Trim(u.Path, "/") != "":
		v.wrong("has the path %s; the pages live at the top of a host, such as https://bastion.example.com", quoted(u.Path))
	case u.Scheme == "http" && !loopbackHost(u.Hostname()):
		v.wrong("plain http is for loopback only; write https://%s", u.Host)
	default:
		c.URL = u.Scheme + "://" + u.Host
	}
}

func (c *TLSConfig) read(v entry) {
	v.fields(
		field{"cert", required, func(v entry) { v.pathInto(&c.Cert) }},
		field{"key", required, func(v entry) { v.pathInto(&c.Key) }},
	)
}

func (c *LoginConfig) read(v entry) {
	c.Scopes = []string{"openid", "email", "profile", "groups"}
	c.Claims = ClaimsConfig{Name: "email", Groups: "groups"}
	v.fields(
		field{"issuer", required, c.readIssuer},
		field{"client_id", required, func(v entry) { v.textInto(&c.ClientID) }},
		field{"client_secret", optional, func(v entry) { v.secretInto(&c.ClientSecret) }},
		field{"scopes", optional, c.readScopes},
		field{"claims", optional, c.Claims.read},
		field{"recheck", optional, func(v entry) { v.durationInto(&c.Recheck, time.Second, 24*time.Hour) }},
	)
	if c.Recheck > 0 && !slices.Contains(c.Scopes, "offline_access") {
		v.caution("most providers give the refresh tokens for recheck only with offline_access in the scopes")
	}
}

func (c *LoginConfig) readIssuer(v entry) {
	u, ok := v.url("http", "https")
	switch {
	case !ok:
	case u.Scheme == "http" && !loopbackHost(u.Hostname()):
		v.wrong("plain http is for loopback only; write https://%s", u.Host+u.Path)
	default:
		v.textInto(&c.Issuer) // exactly as written: it is compared byte by byte
	}
}

func (c *LoginConfig) readScopes(v entry) {
	scopes := v.texts("scopes")
	for _, s := range scopes {
		if strings.ContainsAny(s, " \t\"\\") {
			v.wrong("%s is not one scope; write a list: [openid, email]", quoted(s))
			return
		}
	}
	if scopes != nil && !slices.Contains(scopes, "openid") {
		v.wrong("openid is missing; without it the provider says nothing about the person")
	}
	c.Scopes = scopes
}

// read takes name, groups, same_person and any role of one's own, such as
// team, which shadows may then ask to be other.
func (c *ClaimsConfig) read(v entry) {
	pairs, ok := v.pairs()
	if !ok {
		v.expected("a mapping such as {name: email, groups: groups, team: department}")
		return
	}
	for _, p := range pairs {
		var claim string
		switch p.textInto(&claim); {
		case !roleName.MatchString(p.name):
			v.mistake(p.key, "%s is not a role's name; allowed: name, groups, same_person, and your own of the letters a-z, 0-9 and _, such as team", quoted(p.name))
		case claim == "":
		case p.name == "name":
			c.Name = claim
		case p.name == "groups":
			c.Groups = claim
		case p.name == "same_person":
			c.SamePerson = claim
		default:
			if c.Others == nil {
				c.Others = map[string]string{}
			}
			c.Others[p.name] = claim
		}
	}
}

func (c *CertificatesConfig) read(v entry) {
	c.TTL = 8 * time.Hour
	v.fields(
		field{"user_ca", required, func(v entry) { v.caInto(&c.UserCA) }},
		field{"host_ca", required, func(v entry) { v.caInto(&c.HostCA) }},
		field{"old_user_cas", optional, c.readOldUserCAs},
		field{"other_host_cas", optional, func(v entry) {
			for _, file := range v.texts("files") {
				c.OtherHostCAs = append(c.OtherHostCAs, v.path(file))
			}
		}},
		field{"ttl", optional, func(v entry) { v.durationInto(&c.TTL, time.Minute, 24*time.Hour) }},
		field{"source_address", optional, func(v entry) { v.boolInto(&c.SourceAddress) }},
	)
}

// readOldUserCAs reads [{file: PATH, until: TIME}]: each has an end, as whoever has
// the old key could else make certificates for ever.
func (c *CertificatesConfig) readOldUserCAs(v entry) {
	items, ok := v.items("old_user_cas")
	if !ok {
		return
	}
	for _, item := range items {
		item.name = "old_user_cas"
		var old OldCA
		item.fields(
			field{"file", required, func(v entry) { v.pathInto(&old.File) }},
			field{"until", required, func(v entry) { v.momentInto(&old.Until) }},
		)
		if !old.Until.IsZero() && time.Now().After(old.Until) {
			item.caution("is over; take it out")
		}
		c.OldUserCAs = append(c.OldUserCAs, old)
	}
}

func (c *RecordingsConfig) read(v entry) {
	c.SegmentEvery, c.SegmentBytes = time.Second, 256<<10
	c.MaxLagTime, c.MaxLagBytes = time.Minute, 64<<20
	haveS3 := false
	v.fields(
		field{"store", required, c.Store.read},
		field{"s3", optional, func(v entry) { haveS3 = true; c.Store.readS3(v) }},
		field{"segment", optional, c.readSegment},
		field{"durability", optional, func(v entry) {
			word := "spooled"
			v.wordInto(&word, "spooled", "synced")
			c.Synced = word == "synced"
		}},
		field{"recipients", optional, c.readRecipients},
		field{"signing_key", required, func(v entry) { v.keyInto(&c.SigningKey) }},
		field{"old_keys", optional, c.readOldKeys},
		field{"max_lag", optional, c.readMaxLag},
		field{"redact", optional, c.readRedact},
	)
	switch {
	case c.Store.Bucket != "" && !haveS3:
		v.get("store").wrong("needs an s3 section beside it: s3: {endpoint: URL, access_key: …, secret_key: …}")
	case c.Store.Dir != "" && haveS3:
		v.mistake(v.get("s3").begin(), "s3: the store is a folder; leave this section out")
	}
	if c.MaxLagBytes < c.SegmentBytes {
		v.get("max_lag").get("bytes").wrong("is less than one segment (segment.bytes is %s): the gate would never stay open", sizeText(c.SegmentBytes))
	}
	if c.MaxLagTime < 2*c.SegmentEvery {
		v.get("max_lag").get("time").wrong("is less than two segments (segment.every is %s): the gate would shut all the time", c.SegmentEvery)
	}
}

func (c *RecordingsConfig) readSegment(v entry) {
	v.fields(
		field{"every", optional, func(v entry) { v.durationInto(&c.SegmentEvery, 100*time.Millisecond, time.Minute) }},
		field{"bytes", optional, func(v entry) { v.sizeInto(&c.SegmentBytes, 4<<10, 16<<20) }},
	)
}

func (c *RecordingsConfig) readMaxLag(v entry) {
	v.fields(
		field{"time", optional, func(v entry) { v.durationInto(&c.MaxLagTime, time.Second, time.Hour) }},
		field{"bytes", optional, func(v entry) { v.sizeInto(&c.MaxLagBytes, 64<<10, 16<<30) }},
	)
}

func (c *RecordingsConfig) readOldKeys(v entry) {
	for _, file := range v.texts("files") {
		c.OldKeys = append(c.OldKeys, v.path(file))
	}
}

func (c *RecordingsConfig) readRecipients(v entry) {
	for _, text := range v.texts("recipients") {
		to, err := recorder.ParseRecipient(text)
		if err != nil {
			v.wrong("%s is no recipient of age's; age-keygen prints one: age1…", quoted(text))
			return
		}
		c.Recipients = append(c.Recipients, to)
	}
}

func (c *RecordingsConfig) readRedact(v entry) {
	var types []string
	var longer int64
	v.fields(
		field{"types", optional, func(v entry) { types = v.texts("types") }},
		field{"longer", optional, func(v entry) { v.sizeInto(&longer, 1, 16<<20) }},
	)
	var err error
	if c.Redact, err = pgwire.NewRedaction(types, int(longer)); err != nil {
		v.get("types").wrong("%s", err)
	}
}

func (c *StoreConfig) read(v entry) {
	u, ok := v.url("s3", "file")
	if !ok {
		return
	}
	c.URL = u.String()
	if u.Scheme == "file" {
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			v.wrong("a folder is written with three slashes: file:///var/lib/twokey/recordings")
			return
		}
		c.Dir = v.path(u.Path)
		return
	}
	if !bucketName.MatchString(u.Host) {
		v.wrong("%s is not a bucket's name; expected s3://BUCKET or s3://BUCKET/PREFIX", quoted(u.Host))
		return
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" && store.CheckName(prefix) != nil {
		v.wrong("the prefix %s cannot be one; allowed: parts of A-Z, a-z, 0-9 and . _ - + @ with single slashes between, none beginning with a dot", quoted(prefix))
		return
	}
	c.Bucket, c.Prefix = u.Host, prefix
}

func (c *StoreConfig) readS3(v entry) {
	c.Region = "us-east-1"
	v.fields(
		field{"endpoint", required, c.readEndpoint},
		field{"region", optional, func(v entry) { v.textInto(&c.Region) }},
		field{"access_key", required, func(v entry) { v.secretInto(&c.AccessKey) }},
		field{"secret_key", required, func(v entry) { v.secretInto(&c.SecretKey) }},
		field{"lock", optional, c.readLock},
	)
}

func (c *StoreConfig) readLock(v entry) {
	c.LockMode = "compliance"
	v.fields(
		field{"mode", optional, func(v entry) { v.wordInto(&c.LockMode, "compliance", "governance") }},
		field{"days", required, func(v entry) { v.numberInto(&c.LockDays, 1, 36500) }},
	)
}

func (c *StoreConfig) readEndpoint(v entry) {
	u, ok := v.url("http", "https")
	if !ok {
		return
	}
	if strings.Trim(u.Path, "/") != "" {
		v.wrong("has the path %s; write the bucket in store: s3://BUCKET/PREFIX", quoted(u.Path))
		return
	}
	if u.Scheme == "http" && !loopbackHost(u.Hostname()) {
		v.caution("is plain http: recordings can be read on their way to the store")
	}
	c.Endpoint = u.Scheme + "://" + u.Host
}

// people reads {groups: [...]}.
func (v entry) people() (groups []string) {
	v.fields(field{"groups", required, func(v entry) { groups = v.groups() }})
	return groups
}

// groups reads a list of groups that is not empty.
func (v entry) groups() []string { return v.texts("groups") }

func (c *CageConfig) read(v entry) {
	if word, ok := v.scalar(); ok && !v.empty() {
		c.Off = word == "off"
		if !c.Off {
			v.wrong("%s is not known; allowed: off, {psql: PATH}", quoted(word))
			return
		}
		v.caution("psql runs without a cage: whoever types in it can run programs and read files as this service")
		return
	}
	if v.empty() {
		v.expected("off or {psql: PATH}")
		return
	}
	v.fields(field{"psql", required, func(v entry) { v.pathInto(&c.Psql) }})
}

func (c *Config) readHistory(v entry) {
	word, ok := v.scalar()
	if !ok || v.empty() {
		v.expected("on or off")
		return
	}
	c.NoHistory = word == "off"
	if word != "on" && !c.NoHistory {
		v.wrong("%s is not known; allowed: on, off", quoted(word))
	}
}

func (c *Config) readTargets(v entry) {
	items, ok := v.items("targets")
	if !ok {
		return
	}
	if len(items) == 0 {
		v.wrong("is empty; name at least one database")
	}
	names := map[string]place{}
	for _, item := range items {
		item.name = "target"
		var t TargetConfig
		item.fields(
			field{"name", required, func(v entry) { v.nameInto(&t.Name, names) }},
			field{"postgres", required, t.Postgres.read},
			field{"modes", required, func(v entry) { t.Modes = c.readModes(v) }},
		)
		c.Targets = append(c.Targets, t)
	}
}

var sslModes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

func (c *PostgresConfig) read(v entry) {
	c.Port, c.SSLMode = 5432, "verify-full"
	v.fields(
		field{"host", required, c.readHost},
		field{"port", optional, func(v entry) { v.numberInto(&c.Port, 1, 65535) }},
		field{"database", required, func(v entry) { v.textInto(&c.Database) }},
		field{"other_databases", optional, func(v entry) { c.Others = v.texts("databases") }},
		field{"sslmode", optional, func(v entry) { v.wordInto(&c.SSLMode, sslModes...) }},
		field{"sslrootcert", optional, func(v entry) { v.pathInto(&c.SSLRootCert) }},
	)
	proven := c.SSLMode == "verify-full" || c.SSLMode == "verify-ca"
	switch mode := v.get("sslmode"); {
	case strings.HasPrefix(c.Host, "/") && mode.node == nil:
		c.SSLMode = "disable" // there is no TLS on a socket, and nobody in between
	case strings.HasPrefix(c.Host, "/") && proven:
		mode.wrong("there is no TLS on a unix socket; leave it out")
	case !proven && c.Host != "" && !strings.HasPrefix(c.Host, "/") && !loopbackHost(c.Host):
		mode.caution("%s does not prove that this is your database; verify-full does", c.SSLMode)
	}
}

func (c *PostgresConfig) readHost(v entry) {
	v.textInto(&c.Host)
	if strings.HasPrefix(c.Host, "/") || c.Host == "" {
		return
	}
	if net.ParseIP(c.Host) == nil && !hostName.MatchString(c.Host) {
		v.wrong("%s is not a host; expected a name, an address, or the folder of a socket", quoted(c.Host))
	}
}

func (c *Config) readModes(v entry) (modes []ModeConfig) {
	items, ok := v.items("modes")
	if !ok {
		return nil
	}
	if len(items) == 0 {
		v.wrong("is empty; a target needs at least one mode")
	}
	names := map[string]place{}
	for _, item := range items {
		item.name = "mode"
		modes = append(modes, c.readMode(item, names))
	}
	return modes
}

func (c *Config) readMode(v entry, names map[string]place) ModeConfig {
	m := ModeConfig{Mode: session.Mode{Limits: session.Limits{
		Wait: 15 * time.Minute, Grace: 30 * time.Second, Approval: 2 * time.Minute,
	}}}
	reason := "optional"
	v.fields(
		field{"name", required, func(v entry) { v.nameInto(&m.Name, names) }},
		field{"login", required, m.readLogin},
		field{"engineers", required, func(v entry) { m.Engineers = v.people() }},
		field{"shadows", optional, func(entry) {}}, // read below: it falls back on the engineers
		field{"approve", optional, func(entry) {}}, // read below: it takes a shadow
		field{"reason", optional, func(v entry) { v.wordInto(&reason, "required", "optional") }},
		field{"limits", optional, func(v entry) { m.readLimits(v) }},
		field{"break_glass", optional, func(v entry) { readBreakGlass(v, &m.BreakGlass) }},
	)
	m.Reason = reason == "required"
	m.Shadows = c.readShadows(v.get("shadows"), m.Engineers)
	if approve := v.get("approve"); approve.node != nil {
		readApprove(approve, &m.Mode)
	}
	if presence := v.get("limits").get("presence"); m.Limits.Presence > 0 && len(m.Shadows) == 0 {
		presence.wrong("asks a shadow to press a key, and this mode asks for no shadow")
	}
	if word, _ := v.get("shadows").scalar(); word == "none" && v.get("break_glass").node != nil {
		v.get("break_glass").wrong("there is no glass to break where nobody has to watch (shadows: none); leave it out")
	}
	return m
}

func readBreakGlass(v entry, b *session.BreakGlass) {
	b.Review = 24 * time.Hour
	v.fields(
		field{"groups", required, func(v entry) { b.Groups = v.groups() }},
		field{"review", optional, func(v entry) { v.durationInto(&b.Review, time.Hour, 30*24*time.Hour) }},
	)
}

// readApprove reads what waits for a shadow's yes. There must be a shadow to
// say it.
func readApprove(v entry, m *session.Mode) {
	word := "none"
	v.wordInto(&word, "none", string(session.ApproveEach), string(session.ApproveWrites), string(session.ApproveCommit))
	if word == "none" {
		return
	}
	if len(m.Shadows) == 0 {
		v.wrong("%s waits for a shadow's yes, and this mode asks for no shadow", word)
	}
	m.Approve = session.Approve(word)
}

// readLogin reads how a mode logs in: as one role for all its sessions (user), or
// as an admin who makes a role for each (admin and member_of).
func (m *ModeConfig) readLogin(v entry) {
	admin, memberOf := v.get("admin"), v.get("member_of")
	if admin.node == nil && memberOf.node == nil {
		m.RoleConfig.read(v, field{"admin", optional, func(entry) {}}, field{"member_of", optional, func(entry) {}})
		return
	}
	v.fields(
		field{"admin", required, func(v entry) { m.RoleConfig.read(v) }},
		field{"member_of", required, func(v entry) { m.MemberOf = v.texts("roles") }},
	)
}

// read reads a role and its password.
func (c *RoleConfig) read(v entry, more ...field) {
	v.fields(append([]field{
		{"user", required, func(v entry) { v.textInto(&c.User) }},
		{"password", optional, func(v entry) { v.secretInto(&c.Password) }},
		{"password_command", optional, func(v entry) { c.Command = v.words("a command and its arguments") }},
		{"superuser", optional, func(v entry) { v.textInto(&c.Superuser) }},
		{"sslcert", optional, func(v entry) { v.pathInto(&c.SSLCert) }},
		{"sslkey", optional, func(v entry) { v.pathInto(&c.SSLKey) }},
	}, more...)...)
	command, cert, key := v.get("password_command"), v.get("sslcert"), v.get("sslkey")
	switch {
	case cert.node != nil && key.node == nil:
		cert.wrong("needs sslkey beside it")
	case key.node != nil && cert.node == nil:
		key.wrong("needs sslcert beside it")
	}
	switch {
	case v.get("password").node == nil && command.node == nil && cert.node == nil && v.get("user").node != nil:
		v.mistake(v.begin(), "%s: the key \"password\" is missing, or password_command, or sslcert", v.name)
	case v.get("password").node != nil && command.node != nil:
		command.wrong("is one too many beside password")
	}
	switch super := v.get("superuser"); {
	case c.Superuser == "":
	case c.Superuser != c.User:
		super.wrong("repeats the user when that role is a superuser and shall be one; write %s or leave it out", quoted(c.User))
	default:
		super.caution("a superuser can run programs on the database's machine and switch off whatever watches there")
	}
}

func (m *ModeConfig) readLimits(v entry) {
	l := &m.Limits
	v.fields(
		field{"wait", optional, func(v entry) { v.durationInto(&l.Wait, time.Second, 24*time.Hour) }},
		field{"duration", optional, func(v entry) { v.limitInto(&l.Duration) }},
		field{"idle", optional, func(v entry) { v.limitInto(&l.Idle) }},
		field{"grace", optional, func(v entry) { v.durationInto(&l.Grace, time.Second, time.Hour) }},
		field{"presence", optional, func(v entry) { v.durationInto(&l.Presence, time.Second, 24*time.Hour) }},
		field{"approval", optional, func(v entry) { v.durationInto(&l.Approval, time.Second, time.Hour) }},
		field{"rows", optional, func(v entry) { rows := 0; v.numberInto(&rows, 1, 1e12); l.Rows = int64(rows) }},
		field{"statement_timeout", optional, func(v entry) { v.limitInto(&m.StatementTimeout) }},
		field{"idle_in_transaction_session_timeout", optional, func(v entry) { v.limitInto(&m.IdleInTransactionTimeout) }},
	)
}

// mostShadows bounds a quorum: more people than that do not fit behind one screen.
const mostShadows = 20

// readShadows reads a quorum. Left out it is one of the engineers' colleagues:
// being alone must be said.
func (c *Config) readShadows(v entry, engineers []string) session.Quorum {
	if v.node == nil {
		return session.Quorum{{Count: 1, Groups: engineers}}
	}
	if word, ok := v.scalar(); ok && word == "none" {
		return nil
	}
	items, ok := v.items("shadows, such as [{count: 1, groups: [dba]}], or none")
	if !ok {
		return nil
	}
	if len(items) == 0 {
		v.wrong("is empty, which would mean that nobody watches; to allow that write shadows: none")
	}
	var q session.Quorum
	total := 0
	for _, item := range items {
		item.name = "shadows"
		n := session.Need{Count: 1, Groups: engineers}
		item.fields(
			field{"count", optional, func(v entry) { v.numberInto(&n.Count, 1, mostShadows) }},
			field{"groups", optional, func(v entry) { n.Groups = v.groups() }},
			field{"other", optional, func(v entry) { n.Other = c.readOther(v) }},
		)
		total += n.Count
		q = append(q, n)
	}
	if total > mostShadows {
		v.wrong("asks for %d people; allowed: at most %d", total, mostShadows)
	}
	return q
}

// readOther reads the claim in which a shadow must differ from the engineer.
func (c *Config) readOther(v entry) (role string) {
	v.textInto(&role)
	roles := slices.Sorted(maps.Keys(c.Login.Claims.Others))
	switch {
	case role == "" || slices.Contains(roles, role):
		return role
	case len(roles) == 0:
		v.wrong("login.claims has no %s; add it there, such as claims: {team: department}", quoted(role))
	default:
		v.wrong("%s is not in login.claims%s; allowed: %s", quoted(role), suggestion(role, roles), strings.Join(roles, ", "))
	}
	return ""
}
