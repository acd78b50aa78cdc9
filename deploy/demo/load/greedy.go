package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// This file sits beside people who take what they can get: their psqls do all
// that a client can to the bastion's machine, while somebody else types.

// greeds are what is typed beside an honest session. None of it ends by itself
// before the measure does, but for what runs out of its memory.
var greeds = []struct{ name, types string }{
	{"nobody", ""},
	{`\watch without a pause`, "select 1 \\watch 0.001\r"}, // psql before 16 takes 0 for a second
	{"10 GB in one result", "select repeat('x', 1000) from generate_series(1, 10000000);\r"},
	{"10 GB in parts", "\\set FETCH_COUNT 1000\rselect repeat('x', 1000) from generate_series(1, 10000000);\r"},
	{"variables of 150 MB", "select repeat('x', 150<<20) as a \\gset\rselect :'a' as b, :'a' as c \\gset\r"},
}

const (
	besideKeys = 200
	betweenOne = 30 * time.Millisecond
	// besideAim is an echo that nobody feels.
	besideAim = 100 * time.Millisecond
)

func greedy(ctx context.Context, _ plan, s *site) error {
	honest, err := s.openPair(ctx, 0)
	if err != nil {
		return err
	}
	defer honest.close()
	fmt.Println("greedy: a key's echo for somebody with a shadow, while beside them one psql takes what it can")
	var short []error
	for n, g := range greeds {
		p50, p99, err := s.beside(ctx, honest.alice, n, g.types)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		fmt.Printf("  beside %-24s p50 %s, p99 %s\n", g.name+":", ms(p50), ms(p99))
		short = append(short, missed(p99 < besideAim, "beside %s an echo takes %s, aim %s", g.name, ms(p99), ms(besideAim)))
	}
	return errors.Join(short...)
}

// beside measures while somebody alone in the n-th other session has typed this.
func (s *site) beside(ctx context.Context, honest *window, n int, types string) (p50, p99 time.Duration, err error) {
	if types != "" {
		other, err := s.open(ctx, s.alice, address(5, n), "orders", "")
		if err != nil {
			return 0, 0, err
		}
		defer other.close()
		if _, err := other.await(ctx, prompt, time.Minute); err != nil {
			return 0, 0, err
		}
		if _, err := other.keys.Write([]byte("\\pset pager off\r" + types)); err != nil {
			return 0, 0, err
		}
		time.Sleep(2 * time.Second) // until it has begun
	}
	var echoes []time.Duration
	for i := range besideKeys {
		if i%40 == 0 { // an empty line again
			if _, err := honest.keys.Write([]byte{'U' & 0x1f}); err != nil {
				return 0, 0, err
			}
			time.Sleep(10 * betweenOne)
		}
		took, err := honest.echo(ctx, 'x')
		if err != nil {
			return 0, 0, err
		}
		echoes = append(echoes, took)
		time.Sleep(betweenOne)
	}
	return percentile(echoes, 50), percentile(echoes, 99), nil
}
