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
)

// This file is what operators' machines ask: is it alive (/healthz), can it do
// its work (/readyz), what happens (/metrics). It listens on an address of its own,
// as strangers need to know none of it.

// readyEvery is how old an answer of /readyz may be: whoever asks often does not
// make the bastion log in to databases as often.
const readyEvery = 30 * time.Second

// readiness tries the parts, as the doctor does, and remembers what it found.
type readiness struct {
	probes []probe
	must   map[string]bool // parts without which no session opens

	mu    sync.Mutex // held while trying: whoever asks meanwhile waits for the same answer
	found []finding
	at    time.Time
}

func newReadiness(c *Config) *readiness {
	r := &readiness{must: map[string]bool{"store": true, "spool": true}}
	for _, p := range partProbes(c) {
		switch p.name {
		case "keys", "clock", "http", "notify", "cage": // they do not change by themselves, or stop nobody
		default:
			r.probes = append(r.probes, p)
		}
	}
	return r
}

// look returns what is known of each part.
func (r *readiness) look() []finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) < readyEvery {
		return r.found
	}
	// Not the request's context: others wait for the same answer.
	ctx, cancel := context.WithTimeout(context.Background(), 2*probeTime)
	defer cancel()
	results := make([][]finding, len(r.probes))
	var all sync.WaitGroup
	for i, p := range r.probes {
		all.Go(func() { results[i] = p.try(ctx, probeTime) })
	}
	all.Wait()
	r.found = nil
	for _, one := range results {
		r.found = append(r.found, one...)
	}
	r.at = time.Now()
	return r.found
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
