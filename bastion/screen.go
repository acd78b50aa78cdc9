package bastion

import (
	"context"
	"iter"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/session"
)

func (v *visit) shadow(ctx context.Context, id string) error { return errLeft }

func (v *visit) play(ctx context.Context, c *cobra.Command, events iter.Seq2[session.Event, error], pace Pace) error {
	return errLeft
}
