//go:build linux

package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
)

// This file is `twokey init`: the keys of a bastion and a configuration to
// start from. It makes what is missing and never touches what is there, so
// running it again is harmless.

//go:embed init.yaml.tmpl
var starter string

// initKeys are the keys of a bastion: one key, one purpose.
var initKeys = [...]struct{ name, purpose string }{
	{"host", "the host key of the SSH server"},
	{"user_ca", "signs the certificates of people"},
	{"host_ca", "signs the host key, for one line in known_hosts"},
	{"recording", "signs the recordings"},
}

func initCommand() *cobra.Command {
	var dir, host, rotate string
	c := &cobra.Command{
		Use:   "init --dir DIR",
		Short: "make keys and a commented configuration to start from",
		Long: "Makes the keys of a bastion and a commented twokey.yaml in DIR.\n" +
			"What is already there stays as it is.\n\n" +
			"With --rotate it makes one key anew, beside the present one, and says what to write into the\n" +
			"configuration so that nobody is locked out in between.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if dir == "" {
				return ended{errors.New("into which folder? twokey init --dir DIR"), 2}
			}
			if rotate != "" {
				return runRotate(c.OutOrStdout(), dir, rotate, time.Now())
			}
			return runInit(c.OutOrStdout(), dir, host)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the folder for configuration and keys")
	c.Flags().StringVar(&host, "host", "bastion.example.com", "the name people will type after ssh")
	c.Flags().StringVar(&rotate, "rotate", "", "make this `key` anew: user_ca, host_ca, recording or host")
	return c
}

// runInit makes keys and twokey.yaml in dir, unless they are there, and tells
// out what it did and what to do next.
func runInit(out io.Writer, dir, host string) error {
	if !hostName.MatchString(host) {
		return fmt.Errorf("%s is not the name of a host; give it without user and port, such as --host bastion.example.com", quoted(host))
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	config, err := starterConfig(dir, host)
	if err != nil {
		return err
	}
	for _, folder := range []string{"keys", "secrets"} {
		if err := makePrivate(filepath.Join(dir, folder)); err != nil {
			return err
		}
	}
	for _, k := range initKeys {
		if err := initKey(out, filepath.Join(dir, "keys", k.name), k.purpose, host); err != nil {
			return err
		}
	}
	if err := tidy(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, "twokey.yaml")
	made, err := writeNew(path, config, 0o600)
	if err != nil {
		return err
	}
	tell(out, made, path, "the configuration")
	return initNext(out, path, host, made)
}

// makePrivate makes a folder for its owner alone.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("making a folder: %w; run this as somebody who may, or name another folder with --dir", err)
	} else if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("the folder %s is open to others (mode %04o); run: chmod 0700 %s", dir, info.Mode().Perm(), dir)
	}
	return tidy(dir)
}

// initKey makes an ed25519 key pair as ssh-keygen would, or completes one
// whose public half is missing.
func initKey(out io.Writer, path, purpose, host string) error {
	name := "twokey " + filepath.Base(path) + " " + host
	private, err := newKey(name)
	if err != nil {
		return err
	}
	made, err := writeNew(path, private, 0o600)
	if err != nil {
		return err
	}
	tell(out, made, path, purpose)
	if !made {
		if private, err = os.ReadFile(path); err != nil {
			return fmt.Errorf("reading the key that is there: %w", err)
		}
	}
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return fmt.Errorf("%s is there but is no private key that can be used (%w); move it away and run this again", path, err)
	}
	line := bytes.TrimSuffix(ssh.MarshalAuthorizedKey(signer.PublicKey()), []byte("\n"))
	_, err = writeNew(path+".pub", fmt.Appendf(nil, "%s %s\n", line, name), 0o644)
	return err
}

func newKey(comment string) ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}

// halfMade marks the name of a file that is being written. One that is there when
// nobody writes was cut off.
const halfMade = ".twokey-half-"

// writeNew writes a file that is not there yet. It reports false, and leaves
// everything as it is, when one is. Whatever happens, the file is there whole or not at all:
// half a key would stop the next run.
func writeNew(path string, data []byte, mode fs.FileMode) (made bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("making %s: %w; what is there already is whole, so run the same again when that is mended", path, err)
		}
	}()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), halfMade+"*")
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return false, err
	}
	err = os.Link(f.Name(), path) // which replaces nothing
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, syncFolder(filepath.Dir(path))
}

// syncFolder makes sure that what is in a folder is so after a power cut.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// tidy removes what runs that were cut off have left.
func tidy(dir string) error {
	all, err := os.ReadDir(dir)
	for _, f := range all {
		if strings.HasPrefix(f.Name(), halfMade) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, f.Name())))
		}
	}
	return err
}

func tell(out io.Writer, made bool, path, what string) {
	word := "made "
	if !made {
		word = "kept "
	}
	fmt.Fprintf(out, "%s %s  %s\n", word, path, what)
}

// starterConfig fills in the template. It is read back before anyone sees it.
func starterConfig(dir, host string) ([]byte, error) {
	var b bytes.Buffer
	store := url.URL{Scheme: "file", Path: filepath.Join(dir, "recordings")}
	err := template.Must(template.New("twokey.yaml").Parse(starter)).Execute(&b, map[string]string{
		"Host": host, "Store": strings.ReplaceAll(store.String(), "'", "%27"),
	})
	if err != nil {
		return nil, err
	}
	if _, err := parseConfig(filepath.Join(dir, "twokey.yaml"), b.Bytes()); err != nil {
		return nil, fmt.Errorf("the starter configuration does not fit these options: %w", err)
	}
	return b.Bytes(), nil
}

func initNext(out io.Writer, path, host string, made bool) error {
	if !made {
		_, err := fmt.Fprintf(out, "\nWhat was there stays as it was, and options that would change it have no effect. To see whether it works:\n  twokey check --config %s\n", path)
		return err
	}
	_, err := fmt.Fprintf(out, `
Next:
  1. Fill in %s: every line that says CHANGE.
  2. Put the passwords it names into %s, a file each, mode 0600.
  3. At the identity provider, allow the redirect address that the file names.
  4. twokey check --config %s
  5. twokey serve --config %s
  6. People put these lines into ~/.ssh/config, and `+"`ssh bastion`"+` is all they type:
       Host bastion
         HostName %s
         Port 2222
     and, once: curl HTTP_URL/known_hosts >> ~/.ssh/known_hosts (HTTP_URL is http.url of the file)
Keep copies of keys/user_ca, keys/host_ca and keys/recording in a safe place, offline.
`, path, filepath.Join(filepath.Dir(path), "secrets"), path, path, host)
	return err
}
