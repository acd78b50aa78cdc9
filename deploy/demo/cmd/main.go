// Command demo shows what twokey is: it starts a database, a store, an identity
// provider and a bastion, all of them real and on this machine alone, and
// plays a day with them. Its one idea: every person has a terminal with a shell
// and OpenSSH in it, a program presses their keys, and each step is checked, so
// what is shown is what happened.
//
// It is no test of everything; it ends at the first thing that is not as told.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/creack/pty"

	"github.com/twokey/twokey/deploy/demo/house"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demo stopped: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	root, err := house.Repository()
	if err != nil {
		return err
	}
	stage := newStage(os.Stdout)
	began := time.Now()
	w, err := house.New(root, "demo")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Stop()) }()
	stage.heading("The parts")
	if err := w.Start(ctx, stage.line); err != nil {
		return err
	}
	p := &play{ctx: ctx, house: w, stage: stage}
	defer p.leave()
	if err := p.tell(); err != nil {
		return err
	}
	stage.heading("That was twokey, in %s", time.Since(began).Round(time.Second))
	p.epilogue()
	if !terminalAt(os.Stdin) {
		return nil
	}
	p.leave()
	invite(w, stage)
	<-ctx.Done()
	return nil
}

// terminalAt reports whether a person sits at this end.
func terminalAt(f *os.File) bool {
	_, _, err := pty.Getsize(f)
	return err == nil
}
