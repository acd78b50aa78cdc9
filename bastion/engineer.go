package bastion

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file takes an engineer from what they asked for to a session that runs.

// engineer opens a session and stays until it has ended.
func (v *visit) engineer(want wish) int {
	status, err := v.open(want)
	if err != nil {
		v.refused(want, err)
		return v.fail(err)
	}
	return status
}

// refused writes down why there is no session.
func (v *visit) refused(want wish, err error) {
	v.log.Info("no session", "target", want.target.Name, "mode", want.mode.Name, "status", StatusOf(err), "cause", err.Error())
	v.server.Meter.Refused(causeOf(err))
	v.did(session.DeedRefused, "", want.target.Name+"+"+want.mode.Name+": "+err.Error())
}

// open runs a session, or says why there is none.
func (v *visit) open(want wish) (status int, err error) {
	if err := mayOpen(v.who, want.target, want.mode); err != nil {
		return 0, err
	}
	request, err := v.asked(want)
	if err != nil {
		return 0, err
	}
	why := "this mode asks for a reason"
	if request.BreakGlass {
		if err := v.mayBreakGlass(want.target, want.mode); err != nil {
			return 0, err
		}
		why = "breaking glass takes a reason"
	}
	in := bufio.NewReaderSize(v.in, 4<<10)
	if (want.mode.Reason || request.BreakGlass) && request.Reason == "" {
		if request.Reason, err = v.askReason(in, why); err != nil {
			return 0, err
		}
	}
	request.Started = time.Now()
	if v.pty {
		request.Size = v.sizes.size()
	}
	request.ID, request.Code = v.server.NewID()
	request.Join = v.server.seatCommand(request.Code)
	s, err := v.server.Open(v.ctx, request)
	if err != nil {
		return 0, err
	}
	return v.runSession(s, in), nil
}

// asked is the request as the command and the connection say it.
func (v *visit) asked(want wish) (session.Request, error) {
	order, err := readOrder(v.command)
	if err != nil {
		return session.Request{}, err
	}
	args := order.args
	if order.noPsql && len(args) > 0 {
		return session.Request{}, misuse("%s and arguments for psql exclude each other", noPsql)
	}
	if v.pty && len(args) > 0 {
		return session.Request{}, misuse("arguments for psql go without a terminal: leave out -t")
	}
	if len(args) > 0 {
		if err := v.server.CheckArgs(args); err != nil {
			return session.Request{}, refusal("%s", err)
		}
	}
	if v.pty || order.noPsql {
		args = nil
	}
	return session.Request{
		Engineer: v.who, Target: want.target, Mode: want.mode, Reason: session.OneLine(order.reason, maxAnswer),
		BreakGlass: order.breakGlass, NoShell: order.noPsql, Args: args, Term: v.term, Env: v.locale(),
	}, nil
}

// locale is LANG and LC_* as psql may have them.
func (v *visit) locale() []string {
	var list []string
	for name, value := range v.env {
		if name != "TERM" && name != "NO_COLOR" {
			list = append(list, name+"="+value)
		}
	}
	slices.Sort(list)
	return list
}

// askReason asks until there is one, and says why. Without a terminal there is
// nobody to ask.
func (v *visit) askReason(in *bufio.Reader, why string) (string, error) {
	if _, none := v.ch.(*silence); none {
		return "", refusal("%s, and ssh -N cannot give one; put this behind the command, without -N: -- %s --reason 'text'", why, noPsql)
	}
	if !v.pty {
		return "", refusal("%s: put --reason 'text' before psql's arguments", why)
	}
	for {
		text, err := askLine(in, v.ch, "Reason: ")
		if err != nil {
			return "", err
		}
		if text = session.OneLine(text, maxAnswer); text != "" {
			return text, nil
		}
		fmt.Fprintf(v.output(), "%s%s; Ctrl-C leaves.\n", strings.ToUpper(why[:1]), why[1:])
	}
}

// runSession runs the session on this channel.
func (v *visit) runSession(s *session.Session, in io.Reader) (status int) {
	done := v.server.seats.open(s)
	defer done()
	if err := v.server.Sessions.Add(s); err != nil {
		// The bastion is stopping: the session begins, ends and is sealed.
		s.Finish(asCause(err))
	}
	v.announce(s.Request())
	v.greet(s.Request())
	defer v.server.tell(s)()
	defer v.server.hall.follow(s)()
	v.conn.runs.Store(true)
	defer v.conn.runs.Store(false)
	v.conn.serves(s)
	defer v.conn.serves(nil)
	status, _ = s.Run(v.ctx, v.terminal(in))
	v.server.Meter.Ended(s.Summary())
	if cause := s.Summary().Cause; cause != nil {
		v.did(session.DeedEnded, s.Request().ID, cause.Error())
	}
	return status
}

// announce writes into the log that somebody has asked for a session.
func (v *visit) announce(r session.Request) {
	what := session.DeedAsked
	if r.BreakGlass {
		what = session.DeedBrokeGlass
	}
	v.did(what, r.ID, strings.TrimSuffix(r.Target.Name+"+"+r.Mode.Name+": "+r.Reason, ": "))
	about := []any{"session", r.ID, "target", r.Target.Name, "mode", r.Mode.Name, "reason", r.Reason}
	if r.BreakGlass {
		v.log.Warn("glass broken", append(about, "review", session.Brief(r.Mode.BreakGlass.Review))...)
		return
	}
	v.log.Info("session asked for", about...)
}

func asCause(err error) session.Cause {
	var c session.Cause
	if errors.As(err, &c) {
		return c
	}
	return session.Cause{Code: session.Broken, Text: err.Error()}
}

// terminal is the engineer's end. What they see has passed the filter, and
// without a terminal they still see the errors. Only output is left alone
// then, so that it is clean for pipes.
func (v *visit) terminal(in io.Reader) session.Terminal {
	if v.pty {
		screen := shadow.NewLine(v.ch, v.sizes.size)
		t := session.Terminal{In: in, Out: screen, Err: screen, Restore: screen.Restore, Hangup: v.conn.hangUp, Resize: v.sizes.changed}
		if v.term != "dumb" {
			t.Aside = screen.Aside
		}
		return t
	}
	return session.Terminal{In: in, Out: v.ch, Err: shadow.NewFilter(v.ch.Stderr()), Hangup: v.conn.hangUp}
}

// greet tells an engineer what they asked for and what comes now.
func (v *visit) greet(r session.Request) {
	if r.BreakGlass {
		v.greetAlone(r)
		return
	}
	if !v.pty {
		if len(r.Mode.Shadows) > 0 {
			fmt.Fprintf(v.errors(), "twokey: %s, mode %s, recorded as %s; it takes %s to watch: %s\n",
				r.Target.Name, r.Mode.Name, r.ID, r.Mode.Shadows, r.Join)
		}
		return
	}
	w := v.output()
	fmt.Fprintf(w, "You asked for %s, mode %s.\n", r.Target.Name, r.Mode.Name)
	if r.Reason != "" {
		fmt.Fprintf(w, "Reason: %s\n", r.Reason)
	}
	if r.NoShell {
		fmt.Fprintf(w, "No psql: bring a client to the forwarded port. Any user name will do, and no password; Ctrl-C ends it.\n")
	}
	fmt.Fprintf(w, "Everything here is recorded, as %s.\n%s shows who watches and up to when it is stored.\n", r.ID, v.server.command())
	if len(r.Mode.Shadows) == 0 {
		fmt.Fprintf(w, "Nobody has to watch.\n")
		return
	}
	fmt.Fprintf(w, "It takes %s to watch. Ask for it with:\n\n  %s\n\n", r.Mode.Shadows, r.Join)
	if here := v.server.couldCome(r); len(here) > 0 {
		fmt.Fprintf(w, "Connected now, and may: %s.\n", strings.Join(here, ", "))
	}
	v.offerGlass(w, r)
}

// couldCome is who is connected and may sit down.
func (s *Server) couldCome(r session.Request) (names []string) {
	for _, c := range s.roll.of(func(who session.Identity) bool { return r.Mode.Shadows.Eligible(r.Engineer, who) == nil }) {
		if name := c.who.Load().Name; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
