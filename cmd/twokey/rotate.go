//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// This file is `twokey init --rotate`: a key is made anew beside the present one, and
// the operator is told what to write where, and when. It changes nothing that is there.

// rotation is one key's.
type rotation struct {
	present func(*Config) CAKey
	steps   string // {new}, {old}, {oldpub}, {newpub} are files, {until} a time, {tomorrow} a day
}

// rotations are those of the keys, by their names in keys/. What an old key did
// stays good for as long as it has to: the longest certificate and a day for the restart;
// until clients know the new host CA; recordings for ever.
var rotations = map[string]rotation{
	"user_ca": {func(c *Config) CAKey { return c.Certificates.UserCA }, `
  1. In the configuration, under certificates:
       user_ca: {file: {new}}
       old_user_cas: [{file: {oldpub}, until: {until}}]
     If somebody else may have the old key, leave old_user_cas out: everybody logs in anew.
  2. twokey check, and restart twokey serve. Certificates from before count until {until}.
  3. Then take old_user_cas out, and destroy {old}.
`},
	"host_ca": {func(c *Config) CAKey { return c.Certificates.HostCA }, `
  1. In the configuration, under certificates, beside the present host_ca:
       other_host_cas: [{newpub}]
     Restart twokey serve. /known_hosts now has both; let people fetch it again:
       curl URL/known_hosts >> ~/.ssh/known_hosts
  2. When they have, change it to
       host_ca: {file: {new}}
       other_host_cas: [{oldpub}]
     and restart twokey serve. Whoever did not fetch it is told by ssh that the host is unknown.
  3. A while later take other_host_cas out, and destroy {old}.
     If somebody else may have the old key, do 2 at once, without other_host_cas, and let people
     remove the old line from their known_hosts.
`},
	"recording": {func(c *Config) CAKey { return CAKey{Secret: c.Recordings.SigningKey} }, `
  1. In the configuration, under recordings:
       signing_key: {file: {new}}
       old_keys: [{oldpub}]          # and those that are there already
  2. twokey check, and restart twokey serve. Auditors need both public halves: --key {oldpub} --key {newpub}
  3. Destroy {old}; keep {oldpub} for as long as there are recordings that it proves. Put in front
     of its line, in every copy, so that nobody who finds the old key can sign with it:
       valid-before="{tomorrow}Z"
`},
	"host": {func(c *Config) CAKey { return CAKey{Secret: c.SSH.HostKey} }, `
  1. In the configuration, under ssh:
       host_key: {file: {new}}
  2. twokey check, and restart twokey serve. Clients that trust the host CA notice nothing.
  3. Destroy {old}.
`},
}

// overlap is how long an old user CA counts: the longest certificate, and a day.
const overlap = 48 * time.Hour

// runRotate makes a key anew and tells out what to do with it.
func runRotate(out io.Writer, dir, name string, now time.Time) error {
	r, known := rotations[name]
	if !known {
		return fmt.Errorf("there is no key %s; user_ca, host_ca, recording and host can be made anew", quoted(name))
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	config, err := loadConfig(filepath.Join(dir, "twokey.yaml"))
	if err != nil {
		return err
	}
	old := r.present(config)
	if old.File == "" {
		return fmt.Errorf("%s is not in a file but in the %s: make the new one there, and name both in the configuration as the README says", name, old)
	}
	keys := filepath.Join(dir, "keys")
	if err := makePrivate(keys); err != nil {
		return err
	}
	made, err := cutOff(keys, name)
	if err != nil {
		return err
	}
	if made == "" {
		made = filepath.Join(keys, name+"-"+now.UTC().Format("20060102-150405"))
	}
	if err := initKey(out, made, "the new "+name, hostOf(config)); err != nil {
		return err
	}
	here := func(path string) string { // as the configuration would say it
		if rel, err := filepath.Rel(dir, path); err == nil && !strings.HasPrefix(rel, "..") {
			return rel
		}
		return path
	}
	steps := strings.NewReplacer("{new}", here(made), "{newpub}", here(made)+".pub", "{old}", here(old.File), "{oldpub}", here(old.File)+".pub",
		"{until}", now.Add(overlap).UTC().Format(time.RFC3339), "{tomorrow}", now.UTC().AddDate(0, 0, 1).Format("20060102")).Replace(r.steps)
	_, err = fmt.Fprintf(out, "\nNothing is changed yet. Next:%s", steps)
	return err
}

// cutOff is the new key of an earlier run that ended before its public half was there.
func cutOff(keys, name string) (path string, err error) {
	all, err := os.ReadDir(keys)
	for _, f := range all {
		path := filepath.Join(keys, f.Name())
		if !strings.HasPrefix(f.Name(), name+"-") || strings.HasSuffix(path, ".pub") {
			continue
		}
		if _, err := os.Lstat(path + ".pub"); errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", err
}
