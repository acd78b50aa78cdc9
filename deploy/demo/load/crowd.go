package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file is a house full of people: each in a psql of their own, recorded,
// with a shadow at a seat, typing as people type.

// How people type: a line at a time, then they read and think. In the end they
// leave one by one: five hundred who leave in one second are another test.
const (
	leaving     = 30 * time.Second
	betweenKeys = 200 * time.Millisecond
	leastPause  = 6 * time.Second
	mostPause   = 16 * time.Second
	starters    = 8 // sessions that open at the same time
)

// visitor is one of the crowd, and what they know afterwards.
type visitor struct {
	pair
	n          int
	statements int
	echoes     []time.Duration
	err        error
}

func crowd(ctx context.Context, p plan, s *site) error {
	idle, err := s.metrics(ctx)
	if err != nil {
		return err
	}
	people, err := s.gather(ctx, p.crowd)
	defer func() {
		for _, v := range people {
			v.close()
		}
	}()
	if err != nil {
		return err
	}
	full, err := s.metrics(ctx)
	if err != nil {
		return err
	}
	stop := time.Now().Add(p.stay)
	var all sync.WaitGroup
	for _, v := range people {
		all.Go(func() { v.err = v.work(ctx, stop) })
	}
	time.Sleep(p.stay / 2)
	busy, err := s.metrics(ctx)
	psqls := int64(0)
	for _, pid := range descendants(s.house.Bastion.Pid()) {
		psqls += resident(pid)
	}
	all.Wait()
	after, err2 := s.metrics(ctx)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	report(p, people, map[string]map[string]float64{"idle": idle, "full": full, "busy": busy, "after": after}, psqls)
	return errors.Join(broken(people), s.nothingLost(ctx, people))
}

// gather opens the sessions.
func (s *site) gather(ctx context.Context, n int) ([]*visitor, error) {
	people := make([]*visitor, n)
	var all sync.WaitGroup
	turn := make(chan struct{}, starters)
	for i := range people {
		people[i] = &visitor{n: i}
		all.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			people[i].pair, people[i].err = s.openPair(ctx, i)
		})
	}
	all.Wait()
	return people, broken(people)
}

func broken(people []*visitor) error {
	for _, v := range people {
		if v.err != nil {
			return fmt.Errorf("person %d: %w", v.n, v.err)
		}
	}
	return nil
}

// work types statements until it is time to go, and leaves with \q.
func (v *visitor) work(ctx context.Context, until time.Time) error {
	for pause := time.Duration(rand.Int64N(int64(mostPause))); ; pause = leastPause + time.Duration(rand.Int64N(int64(mostPause-leastPause))) {
		if time.Now().Add(pause).After(until) {
			time.Sleep(time.Until(until) + time.Duration(rand.Int64N(int64(leaving))))
			break
		}
		time.Sleep(pause)
		if err := v.statement(ctx); err != nil {
			return err
		}
	}
	if _, err := v.alice.keys.Write([]byte("\\q\r")); err != nil {
		return err
	}
	select {
	case <-v.alice.gone:
		return nil
	case <-time.After(time.Minute):
		return errors.New("psql did not end")
	}
}

// statement types one and reads its result.
func (v *visitor) statement(ctx context.Context) error {
	text := fmt.Sprintf("select %d * 1000 + %d;", v.n, v.statements+1)
	for i := range len(text) {
		took, err := v.alice.echo(ctx, text[i])
		if err != nil {
			return err
		}
		v.echoes = append(v.echoes, took)
		time.Sleep(betweenKeys - min(took, betweenKeys))
	}
	v.alice.forget()
	if _, err := v.alice.keys.Write([]byte("\r")); err != nil {
		return err
	}
	result := regexp.MustCompile(fmt.Sprintf(`\b%d\b[\s\S]*orders=> $`, v.n*1000+v.statements+1))
	if _, err := v.alice.await(ctx, result, house.Patience); err != nil {
		return err
	}
	v.statements++
	return nil
}

func report(p plan, people []*visitor, at map[string]map[string]float64, psqls int64) {
	var echoes []time.Duration
	statements := 0
	for _, v := range people {
		echoes, statements = append(echoes, v.echoes...), statements+v.statements
	}
	const mb = 1 << 20
	memory := func(when string) float64 { return at[when]["process_resident_memory_bytes"] / mb }
	fmt.Printf("crowd: %d sessions, each recorded and with a shadow at a seat, typing for %s: %d statements, %d keys\n", len(people), p.stay, statements, len(echoes))
	fmt.Printf("  echo: p50 %s, p99 %s, longest %s\n", ms(percentile(echoes, 50)), ms(percentile(echoes, 99)), ms(percentile(echoes, 100)))
	fmt.Printf("  the bastion's memory: %.0f MB before, %.0f MB with all there (%.2f MB each), %.0f MB while they type; their psqls %.1f MB each (proportional)\n",
		memory("idle"), memory("full"), (memory("full")-memory("idle"))/float64(len(people)), memory("busy"), float64(psqls)/mb/float64(len(people)))
	fmt.Printf("  the bastion's time: %.0f %% of one processor while they type\n", 100*(at["after"]["process_cpu_seconds_total"]-at["full"]["process_cpu_seconds_total"])/p.stay.Seconds())
	fmt.Printf("  recordings not stored yet, in the middle of it: %.1f s, %.0f KB\n", at["busy"]["twokey_recording_lag_seconds"], at["busy"]["twokey_recording_unstored_bytes"]/1024)
}

// nothingLost asks the bastion what it has of these sessions: every statement,
// and every recording proven.
func (s *site) nothingLost(ctx context.Context, people []*visitor) error {
	typed := 0
	for _, v := range people {
		typed += v.statements
	}
	count := func() (sessions, statements int, err error) {
		out, err := s.asDave(ctx, "sessions", "--json", "--since", "1h")
		for line := range strings.Lines(out) {
			var one struct {
				Mode, State string
				Statements  int
			}
			if json.Unmarshal([]byte(line), &one) == nil && one.Mode == "write" && one.State == "ended" && one.Statements > 0 {
				sessions, statements = sessions+1, statements+one.Statements
			}
		}
		return sessions, statements, err
	}
	var sessions, statements int
	err := house.Within(ctx, time.Minute, func() (_ bool, err error) {
		sessions, statements, err = count()
		return statements >= typed, err
	}, func() error { return fmt.Errorf("%d statements were typed and %d are recorded", typed, statements) })
	if err != nil {
		return err
	}
	began := time.Now()
	if out, err := s.asDave(ctx, "verify", "--all"); err != nil {
		return fmt.Errorf("not all is proven: %w: %s", err, out[max(0, len(out)-2000):])
	}
	fmt.Printf("  nothing lost: %d statements typed, %d on the tapes of %d sessions; all recordings proven in %s\n", typed, statements, sessions, time.Since(began).Round(time.Second))
	return nil
}

// asDave runs a command as the auditor.
func (s *site) asDave(ctx context.Context, words ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "ssh", append([]string{"-F", s.house.Path("dave", ".ssh", "config"), "bastion"}, words...)...)
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w", strings.Join(words, " "), err)
	}
	return string(out), nil
}
