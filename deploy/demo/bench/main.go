// Command bench puts twokey beside OpenSSH's sshd: the same client, the same
// psql, the same database, the same machine, in turns. Its one idea: a number
// alone says nothing; a ratio taken within one run does.
//
// What it compares is not the same work. sshd only carries bytes; twokey, while
// it is measured, checks the gate, records, stores, and shows bob everything.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"text/tabwriter"

	"github.com/twokey/twokey/deploy/demo/house"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// run takes the measures that are named, or all.
func run(ctx context.Context, only []string) (err error) {
	switch {
	case len(only) > 1 && only[0] == inner:
		return terminalWithin(ctx, only[1:])
	case slices.Equal(only, []string{cageWithin}):
		return measureStarts(ctx, os.Stdout)
	case slices.Equal(only, []string{"recording"}):
		return recording(ctx)
	}
	root, err := house.Repository()
	if err != nil {
		return err
	}
	h, err := house.New(root, "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Stop()) }()
	if err := h.Start(ctx, func(string, ...any) {}); err != nil {
		return err
	}
	if slices.Equal(only, []string{"wire"}) {
		return wire(ctx, h)
	}
	for _, name := range []string{"alice", "bob"} {
		if err := h.LogIn(ctx, name); err != nil {
			return err
		}
	}
	plain, err := startSSHD(ctx, h)
	if err != nil {
		return err
	}
	var table []row
	for _, m := range measures {
		if len(only) > 0 && !slices.Contains(only, m.name) {
			continue
		}
		rows, err := m.take(ctx, h, plain)
		if err != nil {
			return err
		}
		table = append(table, rows...)
		fmt.Fprintf(os.Stderr, "measured %s\n", rows[0].what)
	}
	show(table)
	if len(only) > 0 {
		return nil
	}
	if err := wire(ctx, h); err != nil {
		return err
	}
	return recording(ctx)
}

// measures are taken in this order: memory first, as what the others leave
// behind for the garbage collector would hide it.
var measures = []struct {
	name string
	take func(context.Context, *house.House, *sshd) ([]row, error)
}{{"memory", memory}, {"cage", cageCost}, {"opening", opening}, {"echo", echo}, {"throughput", throughput}, {"taping", taping}, {"watching", watching}, {"script", script}, {"kill", kill}}

// row is one line of the table.
type row struct {
	what, unit   string
	twokey, sshd float64 // medians; sshd is 0 where it has nothing to compare
	aim          string  // of the ratio, or of twokey's own number when there is none
}

func show(table []row) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\ttwokey\tsshd\tratio\taim\t\n")
	for _, r := range table {
		if r.sshd == 0 {
			fmt.Fprintf(w, "%s\t%.2f %s\t\t\t%s\t\n", r.what, r.twokey, r.unit, r.aim)
			continue
		}
		fmt.Fprintf(w, "%s\t%.2f %s\t%.2f %s\t%.2f\t%s\t\n", r.what, r.twokey, r.unit, r.sshd, r.unit, r.twokey/r.sshd, r.aim)
	}
	w.Flush()
}

// median of what was measured; the list is not empty.
func median(list []float64) float64 { return percentile(list, 50) }

// percentile p of what was measured, in 0..100.
func percentile(list []float64, p int) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(len(sorted)*p/100, len(sorted)-1)]
}
