// Command twokey is an SSH bastion where a production psql shell opens only
// while a second person watches. This package parses, wires, runs and closes;
// the configuration lives here. What a session is, is in package session.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/bastion"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is the whole program; it returns the exit status.
func run(args []string) int {
	if status, is := answering(args); is {
		return status
	}
	if started() {
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // whoever says it again means now, whatever is under way
	root := rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if strings.HasPrefix(err.Error(), "unknown command ") { // of which cobra makes no kind
		err = senseless(root, err)
	}
	if !errors.Is(err, errUnhealthy) {
		fmt.Fprintln(os.Stderr, "twokey:", told(err))
	}
	if e := (ended{}); errors.As(err, &e) {
		return e.status
	}
	return bastion.StatusOf(err)
}

// ended is an error with an exit status of its own.
type ended struct {
	error
	status int
}

func (e ended) Unwrap() error { return e.error }

// senseless is a command that makes no sense.
func senseless(c *cobra.Command, err error) error {
	text, sep := strings.TrimSpace(err.Error()), "; "
	if strings.Contains(text, "\n") { // suggestions
		sep = "\n"
	}
	return ended{fmt.Errorf("%s%s%s --help shows what there is", text, sep, c.CommandPath()), 2}
}

// errLeft is somebody who pressed Ctrl-C at a prompt.
var errLeft = ended{errors.New("you left; nothing has changed"), 130}

// told is what an error says, fit for a terminal: some repeat what a store, an
// identity provider or a file said.
func told(err error) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(err.Error(), "?"))
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "twokey",
		Short:         "an SSH bastion where psql opens only while a second person watches",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(os.Stdout) // cobra's default is stderr
	root.SetFlagErrorFunc(senseless)
	root.AddCommand(server()...)
	root.AddCommand(loginCommand(), sshConfigCommand(), recordingsCommand())
	return root
}

// errUnhealthy is what check ends with when a part failed; all was said.
var errUnhealthy = errors.New("twokey is not ready: something above says FAIL")

// version is what was built: the module's version, or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v += " " + s.Value[:12]
		}
	}
	return v
}
