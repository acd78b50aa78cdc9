package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file measures the kill, at eight kinds of running statement: from the
// line that the shadow types to the last words on the engineer's terminal, and
// to the backend gone, as the database's operator sees it on a connection of
// their own. A statement that has an effect after its kill fails the bench.

const (
	killRounds = 25               // of all kinds: 200 kills
	stubborn   = 10 * time.Second // what runs would end by itself after this, and be committed
)

// running is a kind of statement that is killed.
type running struct {
	name, typed string
	when        string // it runs when this is true of its row in pg_stat_activity
	then        string // typed once it runs
}

// The rows they write, and the table they change, must never be there.
var kinds = []running{
	{name: "pg_sleep", typed: `insert into killed select 'pg_sleep' from pg_sleep(10);`, when: `wait_event = 'PgSleep'`},
	{name: "plpgsql loop", typed: `select fill();`, when: aWhile},
	{name: "COPY out", typed: `copy (select repeat('x', 200), generate_series(1, 100000000)) to stdout \; insert into killed values ('COPY out');`, when: `wait_event = 'ClientWrite'`},
	{name: "COPY in", typed: `copy killed from stdin;`, when: `wait_event = 'ClientRead'`, then: "COPY in\r"},
	{name: "lock", typed: `update locked set n = n + 1 \; insert into killed values ('lock');`, when: `wait_event_type = 'Lock'`},
	{name: "DDL", typed: `alter table changed alter n type bigint using slow(n);`, when: `wait_event = 'PgSleep'`},
	{name: "several", typed: `insert into killed values ('first') \; select pg_sleep(10) \; insert into killed values ('last');`, when: `wait_event = 'PgSleep'`},
	{name: "DO", typed: `do $$ begin while clock_timestamp() < now() + interval '10 s' loop end loop; insert into killed values ('DO'); end $$;`, when: aWhile},
}

const aWhile = `clock_timestamp() - query_start > interval '20 ms'`

const killStage = `
create table killed (kind text);
create table locked as select 1 as n;
create table changed as select n from generate_series(1, 1000) n;
alter table killed owner to app_rw;
alter table locked owner to app_rw;
alter table changed owner to app_rw;
grant create on schema public to app_rw;
create function slow(n int) returns bigint language plpgsql as $$ begin perform pg_sleep(0.01); return n; end $$;
create function fill() returns void language plpgsql as $$ begin
	while clock_timestamp() < now() + interval '10 s' loop insert into killed values ('plpgsql loop'); perform pg_sleep(0.001); end loop;
end $$;
`

// effects counts what the killed statements have done.
const effects = `select (select count(*) from killed) + (select count(*) from locked where n <> 1)
	+ (select count(*) from pg_attribute where attrelid = 'changed'::regclass and attname = 'n' and atttypid = 'bigint'::regtype)`

// kill is how long it takes until the engineer reads that it is over, when they
// have long been able to do nothing more, and until the backend is gone.
func kill(ctx context.Context, h *house.House, _ *sshd) (table []row, err error) {
	if _, err := h.DB.Exec(ctx, "orders", killStage); err != nil {
		return nil, err
	}
	operator, err := newOperator(h)
	if err != nil {
		return nil, err
	}
	defer operator.leave()
	holder, err := newOperator(h)
	if err != nil {
		return nil, err
	}
	defer holder.leave()
	if _, err := holder.ask("begin; update locked set n = n;"); err != nil {
		return nil, err
	}
	told, gone := map[string][]float64{}, map[string][]float64{}
	for range killRounds {
		if err := killRound(ctx, h, operator, told, gone); err != nil {
			return nil, err
		}
	}
	if _, err := holder.ask("rollback;"); err != nil {
		return nil, err
	}
	if err := nothingDone(ctx, operator); err != nil {
		return nil, err
	}
	sayKinds(told, gone)
	return append(killRows("kill to the engineer's last words", told, "50 ms"), killRows("kill to the backend gone", gone, "1 s")...), nil
}

// nothingDone waits until whatever outlived its kill would have ended, and looks.
func nothingDone(ctx context.Context, operator *operator) error {
	select {
	case <-time.After(stubborn):
	case <-ctx.Done():
		return ctx.Err()
	}
	n, err := operator.ask(effects + ";")
	if err == nil && n != "0" {
		err = fmt.Errorf("%s things were committed by statements that had been killed", n)
	}
	return err
}

func killRows(what string, by map[string][]float64, aim string) []row {
	all := slices.Concat(slices.Collect(maps.Values(by))...)
	return []row{
		{what: what + ", p50", unit: "ms", twokey: percentile(all, 50)},
		{what: what + ", p99", unit: "ms", twokey: percentile(all, 99), aim: "under " + aim},
	}
}

// sayKinds shows where the time goes.
func sayKinds(told, gone map[string][]float64) {
	for _, k := range kinds {
		fmt.Fprintf(os.Stderr, "killed %-12s last words %5.1f to %5.1f ms, backend gone %5.1f to %5.1f ms\n", k.name,
			percentile(told[k.name], 0), percentile(told[k.name], 100), percentile(gone[k.name], 0), percentile(gone[k.name], 100))
	}
}

// killRound opens a session for each kind, and kills one after another, so that
// none slows another down.
func killRound(ctx context.Context, h *house.House, operator *operator, told, gone map[string][]float64) error {
	sessions, failed := make([]victim, len(kinds)), make([]error, len(kinds))
	var opening sync.WaitGroup
	for i := range kinds {
		opening.Go(func() { sessions[i], failed[i] = openVictim(ctx, h) })
	}
	opening.Wait()
	defer func() {
		for _, s := range sessions {
			s.hangUp()
		}
	}()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	for i, k := range kinds {
		t, g, err := sessions[i].killed(ctx, operator, k)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		told[k.name], gone[k.name] = append(told[k.name], t), append(gone[k.name], g)
	}
	return nil
}

// victim is alice in psql, and bob at her session, with plain lines.
type victim struct{ alice, bob *line }

func openVictim(ctx context.Context, h *house.House) (v victim, err error) {
	code := ""
	if v.alice, code, err = askToWrite(ctx, h); err != nil {
		return v, err
	}
	if v.bob, err = dial(viaTwokey(h, "bob", false, "bastion", "shadow", code)); err != nil {
		return v, err
	}
	if err := v.alice.await(ctx, house.Patience, "orders=> "); err != nil {
		return v, err
	}
	return v, nil
}

func (v victim) hangUp() {
	for _, l := range []*line{v.alice, v.bob} {
		if l != nil {
			l.hangUp()
		}
	}
}

// killed lets the statement run, kills it, and measures.
func (v victim) killed(ctx context.Context, operator *operator, k running) (told, gone float64, err error) {
	v.alice.forget()
	if err := v.alice.press(k.typed + "\r"); err != nil {
		return 0, 0, err
	}
	pid, err := operator.finds(ctx, k.when)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %q", err, v.alice.text())
	}
	if err := v.alice.press(k.then); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	since := func() float64 { return time.Since(began).Seconds() * 1000 }
	if err := v.bob.press("kill bench\n"); err != nil {
		return 0, 0, err
	}
	read := make(chan error, 1)
	go func() {
		err := v.alice.await(ctx, house.Patience, "killed by bob@example.com: bench")
		told = since()
		read <- err
	}()
	buried := operator.buries(ctx, pid)
	gone = since()
	if err := errors.Join(buried, <-read); err != nil {
		return 0, 0, err
	}
	<-v.alice.gone
	if status := v.alice.cmd.ProcessState.ExitCode(); status != 137 {
		return 0, 0, fmt.Errorf("the engineer's ssh ended with %d", status)
	}
	return told, gone, nil
}
