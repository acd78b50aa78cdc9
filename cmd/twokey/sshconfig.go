package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// This file is `twokey ssh-config`: the lines by which ssh logs in by itself.

func sshConfigCommand() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "ssh-config HOST",
		Short: "lines for ~/.ssh/config that make ssh log in by itself",
		Long: "Print lines for ~/.ssh/config, with which `ssh orders@HOST` opens the browser by itself when the\n" +
			"certificate is missing or old. Add them with: twokey ssh-config HOST >> ~/.ssh/config",
		Args: oneHost,
		RunE: func(c *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			return writeSSHConfig(c.OutOrStdout(), args[0], name, self)
		},
	}
	c.Flags().StringVar(&name, "name", "", "a short `name` to type instead of HOST")
	return c
}

// writeSSHConfig writes the lines. A Host block ends what stands before it, so they can
// be added at the end; the first value that ssh finds counts, so that IdentityFile and
// the like of earlier lines come first.
func writeSSHConfig(w io.Writer, at, name, self string) error {
	to, err := parseSSHAddress(at)
	if err != nil {
		return err
	}
	if name == "" {
		name = to.host
	}
	if !sshHost.MatchString(name) {
		return fmt.Errorf("%q is no name that ssh takes for a host", name)
	}
	dir, err := keyDir()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "# twokey: a shell opens while somebody watches. ssh %s logs in by itself.\nHost %s\n", name, name)
	if name != to.host {
		fmt.Fprintf(w, "  HostName %s\n", to.host)
	}
	if to.port != "" {
		fmt.Fprintf(w, "  Port %s\n", to.port)
	}
	fmt.Fprintf(w, "  IdentityFile %s\n  ForwardAgent no\nMatch originalhost %s exec %s\n",
		quotedPath(dir+string(os.PathSeparator)+sshAddress{host: name}.fileName()), name, quotedCommand(self, "login", "--if-needed", name))
	_, err = fmt.Fprint(w, "Match all\n")
	return err
}

// quotedPath is a path as ssh's configuration reads it: percent signs begin tokens.
func quotedPath(path string) string {
	return `"` + strings.ReplaceAll(path, "%", "%%") + `"`
}

// plainPath needs no quotes, neither for a shell nor for ssh's configuration.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9/\\:._-]+$`)

// quotedCommand is what ssh gives to the shell: the program's path may have spaces.
func quotedCommand(program string, args ...string) string {
	if !plainPath.MatchString(program) {
		program = `'` + strings.ReplaceAll(program, `'`, `'\''`) + `'`
	}
	return quotedPath(program + " " + strings.Join(args, " "))
}
