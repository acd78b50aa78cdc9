//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store"
)

// This file holds what an operator does to recordings, which takes the signing
// key: sealing those of a bastion that is gone, and removing those whose time is
// over. Both are in the ledger, of a node of their own, as the bastion's own state
// directory may be in use.

const maintenanceTime = 10 * time.Minute // for what is done to reach the store

// maintenance are the commands.
func maintenance(at *whereabouts) []*cobra.Command {
	return []*cobra.Command{sealCommand(at), pruneCommand(at)}
}

// maintainer makes the recorder that signs.
type maintainer struct{ state string }

func (m *maintainer) flags(c *cobra.Command) {
	c.Flags().StringVar(&m.state, "state", "", "`folder` of this command's own ledger; maintenance in the configuration's state when left out")
}

// with runs do with a recorder, and waits until all is in the store.
func (m *maintainer) with(c *cobra.Command, file string, do func(context.Context, *recorder.Recorder) error) (err error) {
	if file == "" {
		return errors.New("this takes the signing key: say --config FILE")
	}
	config, err := loadConfig(file)
	if err != nil {
		return err
	}
	d := &daemon{config: config, log: slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if d.config.State = m.state; m.state == "" {
		d.config.State = filepath.Join(config.State, "maintenance")
	}
	if _, err := d.openRecordings(c.Context()); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), maintenanceTime)
		defer cancel()
		err = errors.Join(err, d.recorder.Close(ctx))
	}()
	return do(c.Context(), d.recorder)
}

func sealCommand(at *whereabouts) *cobra.Command {
	var m maintainer
	var orphans bool
	var node string
	c := &cobra.Command{
		Use:   "seal --orphans",
		Short: "seal what a bastion that is gone left in the store, as lost",
		Long: "Seal what a bastion that is gone left in the store, as lost.\n\n" +
			"Without --node these are recordings without an end that are older than a session can be (26 h); every\n" +
			"bastion does the same by itself. With --node they are those of one bastion, whatever their age: make sure\n" +
			"that it is gone. If it is not, it can not finish them any more, and shuts its gates.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !orphans {
				return errors.New("seal takes --orphans")
			}
			return m.with(c, at.config, func(ctx context.Context, r *recorder.Recorder) error {
				ids, err := r.SealOrphans(ctx, recorder.Orphans{Node: node})
				for _, id := range ids {
					fmt.Fprintf(c.OutOrStdout(), "%s  sealed as lost\n", id)
				}
				if err == nil && len(ids) == 0 {
					fmt.Fprintln(c.OutOrStdout(), "there are none")
				}
				return err
			})
		},
	}
	m.flags(c)
	c.Flags().BoolVar(&orphans, "orphans", false, "recordings without an end")
	c.Flags().StringVar(&node, "node", "", "those of the bastion with this `name` in the ledger, such as node-k7q2m")
	return c
}

func pruneCommand(at *whereabouts) *cobra.Command {
	var m maintainer
	var before string
	var yes, unreviewed bool
	c := &cobra.Command{
		Use:   "prune --before 365d",
		Short: "remove recordings whose time is over, with a signed tombstone in the ledger",
		Long: "Remove recordings whose time is over, with a signed tombstone in the ledger.\n\n" +
			"Without --yes it only says which. What is not proven stays, and so does what the store keeps under Object Lock.\n" +
			"So does, without --unreviewed, what was opened alone in an emergency and not signed off, and what was raised.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			moment, err := bastion.Moment(before, time.Now())
			if err != nil {
				return err
			}
			if moment.IsZero() {
				return errors.New("before when? Say --before 365d, or --before 2026-01-31")
			}
			return m.with(c, at.config, func(ctx context.Context, r *recorder.Recorder) error {
				n, word := 0, "would be removed"
				if yes {
					word = "removed"
				}
				err := r.Prune(ctx, recorder.Pruning{Before: moment, Unreviewed: unreviewed, Really: yes}, func(id string) {
					n++
					fmt.Fprintf(c.OutOrStdout(), "%s  %s\n", id, word)
				})
				fmt.Fprintf(c.OutOrStdout(), "%d recordings that ended before %s %s\n", n, moment.UTC().Format(time.DateTime), word)
				if !yes && n > 0 {
					fmt.Fprintln(c.OutOrStdout(), "with --yes they are")
				}
				if errors.Is(err, recorder.ErrOwed) {
					fmt.Fprintln(c.ErrOrStderr(), "twokey: somebody must still look at some of them: ssh HOST sessions --unreviewed, replay, review. With --unreviewed they go, too.")
				}
				return err
			})
		},
	}
	m.flags(c)
	c.Flags().StringVar(&before, "before", "", "those that ended before: 365d, 2026-01-31 or RFC 3339")
	c.Flags().BoolVar(&yes, "yes", false, "remove them")
	c.Flags().BoolVar(&unreviewed, "unreviewed", false, "also those that somebody must still review")
	return c
}

// fromConfig takes the store and the keys from a bastion's configuration.
func (p *whereabouts) fromConfig() (store.Store, []ssh.PublicKey, error) {
	c, err := loadConfig(p.config)
	if err != nil {
		return nil, nil, err
	}
	s, err := c.Recordings.Store.open()
	if err != nil {
		return nil, nil, err
	}
	keys, err := recordingKeys("--key", p.keys)
	if err != nil || len(keys) > 0 {
		return s, keys, err
	}
	key, err := c.Recordings.SigningKey.signer("recordings.signing_key")
	if err != nil {
		return nil, nil, fmt.Errorf("%w (or give the public half with --key)", err)
	}
	keys, err = c.Recordings.trusted(key)
	return s, keys, err
}
