package bastion

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// This file bounds how many connections the pages have: what a browser keeps open in
// case it comes back costs as much as a stranger at the SSH port, and a login needs both.

// maxBrowsers is how many connections the pages have at once. The next one takes the
// place of one on which nothing is asked.
const maxBrowsers = 512

// browsers are the connections to the pages.
type browsers struct {
	mu    sync.Mutex
	all   map[net.Conn]browser
	crowd crowd
}

// browser is one connection.
type browser struct {
	source netip.Prefix
	since  time.Time // when it came
	asks   bool      // a page is being made for it
}

// note is http.Server's ConnState.
func (b *browsers) note(nc net.Conn, state http.ConnState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch state {
	case http.StateNew:
		if len(b.all) >= maxBrowsers {
			b.evict()
		}
		source := sourceOf(nc.RemoteAddr().String())
		b.all[nc] = browser{source: source, since: time.Now()}
		b.crowd.add(source, 1)
	case http.StateActive, http.StateIdle:
		if x, is := b.all[nc]; is {
			x.asks = state == http.StateActive
			b.all[nc] = x
		}
	default:
		b.forget(nc)
	}
}

// evict closes the first of those from the most crowded place that ask for nothing;
// when all ask, the first of all. The caller holds mu.
func (b *browsers) evict() {
	var out net.Conn
	for nc, x := range b.all {
		if out == nil || b.sooner(x, b.all[out]) {
			out = nc
		}
	}
	b.forget(out)
	if secure, is := out.(*tls.Conn); is {
		out = secure.NetConn() // without the goodbye, which may take seconds
	}
	out.Close()
}

func (b *browsers) sooner(x, y browser) bool {
	if x.asks != y.asks {
		return y.asks
	}
	if n := b.crowd.compare(x.source, y.source); n != 0 {
		return n > 0
	}
	return x.since.Before(y.since)
}

func (b *browsers) forget(nc net.Conn) {
	if x, is := b.all[nc]; is {
		delete(b.all, nc)
		b.crowd.add(x.source, -1)
	}
}
