package bastion

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file puts package shadow's screens onto a visitor's channel: the seat
// at a live session, and the player.

// shadow seats the visitor at a live session until they leave or it ends.
func (v *visit) shadow(id string) error {
	s, err := v.find(id)
	if err != nil {
		return err
	}
	b, ok := v.server.seats.at(s)
	if !ok {
		return failure{statusFailed, "that session has just ended"}
	}
	if b.view == nil {
		return refusal("%s asks for no shadow", s.Request().Code)
	}
	select {
	case <-b.view.Done(): // whoever sits counts as watching
		return failure{statusFailed, "that session has just ended"}
	default:
	}
	size := v.sizes.size()
	seat, err := s.Sit(v.who, size)
	if err != nil {
		return refusal("%s", err)
	}
	v.server.seats.sits(b, v.who)
	v.log.Info("sat down as shadow", "session", s.Request().ID, "terminal", v.pty)
	v.did(session.DeedSatDown, s.Request().ID, "")
	why, err := v.watch(seat, b.view, size)
	seat.Leave(why)
	v.did(session.DeedGotUp, s.Request().ID, why)
	v.log.Info("shadow left", "session", s.Request().ID, "why", why)
	return err
}

// watch is the time in the seat. It returns what is said about its end.
func (v *visit) watch(seat *session.Seat, view *shadow.View, size session.Size) (why string, err error) {
	p := &presence{seat: seat, limit: v.server.Limits.Keepalive}
	v.seated.Store(p)
	defer v.seated.Store(nil)
	defer p.gone()
	v.conn.runs.Store(true)
	defer v.conn.runs.Store(false)
	ctx, end := context.WithCancelCause(v.ctx)
	defer end(nil)
	go func() { // ends with the seat, or with end
		select {
		case <-seat.Left():
			if why := seat.Why(); why != "" { // else the session has ended, and says so
				end(refusal("your seat was taken away: %s", why))
			}
		case <-ctx.Done():
		}
	}()
	out := p.watched(v.ch)
	if v.pty {
		t := shadow.SeatTerminal{In: v.in, Out: out, Size: size, Resize: v.sizes.changed, Asked: p.asked, Answered: p.answered}
		err = shadow.Sit(ctx, seat, view, t)
	} else {
		err = shadow.Stream(ctx, seat, view, v.ch, out)
	}
	switch {
	case err == nil, errors.Is(err, shadow.ErrLeft):
		return "", nil
	case v.ctx.Err() != nil:
		return "The connection went away.", err
	}
	return session.OneLine(err.Error(), 200), err
}

// screen is where a recording is played: the visitor's terminal, or their pipe. A
// terminal that can do nothing is a pipe with keys.
func (v *visit) screen(*cobra.Command) (_ shadow.PlayTerminal, done func(), _ error) {
	t := shadow.PlayTerminal{Out: v.output(), Colourless: v.env["NO_COLOR"] != ""}
	if v.pty {
		t.In = v.ch
	}
	if v.pty && v.term != "dumb" {
		t.Out, t.Size, t.Resize = v.ch, v.sizes.size(), v.sizes.changed
	}
	return t, func() {}, nil
}
