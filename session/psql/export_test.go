package psql

import (
	"context"
	"slices"
	"strings"
)

// ProbeAnyway lets the canary try a cage that is off, to see that it would find something.
func (c *Cage) ProbeAnyway(ctx context.Context) error { return c.probe(ctx) }

// Together is the same cage on a machine that gives no namespaces.
func (c *Cage) Together() *Cage {
	t := *c
	t.apart = false
	return &t
}

// Apart reports whether its psqls have namespaces of their own.
func (c *Cage) Apart() bool { return c.apart }

// Tidy is what is kept of what a psql said.
func Tidy(said []byte) []byte { return tidy(said) }

// Add keeps lines as if a psql had said them.
func (p *Past) Add(said []byte) error { return p.add(said) }

// Read returns what the next psql is given.
func (p *Past) Read() ([]byte, error) { return p.read() }

// Grouped is the same cage with control groups as far as this machine gives
// their controllers, which is returned, below this group or, if that is empty, twokey's own.
func (c *Cage) Grouped(own string) (g *Cage, given []string, err error) {
	if own == "" {
		if own, err = ownGroup(); err != nil {
			return nil, nil, err
		}
	}
	given = slices.DeleteFunc(slices.Clone(controllers), func(name string) bool { return gives(own, []string{name}) != nil })
	lacking := func(s setting) bool {
		controller, _, _ := strings.Cut(s.file, ".")
		return !slices.Contains(given, controller)
	}
	t := *c
	t.groups, err = openGroups(own, given, slices.DeleteFunc(slices.Clone(together), lacking), slices.DeleteFunc(slices.Clone(each), lacking))
	return &t, given, err
}

// Groups is where its psqls' control groups are; empty when they have none.
func (c *Cage) Groups() string {
	if c.groups == nil {
		return ""
	}
	return c.groups.dir
}

// OpenGroups opens control groups as a cage does, below this one.
func OpenGroups(own string) error {
	_, err := openGroups(own, controllers, together, each)
	return err
}

// GroupedWith opens control groups that take no controllers and, for each psql, this setting.
func GroupedWith(own, file, value string) error {
	_, err := openGroups(own, nil, nil, []setting{{file, value}})
	return err
}

// Next takes the launcher that waits, once one does, and returns its process and
// a cage whose next psql it will be.
func (c *Cage) Next() (next *Cage, pid int) {
	l := <-c.ready
	t := *c
	t.ready = make(chan *launcher, 1)
	t.ready <- l
	return &t, l.cmd.Process.Pid
}
