package psql

import "context"

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
