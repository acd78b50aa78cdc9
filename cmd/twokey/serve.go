//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/bastion/metrics"
	"github.com/twokey/twokey/bastion/notify"
	"github.com/twokey/twokey/certs"
	"github.com/twokey/twokey/certs/oidc"
	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/index"
	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/session/pgwire"
	"github.com/twokey/twokey/session/psql"
)

// This file is the daemon: it wires the parts, runs them, and closes them in
// the order in which they need each other.

// uploadTime is how long a stopping bastion waits for what is recorded to reach
// the store, once the sessions have ended. What does not reach it waits in the
// spool for the next start.
const uploadTime = 20 * time.Second

// notifyTime is how long it waits for notices to be delivered.
const notifyTime = 5 * time.Second

func serveCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "run the bastion",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(file)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil))
			for _, w := range c.Warnings {
				log.Warn("configuration", "warning", w)
			}
			return serve(cmd.Context(), c, log)
		},
	}
	cmd.Flags().StringVar(&file, "config", "twokey.yaml", "the configuration `file`")
	return cmd
}

// indexPatience is how long a listing waits for news from the store. What comes
// later is in the next one.
const indexPatience = 500 * time.Millisecond

// indexKeepsFree is what the index leaves of the disk to the spool, without which
// no session goes on.
const indexKeepsFree = 1 << 30

// serve runs a bastion until ctx ends, and then winds it up.
func serve(ctx context.Context, c *Config, log *slog.Logger) (err error) {
	d := &daemon{config: c, log: log}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.open(ctx); err != nil {
		return err
	}
	return d.run(ctx)
}

// daemon is a bastion with all its parts.
type daemon struct {
	config   *Config
	log      *slog.Logger
	cage     *psql.Cage
	recorder *recorder.Recorder
	index    *index.Index
	indexing sync.WaitGroup
	sessions session.Registry
	host     *certs.Host
	provider *oidc.Provider
	opener   *opener
	server   *bastion.Server
	notifier *notify.Notifier
	pages    *http.Server
	monitor  *http.Server // nil where nobody asks
	door     net.Listener // SSH
	web      net.Listener
	watch    net.Listener // monitor's
}

// open makes the parts, those first that others need.
func (d *daemon) open(ctx context.Context) (err error) {
	c := d.config
	if d.cage, err = openCage(ctx, c.Cage, d.log); err != nil {
		return err
	}
	archive, err := d.openRecordings(ctx)
	if err != nil {
		return err
	}
	if d.index, err = d.openIndex(archive); err != nil {
		return err
	}
	revoked, err := certs.OpenRevocations(filepath.Join(c.State, "revoked.jsonl"))
	if err != nil {
		return err
	}
	authority, host, key, err := openCertificates(c, revoked)
	if err != nil {
		return err
	}
	d.host = host
	if d.provider, err = c.provider(); err != nil {
		return err
	}
	if d.opener, err = newOpener(c, d.cage, d.recorder.Node(), d.log); err != nil {
		return err
	}
	if d.door, err = listen("ssh", c.SSH.Listen); err != nil {
		return err
	}
	if d.web, err = listen("http", c.HTTP.Listen); err != nil {
		return err
	}
	meter := metrics.New(metrics.Options{Sessions: &d.sessions, Version: version(), Cage: d.cage.String(), Confined: !c.Cage.Off})
	if c.Monitor.Listen != "" {
		d.monitor = monitor(c, meter.Handler())
		if d.watch, err = listen("monitor", c.Monitor.Listen); err != nil {
			return err
		}
	}
	destinations, err := c.destinations()
	if err != nil {
		return err
	}
	d.notifier = notify.New(destinations, d.log)
	logins := bastion.NewLogins(c.HTTP.URL, d.provider, map[string]string{
		"/known_hosts": authority.KnownHosts(knownAs(c)), "/user_ca.pub": authority.UserCA(),
	}, d.log)
	d.pages = bastion.NewHTTPServer(logins.Handler())
	d.server, err = bastion.New(bastion.Options{
		HostSigners: []ssh.Signer{host, key}, Authority: authority, Logins: logins,
		Targets: c.targets(), Auditors: c.Auditors, Admins: c.Admins,
		Sessions: &d.sessions, Archive: archive, Index: d.index, Ledger: archive, Revocations: revoked, Reviews: archive, Notifier: d.notifier, Open: d.openSession, Meter: meter, Proxies: c.SSH.Proxies,
		CheckArgs: psql.CheckArgs, TurnAway: pgwire.TurnAway, HostName: c.SSH.Name, LoginLasts: c.Certificates.TTL, Log: d.log,
		NewID: func() (string, string) { return ulid.Make().String(), d.sessions.NewCode() },
	})
	return err
}

// listen opens a port of the configuration's section of this name.
func listen(section, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s.listen: another program has %s already, perhaps a twokey that still runs; ss -ltnp shows which", section, address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s.listen: this user may not listen on %s; ports below 1024 take root, or CAP_NET_BIND_SERVICE", section, address)
	case err != nil:
		return nil, fmt.Errorf("%s.listen: %w", section, err)
	}
	return l, nil
}

// openCage finds psql and lets the canary try its cage.
func openCage(ctx context.Context, c CageConfig, log *slog.Logger) (*psql.Cage, error) {
	cage, err := psql.NewCage(psql.CageOptions{Psql: c.Psql, Off: c.Off, Groups: true})
	if err != nil {
		return nil, err
	}
	if c.Off {
		log.Warn("psql runs WITHOUT A CAGE: whoever gets a session can run programs on this machine")
	}
	if lacks := cage.Lacks(); lacks != "" {
		log.Warn("psql's cage is Landlock, seccomp and limits, but not all that it could be", "lacks", lacks)
	}
	return cage, cage.Probe(ctx)
}

// openRecordings opens the store and the spool, and seals what a bastion
// that died has left.
func (d *daemon) openRecordings(ctx context.Context) (*recorder.Archive, error) {
	c := d.config.Recordings
	s, err := c.Store.open()
	if err != nil {
		return nil, fmt.Errorf("recordings: %w", err)
	}
	signer, err := c.SigningKey.signer("recordings.signing_key")
	if err != nil {
		return nil, err
	}
	trusted, err := c.trusted(signer)
	if err != nil {
		return nil, err
	}
	d.recorder, err = recorder.New(recorder.Options{
		Dir: d.config.State, Store: s, Signer: signer, Trusted: trusted, Version: version(), Log: d.log,
		SegmentEvery: c.SegmentEvery, SegmentBytes: c.SegmentBytes, MaxLagTime: c.MaxLagTime, MaxLagBytes: c.MaxLagBytes,
		Recipients: c.Recipients, Synced: c.Synced,
	})
	if err != nil {
		return nil, err
	}
	if err := d.recorder.Recover(ctx); err != nil {
		d.log.Error("recordings that could not be repaired stay in the spool", "error", err)
	}
	return recorder.OpenArchive(s, trusted, d.recorder), nil
}

// openIndex opens what finds recordings. Another store, and other keys that count,
// have another index.
func (d *daemon) openIndex(archive *recorder.Archive) (*index.Index, error) {
	return index.Open(index.Options{
		Dir: filepath.Join(d.config.State, "index"), Of: archive.Of(d.config.Recordings.Store.URL), Archive: archive, Patience: indexPatience, KeepFree: indexKeepsFree,
	})
}

// openCertificates loads the authorities and certifies the host's key.
func openCertificates(c *Config, revoked *certs.Revocations) (*certs.Authority, *certs.Host, ssh.Signer, error) {
	userCA, err1 := c.Certificates.UserCA.signer("certificates.user_ca")
	hostCA, err2 := c.Certificates.HostCA.signer("certificates.host_ca")
	key, err3 := c.SSH.HostKey.signer("ssh.host_key")
	old, err4 := c.Certificates.oldUserCAs()
	others, err5 := publicKeys("certificates.other_host_cas", c.Certificates.OtherHostCAs)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, nil, nil, err
	}
	authority, err := certs.NewAuthority(certs.Options{
		UserCA: userCA, HostCA: hostCA, TTL: c.Certificates.TTL, SourceAddress: c.Certificates.SourceAddress, SamePerson: c.Login.Claims.SamePerson != "", Revoked: revoked,
		OldUserCAs: old, OtherHostCAs: others,
	})
	if err != nil {
		return nil, nil, nil, err
	}
	host, err := authority.NewHost(key, []string{hostOf(c)})
	return authority, host, key, err
}

// signer reads a private key in OpenSSH's format.
func (s Secret) signer(name string) (ssh.Signer, error) {
	text, err := s.Value()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	key, err := ssh.ParsePrivateKey([]byte(text))
	if locked := (*ssh.PassphraseMissingError)(nil); errors.As(err, &locked) {
		return nil, fmt.Errorf("%s: the key in the %s has a passphrase, and nobody is here to type it; take it away (ssh-keygen -p), or put the key behind an ssh-agent", name, s)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s is no private key in OpenSSH's format: %w", name, s, err)
	}
	return key, nil
}

// hostOf is the name that people reach this bastion by.
func hostOf(c *Config) string {
	if host, _, err := net.SplitHostPort(c.SSH.Name); err == nil {
		return host
	}
	return c.SSH.Name
}

// knownAs are the bastion's names in known_hosts (sshd(8)): with the port in
// brackets when it is not 22.
func knownAs(c *Config) []string {
	host, port, err := net.SplitHostPort(c.SSH.Name)
	if err != nil || port == "22" {
		return []string{hostOf(c)}
	}
	return []string{"[" + host + "]:" + port, host}
}

// openSession makes a session: its tape first.
func (d *daemon) openSession(ctx context.Context, want session.Request) (*session.Session, error) {
	want.Cage = d.cage.String()
	tape, err := d.recorder.Begin(ctx, want)
	if err != nil {
		return nil, err
	}
	return d.opener.session(want, tape), nil
}

// run serves until ctx ends or a listener fails.
func (d *daemon) run(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	d.opener.parse(ctx)
	d.opener.keepReady(ctx)
	go func() { end(d.serveSSH()) }() // both return when close closes the listeners
	go func() { end(d.servePages()) }()
	if d.monitor != nil {
		go func() { end(fmt.Errorf("monitor: %w", d.monitor.Serve(d.watch))) }()
	}
	d.opener.sweep(ctx)
	go d.adoptOrphans(ctx) // ends with ctx
	d.indexing.Go(func() { d.index.Run(ctx, d.log) })
	go d.host.KeepCertified(ctx, d.recertified) // ends with ctx
	if every := d.config.Login.Recheck; every > 0 {
		go d.server.Recheck(ctx, d.provider, every) // ends with ctx
	}
	d.log.Info("ready", "ssh", d.door.Addr().String(), "http", d.web.Addr().String(), "cage", d.cage.String(), "version", version())
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	d.log.Info("stopping", "sessions", len(d.sessions.Live()), "at_most", d.config.Drain.String(),
		"to_stop_at_once", "send the signal again (Ctrl-C): sessions are cut off, and sealed at the next start")
	return nil
}

// orphansEvery is how often a bastion looks for recordings that another one has
// left without an end, and orphansSince how far back.
const (
	orphansEvery = 6 * time.Hour
	orphansSince = 14 * 24 * time.Hour
)

// adoptOrphans seals them.
func (d *daemon) adoptOrphans(ctx context.Context) {
	tick := time.NewTicker(orphansEvery)
	defer tick.Stop()
	for {
		ids, err := d.recorder.SealOrphans(ctx, recorder.Orphans{Since: time.Now().Add(-orphansSince)})
		if err != nil && ctx.Err() == nil {
			d.log.Error("recordings of lost bastions not sealed", "error", err)
		}
		for _, id := range ids {
			d.log.Warn("sealed the recording of a bastion that is gone", "session", id)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// recertified is told of each new certificate of the host, or why there is none.
func (d *daemon) recertified(ends time.Time, err error) {
	if err != nil {
		d.log.Error("the host certificate was not renewed", "ends", ends.UTC(), "error", err)
		return
	}
	d.log.Info("the host certificate was renewed", "ends", ends.UTC())
}

func (d *daemon) serveSSH() error { return fmt.Errorf("ssh: %w", d.server.Serve(d.door)) }

func (d *daemon) servePages() error {
	if t := d.config.HTTP.TLS; t != (TLSConfig{}) {
		return fmt.Errorf("http: %w", d.pages.ServeTLS(d.web, t.Cert, t.Key))
	}
	return fmt.Errorf("http: %w", d.pages.Serve(d.web))
}

// close winds up whatever open got to: no new visitors, sessions to their end,
// recordings to the store.
func (d *daemon) close() (err error) {
	if d.pages != nil {
		err = d.pages.Close()
	}
	if d.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), d.config.Drain)
		defer cancel()
		err = errors.Join(err, d.server.Shutdown(ctx))
	}
	if d.watch != nil { // to the last, so that one can watch it stop
		defer d.watch.Close()
		defer d.monitor.Close()
	}
	for _, l := range []net.Listener{d.door, d.web} {
		if l != nil {
			l.Close()
		}
	}
	if d.opener != nil {
		d.opener.wait()
	}
	if d.notifier != nil {
		ctx, cancel := context.WithTimeout(context.Background(), notifyTime)
		defer cancel()
		d.notifier.Close(ctx)
	}
	d.indexing.Wait()
	if d.index != nil {
		err = errors.Join(err, d.index.Close())
	}
	if d.recorder != nil {
		ctx, cancel := context.WithTimeout(context.Background(), uploadTime)
		defer cancel()
		err = errors.Join(err, d.recorder.Close(ctx))
	}
	return err
}
