package bastion

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/session"
)

// This file holds the commands at a live session: sitting down and killing.

func (v *visit) shadowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "shadow ID",
		Short: "sit down as shadow (without a terminal: a plain stream, commands as lines on standard input)",
		Args:  oneID,
		RunE:  func(_ *cobra.Command, args []string) error { return v.shadow(args[0]) },
	}
}

func (v *visit) killCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "kill ID REASON",
		Short: "end a session you shadow, at once: the shell, the statement, the connection",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misuse("kill what? %s", v.server.command("kill ID reason"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return v.kill(c.Context(), c.OutOrStdout(), args[0], strings.Join(args[1:], " "))
		},
	}
	c.Flags().SetInterspersed(false) // a reason may look like an option
	return c
}

// How long the kill command waits to see the session's end. It changes nothing
// about the kill, which has happened by then.
const killWatch = 10 * time.Second

func (v *visit) kill(ctx context.Context, w io.Writer, id, why string) error {
	s, err := v.find(id)
	if err != nil {
		return err
	}
	if !v.admin() && !v.server.seats.satAt(s, v.who) {
		return refusal("only those who shadow %s may kill it, and admins; sit down first: %s",
			s.Request().Code, v.server.seatCommand(s.Request().Code))
	}
	if why = session.OneLine(why, maxAnswer); why == "" {
		why = "no reason given"
	}
	s.Kill(v.who, why)
	v.did(session.DeedKilled, s.Request().ID, why)
	v.log.Warn("session killed", "session", s.Request().ID, "reason", why)
	select {
	case <-s.Done():
		fmt.Fprintf(w, "killed %s\n", s.Request().Code)
	case <-time.After(killWatch):
		return fmt.Errorf("killed %s; its end is not confirmed yet", s.Request().Code)
	case <-ctx.Done():
	}
	return nil
}

// find returns a live session.
func (v *visit) find(id string) (*session.Session, error) {
	name, err := sessionID(id)
	if err != nil {
		return nil, err
	}
	s, ok := v.server.Sessions.Find(name)
	if !ok {
		return nil, failure{statusFailed, fmt.Sprintf("no session %s is live; %s lists them", name, v.server.command("sessions"))}
	}
	return s, nil
}

func oneID(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return misuse("%s takes one ID", c.Name())
	}
	return nil
}

// sessionID reads a ULID or a short code as people type them: in any case, and
// with the letters that Crockford's base 32 leaves out taken for what they look like.
func sessionID(typed string) (string, error) {
	id := strings.NewReplacer("I", "1", "L", "1", "O", "0").Replace(strings.ToUpper(typed))
	bad := strings.Trim(id, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") != ""
	if bad || len(id) != 26 && len(id) != 5 || len(id) == 26 && id[0] > '7' {
		return "", misuse("%q is no session ID: it is a ULID of 26 letters or a code of five", session.OneLine(typed, 40))
	}
	return id, nil
}
