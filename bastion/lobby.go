package bastion

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file is the lobby: the tree of commands, and what somebody sees who
// came without one. What each command does is in the files beside it.

// lobby runs the command of somebody who asked for no target.
func (v *visit) lobby(w wish) int {
	words := split(v.command)
	if len(words) == 0 && v.pty {
		return v.inLobby(w.note)
	}
	if w.note != "" {
		fmt.Fprintf(v.errors(), "twokey: %s\n", w.note)
	}
	if len(words) > maxWords || strings.ContainsRune(v.command, 0) {
		return v.fail(misuse("this is no command; try: %s", v.server.command("help")))
	}
	if len(words) > 0 && strings.HasPrefix(words[0].text, "__") {
		return v.fail(misuse("unknown command %q; try: %s", session.OneLine(words[0].text, 40), v.server.command("help")))
	}
	ctx, cancel := context.WithCancel(v.ctx)
	defer cancel()
	root := v.commands()
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		switch {
		case !v.pty, c.Name() == "shadow", c.Name() == "replay": // those read keys themselves
		case c.Name() == "export": // what the store holds may drive a terminal
			return misuse("an export goes into a file, not to a terminal: leave out -t, and write > x.cast behind it")
		default:
			go v.interrupt(cancel) // returns when the channel is closed, which run does
		}
		return nil
	}
	root.SetArgs(texts(words))
	root.SetOut(v.output())
	root.SetErr(v.errors())
	root.SetIn(v.ch)
	err := root.ExecuteContext(ctx)
	if err != nil && ctx.Err() != nil {
		err = failure{statusLeft, "stopped"}
	}
	if err != nil {
		v.log.Info("command failed", "command", firstWord(words), "status", StatusOf(err), "cause", err.Error())
		if errors.As(err, new(session.Cause)) {
			v.server.Meter.Refused(causeOf(err))
		}
		return v.fail(err)
	}
	return 0
}

// interrupt stops a command on a terminal when Ctrl-C is typed.
func (v *visit) interrupt(stop context.CancelFunc) {
	defer v.conn.caught()
	buf := make([]byte, 256)
	for {
		n, err := v.ch.Read(buf)
		if bytes.IndexByte(buf[:n], 0x03) >= 0 {
			stop()
		}
		if err != nil {
			return
		}
	}
}

func firstWord(words []word) string {
	if len(words) == 0 {
		return ""
	}
	return session.OneLine(words[0].text, 40)
}

// commands is the whole tree.
func (v *visit) commands() *cobra.Command {
	root := &cobra.Command{
		Use:           "twokey",
		SilenceErrors: true, SilenceUsage: true,
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: v.server.command()},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return misuse("unknown command %q; try: %s", session.OneLine(args[0], 40), v.server.command("help"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return v.overview(c.OutOrStdout()) },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if c == root { // most likely arguments for psql, and a target misspelt
			return misuse("there is no target %s; %s shows them (%s)", session.OneLine(v.user, 40), v.server.command("targets"), session.OneLine(err.Error(), 200))
		}
		return misuse("%s; try: %s", session.OneLine(err.Error(), 200), v.server.command("help", c.Name()))
	})
	root.AddCommand(v.loginCommand(), v.whoamiCommand(), v.targetsCommand(), v.shadowCommand(), v.killCommand(), v.revokeCommand(), v.reviewCommand(), v.auditCommand())
	root.AddCommand(v.recordings().Commands("sessions", "search", "replay", "export", "verify")...)
	root.SetHelpCommand(v.helpCommand(root))
	plain := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		if c == root {
			v.help(c.OutOrStdout(), root)
			return
		}
		plain(c, args)
	})
	return root
}

func (v *visit) helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "this text, or more about a command",
		RunE: func(_ *cobra.Command, args []string) error {
			c, _, err := root.Find(args)
			if err != nil || c == nil {
				return misuse("unknown command %q", session.OneLine(strings.Join(args, " "), 40))
			}
			return c.Help()
		},
	}
}

// help says what people may type.
func (v *visit) help(w io.Writer, root *cobra.Command) {
	fmt.Fprintf(w, "A psql shell opens here only while a second person is watching.\n\nSessions:\n")
	var t table
	t.add(v.server.commandAs("TARGET"), "psql in the target's first mode")
	t.add(v.server.commandAs("TARGET+MODE"), "psql in another mode")
	t.add(v.server.commandAs("TARGET")+" -- --csv -c 'select 1'", "psql without a terminal: -c and its SQL come last")
	t.add(v.server.commandAs("TARGET")+" -- --reason 'ticket 42' --csv", "a script on standard input; the reason comes first")
	t.add(v.server.forwardCommand("TARGET", "TARGET"), "any Postgres client on your own port 5432; any user name, no password")
	t.add(v.server.line("ssh -t", "TARGET+MODE@", []string{"--", breakGlass}), "alone, in an emergency, if you may; somebody else must review it")
	t.print(w)
	fmt.Fprintf(w, "\nCommands:\n")
	t = table{}
	t.add(v.server.command(), "the lobby: who waits, what is live, what you may open; Enter sits down")
	for _, c := range root.Commands() {
		t.add(v.server.command(c.Use), c.Short)
	}
	t.print(w)
	fmt.Fprintf(w, "\nID is the long one or the short code, in any case. Exit status without a terminal: psql's own;\n"+
		"77 refused, 75 nobody came, 137 killed, 130 left while waiting, 69 a part is missing, 1 any other end.\n")
}

// overview is for somebody who came without a command.
func (v *visit) overview(w io.Writer) error {
	fmt.Fprintf(w, "You are %s.\n", v.who.Name)
	var waiting, live table
	for _, p := range v.server.present() {
		s, sum := p.Session, p.Summary
		if !v.mayList(s) {
			continue
		}
		row := []string{sum.Code, sum.Engineer, sum.Target + "+" + sum.Mode, ago(sum.Started), session.OneLine(sum.Reason, 60)}
		switch {
		case p.Silent > 0:
			live.add(append(row, "does not answer: its recording hangs, and nothing passes")...)
		case sum.State == session.Ended:
		case sum.State == session.Waiting:
			row = append(row, "needs "+session.Quorum(sum.Needs).String())
			if v.mayShadow(s) {
				row = append(row, v.server.seatCommand(sum.Code))
			}
			waiting.add(row...)
		default:
			row = append(row, s.Gate().String(), "watched by "+orNobody(sum.Shadows), shadow.Stored(p.Health))
			if s.Request().BreakGlass {
				row = append(row, "GLASS BROKEN: opened alone")
				if v.mayShadow(s) {
					row = append(row, v.server.seatCommand(sum.Code))
				}
			}
			live.add(row...)
		}
	}
	section(w, "Waiting for a shadow:", waiting, "nobody")
	section(w, "Live:", live, "nothing")
	section(w, "You may open:", v.openable(), "nothing: you are in no engineers' group")
	fmt.Fprintf(w, "\nMore: %s\n", v.server.command("help"))
	return nil
}

func section(w io.Writer, title string, t table, none string) {
	fmt.Fprintf(w, "\n%s\n", title)
	if len(t.rows) == 0 {
		fmt.Fprintf(w, "  %s\n", none)
	}
	t.print(w)
}

// openable lists the targets and modes that this person may open.
func (v *visit) openable() table {
	var t table
	for _, o := range v.offers() {
		t.add(o.Command, o.watched())
	}
	return t
}

func ago(t time.Time) string {
	d := time.Since(t).Round(time.Second)
	if d >= 2*time.Minute {
		d = d.Round(time.Minute)
		return strings.TrimSuffix(d.String(), "0s") + " ago"
	}
	return d.String() + " ago"
}

// admin and auditor are parts that a person can have.
func (v *visit) admin() bool   { return v.who.Valid() && v.who.InAny(v.server.Admins) }
func (v *visit) auditor() bool { return v.who.Valid() && v.who.InAny(v.server.Auditors) }

// mayShadow reports whether this person may sit down at a session.
func (v *visit) mayShadow(s *session.Session) bool {
	r := s.Request()
	return r.Mode.Shadows.Eligible(r.Engineer, v.who) == nil
}

// mayList reports whether this person sees a live session in listings: their
// own, those they may shadow, and everything for auditors and admins.
func (v *visit) mayList(s *session.Session) bool {
	return v.admin() || v.auditor() || v.who.Valid() && s.Request().Engineer.SamePersonAs(v.who) || v.mayShadow(s)
}
