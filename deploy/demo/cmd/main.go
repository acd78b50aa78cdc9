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
	"path/filepath"
	"syscall"
	"time"

	"github.com/creack/pty"
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
	root, err := repository()
	if err != nil {
		return err
	}
	stage := newStage(os.Stdout)
	began := time.Now()
	w, err := newWorld(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if err := w.start(ctx, stage); err != nil {
		return err
	}
	p := &play{ctx: ctx, world: w, stage: stage}
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
	w.invite(stage)
	<-ctx.Done()
	return nil
}

// repository is the folder that holds bin/twokey.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "bin", "twokey")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", errors.New("bin/twokey is not there; run make demo at the top of the repository")
		}
	}
}

// terminalAt reports whether a person sits at this end.
func terminalAt(f *os.File) bool {
	_, _, err := pty.Getsize(f)
	return err == nil
}
