// Command load puts a bastion under load and says what it bore: an attack on
// its front door, psqls that take what they can get, a thousand sessions one
// after another, and a house full of people. Its one idea: what was promised of a quiet bastion is looked at
// again while it is busy, from outside, with nothing but ssh, /proc and /metrics.
//
// It is no benchmark: nothing is compared. All of it, clients included, shares
// the machine's processors.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/twokey/twokey/deploy/demo/house"
)

// plan is how much of everything.
type plan struct {
	silent int           // connections that say nothing
	rate   int           // more of them a second
	siege  time.Duration // for so long
	crowd  int           // sessions at once, each with a shadow
	stay   time.Duration // for so long
	turns  int           // sessions one after another
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var p plan
	flag.IntVar(&p.silent, "silent", 5000, "connections that say nothing")
	flag.IntVar(&p.rate, "rate", 200, "new ones a second")
	flag.DurationVar(&p.siege, "siege", 30*time.Second, "how long the attack goes on")
	flag.IntVar(&p.crowd, "crowd", 500, "sessions at once")
	flag.DurationVar(&p.stay, "stay", 10*time.Minute, "how long people type")
	flag.IntVar(&p.turns, "turns", 1000, "sessions one after another")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: load [flags] [siege|greedy|turns|crowd ...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(ctx, p, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "load: %v\n", err)
		os.Exit(1)
	}
}

// part is one kind of load.
type part struct {
	name string
	run  func(context.Context, plan, *site) error
}

// parts are what can be asked for, in their order.
var parts = []part{{"siege", siege}, {"greedy", greedy}, {"turns", turns}, {"crowd", crowd}}

func run(ctx context.Context, p plan, only []string) (err error) {
	for _, name := range only {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return fmt.Errorf("there is no part %q; there are siege, greedy, turns and crowd", name)
		}
	}
	root, err := house.Repository()
	if err != nil {
		return err
	}
	h, err := house.New(root, "load")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Stop()) }()
	if err := h.Start(ctx, func(string, ...any) {}); err != nil {
		return err
	}
	s, err := newSite(ctx, h)
	if err != nil {
		return err
	}
	var short []error
	for _, part := range parts {
		if len(only) > 0 && !slices.Contains(only, part.name) {
			continue
		}
		if err := part.run(ctx, p, s); err != nil {
			short = append(short, fmt.Errorf("%s: %w", part.name, err))
		}
	}
	return errors.Join(short...)
}

// missed is an aim that was not reached.
func missed(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// percentile p of what was measured, in 0..100.
func percentile(list []time.Duration, p int) time.Duration {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}
