package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
)

// This file is `twokey recordings`: the commands of an auditor without a
// bastion, for whom being able to read the store is permission enough.

// whereabouts says where recordings are, and whose signatures count.
type whereabouts struct {
	store    string // s3://BUCKET/PREFIX or a folder
	endpoint string
	region   string
	config   string
	keys     []string // files with public keys
	identity []string // files with age identities
}

func recordingsCommand() *cobra.Command {
	var at whereabouts
	cmd := &cobra.Command{
		Use:   "recordings",
		Short: "list, search, play, export and verify recordings, without a bastion",
		Long: "List, search, play, export and verify recordings, without a bastion.\n\n" +
			"A bucket's keys are taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.\n\n" +
			"What ls and search have read is kept in an index in your cache directory, for you alone; with --identity also\n" +
			"what was encrypted. It may be deleted at any time.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q; see twokey recordings --help", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&at.store, "store", "", "where they are: s3://BUCKET/PREFIX, or a `folder`")
	flags.StringVar(&at.endpoint, "endpoint", "", "`URL` of the S3 server")
	flags.StringVar(&at.region, "region", defaultRegion, "the bucket's region")
	flags.StringVar(&at.config, "config", "", "take the store, and the key unless --key says it, from this configuration `file`")
	flags.StringArrayVar(&at.keys, "key", nil, "`file` with the public recording key; may be given more than once")
	flags.StringArrayVar(&at.identity, "identity", nil, "`file` with an age identity, for recordings that are encrypted; may be given more than once")
	archive := &lateArchive{}
	cmd.PersistentPreRunE = func(c *cobra.Command, _ []string) (err error) {
		switch {
		case c == cmd, c.Name() == "seal", c.Name() == "prune":
			return nil
		case c.Name() == exportName && isTerminal(c.OutOrStdout()):
			return errExportHere
		}
		if len(at.keys) == 0 && at.config == "" && c.Name() != verifyName { // which refuses
			fmt.Fprintln(c.ErrOrStderr(), "twokey: without --key no signature is checked: this is what the store says, whoever wrote it")
		}
		archive.Archive, err = at.open()
		return err
	}
	r := bastion.Recordings{Archive: archive, Index: &lateIndex{at: &at, archive: archive}, Screen: screenHere, Progress: progressHere(), Replay: at.replayCommand}
	cmd.AddCommand(r.Commands("ls", "search", "play", exportName, verifyName)...)
	cmd.AddCommand(bastion.AuditCommand(archive.deeds))
	cmd.AddCommand(maintenance(&at)...)
	return cmd
}

const (
	exportName    = "export"
	verifyName    = "verify"
	defaultRegion = "us-east-1"
)

// errExportHere is why an export does not go to a terminal: it is what the store
// holds, and before there is a manifest anybody who can write there may have
// made it drive whatever shows it. play cleans what it shows.
var errExportHere = errors.New("an export does not go to a terminal: write it to a file (… > session.cast) or into a player (… | asciinema play -), " +
	"or watch the recording here with twokey recordings play")

// isTerminal reports whether what is written goes to a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// open returns the archive.
func (p *whereabouts) open() (*recorder.Archive, error) {
	s, keys, err := p.find()
	if err != nil {
		return nil, err
	}
	archive := recorder.OpenArchive(s, keys, nil)
	for _, file := range p.identity {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("--identity: %w", err)
		}
		identities, err := recorder.ParseIdentities(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("--identity %s holds no identity as age-keygen writes them: %w", file, err)
		}
		archive.Open(identities)
	}
	return archive, nil
}

// find returns the store and the keys that count.
func (p *whereabouts) find() (store.Store, []ssh.PublicKey, error) {
	if p.config != "" {
		return p.fromConfig()
	}
	if p.store == "" {
		return nil, nil, errors.New("where are the recordings? Say --store s3://BUCKET or --store FOLDER, or --config FILE")
	}
	s, err := p.reach()
	if err != nil {
		return nil, nil, err
	}
	keys, err := recordingKeys("--key", p.keys)
	return s, keys, err
}

// publicKeys reads public keys, one a file; what says where the files are named.
func publicKeys(what string, files []string) (keys []ssh.PublicKey, err error) {
	for _, file := range files {
		key, _, err := publicKey(what, file)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// recordingKeys are public keys that recordings are proven with, each for as long as
// the option in front of its line says.
func recordingKeys(what string, files []string) (keys []ssh.PublicKey, err error) {
	for _, file := range files {
		key, options, err := publicKey(what, file)
		if err == nil && len(options) > 0 {
			var until time.Time
			if until, err = validBefore(strings.Join(options, ",")); err != nil {
				err = fmt.Errorf("%s %s: %w", what, file, err)
			}
			key = recorder.KeyUntil(key, until)
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func publicKey(what, file string) (key ssh.PublicKey, options []string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", what, err)
	}
	if key, _, options, _, err = ssh.ParseAuthorizedKey(text); err != nil {
		return nil, nil, fmt.Errorf("%s %s holds no public key in OpenSSH's format: %w", what, file, err)
	}
	return key, options, nil
}

// validBefore reads the option valid-before="20261201Z" of a key, as the file of
// allowed signers has it (ssh-keygen(1)): a day, or a minute or second of it, in UTC
// with a Z and in local time without.
func validBefore(option string) (time.Time, error) {
	text, is := strings.CutPrefix(option, `valid-before="`)
	text, closed := strings.CutSuffix(text, `"`)
	zone := time.Local
	if utc, z := strings.CutSuffix(text, "Z"); z {
		text, zone = utc, time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if t, err := time.ParseInLocation(layout, text, zone); is && closed && err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf(`the option %.100q is not known; there is valid-before="20261201Z"`, option)
}

func (p *whereabouts) reach() (store.Store, error) {
	bucket, isS3 := strings.CutPrefix(p.store, "s3://")
	if !isS3 {
		dir := strings.TrimPrefix(p.store, "file://")
		if _, err := os.Stat(dir); err != nil { // opening would make it
			return nil, fmt.Errorf("--store: %w", err)
		}
		return store.NewFolder(dir)
	}
	if p.endpoint == "" {
		return nil, errors.New("a bucket needs --endpoint, the URL of its S3 server")
	}
	bucket, prefix, _ := strings.Cut(bucket, "/")
	access, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	if access == "" || secret == "" {
		return nil, errors.New("a bucket needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
	}
	return store.NewS3(store.S3Config{
		Bucket: bucket, Prefix: strings.Trim(prefix, "/"), Endpoint: p.endpoint, Region: p.region,
		AccessKey: access, SecretKey: secret,
	})
}

// lateArchive is the archive that the flags name, once they have been read.
type lateArchive struct{ *recorder.Archive }

// deeds is Archive.Deeds, once there is one.
func (l *lateArchive) deeds(ctx context.Context, since, until time.Time) iter.Seq2[session.Deed, error] {
	return l.Deeds(ctx, since, until)
}

// progressHere draws a line on this terminal, at most ten times a second.
func progressHere() func(done, total int) {
	if !isTerminal(os.Stderr) {
		return nil
	}
	var last time.Time
	return func(done, total int) {
		now := time.Now()
		if done < total && now.Sub(last) < 100*time.Millisecond {
			return
		}
		last = now
		const width = 30
		full := width * done / max(total, 1)
		fmt.Fprintf(os.Stderr, "\r\x1b[K[%s%s] %d of %d", strings.Repeat("#", full), strings.Repeat(".", width-full), done, total)
		if done == total {
			fmt.Fprint(os.Stderr, "\r\x1b[K")
		}
	}
}
