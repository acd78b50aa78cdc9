package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func initIn(t *testing.T, dir string) string {
	t.Helper()
	var out bytes.Buffer
	if err := runInit(&out, dir, "b.example.com"); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestInitMakesWhatParses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's a \"new\" one")
	out := initIn(t, dir)
	for _, line := range []string{"made  " + dir + "/keys/user_ca", "made  " + dir + "/twokey.yaml", "twokey check --config " + dir + "/twokey.yaml"} {
		if !strings.Contains(out, line) {
			t.Errorf("init did not say %q:\n%s", line, out)
		}
	}
	c, err := loadConfig(filepath.Join(dir, "twokey.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("the starter configuration has warnings: %s", c.Warnings)
	}
	if c.HTTP.URL != "https://b.example.com" || c.Recordings.Store.Dir != dir+"/recordings" {
		t.Errorf("got url %s and store %s", c.HTTP.URL, c.Recordings.Store.Dir)
	}
	if detail, err := probeKeys(c); err != nil {
		t.Errorf("the doctor on new keys: %s, %v", detail, err)
	}
}

func TestInitKeysArePrivate(t *testing.T) {
	dir := t.TempDir()
	initIn(t, dir)
	for path, want := range map[string]fs.FileMode{
		"keys": fs.ModeDir | 0o700, "secrets": fs.ModeDir | 0o700, "twokey.yaml": 0o600,
		"keys/host": 0o600, "keys/user_ca": 0o600, "keys/host_ca": 0o600, "keys/recording": 0o600,
		"keys/host.pub": 0o644,
	} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode() & (fs.ModeDir | fs.ModePerm); got != want {
			t.Errorf("%s has mode %v, want %v", path, got, want)
		}
	}
	if got, err := exec.Command("ssh-keygen", "-y", "-f", filepath.Join(dir, "keys/recording")).Output(); err != nil {
		t.Errorf("ssh-keygen does not read the key: %v", err)
	} else if pub, _ := os.ReadFile(filepath.Join(dir, "keys/recording.pub")); string(got) != string(pub) {
		t.Errorf("ssh-keygen says %s, the file %s", got, pub)
	}
}

func TestInitTwiceChangesNothing(t *testing.T) {
	dir := t.TempDir()
	initIn(t, dir)
	before := contents(t, dir)
	if err := os.Remove(filepath.Join(dir, "keys/host.pub")); err != nil {
		t.Fatal(err)
	}
	out := initIn(t, dir)
	if after := contents(t, dir); after != before {
		t.Errorf("init again changed\n%s\nto\n%s", before, after)
	}
	if strings.Contains(out, "made") || strings.Count(out, "kept") != 5 {
		t.Errorf("init again said:\n%s", out)
	}
}

// contents is every file of a folder in one text.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all.WriteString(path + "\n" + string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func TestInitRefuses(t *testing.T) {
	for _, c := range []struct {
		name, host, want string
		prepare          func(dir string) error
	}{
		{"a host that is none", "a b\nstate: x", "is not the name of a host", func(string) error { return nil }},
		{"an open folder of keys", "b", "run: chmod 0700", func(dir string) error {
			os.Mkdir(dir+"/keys", 0o755)
			return os.Chmod(dir+"/keys", 0o755)
		}},
		{"something else where a key goes", "b", "is there but is no private key", func(dir string) error {
			os.Mkdir(dir+"/keys", 0o700)
			return os.WriteFile(dir+"/keys/host", []byte("hello"), 0o600)
		}},
		{"a file where the folder goes", "b", "making a folder", func(dir string) error {
			return os.WriteFile(dir+"/keys", nil, 0o600)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.prepare(dir); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			err := runInit(&bytes.Buffer{}, dir, c.host)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if after := contents(t, dir); after != before {
				t.Errorf("it left %s", after)
			}
		})
	}
}

// A full disk is said so, what was made is whole, and when there is room the same
// command goes on.
func TestInitOnAFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc")
	initIn(t, dir)
	before := contents(t, dir)
	for _, lost := range []string{"twokey.yaml", "keys/recording", "keys/recording.pub"} {
		os.Remove(filepath.Join(dir, lost))
	}
	cmd := exec.Command("sh", "-c", `trap '' XFSZ; ulimit -f 0; exec "$0" init --dir "$1" --host b.example.com`, os.Args[0], dir)
	cmd.Env = append(os.Environ(), asMain+"=1")
	said, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(said), "making "+dir+"/keys/recording: ") || !strings.Contains(string(said), "run the same again when that is mended") {
		t.Errorf("%v: %s", err, said)
	}
	initIn(t, dir)
	if after := contents(t, dir); strings.Count(after, "\n") != strings.Count(before, "\n") {
		t.Errorf("afterwards there is %s", after)
	}
}

// What somebody who has just begun gets wrong is answered with what to do.
func TestTheFirstMistakes(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(newEd25519(t), "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	key := Secret{File: filepath.Join(dir, "key")}
	if err := os.WriteFile(key.File, pem.EncodeToMemory(locked), 0o600); err != nil {
		t.Fatal(err)
	}
	root := rootCommand()
	root.SetArgs([]string{"init"})
	_, noConfig := loadConfig(filepath.Join(dir, "twokey.yaml"))
	_, noPort := listen("ssh", taken.Addr().String())
	_, noKey := key.signer("ssh.host_key")
	for _, c := range []struct {
		err  error
		want string
	}{
		{root.Execute(), "into which folder? twokey init --dir DIR"},
		{noConfig, "name it with --config, or make one with twokey init"},
		{noPort, "ssh.listen: another program has " + taken.Addr().String() + " already"},
		{noKey, "has a passphrase, and nobody is here to type it"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("got %v, want %q", c.err, c.want)
		}
	}
}

func newEd25519(t *testing.T) ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestInitKeysAreEd25519(t *testing.T) {
	dir := t.TempDir()
	initIn(t, dir)
	data, err := os.ReadFile(filepath.Join(dir, "keys/user_ca"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil || signer.PublicKey().Type() != ssh.KeyAlgoED25519 {
		t.Errorf("got %v, %v", signer, err)
	}
}

// A new key is made beside the present one; nothing that is there changes.
func TestRotate(t *testing.T) {
	dir := t.TempDir()
	initIn(t, dir)
	for name, want := range map[string][]string{
		"user_ca":   {"user_ca: {file: keys/user_ca-20261129-120000}", "old_user_cas: [{file: keys/user_ca.pub, until: 2026-12-01T12:00:00Z}]", "destroy keys/user_ca."},
		"host_ca":   {"other_host_cas: [keys/host_ca-20261129-120000.pub]", "host_ca: {file: keys/host_ca-20261129-120000}", "other_host_cas: [keys/host_ca.pub]"},
		"recording": {"signing_key: {file: keys/recording-20261129-120000}", "old_keys: [keys/recording.pub]"},
		"host":      {"host_key: {file: keys/host-20261129-120000}"},
	} {
		before := contents(t, dir)
		var out bytes.Buffer
		if err := runRotate(&out, dir, name, time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)); err != nil {
			t.Fatal(err)
		}
		for _, line := range append(want, "Nothing is changed yet") {
			if !strings.Contains(out.String(), line) {
				t.Errorf("%s: no %q in\n%s", name, line, &out)
			}
		}
		if strings.ContainsAny(strings.ReplaceAll(strings.ReplaceAll(out.String(), "{file:", ""), "}", ""), "{") && name != "user_ca" {
			t.Errorf("%s: something is not filled in:\n%s", name, &out)
		}
		made := filepath.Join(dir, "keys", name+"-20261129-120000")
		if _, err := exec.Command("ssh-keygen", "-y", "-f", made).Output(); err != nil {
			t.Errorf("%s: ssh-keygen does not read the key: %v", name, err)
		}
		os.Remove(made)
		os.Remove(made + ".pub")
		if after := contents(t, dir); after != before {
			t.Errorf("%s changed something else", name)
		}
	}
	if err := runRotate(&bytes.Buffer{}, dir, "spare", time.Now()); err == nil {
		t.Error("a key that is none was made anew")
	}
	if err := runRotate(&bytes.Buffer{}, t.TempDir(), "host", time.Now()); err == nil {
		t.Error("without a configuration")
	}
}
