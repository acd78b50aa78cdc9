//go:build linux

package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/session"
)

// This file is what operators' machines ask: is it alive (/healthz), can it do
// its work (/readyz), what happens (/metrics). It listens on an address of its own,
// as strangers need to know none of it.

// readyEvery is how old an answer of /readyz may be: whoever asks often does not
// make the bastion log in to databases as often.
const readyEvery = 30 * time.Second

// readyPatience is how long /readyz waits for a part, which is less than those who ask
// wait for it.
const readyPatience = 3 * time.Second

// readiness tries the parts, as the doctor does, and remembers what it found.
type readiness struct {
	must  map[string]bool // parts without which no session opens
	every time.Duration

	mu    sync.Mutex // held while waiting for the parts: whoever asks meanwhile waits for the same answer
	parts []*trial
	found []finding
	at    time.Time
}

func newReadiness(c *Config) *readiness {
	r := &readiness{must: map[string]bool{"store": true, "spool": true}, every: readyEvery}
	for _, p := range partProbes(c) {
		switch p.name {
		case "keys", "clock", "http", "notify", "cage": // they do not change by themselves, or stop nobody
		default:
			r.parts = append(r.parts, &trial{probe: p})
		}
	}
	return r
}

// look returns what is known of each part.
func (r *readiness) look() []finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.IsZero() && time.Since(r.at) < r.every {
		return r.found
	}
	// Not the request's context: others wait for the same answer.
	late, cancel := context.WithTimeout(context.Background(), readyPatience)
	defer cancel()
	for _, p := range r.parts {
		p.begin()
	}
	r.found = nil
	for _, p := range r.parts {
		r.found = append(r.found, p.found(late)...)
	}
	r.at = time.Now()
	return r.found
}

// trial is of one part. There is one at a time: a disk that hangs would
// keep each of them, and a thread with it.
type trial struct {
	probe
	began  time.Time
	answer chan []finding // nil when no trial is under way
}

func (p *trial) begin() {
	if p.answer != nil {
		return
	}
	answer := make(chan []finding, 1)
	p.began, p.answer = time.Now(), answer
	// Nobody waits for it longer than their patience; it ends when the part answers.
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), probeTime)
		defer cancel()
		answer <- p.once(ctx)
	}()
}

// found is what the trial found or, when that is late, for how long it has not answered.
func (p *trial) found(late context.Context) []finding {
	select {
	case f := <-p.answer:
		p.answer = nil
		return f
	case <-late.Done():
	}
	select { // the one before may have used up the time of all
	case f := <-p.answer:
		p.answer = nil
		return f
	default:
		return p.findings("", fails("see whether it hangs, or is reached from this machine", "it does not answer; asked %s ago", session.Brief(time.Since(p.began))))
	}
}

// ServeHTTP answers with a JSON object a part, and with 503 when one is missing
// without which no session opens. That a database or the identity provider is away
// is said, and is no reason to send people to another bastion.
func (r *readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	found := r.look()
	status := http.StatusOK
	for _, f := range found {
		if f.State == "FAIL" && r.must[f.Part] {
			status = http.StatusServiceUnavailable
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(status)
	for _, f := range found {
		if json.NewEncoder(w).Encode(f) != nil {
			return
		}
	}
}

// monitor is the server of the three.
func monitor(c *Config, metrics http.Handler) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.Handle("GET /readyz", newReadiness(c))
	mux.Handle("GET /metrics", metrics)
	return bastion.NewHTTPServer(mux)
}
