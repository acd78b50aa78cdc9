package main

import (
	"github.com/spf13/cobra"

	"github.com/twokey/twokey/session/pgwire/label"
)

// This file is what this program is on Linux besides: a bastion. Files that begin
// with a build line for Linux belong to it.

// started reports that this process was started to parse, and has done that. A
// cage's launcher never comes this far.
func started() bool { return label.Main() }

// server are the commands of who runs a bastion.
func server() []*cobra.Command {
	return []*cobra.Command{initCommand(), checkCommand(), serveCommand()}
}
