package main

import (
	"github.com/spf13/cobra"

	"github.com/twokey/twokey/session/pgwire/label"
	"github.com/twokey/twokey/session/psql"
)

// This file is what this program is on Linux besides: a bastion. Files that begin
// with a build line for Linux belong to it.

// started reports that this process was started as the launcher of a cage, or to
// parse, and has done that.
func started() bool { return psql.Main() || label.Main() }

// server are the commands of who runs a bastion.
func server() []*cobra.Command {
	return []*cobra.Command{initCommand(), checkCommand(), serveCommand()}
}
