package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// This file is an attack on the front door: strangers from many addresses who
// connect and say nothing, while somebody works and somebody logs in.

const (
	loginAim = time.Second
	echoAim  = 20 * time.Millisecond
)

func siege(ctx context.Context, p plan, s *site) error {
	two, err := s.openPair(ctx, 0)
	if err != nil {
		return err
	}
	defer two.close()
	quiet, err := types(ctx, two.alice, 5*time.Second)
	if err != nil {
		return err
	}
	attack := newAttack(s.house.SSH())
	defer attack.end()
	for range p.silent {
		attack.connect()
	}
	var logins, echoes []time.Duration
	var wrong [2]error
	var all sync.WaitGroup
	ctx, cancel := context.WithTimeout(ctx, p.siege+time.Minute)
	defer cancel()
	all.Go(func() { attack.goOn(p.rate, p.siege) })
	all.Go(func() { echoes, wrong[0] = types(ctx, two.alice, p.siege) })
	all.Go(func() { logins, wrong[1] = s.logIns(ctx, p.siege) })
	all.Wait()
	fmt.Printf("siege: %d silent connections from as many addresses, then %d a second for %s (%d in all, of which %d could not connect)\n",
		p.silent, p.rate, p.siege, attack.made.Load(), attack.failed.Load())
	fmt.Printf("  login with a certificate, to the end of whoami: p50 %s, longest %s, of %d (aim: under %s)\n", ms(percentile(logins, 50)), ms(percentile(logins, 100)), len(logins), loginAim)
	fmt.Printf("  echo in an open session: p50 %s, p99 %s, of %d (aim: p99 under %s); before the attack p50 %s, p99 %s\n",
		ms(percentile(echoes, 50)), ms(percentile(echoes, 99)), len(echoes), echoAim, ms(percentile(quiet, 50)), ms(percentile(quiet, 99)))
	return errors.Join(wrong[0], wrong[1],
		missed(percentile(logins, 100) < loginAim, "a login took %s", percentile(logins, 100)),
		missed(percentile(echoes, 99) < echoAim, "the echo's p99 was %s", percentile(echoes, 99)))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }

// logIns logs in once a second.
func (s *site) logIns(ctx context.Context, lasts time.Duration) (took []time.Duration, err error) {
	for until := time.Now().Add(lasts); time.Now().Before(until); time.Sleep(time.Second) {
		began := time.Now()
		if _, err := s.command(ctx, s.alice, address(3, len(took)), "lobby", "whoami"); err != nil {
			return took, fmt.Errorf("login %d: %w", len(took)+1, err)
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// types presses ten keys a second at psql's prompt and takes each back.
func types(ctx context.Context, w *window, lasts time.Duration) (echoes []time.Duration, err error) {
	for until := time.Now().Add(lasts); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		took, err := w.echo(ctx, 'a'+byte(len(echoes)%26))
		if err != nil {
			return echoes, err
		}
		echoes = append(echoes, took)
		if _, err := w.keys.Write([]byte{0x15}); err != nil { // Ctrl-U
			return echoes, err
		}
	}
	return echoes, nil
}

// attack is the strangers.
type attack struct {
	target       string
	made, failed atomic.Int64
	mu           sync.Mutex
	open         []net.Conn
}

func newAttack(target string) *attack { return &attack{target: target} }

// connect makes one more, from an address of its own.
func (a *attack) connect() {
	n := a.made.Add(1)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 100+byte(n/62500), 1+byte(n/250%250), 1+byte(n%250))}, Timeout: time.Second}
	nc, err := d.Dial("tcp", a.target)
	if err != nil {
		a.failed.Add(1)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = append(a.open, nc)
}

func (a *attack) goOn(rate int, lasts time.Duration) {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for until := time.Now().Add(lasts); time.Now().Before(until); {
		<-tick.C
		a.connect()
	}
}

func (a *attack) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, nc := range a.open {
		nc.Close()
	}
}
