//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/session"
)

// This file is `twokey check`, the doctor: how parts are tried side by side
// and what is printed about them. The parts themselves are in check_parts.go.

// probeTime bounds the trial of one part.
const probeTime = 5 * time.Second

// probe tries one part. Run returns what worked, in words for a colleague, and
// what did not as a trouble or several joined. Without words and with troubles
// the part has no line of its own. It stops when ctx does.
type probe struct {
	name string
	run  func(ctx context.Context) (detail string, err error)
}

// trouble is something that a probe found, and what to do about it.
type trouble struct {
	What string
	Todo string
	Warn bool // it works, and should be changed
}

func (t trouble) Error() string { return t.What }

// fails makes a trouble that keeps the part from working.
func fails(todo, format string, args ...any) error {
	return trouble{What: fmt.Sprintf(format, args...), Todo: todo}
}

// warns makes a trouble that the part works with.
func warns(todo, format string, args ...any) error {
	return trouble{What: fmt.Sprintf(format, args...), Todo: todo, Warn: true}
}

// finding is one line of the doctor's. Its JSON names are a contract.
type finding struct {
	Part   string `json:"part"`
	State  string `json:"state"` // ok, warn or FAIL
	Detail string `json:"detail"`
	Todo   string `json:"todo,omitempty"`
}

func checkCommand() *cobra.Command {
	var config string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check --config FILE",
		Short: "try each part and say what to do",
		Long: "Reads the configuration and tries each part it names: keys, clock, identity\n" +
			"provider, store, spool, databases, cage. One line each; exit 1 if one fails.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return runCheck(c.Context(), c.OutOrStdout(), config, asJSON)
		},
	}
	c.Flags().StringVar(&config, "config", "twokey.yaml", "the configuration file")
	c.Flags().BoolVar(&asJSON, "json", false, "a JSON object a line")
	return c
}

// runCheck tries each part of a configuration and prints a line for each. It
// returns errUnhealthy when one failed.
func runCheck(ctx context.Context, out io.Writer, path string, asJSON bool) error {
	c, err := loadConfig(path)
	probes := []probe{{"config", func(context.Context) (string, error) { return configFindings(path, c, err) }}}
	if err == nil {
		probes = append(probes, partProbes(c)...)
	}
	return examine(ctx, out, probes, probeTime, asJSON)
}

func configFindings(path string, c *Config, err error) (string, error) {
	var mistakes Mistakes
	var found []error
	switch {
	case errors.As(err, &mistakes):
		for _, m := range mistakes {
			found = append(found, fails("", "%s", m))
		}
		return "", errors.Join(found...)
	case errors.Is(err, fs.ErrNotExist):
		return "", fails("give the file with --config; `twokey init` writes one to start from", "%s", err)
	case err != nil:
		return "", fails("", "%s", err)
	}
	for _, w := range c.Warnings {
		found = append(found, warns("", "%s", w))
	}
	modes := 0
	for _, t := range c.Targets {
		modes += len(t.Modes)
	}
	return fmt.Sprintf("%s, %s with %s", path, counted(len(c.Targets), "target"), counted(modes, "mode")), errors.Join(found...)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// examine runs the probes side by side and prints what they found in their
// order, each as soon as those before it are done. Every part gets so much
// time.
func examine(ctx context.Context, out io.Writer, probes []probe, limit time.Duration, asJSON bool) error {
	results := make([]chan []finding, len(probes))
	for i, p := range probes {
		results[i] = make(chan []finding, 1) // so that nobody waits when printing stops early
		go func() { results[i] <- p.try(ctx, limit) }()
	}
	healthy, width := true, 14
	for _, p := range probes {
		width = max(width, min(len(p.name), 40))
	}
	for i := range probes {
		for _, f := range <-results[i] {
			healthy = healthy && f.State != "FAIL"
			if err := f.print(out, width, asJSON); err != nil {
				return err
			}
		}
	}
	if !healthy {
		return errUnhealthy
	}
	return nil
}

// try runs one probe within its time.
func (p probe) try(ctx context.Context, limit time.Duration) []finding {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan []finding, 1)
	// A part that ignores its context is left behind: the doctor reports it
	// and the process ends soon after.
	go func() { done <- p.once(ctx) }()
	select {
	case found := <-done:
		return found
	case <-time.After(limit + limit/5):
		return p.findings("", fails("see whether it is reachable from this machine", "no answer within %s", session.Brief(limit)))
	}
}

// once runs it for as long as that takes.
func (p probe) once(ctx context.Context) (found []finding) {
	defer func() {
		if r := recover(); r != nil {
			found = p.findings("", fails("please report this", "a bug in twokey: %v", r))
		}
	}()
	return p.findings(p.run(ctx))
}

// findings turns what a probe returned into lines: what worked first, unless
// something failed.
func (p probe) findings(detail string, err error) []finding {
	var found []finding
	failed := false
	for _, e := range flatten(err) {
		f := finding{Part: p.name, State: "FAIL", Detail: inWords(e)}
		var t trouble
		if errors.As(e, &t) {
			f.Todo = t.Todo
			if t.Warn {
				f.State = "warn"
			}
		}
		failed = failed || f.State == "FAIL"
		found = append(found, f)
	}
	if !failed && (detail != "" || len(found) == 0) {
		found = slices.Insert(found, 0, finding{Part: p.name, State: "ok", Detail: detail})
	}
	return found
}

// flatten takes joined errors apart, and no others: an error that wraps two is
// one sentence.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || errors.Join(joined.Unwrap()...).Error() != err.Error() {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

// inWords says an error for people.
func inWords(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s (%s)", session.Brief(probeTime), err)
	}
	return err.Error()
}

// print writes the finding. What a server answered may be in it, so no control
// character gets to the terminal. Width is the column of parts, in characters.
func (f finding) print(out io.Writer, width int, asJSON bool) error {
	f.Detail, f.Todo = singleLine(f.Detail), singleLine(f.Todo)
	if asJSON {
		return json.NewEncoder(out).Encode(f)
	}
	_, err := fmt.Fprintf(out, "%-4s %-*s %s\n", f.State, width, f.Part, f.Detail)
	if f.Todo != "" && err == nil {
		_, err = fmt.Fprintf(out, "     %-*s → %s\n", width, "", f.Todo)
	}
	return err
}
