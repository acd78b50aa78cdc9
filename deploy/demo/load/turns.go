package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file opens and ends sessions one after another, and looks at what they
// left: nothing.

// traces is what sessions could leave behind.
type traces struct {
	goroutines, descriptors, processes, roles, files int
}

func (s *site) traces(ctx context.Context) (t traces, err error) {
	m, err := s.metrics(ctx)
	if err != nil {
		return t, err
	}
	t.goroutines, t.descriptors = int(m["go_goroutines"]), int(m["process_open_fds"])
	t.processes = len(descendants(s.house.Bastion.Pid()))
	out, err := s.house.DB.Exec(ctx, "orders", `select count(*) from pg_roles where rolname like 'twokey\_%'`)
	if err != nil {
		return t, err
	}
	if _, err := fmt.Sscan(out, &t.roles); err != nil {
		return t, err
	}
	err = filepath.WalkDir(s.house.Path("state"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			t.files++
		}
		return nil // what goes away while it is looked at is no trace
	})
	return t, err
}

// more reports whether there is anything that was not there before. A few idle connections
// to the store and the database come and go.
func (t traces) more(before traces) bool {
	const idle = 12
	return t.goroutines > before.goroutines+3*idle || t.descriptors > before.descriptors+idle ||
		t.processes > before.processes || t.roles > before.roles || t.files > before.files
}

func (t traces) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d processes, %d roles, %d files in the state folder", t.goroutines, t.descriptors, t.processes, t.roles, t.files)
}

func turns(ctx context.Context, p plan, s *site) error {
	turn := func(n int) error {
		_, err := s.command(ctx, s.alice, address(4, n%1000), "orders+own", "--reason load -At -c 'select 1'")
		return err
	}
	for n := range 20 { // warm up: pools and caches fill once
		if err := turn(n); err != nil {
			return err
		}
	}
	var before, after traces
	var err error
	settled := func(good func(traces) bool, into *traces) error {
		return house.Within(ctx, time.Minute, func() (bool, error) {
			*into, err = s.traces(ctx)
			return good(*into), err
		}, func() error { return fmt.Errorf("left behind: %s; before: %s", after, before) })
	}
	// Between sessions the bastion has two processes: what reads statements, and the launcher of the next psql.
	if err := settled(func(t traces) bool { return t.processes == 2 && t.roles == 0 }, &before); err != nil {
		return err
	}
	began := time.Now()
	for n := range p.turns {
		if err := turn(n); err != nil {
			return fmt.Errorf("session %d: %w", n+1, err)
		}
	}
	took := time.Since(began)
	left := settled(func(t traces) bool { return !t.more(before) }, &after)
	fmt.Printf("turns: %d sessions, each with a role of its own, one after another, %s each\n  before: %s\n  after:  %s\n", p.turns, ms(took/time.Duration(p.turns)), before, after)
	return errors.Join(left)
}
