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
	"syscall"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/session/pgwire/label"
	"github.com/twokey/twokey/session/psql"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is the whole program; it returns the exit status.
func run(args []string) int {
	if psql.Main() || label.Main() { // this process was started as the launcher of a cage, or to parse
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !errors.Is(err, errUnhealthy) {
		fmt.Fprintln(os.Stderr, "twokey:", err)
	}
	return bastion.StatusOf(err)
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
	root.AddCommand(initCommand(), checkCommand(), serveCommand(), recordingsCommand())
	return root
}
