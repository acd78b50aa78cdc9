package notify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twokey/twokey/bastion/notify"
	"github.com/twokey/twokey/session"
)

var quiet = slog.New(slog.DiscardHandler)

var waiting = session.Summary{
	ID: "01JD", Code: "7KQ2M", Engineer: "alice@example.com", Target: "orders", Mode: "write",
	Reason: "ticket <42> & *more* `rm`", State: session.Waiting,
}

func TestAWebhookIsSigned(t *testing.T) {
	type got struct {
		header http.Header
		body   []byte
	}
	heard := make(chan got, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		heard <- got{r.Header, body}
	}))
	defer server.Close()
	key := []byte("a key of some bytes")
	for _, secret := range []string{string(key), "whsec_" + base64.StdEncoding.EncodeToString(key)} {
		hook, err := notify.NewWebhook(server.URL+"/in?token=secret", secret)
		if err != nil {
			t.Fatal(err)
		}
		n := notify.New([]notify.Destination{hook}, quiet)
		n.Notify(notify.Waiting, waiting, "1 person from dba", "ssh -t bastion shadow 7KQ2M")
		g := <-heard
		n.Close(t.Context())

		m := hmac.New(sha256.New, key)
		m.Write([]byte(g.header.Get("Webhook-Id") + "." + g.header.Get("Webhook-Timestamp") + "."))
		m.Write(g.body)
		if want := "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil)); g.header.Get("Webhook-Signature") != want {
			t.Errorf("signed %q, want %q", g.header.Get("Webhook-Signature"), want)
		}
		var notice map[string]any
		if err := json.Unmarshal(g.body, &notice); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]any{"event": "waiting", "id": "01JD", "code": "7KQ2M", "engineer": "alice@example.com", "join": "ssh -t bastion shadow 7KQ2M", "takes": "1 person from dba"} {
			if notice[name] != want {
				t.Errorf("%s is %v, want %v", name, notice[name], want)
			}
		}
		if strings.Contains(hook.Name(), "secret") {
			t.Errorf("the name is %q", hook.Name())
		}
	}
}

func TestSlackReadsText(t *testing.T) {
	for event, want := range map[string]string{
		notify.Waiting:    "*alice@example.com* waits for a shadow on *orders+write*; it takes 1 person from dba (ticket &lt;42&gt; &amp; ∗more∗ 'rm')\nSit down: `ssh -t bastion shadow 7KQ2M`",
		notify.BreakGlass: ":rotating_light: *alice@example.com* BROKE THE GLASS and is alone on *orders+write* (ticket &lt;42&gt; &amp; ∗more∗ 'rm')\nSit down: `ssh -t bastion shadow 7KQ2M`",
	} {
		n := notify.Notice{Event: event, Summary: waiting, Takes: "1 person from dba", Join: "ssh -t bastion shadow 7KQ2M"}
		if got := n.Text(); got != want {
			t.Errorf("%s\n got %s\nwant %s", event, got, want)
		}
	}
}

// sink is a destination that does as it is told.
type sink struct {
	mu     sync.Mutex
	got    []string
	answer func(n notify.Notice, try int) (retry bool, after time.Duration, err error)
	tries  int
}

func (*sink) Name() string { return "sink" }

func (*sink) Reach(context.Context) error { return nil }
func (s *sink) Deliver(_ context.Context, n notify.Notice) (bool, time.Duration, error) {
	s.mu.Lock()
	s.tries++
	try, answer := s.tries, s.answer
	s.mu.Unlock()
	if answer != nil {
		if retry, after, err := answer(n, try); err != nil {
			return retry, after, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, n.Event+" "+n.ID)
	return false, 0, nil
}

func (s *sink) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.got, ", ")
}

func about(id int) session.Summary { return session.Summary{ID: fmt.Sprint(id)} }

// A destination that hangs delays nobody, and afterwards hears the urgent first.
func TestNobodyWaitsForADestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		s := &sink{answer: func(notify.Notice, int) (bool, time.Duration, error) { <-hung; return false, 0, nil }}
		other := &sink{}
		n := notify.New([]notify.Destination{s, other}, quiet)
		began := time.Now()
		for i := range 1000 {
			n.Notify(notify.Waiting, about(i), "", "")
			if i == 500 {
				n.Notify(notify.Killed, about(i), "", "")
			}
			synctest.Wait()
		}
		if time.Since(began) != 0 {
			t.Errorf("it took %v", time.Since(began))
		}
		if !strings.HasSuffix(other.heard(), "waiting 999") {
			t.Error("the other destination has not heard everything")
		}
		close(hung)
		n.Close(t.Context())
		heard := strings.Split(s.heard(), ", ")
		if len(heard) != 257 || heard[0] != "waiting 0" || heard[1] != "killed 500" || heard[256] != "waiting 999" {
			t.Errorf("%d notices: %.60q … %q", len(heard), s.heard(), heard[len(heard)-1])
		}
	})
}

func TestRetries(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(notify.Notice, int) (bool, time.Duration, error)
		heard  string
		tries  int
		took   time.Duration
	}{
		{"at once", nil, "ended 1", 1, 0},
		{"third time", func(_ notify.Notice, try int) (bool, time.Duration, error) {
			if try < 3 {
				return true, 0, io.ErrUnexpectedEOF
			}
			return false, 0, nil
		}, "ended 1", 3, 3 * time.Second},
		{"asked to wait", func(_ notify.Notice, try int) (bool, time.Duration, error) {
			if try < 2 {
				return true, 30 * time.Second, io.ErrUnexpectedEOF
			}
			return false, 0, nil
		}, "ended 1", 2, 30 * time.Second},
		{"never", func(notify.Notice, int) (bool, time.Duration, error) { return false, 0, io.ErrUnexpectedEOF }, "", 1, 0},
		{"given up", func(notify.Notice, int) (bool, time.Duration, error) { return true, 0, io.ErrUnexpectedEOF }, "", 21, 15 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{answer: c.answer}
				n := notify.New([]notify.Destination{s}, quiet)
				began := time.Now()
				n.Notify(notify.Ended, about(1), "", "")
				n.Close(t.Context())
				if s.heard() != c.heard || s.tries != c.tries || time.Since(began).Round(time.Minute) != c.took.Round(time.Minute) {
					t.Errorf("heard %q after %d tries and %v", s.heard(), s.tries, time.Since(began))
				}
			})
		})
	}
}

// What a server answers, and what becomes of it.
func TestAnswers(t *testing.T) {
	for status, want := range map[int]string{200: "", 204: "", 302: "final it answered 302", 404: "final it answered 404", 429: "again it answered 429", 500: "again it answered 500"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://elsewhere.example/")
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		}))
		hook, err := notify.NewSlack(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		retry, after, err := hook.Deliver(t.Context(), notify.Notice{})
		got := ""
		if err != nil {
			got = map[bool]string{true: "again ", false: "final "}[retry] + err.Error()
		}
		if got != want || retry && after != 7*time.Second {
			t.Errorf("%d: %q after %v, want %q", status, got, after, want)
		}
		server.Close()
		if _, _, err := hook.Deliver(t.Context(), notify.Notice{}); err == nil || strings.Contains(err.Error(), "http") {
			t.Errorf("gone: %v", err)
		}
	}
}

// What is stopped in the middle ends in time, and says what is left.
func TestCloseDoesNotWaitForEver(t *testing.T) {
	var log strings.Builder
	s := &sink{answer: func(notify.Notice, int) (bool, time.Duration, error) { return true, 0, io.ErrUnexpectedEOF }}
	n := notify.New([]notify.Destination{s}, slog.New(slog.NewTextHandler(&log, nil)))
	n.Notify(notify.Ended, about(1), "", "")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	n.Close(ctx)
	if !strings.Contains(log.String(), "the bastion stops") {
		t.Error(log.String())
	}
}
