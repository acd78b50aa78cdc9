package psql

import "context"

// ProbeAnyway lets the canary try a cage that is off, to see that it would find something.
func (c *Cage) ProbeAnyway(ctx context.Context) error { return c.probe(ctx) }
