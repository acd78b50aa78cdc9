package storetest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"
)

// WireFault is a way in which an S3 server, or the line to it, fails.
type WireFault string

// The faults of a wire. Each is about PUTs, but WireDown, which is about all.
const (
	WireGood           WireFault = ""
	WireDown           WireFault = "down"                // the connection is closed at once
	WireUnavailable    WireFault = "503"                 // SlowDown, nothing stored
	WireErrorNotStored WireFault = "error-not-stored"    // 500, nothing stored
	WireStoredButError WireFault = "stored-but-error"    // stored, and the answer is 500
	WireStoredButReset WireFault = "stored-but-reset"    // stored, and the connection is reset instead of an answer
	WireReset          WireFault = "reset-in-the-middle" // reset after half of the body
	WireTaken          WireFault = "412"                 // PreconditionFailed, although there is nothing: a lie
	WireSkewed         WireFault = "clock-off"           // as AWS answers when the clocks are an hour apart
	WireSlow           WireFault = "slow"                // 1 KB/s
)

// Wire stands between a client and a real S3 server and fails on demand.
type Wire struct {
	*httptest.Server
	behind *httputil.ReverseProxy

	mu    sync.Mutex
	fault WireFault
	hits  int
}

// NewWire returns a wire to an S3 server, by its URL. Its own is in Server.URL.
func NewWire(t testing.TB, endpoint string) *Wire {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{behind: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it is signed
	}}}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.Close)
	return w
}

// Break makes requests fail from now on.
func (w *Wire) Break(fault WireFault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault, w.hits = fault, 0
}

// Hits is how many requests the present fault has met.
func (w *Wire) Hits() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hits
}

func (w *Wire) now(put bool) WireFault {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !put && w.fault != WireDown {
		return WireGood
	}
	w.hits++
	return w.fault
}

func (w *Wire) serve(out http.ResponseWriter, r *http.Request) {
	switch fault := w.now(r.Method == http.MethodPut); fault {
	case WireGood:
		w.behind.ServeHTTP(out, r)
	case WireDown:
		reset(out)
	case WireReset:
		io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		reset(out)
	case WireStoredButError, WireStoredButReset:
		w.behind.ServeHTTP(httptest.NewRecorder(), r)
		if fault == WireStoredButReset {
			reset(out)
			return
		}
		refuse(out, http.StatusInternalServerError, "InternalError")
	case WireSlow:
		body := slowly(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		w.behind.ServeHTTP(out, r)
	default:
		io.Copy(io.Discard, r.Body)
		answer := map[WireFault]struct {
			status int
			code   string
		}{
			WireUnavailable: {http.StatusServiceUnavailable, "SlowDown"}, WireErrorNotStored: {http.StatusInternalServerError, "InternalError"},
			WireTaken: {http.StatusPreconditionFailed, "PreconditionFailed"}, WireSkewed: {http.StatusForbidden, "RequestTimeTooSkewed"},
		}[fault]
		refuse(out, answer.status, answer.code)
	}
}

// slowly reads 1 KB/s.
func slowly(body io.Reader) (all []byte) {
	const part = 100
	for {
		b := make([]byte, part)
		n, err := io.ReadFull(body, b)
		all = append(all, b[:n]...)
		if err != nil {
			return all
		}
		time.Sleep(part * time.Millisecond)
	}
}

func refuse(out http.ResponseWriter, status int, code string) {
	out.Header().Set("Content-Type", "application/xml")
	out.WriteHeader(status)
	fmt.Fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>%s</Code><Message>it was told to</Message></Error>", code)
}

// reset closes the connection with a reset.
func reset(out http.ResponseWriter) {
	conn, _, err := out.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	if tcp, is := conn.(*net.TCPConn); is {
		tcp.SetLinger(0)
	}
	conn.Close()
}
