//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/bastion/notify"
	"github.com/twokey/twokey/certs"
	"github.com/twokey/twokey/certs/oidc"
	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/pgwire"
	"github.com/twokey/twokey/session/psql"
)

// This file says what a configuration is once it is read: plain values, all
// defaults filled in, all paths absolute, nothing left to check. How it is
// read is in config_yaml.go (places in the file), config_read.go (the keys)
// and config_values.go (the values).

// configLimit bounds the configuration file, in bytes.
const configLimit = 1 << 20

// Config is a whole, valid configuration.
type Config struct {
	File         string // as given on the command line
	SSH          SSHConfig
	HTTP         HTTPConfig
	State        string // folder of the spool and the node's identity
	Login        LoginConfig
	Certificates CertificatesConfig
	Recordings   RecordingsConfig
	Auditors     []string // groups; may be empty
	Admins       []string // groups; may be empty
	Targets      []TargetConfig
	Cage         CageConfig
	NoHistory    bool // what people typed is not remembered for their next psql
	Notify       []NotifyConfig
	Monitor      MonitorConfig
	Drain        time.Duration // for sessions to end by themselves when the bastion stops

	// Warnings are things that work and should be changed, each with its
	// place: "twokey.yaml:12:5: …".
	Warnings []string
}

// SSHConfig is the front door.
type SSHConfig struct {
	Listen  string // host:port, host may be empty
	HostKey Secret
	// Name is how people reach this bastion, "host" or "host:port". Left out
	// it is the host of http.url with the port of listen.
	Name string
	// Proxies are load balancers in front, which say in the PROXY protocol
	// (version 2) where each client comes from.
	Proxies []netip.Prefix
}

// MonitorConfig is where /healthz, /readyz and /metrics are served.
type MonitorConfig struct {
	Listen string // host:port; empty: nowhere
}

// HTTPConfig is the door of the login pages.
type HTTPConfig struct {
	Listen string
	URL    string // how browsers reach it: scheme and host, no path, no slash at the end
	TLS    TLSConfig
}

// TLSConfig names the files of a certificate. Both are empty when a proxy in
// front ends TLS, or on loopback.
type TLSConfig struct {
	Cert, Key string
}

// LoginConfig is the identity provider.
type LoginConfig struct {
	Issuer       string // exactly as the provider writes it
	ClientID     string
	ClientSecret Secret // not Given for a public client
	Scopes       []string
	Claims       ClaimsConfig
	Recheck      time.Duration // how often people in the house are asked about; 0: not at all
}

// callbackPath is where the identity provider sends the browser back to; the
// bastion's pages are there.
const callbackPath = "/login/callback"

// provider reads the client's secret and returns the identity provider. It
// reaches out to nothing.
func (c *Config) provider() (*oidc.Provider, error) {
	var secret string
	if c.Login.ClientSecret.Given() {
		var err error
		if secret, err = c.Login.ClientSecret.Value(); err != nil {
			return nil, fmt.Errorf("login.client_secret: %w", err)
		}
	}
	var lasts time.Duration
	if c.Login.Recheck > 0 {
		lasts = c.Certificates.TTL
	}
	return oidc.New(oidc.Config{
		Issuer: c.Login.Issuer, ClientID: c.Login.ClientID, ClientSecret: secret,
		RedirectURL: c.HTTP.URL + callbackPath, Scopes: c.Login.Scopes, Claims: oidc.Claims(c.Login.Claims), Recheck: lasts,
	}), nil
}

// ClaimsConfig names the claims of the ID token that say who a person is.
type ClaimsConfig struct {
	Name       string
	Groups     string
	SamePerson string            // empty: not configured
	Others     map[string]string // role, such as "team", to claim, such as "department"
}

// CertificatesConfig is the authority that signs users and this host.
type CertificatesConfig struct {
	UserCA        CAKey
	HostCA        CAKey
	OldUserCAs    []OldCA       // signed before, and are accepted for a while
	OtherHostCAs  []string      // files with public halves that known_hosts has too
	TTL           time.Duration // at most 24 h
	SourceAddress bool
}

// CAKey is a private key, or where an ssh-agent that holds it listens.
type CAKey struct {
	Secret
	Agent string // path of the socket
	Key   string // of the agent's keys: SHA256:… or the file of its public half
}

// Given reports whether the configuration has this key.
func (k CAKey) Given() bool { return k != CAKey{} }

// String says where the key is.
func (k CAKey) String() string {
	if k.Agent != "" {
		return "agent " + k.Agent
	}
	return k.Secret.String()
}

// signer reads the key, or asks the agent whether it has it.
func (k CAKey) signer(name string) (ssh.Signer, error) {
	if k.Agent == "" {
		return k.Secret.signer(name)
	}
	key := k.Key
	if !strings.HasPrefix(key, "SHA256:") {
		public, err := publicKeys(name, []string{key})
		if err != nil {
			return nil, err
		}
		key = string(ssh.MarshalAuthorizedKey(public[0]))
	}
	signer, err := certs.AgentSigner(k.Agent, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return signer, nil
}

// OldCA is the public half of a user CA that signs no more.
type OldCA struct {
	File  string
	Until time.Time
}

// oldUserCAs reads them.
func (c CertificatesConfig) oldUserCAs() (list []certs.OldCA, err error) {
	for _, old := range c.OldUserCAs {
		keys, err := publicKeys("certificates.old_user_cas", []string{old.File})
		if err != nil {
			return nil, err
		}
		list = append(list, certs.OldCA{Key: keys[0], Until: old.Until})
	}
	return list, nil
}

// RecordingsConfig says where tapes go.
type RecordingsConfig struct {
	Store        StoreConfig
	SegmentEvery time.Duration
	SegmentBytes int64
	SigningKey   Secret
	MaxLagTime   time.Duration
	MaxLagBytes  int64
	Redact       pgwire.Redaction
	Recipients   []recorder.Recipient
	Synced       bool     // a statement waits for the fsync
	OldKeys      []string // files with the public halves of earlier signing keys
}

// trusted are the keys whose recordings are proven: the present one, and those before it.
func (c RecordingsConfig) trusted(present ssh.Signer) ([]ssh.PublicKey, error) {
	old, err := recordingKeys("recordings.old_keys", c.OldKeys)
	return append([]ssh.PublicKey{present.PublicKey()}, old...), err
}

// StoreConfig is a folder, when Dir is set, or else a bucket.
type StoreConfig struct {
	URL string // as written

	Dir string

	Bucket    string
	Prefix    string // without slashes at its ends
	Endpoint  string // URL
	Region    string
	AccessKey Secret
	SecretKey Secret
	LockMode  string // compliance or governance; of S3 Object Lock
	LockDays  int    // 0: no lock by twokey
}

// open reads the store's secrets and returns the store. It reaches out to
// nothing; a folder that is not there is made.
func (c StoreConfig) open() (store.Store, error) {
	if c.Dir != "" {
		return store.NewFolder(c.Dir)
	}
	access, err := c.AccessKey.Value()
	if err != nil {
		return nil, fmt.Errorf("recordings.s3.access_key: %w", err)
	}
	secret, err := c.SecretKey.Value()
	if err != nil {
		return nil, fmt.Errorf("recordings.s3.secret_key: %w", err)
	}
	return store.NewS3(store.S3Config{
		Endpoint: c.Endpoint, Region: c.Region, Bucket: c.Bucket, Prefix: c.Prefix,
		AccessKey: access, SecretKey: secret, LockMode: c.LockMode, LockDays: c.LockDays,
	})
}

// TargetConfig is a database and the ways into it.
type TargetConfig struct {
	Name     string
	Postgres PostgresConfig
	Modes    []ModeConfig
}

// PostgresConfig says where a database is, in libpq's words.
type PostgresConfig struct {
	Host        string
	Port        int
	Database    string
	Others      []string // that \c may connect to as well
	SSLMode     string
	SSLRootCert string // path, or empty for the system's roots
}

// ModeConfig is a mode and the database role it logs in with.
type ModeConfig struct {
	session.Mode
	RoleConfig
	MemberOf []string // not empty: the role is an admin's, who makes one for each session, a member of these

	// What the database itself ends; zero leaves that to the database.
	StatementTimeout         time.Duration
	IdleInTransactionTimeout time.Duration
}

// RoleConfig is a database role and where its password is.
type RoleConfig struct {
	User      string
	Password  Secret
	Command   []string // prints the password, instead
	Superuser string   // repeats User when that role is a superuser and shall be one
	SSLCert   string   // path of a certificate to log in with; empty for none
	SSLKey    string   // and of its key
}

// commandPatience is how long a password_command may take.
const commandPatience = 30 * time.Second

// password reads the password now; a command is run each time.
func (c RoleConfig) password(ctx context.Context) (string, error) {
	switch {
	case len(c.Command) > 0:
	case c.SSLCert != "" && !c.Password.Given():
		return "", nil
	default:
		return c.Password.Value()
	}
	ctx, cancel := context.WithTimeout(ctx, commandPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.WaitDelay = time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("password_command %s: %w: %s", c.Command[0], err, session.OneLine(errs.String(), 300))
	}
	password, _, _ := strings.Cut(string(out), "\n")
	if password = strings.TrimSuffix(password, "\r"); password == "" || len(password) > secretLimit {
		return "", fmt.Errorf("password_command %s printed no password in its first line", c.Command[0])
	}
	return password, nil
}

// database returns the database as one mode logs in to it. It reaches out to
// nothing; the password is read at each login. node is this bastion's name, for
// the roles it makes.
func (t TargetConfig) database(m ModeConfig, node string) (*pgwire.Database, error) {
	return pgwire.NewDatabase(pgwire.Upstream{
		Host: t.Postgres.Host, Port: t.Postgres.Port, Database: t.Postgres.Database,
		Others: t.Postgres.Others, SSLMode: t.Postgres.SSLMode, SSLRootCert: t.Postgres.SSLRootCert, SSLCert: m.SSLCert, SSLKey: m.SSLKey,
		User: m.User, Superuser: m.Superuser, Password: m.password, MemberOf: m.MemberOf, Node: node,
		StatementTimeout: m.StatementTimeout, IdleInTransactionTimeout: m.IdleInTransactionTimeout,
	})
}

// NotifyConfig is one place where notices go: a webhook when URL is set, or Slack.
type NotifyConfig struct {
	URL    string
	Secret Secret // signs what goes to URL
	Slack  Secret // the URL of an incoming webhook
}

// destination reads the secrets. It reaches out to nothing.
func (n NotifyConfig) destination() (notify.Destination, error) {
	if n.URL == "" {
		address, err := n.Slack.Value()
		if err != nil {
			return nil, fmt.Errorf("notify: slack: %w", err)
		}
		return notify.NewSlack(address)
	}
	secret, err := n.Secret.Value()
	if err != nil {
		return nil, fmt.Errorf("notify: webhook: %w", err)
	}
	return notify.NewWebhook(n.URL, secret)
}

// destinations are all of them.
func (c *Config) destinations() (list []notify.Destination, err error) {
	for _, n := range c.Notify {
		d, err := n.destination()
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, nil
}

// CageConfig is what is said about psql.
type CageConfig struct {
	Off  bool   // psql runs without a cage; said so in the configuration
	Psql string // path of the real psql; empty: look for it
}

// cage finds psql and what this kernel has to cage it with.
func (c CageConfig) cage() (*psql.Cage, error) {
	return psql.NewCage(psql.CageOptions{Psql: c.Psql, Off: c.Off})
}

// Mistakes are all the mistakes found in a configuration, in the order of the file.
type Mistakes []Mistake

// Mistake is one of them. Line and Column count from 1, columns in characters.
type Mistake struct {
	File         string
	Line, Column int
	Text         string
}

func (m Mistake) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Text)
}

func (m Mistakes) Error() string { return errors.Join(m.Unwrap()...).Error() }

// Unwrap returns each mistake as an error.
func (m Mistakes) Unwrap() []error {
	all := make([]error, len(m))
	for i := range m {
		all[i] = m[i]
	}
	return all
}

// loadConfig reads a configuration file. When the file can be read but not
// used, the error is Mistakes.
func loadConfig(path string) (*Config, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no configuration: %w; name it with --config, or make one with twokey init", err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("reading the configuration: %w; run this as the user it belongs to, such as with sudo -u twokey", err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0 {
		return nil, fmt.Errorf("the configuration %s can be changed by everyone on this machine; run: chmod o-w %s", path, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, configLimit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return parseConfig(path, data)
}

// parseConfig reads a configuration from memory. Paths in it are relative to
// the folder of name. The error is always Mistakes.
func parseConfig(name string, data []byte) (*Config, error) {
	r := &configReader{file: name, dir: folderOf(name)}
	c := &Config{File: name}
	if root, ok := r.parse(data); ok {
		c.read(root)
	}
	if m := r.sorted(); len(m) > 0 {
		return nil, m
	}
	c.Warnings = r.warnings
	return c, nil
}

func folderOf(name string) string {
	dir, err := filepath.Abs(filepath.Dir(name))
	if err != nil { // no working directory; relative paths then stay relative
		return filepath.Dir(name)
	}
	return dir
}

// targets returns what the session's policy needs to know of the targets.
func (c *Config) targets() []session.Target {
	all := make([]session.Target, len(c.Targets))
	for i, t := range c.Targets {
		all[i].Name = t.Name
		for _, m := range t.Modes {
			all[i].Modes = append(all[i].Modes, m.Mode)
		}
	}
	return all
}

// target finds a target's and a mode's configuration by name.
func (c *Config) target(target, mode string) (TargetConfig, ModeConfig, bool) {
	for _, t := range c.Targets {
		for _, m := range t.Modes {
			if t.Name == target && m.Name == mode {
				return t, m, true
			}
		}
	}
	return TargetConfig{}, ModeConfig{}, false
}
