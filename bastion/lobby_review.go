package bastion

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/session"
)

// This file holds the review of a recording by somebody who has replayed it:
// what was opened alone is signed off here, and anything else may be.

// What a review says. The words are the recorder's.
const (
	reviewOK    = "ok"
	reviewRaise = "raise"
)

func (v *visit) reviewCommand() *cobra.Command {
	var ok, raise bool
	c := &cobra.Command{
		Use:   "review ID --ok|--raise NOTE",
		Short: "sign off a recording you have replayed, or say what must be looked at",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 || ok == raise {
				return misuse("review takes an ID and one of --ok and --raise: %s", v.server.command("review ID --raise why"))
			}
			note := session.OneLine(strings.Join(args[1:], " "), maxAnswer) // the local shell took its quotes
			if raise && note == "" {
				return misuse("say what must be looked at: %s", v.server.command("review ID --raise why"))
			}
			what := reviewOK
			if raise {
				what = reviewRaise
			}
			return v.review(c.Context(), c.OutOrStdout(), args[0], what, note)
		},
	}
	c.Flags().BoolVar(&ok, "ok", false, "it is as it should be; a note may follow")
	c.Flags().BoolVar(&raise, "raise", false, "it is not, and the note says why: whoever opened it alone breaks no more glass until it is signed off")
	return c
}

// review puts a review into the books.
func (v *visit) review(ctx context.Context, w io.Writer, typed, what, note string) error {
	id, err := v.recordings().find(ctx, typed)
	if err != nil {
		return err
	}
	if _, live := v.server.Sessions.Find(id); live {
		return failure{statusFailed, id + " still runs; replay and review it when it has ended"}
	}
	want, err := v.server.Reviews.Asked(ctx, id)
	switch {
	case errors.Is(err, session.ErrNoRecording):
		return failure{statusFailed, id + " is not in the store; what has just ended may be on its way there"}
	case err != nil:
		return err
	}
	if err := v.mayReview(want); err != nil {
		return err
	}
	if err := v.server.Reviews.Review(ctx, v.who, id, what, note); err != nil {
		return err
	}
	if what == reviewOK {
		v.log.Info("review", "session", id, "what", what, "note", note)
		fmt.Fprintf(w, "signed off %s\n", id)
		return nil
	}
	v.log.Warn("review", "session", id, "what", what, "note", note)
	fmt.Fprintf(w, "raised %s\n", id)
	if want.BreakGlass {
		fmt.Fprintf(w, "%s breaks no more glass until somebody signs it off with --ok.\n", session.OneLine(want.Engineer.Name, maxAnswer))
	}
	return nil
}

// mayReview says why this person may not review a session, or nil. Those may
// who could have been its shadows, besides auditors and admins; nobody may their own.
func (v *visit) mayReview(want session.Request) error {
	switch {
	case want.Engineer.SamePersonAs(v.who):
		return refusal("nobody reviews themselves: this session is yours")
	case v.auditor(), v.admin():
		return nil
	}
	if err := want.Mode.Shadows.Eligible(want.Engineer, v.who); err != nil {
		return refusal("auditors, admins and those who may watch it review a session: %s", err)
	}
	return nil
}

// mayReplay reports whether this person may replay a recording though they are
// no auditor: what was opened alone, to review it.
func (v *visit) mayReplay(ctx context.Context, id string) bool {
	want, err := v.server.Reviews.Asked(ctx, id)
	return err == nil && want.BreakGlass && v.mayReview(want) == nil
}
