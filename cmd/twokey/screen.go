package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file is this machine's terminal, for playing recordings on it.

// screenHere is where a recording is played: this terminal, key by key until
// done, or standard output when that is none, or one that can do nothing.
func screenHere(c *cobra.Command) (t shadow.PlayTerminal, done func(), err error) {
	t = shadow.PlayTerminal{Out: c.OutOrStdout(), Colourless: os.Getenv("NO_COLOR") != ""}
	if !isTerminal(t.Out) || !isTerminal(os.Stdin) || os.Getenv("TERM") == "dumb" {
		return t, func() {}, nil
	}
	keys := int(os.Stdin.Fd())
	cooked, err := term.MakeRaw(keys)
	if err != nil {
		return t, nil, fmt.Errorf("the terminal: %w", err)
	}
	sizes, stop := windowSizes(os.Stdout)
	t.In, t.Size, t.Resize = os.Stdin, <-sizes, sizes
	return t, func() { stop(); term.Restore(keys, cooked) }, nil
}

// windowSizes yields the size of a terminal, now and when it has changed, until
// stop. It looks now and then, as not every system says so.
func windowSizes(f *os.File) (sizes chan session.Size, stop func()) {
	sizes, over := make(chan session.Size), make(chan struct{})
	go func() { // ends with stop
		look := time.NewTicker(200 * time.Millisecond)
		defer look.Stop()
		var last session.Size
		for {
			now := session.Size{Cols: 80, Rows: 24}
			if cols, rows, err := term.GetSize(int(f.Fd())); err == nil && cols > 0 && rows > 0 {
				now = session.Size{Cols: cols, Rows: rows}
			}
			out := sizes
			if now == last {
				out = nil
			}
			select {
			case out <- now:
				last = now
			case <-look.C:
			case <-over:
				return
			}
		}
	}()
	return sizes, func() { close(over) }
}
