package main

import (
	"context"
	"time"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file measures what watching costs the one who is watched, and what
// reaches the one who watches. Two hundred sessions with a shadow each are `make
// load`'s (go run ./load -crowd 200 crowd).

const (
	company  = 20              // shadows on one session
	idleTime = 5 * time.Second // of a session in which nothing happens
)

// watching compares a million rows with nobody, one and many watching, in two modes
// that are the same otherwise; there is no sshd in it: the column is the session that
// nobody watches. Those who watch have their ssh clients on this machine too.
func watching(ctx context.Context, h *house.House, _ *sshd) ([]row, error) {
	alone, err := dial(viaTwokey(h, "alice", true, "orders+read@bastion"))
	if err != nil {
		return nil, err
	}
	defer alone.hangUp()
	alice, err := dial(viaTwokey(h, "alice", true, "orders+watched@bastion"))
	if err != nil {
		return nil, err
	}
	defer alice.hangUp()
	code, err := alice.waits(ctx)
	if err != nil {
		return nil, err
	}
	bob, err := dial(viaTwokey(h, "bob", true, "bastion", "shadow", code))
	if err != nil {
		return nil, err
	}
	defer bob.hangUp()
	for _, l := range []*line{alone, alice} {
		if err := l.await(ctx, house.Patience, "orders=> "); err != nil {
			return nil, err
		}
		if err := l.say(ctx, "\\pset pager off\r", "Pager usage is off", "orders=> "); err != nil {
			return nil, err
		}
	}
	late, err := reaches(ctx, alice, bob)
	if err != nil {
		return nil, err
	}
	if err := alice.say(ctx, "\x15\\echo clean\r", "clean\r\n", "orders=> "); err != nil { // what was typed would go before the flood's statement
		return nil, err
	}
	bob.forget()
	time.Sleep(idleTime)
	idle := float64(bob.bytes()) / idleTime.Seconds()
	unseen, seen, busy, err := floods(ctx, alone, alice, bob)
	if err != nil {
		return nil, err
	}
	for range company - 1 {
		more, err := dial(viaTwokey(h, "bob", true, "bastion", "shadow", code))
		if err != nil {
			return nil, err
		}
		defer more.hangUp()
		if err := more.await(ctx, house.Patience, "gate open"); err != nil {
			return nil, err
		}
	}
	_, many, _, err := floods(ctx, alone, alice, bob)
	if err != nil {
		return nil, err
	}
	return []row{
		{"a million rows, one watches / nobody", "MB/s", median(seen), median(unseen), "0.95 or more"},
		{"a million rows, twenty watch / nobody", "MB/s", median(many), median(unseen), ""},
		{"an idle session reaches its shadow", "B/s", idle, 0, ""},
		{"a flooding one", "kB/s", median(busy) / 1000, 0, ""},
		{"from alice's echo to bob's screen, p50", "ms", percentile(late, 50), 0, ""},
		{"from alice's echo to bob's screen, p99", "ms", percentile(late, 99), 0, "50 or less"},
	}, nil
}

// floods takes turns between a session that nobody watches and one that is watched.
func floods(ctx context.Context, alone, alice, bob *line) (unseen, seen, busy []float64, err error) {
	for range transfers {
		a, err := flood(ctx, alone)
		if err != nil {
			return nil, nil, nil, err
		}
		bob.forget()
		began := time.Now()
		b, err := flood(ctx, alice)
		if err != nil {
			return nil, nil, nil, err
		}
		unseen, seen = append(unseen, a), append(seen, b)
		busy = append(busy, float64(bob.bytes())/time.Since(began).Seconds())
	}
	return unseen, seen, busy, nil
}

// reaches is how long after alice has seen her key bob sees it.
func reaches(ctx context.Context, alice, bob *line) (milliseconds []float64, err error) {
	const key = "ж" // nothing else draws it
	for i := range 2 * keysEach {
		if i%30 == 0 {
			if err := alice.say(ctx, "\x15 ", " "); err != nil {
				return nil, err
			}
			time.Sleep(200 * time.Millisecond)
		}
		alice.forget()
		bob.forget()
		if err := alice.press(key); err != nil {
			return nil, err
		}
		if err := alice.await(ctx, house.Patience, key); err != nil {
			return nil, err
		}
		seen := time.Now()
		if err := bob.await(ctx, house.Patience, key); err != nil {
			return nil, err
		}
		milliseconds = append(milliseconds, time.Since(seen).Seconds()*1000)
		time.Sleep(time.Duration(40+i%34) * time.Millisecond) // at any moment between two frames
	}
	return milliseconds, nil
}
