package bastion

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file is the command that plays a recording: on a terminal, the seat with
// time; without one, lines.

func (r Recordings) playCommand(name string) *cobra.Command {
	var o shadow.PlayOptions
	var follow bool
	c := &cobra.Command{
		Use:   name + " ID",
		Short: "watch a recording, or with --follow what runs",
		Long: "Watch a recording. On a terminal ? shows the keys: stop, go to a time or a statement, search.\n\n" +
			"With --follow, begin at the end of what is stored and see what comes, a second or two after it happened.",
		Args: oneID,
		RunE: func(c *cobra.Command, args []string) error {
			if !(o.Speed >= 0.01 && o.Speed <= 1000) || o.At < 0 || o.MaxIdle < 0 {
				return misuse("--speed is from 0.01 to 1000, and times are not negative")
			}
			if follow && (o.At > 0 || c.Flags().Changed("speed")) {
				return misuse("--follow begins at the end, at the pace of what happens: leave out --at and --speed")
			}
			id, err := r.find(c.Context(), args[0])
			if err != nil {
				return err
			}
			return readable(r.play(c, id, o, follow))
		},
	}
	c.Flags().Float64Var(&o.Speed, "speed", 1, "how many times as fast")
	c.Flags().DurationVar(&o.At, "at", 0, "begin here: 1m30s")
	c.Flags().DurationVar(&o.MaxIdle, "max-idle", 0, "no pause longer than this: 1s")
	c.Flags().BoolVar(&follow, "follow", false, "begin at the end, and wait for what comes: a session that runs")
	return c
}

// play shows a recording to whoever may look.
func (r Recordings) play(c *cobra.Command, id string, o shadow.PlayOptions, follow bool) error {
	ctx, what := c.Context(), "replay"
	if follow {
		what = "follow"
	}
	if err := r.look(ctx, what, id); err != nil {
		return err
	}
	screen, done, err := r.Screen(c)
	if err != nil {
		return err
	}
	defer done()
	if screen.Size == (session.Size{}) {
		whole, err := shadow.Play(ctx, r.Archive.Tape(ctx, id, 0, follow), screen, o)
		if err != nil || !whole || follow {
			return err
		}
		return r.shown(ctx, id)
	}
	recording := shadow.Recording{
		Tape: func(ctx context.Context, from time.Duration) iter.Seq2[session.Event, error] {
			return r.Archive.Tape(ctx, id, from, follow)
		},
		Live: follow,
	}
	if about, err := r.Archive.Summary(ctx, id); err == nil { // when not, reading the tape says why
		recording.About = clean(about)
	}
	if r.Shown != nil && !follow {
		recording.Seen = func() error { return r.shown(ctx, id) }
	}
	return shadow.Replay(ctx, recording, screen, o)
}

// shown puts into the books that all has been shown.
func (r Recordings) shown(ctx context.Context, id string) error {
	if r.Shown == nil {
		return nil
	}
	return r.Shown(ctx, id)
}

// readable says what to do about a recording that can not be read here.
func readable(err error) error {
	if errors.Is(err, session.ErrEncrypted) {
		return failure{statusFailed, "this recording is encrypted, and there is no identity here that opens it. " +
			"Where there is one: twokey recordings play ID --store … --identity FILE"}
	}
	return err
}
