package bastion

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/twokey/twokey/bastion/lobby"
	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file is the lobby on a terminal. Sitting down happens on the same
// channel and leads back here; a target that is opened is the rest of the visit:
// its last words stay to be read, and its exit status is psql's, as if it had been
// asked for by name.

// errStopping is why a lobby ends with the bastion.
var errStopping = session.Cause{Code: session.Drained, Text: "this bastion is stopping; try again in a minute"}

// inLobby is a visit to the lobby on a terminal. says is what they read first.
func (v *visit) inLobby(says string) (status int) {
	v.server.hall.watched.Add(1)
	defer v.server.hall.watched.Add(-1)
	keys := readKeyboard(v.ctx, v.ch)
	for {
		choice, err := v.choose(keys, says)
		switch {
		case errors.Is(err, lobby.ErrLeft):
			return 0
		case err != nil:
			return v.fail(err)
		case choice.Open != "":
			return v.openHere(keys, choice.Open)
		}
		says = v.sitHere(keys, choice.Sit)
	}
}

// choose shows the lobby for as long as what was proven on the way in holds.
func (v *visit) choose(keys *keyboard, says string) (lobby.Choice, error) {
	ctx, stop := context.WithCancelCause(v.ctx)
	defer stop(nil)
	if ends := v.who.Credential.Expires; !ends.IsZero() {
		late := time.AfterFunc(time.Until(ends), func() { stop(refusal("your certificate has ended; connect again and log in")) })
		defer late.Stop()
	}
	go func() { // ends with ctx
		select {
		case <-v.server.hall.closed:
			stop(errStopping)
		case <-ctx.Done():
		}
	}()
	in, back := keys.lend()
	defer back()
	t := lobby.Terminal{
		In: in, Out: shadow.NewFilter(v.ch), Size: v.sizes.size(), Resize: v.sizes.changed,
		Colours: v.colours(), Me: v.who.Name, Says: says, HelpLines: "\nEverything else one may type: " + v.server.command("help") + "\n",
	}
	if v.term == "dumb" {
		return lobby.Choice{}, v.plain(ctx, t)
	}
	return lobby.Show(ctx, v.outlook(), t)
}

// plain is the lobby for terminals that cannot be drawn on, and for being read
// aloud: the list, and then a line for what changes.
func (v *visit) plain(ctx context.Context, t lobby.Terminal) error {
	if err := v.overview(v.output()); err != nil {
		return err
	}
	if t.Says != "" {
		fmt.Fprintf(v.output(), "\n%s\n", session.OneLine(t.Says, maxAnswer))
	}
	fmt.Fprintf(v.output(), "\nWhat changes is told here; Ctrl-C leaves.\n")
	t.Out = v.output()
	return lobby.Tell(ctx, v.outlook(), t, v.server.seatCommand)
}

// mono are terminals without colours.
var mono = regexp.MustCompile(`^(vt[0-9]+|ansi-m|.*-m|.*-mono)$`)

// colours reports whether the terminal is to be coloured: not with NO_COLOR, of
// any value but the empty one (no-color.org).
func (v *visit) colours() bool { return v.env["NO_COLOR"] == "" && !mono.MatchString(v.term) }

// sitHere seats the visitor and returns what became of it, for the lobby to say.
func (v *visit) sitHere(keys *keyboard, id string) string {
	in, back := keys.lend()
	defer back()
	v.in = in
	s, live := v.server.Sessions.Find(id)
	if err := v.shadow(id); err != nil {
		v.log.Info("seat ended", "session", id, "cause", err.Error())
		return reason(err)
	}
	if !live {
		return ""
	}
	if sum := s.Summary(); sum.State == session.Ended {
		return sum.Code + " has ended" + why(sum)
	}
	return "you left " + s.Request().Code
}

func why(sum session.Summary) string {
	if sum.Cause == nil {
		return ""
	}
	return ": " + sum.Cause.Error()
}

// openHere opens a target and stays with it.
func (v *visit) openHere(keys *keyboard, user string) int {
	want, err := route(user, v.server.Targets)
	if err != nil {
		return v.fail(err)
	}
	v.in, _ = keys.lend() // for good
	return v.engineer(want)
}
