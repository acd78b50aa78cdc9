//go:build !linux

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/recorder/store"
)

// This file is what this program is elsewhere: a client. A bastion runs on Linux,
// whose Landlock and seccomp are its cage.

func started() bool { return false }

func server() (list []*cobra.Command) {
	for _, name := range []string{"init", "check", "serve"} {
		list = append(list, &cobra.Command{
			Use: name, Short: "runs on Linux only", DisableFlagParsing: true,
			RunE: func(*cobra.Command, []string) error {
				return fmt.Errorf("a bastion runs on Linux, so twokey %s does; here are login, ssh-config and recordings", name)
			},
		})
	}
	return list
}

func maintenance(*whereabouts) []*cobra.Command { return nil }

func (p *whereabouts) fromConfig() (store.Store, []ssh.PublicKey, error) {
	return nil, nil, errors.New("--config belongs to a bastion, which runs on Linux; say --store and --key")
}
