//go:build linux

package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// This file is what the doctor tries, a probe per part, in the order of the
// way into a session: who is it, what keeps the tape, what opens.

func partProbes(c *Config) []probe {
	probes := []probe{
		{"keys", func(context.Context) (string, error) { return probeKeys(c) }},
		{"clock", func(ctx context.Context) (string, error) { return probeClock(ctx, c) }},
		{"login", func(ctx context.Context) (string, error) { return probeLogin(ctx, c) }},
		{"store", func(ctx context.Context) (string, error) { return probeStore(ctx, c.Recordings.Store) }},
		{"http", func(context.Context) (string, error) { return probePages(c) }},
		{"spool", func(context.Context) (string, error) { return probeSpool(c.State) }},
	}
	for _, t := range c.Targets {
		for _, m := range t.Modes {
			probes = append(probes, probe{t.Name + "+" + m.Name, func(ctx context.Context) (string, error) { return probeDatabase(ctx, t, m) }})
		}
	}
	for _, n := range c.Notify {
		probes = append(probes, probe{"notify", func(ctx context.Context) (string, error) { return probeNotify(ctx, n) }})
	}
	return append(probes, probe{"cage", func(ctx context.Context) (string, error) { return probeCage(ctx, c.Cage) }})
}

// probeNotify connects to where notices go. Nothing is sent: people read there.
func probeNotify(ctx context.Context, n NotifyConfig) (string, error) {
	d, err := n.destination()
	if err != nil {
		return "", fails("see notify in the configuration", "%s", err)
	}
	if err := d.Reach(ctx); err != nil {
		return "", fails("see that it is reached from here", "%s is not reached: %s", d.Name(), err)
	}
	return d.Name() + " is reached; nothing was sent", nil
}

// probeKeys reads each private key and compares them.
func probeKeys(c *Config) (string, error) {
	var found []error
	owners := map[string]string{} // by fingerprint
	for _, k := range []struct {
		name string
		key  CAKey
	}{
		{"ssh.host_key", CAKey{Secret: c.SSH.HostKey}}, {"certificates.user_ca", c.Certificates.UserCA},
		{"certificates.host_ca", c.Certificates.HostCA}, {"recordings.signing_key", CAKey{Secret: c.Recordings.SigningKey}},
	} {
		fingerprint, err := probeCAKey(k.name, k.key)
		found = append(found, err)
		if fingerprint == "" {
			continue
		}
		if before, used := owners[fingerprint]; used {
			found = append(found, fails("one key, one purpose: `twokey init` makes one for each", "%s and %s are the same key", before, k.name))
		}
		owners[fingerprint] = k.name
	}
	return fmt.Sprintf("%d private keys, all different, kept from others", len(owners)), errors.Join(found...)
}

// probeCAKey returns a key's fingerprint. An agent's has to sign something.
func probeCAKey(name string, k CAKey) (fingerprint string, err error) {
	if k.Agent == "" {
		return probeKey(name, k.Secret)
	}
	signer, err := k.signer(name)
	if err == nil {
		_, err = signer.Sign(rand.Reader, []byte("twokey check"))
	}
	if err != nil {
		return "", fails("see that the agent runs, that this user may use its socket, and that it holds the key (SSH_AUTH_SOCK="+k.Agent+" ssh-add -L)", "%s: %s", name, err)
	}
	return ssh.FingerprintSHA256(signer.PublicKey()), nil
}

// probeKey returns a key's fingerprint.
func probeKey(name string, s Secret) (fingerprint string, err error) {
	text, err := s.Value()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fails("`twokey init --dir DIR` makes it; restore the old one if there are certificates or recordings", "%s: %s is not there", name, s)
	case err != nil:
		return "", fails("", "%s: %s", name, err)
	}
	signer, err := ssh.ParsePrivateKey([]byte(text))
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return "", fails("remove the passphrase (ssh-keygen -p) and keep the file private", "%s: %s has a passphrase, and nobody is there to type it", name, s)
	case err != nil:
		return "", fails("`twokey init --dir DIR` makes one", "%s: %s is no private key in OpenSSH's format: %s", name, s, err)
	}
	fingerprint = ssh.FingerprintSHA256(signer.PublicKey())
	if t := signer.PublicKey().Type(); t != ssh.KeyAlgoED25519 && !strings.HasPrefix(t, "ecdsa-") {
		return fingerprint, fails("make an ed25519 key", "%s: %s is a key of type %s; allowed: ssh-ed25519, ecdsa", name, s, t)
	}
	return fingerprint, keyOpenness(name, s)
}

// keyOpenness warns about a key that the file's group can read; everyone's
// reading is refused by Secret.
func keyOpenness(name string, s Secret) error {
	info, err := os.Stat(s.File)
	if s.File == "" || err != nil || info.Mode().Perm()&0o070 == 0 {
		return nil
	}
	return warns("chmod 0600 "+s.File, "%s: the group of %s can use it (mode %04o)", name, s.File, info.Mode().Perm())
}

// How far the clock may be off: certificates and tokens are judged by it, and
// S3 refuses requests that are a quarter of an hour off.
const (
	clockWarn = 5 * time.Second
	clockFail = time.Minute
)

// probeClock compares this machine's clock with the Date of the identity
// provider or, if that says none, of the store.
func probeClock(ctx context.Context, c *Config) (string, error) {
	for _, from := range []string{c.Login.Issuer, c.Recordings.Store.Endpoint} {
		if from == "" {
			continue
		}
		short, cancel := context.WithTimeout(ctx, probeTime/3) // the second one gets its turn
		theirs, ours, err := dateOf(short, from)
		if cancel(); err != nil {
			continue
		}
		off := ours.Sub(theirs).Round(time.Second)
		switch {
		case off.Abs() > clockFail:
			return "", fails("start a time service (chrony, systemd-timesyncd)", "this clock is %s off from that of %s", off, from)
		case off.Abs() > clockWarn:
			return "", warns("start a time service (chrony, systemd-timesyncd)", "this clock is %s off from that of %s", off, from)
		}
		return fmt.Sprintf("within %s of %s", clockWarn, from), nil
	}
	return "", warns("see the lines of login and store", "nobody to compare the clock with answered")
}

// dateOf asks a server for its time, which HTTP gives in whole seconds (RFC
// 9110 6.6.1); half a second is added to meet its middle.
func dateOf(ctx context.Context, url string) (theirs, ours time.Time, err error) {
	asked := time.Now()
	resp, err := ask(ctx, http.MethodHead, url)
	if err != nil {
		return theirs, ours, err
	}
	resp.Body.Close()
	ours = asked.Add(time.Since(asked) / 2)
	theirs, err = http.ParseTime(resp.Header.Get("Date"))
	return theirs.Add(time.Second / 2), ours, err
}

// probeLogin reads what the identity provider says of itself, and begins a
// login as a browser would, which tells whether it knows us.
func probeLogin(ctx context.Context, c *Config) (string, error) {
	p, err := c.provider()
	if err != nil {
		return "", fails("", "%s", err)
	}
	if err := p.Reach(ctx); err != nil {
		return "", fails("see that login.issuer is exactly what "+c.Login.Issuer+"/.well-known/openid-configuration says, and reached from here", "%s", cmp.Or(errors.Unwrap(err), err))
	}
	link, err := p.AuthURL(ctx, rand.Text(), rand.Text(), rand.Text())
	if err != nil {
		return "", fails("", "%s", err)
	}
	detail := c.Login.Issuer + " answers, client " + c.Login.ClientID
	if why := turnedAway(ctx, link, c.HTTP.URL+callbackPath); why != "" {
		return detail, warns("register the client "+c.Login.ClientID+" there, with the redirect address "+c.HTTP.URL+callbackPath,
			"%s seems to refuse our logins: %s", c.Login.Issuer, why)
	}
	return detail, nil
}

// turnedAway begins a login and says why the provider refuses it, or "". What
// cannot be found out this way counts as fine.
func turnedAway(ctx context.Context, link, callback string) string {
	resp, err := ask(ctx, http.MethodGet, link)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 && resp.StatusCode < 500 {
		return "it answers " + resp.Status
	}
	to, err := resp.Location()
	if err != nil || !strings.HasPrefix(to.String(), callback) {
		return ""
	}
	return to.Query().Get("error") // RFC 6749 4.1.2.1
}

// ask makes one request and follows nothing.
func ask(ctx context.Context, method, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return client.Do(req)
}

// probeStore lets the store take an object, refuse it twice and give it back.
func probeStore(ctx context.Context, c StoreConfig) (string, error) {
	if _, err := os.Stat(c.Dir); c.Dir != "" && errors.Is(err, fs.ErrNotExist) {
		return probeParent(c.Dir) // made by serve, so that it belongs to who runs it
	}
	s, err := c.open()
	if err != nil {
		return "", fails("", "%s: %s", c.URL, err)
	}
	start := time.Now()
	if err := store.Try(ctx, s); err != nil {
		return "", fails(storeAdvice(c), "%s: %s", c.URL, err)
	}
	return fmt.Sprintf("%s, wrote and read 1 object in %d ms", c.URL, time.Since(start).Milliseconds()), nil
}

func storeAdvice(c StoreConfig) string {
	if c.Dir != "" {
		return "give the folder to the user who runs twokey, on a disk with room and hard links"
	}
	return "see that " + c.Endpoint + " is reached from here, that the bucket " + c.Bucket + " is there, and that the key may put, get and list in it"
}

// probeDatabase logs in as a mode does and judges the role.
func probeDatabase(ctx context.Context, t TargetConfig, m ModeConfig) (string, error) {
	db, err := t.database(m, "check")
	if err != nil {
		return "", fails("see postgres in the configuration", "%s", err)
	}
	report, err := db.Check(ctx)
	if cause := (session.Cause{}); errors.As(err, &cause) {
		return "", fails("see postgres and login of this mode in the configuration", "%s", cause.Text)
	}
	if err != nil {
		return "", err
	}
	var found []error
	for _, w := range report.Warnings {
		found = append(found, warns("", "%s", w))
	}
	return fmt.Sprintf("%s@%s:%d/%s, PostgreSQL %s", m.User, t.Postgres.Host, t.Postgres.Port, t.Postgres.Database, report.Version), errors.Join(found...)
}

// How much room the spool should have.
const (
	roomWarn = 2 << 30
	roomFail = 128 << 20
)

// filesystems are those a spool should not be on (statfs(2)'s f_type), and why.
var filesystems = map[int64]string{
	unix.TMPFS_MAGIC:           "tmpfs, which is memory: recordings not yet in the store are lost when the machine restarts",
	unix.RAMFS_MAGIC:           "ramfs, which is memory: recordings not yet in the store are lost when the machine restarts",
	unix.OVERLAYFS_SUPER_MAGIC: "a container's own layer: recordings not yet in the store are lost when the container is replaced",
	unix.NFS_SUPER_MAGIC:       "NFS: when the server hangs, so does every session",
}

// probeSpool writes a file where the spool will be and removes it.
func probeSpool(dir string) (string, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return probeParent(dir)
	}
	if err := tryWriting(dir); err != nil {
		return "", fails("give the folder to the user who runs twokey, on a disk with room", "%s cannot be written: %s", dir, err)
	}
	return probeDisk(dir, dir+", written and synced")
}

// probeParent answers for a folder that serve will make.
func probeParent(dir string) (string, error) {
	parent := filepath.Dir(dir)
	if err := tryWriting(parent); err != nil {
		return "", fails("mkdir -p "+dir+", and give it to the user who runs twokey", "%s is not there and cannot be made: %s", dir, err)
	}
	return probeDisk(parent, dir+", which serve will make")
}

func tryWriting(dir string) error {
	f, err := os.CreateTemp(dir, ".twokey-check-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString("twokey check\n")
	return errors.Join(err, f.Sync(), f.Close())
}

func probeDisk(dir, detail string) (string, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return "", fails("", "%s: statfs: %s", dir, err)
	}
	room := int64(s.Bavail) * int64(s.Bsize)
	detail = fmt.Sprintf("%s, %d MiB free", detail, room>>20)
	if room < roomFail {
		return "", fails("make room", "%s has %d MiB free; a spool needs at least %d", dir, room>>20, roomFail>>20)
	}
	var found []error
	if room < roomWarn {
		found = append(found, warns("make room", "%s has only %d MiB free", dir, room>>20))
	}
	if why, known := filesystems[int64(s.Type)]; known {
		found = append(found, warns("put state on a local disk that stays", "%s is on %s", dir, why))
	}
	return detail, errors.Join(found...)
}

// probePages reads the certificate of the login pages.
func probePages(c *Config) (string, error) {
	if c.HTTP.TLS == (TLSConfig{}) {
		return c.HTTP.URL + ", plain http on " + c.HTTP.Listen + " for a proxy or this machine", nil
	}
	pair, err := tls.LoadX509KeyPair(c.HTTP.TLS.Cert, c.HTTP.TLS.Key)
	if err != nil {
		return "", fails("give a PEM certificate and its key", "http.tls: %s", err)
	}
	page, err := url.Parse(c.HTTP.URL)
	if err != nil {
		return "", err
	}
	if err := pair.Leaf.VerifyHostname(page.Hostname()); err != nil {
		return "", fails("get a certificate for "+page.Hostname(), "http.tls: %s", err)
	}
	left := time.Until(pair.Leaf.NotAfter)
	switch {
	case left < 0:
		return "", fails("renew it", "http.tls: the certificate ended on %s", pair.Leaf.NotAfter.Format(time.DateOnly))
	case left < 14*24*time.Hour:
		return c.HTTP.URL, warns("renew it", "http.tls: the certificate ends on %s", pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	return fmt.Sprintf("%s, certificate until %s", c.HTTP.URL, pair.Leaf.NotAfter.Format(time.DateOnly)), nil
}

// probeCage finds psql and lets one try to break out of what this kernel cages
// it with.
func probeCage(ctx context.Context, c CageConfig) (string, error) {
	cage, err := c.cage()
	if err != nil {
		return "", fails("install postgresql-client on a machine whose Linux has Landlock, or see cage in the configuration", "%s", err)
	}
	if c.Off {
		return "", warns("leave cage: off out on a machine whose Linux has Landlock", "off: psql can run programs and read files as this service")
	}
	if err := cage.Probe(ctx); err != nil {
		return "", fails("run twokey on a newer Linux, and report this; serve refuses to start", "%s", err)
	}
	return "a psql tried to break out and did not: " + cage.String(), nil
}
