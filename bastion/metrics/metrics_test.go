package metrics_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/bastion/metrics"
	"github.com/twokey/twokey/session"
)

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text, err := io.ReadAll(w.Body)
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d, %v: %s", w.Code, err, text)
	}
	return string(text)
}

func expect(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("not there: %s\nin:\n%s", line, text)
		}
	}
}

func TestBeforeAnythingHappens(t *testing.T) {
	text := scrape(t, metrics.New(metrics.Options{Sessions: &session.Registry{}, Version: "v1", Cage: "landlock seccomp", Confined: true}))
	expect(t, text,
		`twokey_build_info{version="v1"} 1`, `twokey_cage_confined{cage="landlock seccomp"} 1`,
		`twokey_sessions{state="open"} 0`, `twokey_sessions{state="shut"} 0`, `twokey_sessions{state="waiting"} 0`,
		`twokey_deeds_total{what="killed"} 0`, `twokey_deeds_total{what="certificate"} 0`,
		`twokey_sessions_ended_total{cause="killed"} 0`, `twokey_recording_lag_seconds 0`, `twokey_alarms_total 0`)
	expect(t, scrape(t, metrics.New(metrics.Options{Sessions: &session.Registry{}, Cage: "off"})), `twokey_cage_confined{cage="off"} 0`)
}

func TestWhatHappened(t *testing.T) {
	m := metrics.New(metrics.Options{Sessions: &session.Registry{}})
	asked := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	m.Did(session.DeedCertificate)
	m.Refused("login")
	m.Refused(string(session.Refused))
	m.Ended(session.Summary{Engineer: "alice", Reason: "ticket 42", Started: asked, Opened: asked.Add(20 * time.Second),
		Ended: asked.Add(50 * time.Second), Cause: &session.Cause{Code: session.Killed, By: "bob"}, Flags: []string{"killed", "alarm"}})
	m.Ended(session.Summary{Engineer: "alice", Started: asked, Ended: asked.Add(15 * time.Minute), Cause: &session.Cause{Code: session.NobodyCame}})
	text := scrape(t, m)
	expect(t, text,
		`twokey_deeds_total{what="certificate"} 1`,
		`twokey_refusals_total{cause="login"} 1`, `twokey_refusals_total{cause="refused"} 1`,
		`twokey_sessions_ended_total{cause="killed"} 1`, `twokey_sessions_ended_total{cause="nobody-came"} 1`, `twokey_alarms_total 1`,
		`twokey_session_wait_seconds_sum 20`, `twokey_session_wait_seconds_count 1`, `twokey_session_duration_seconds_sum 30`)
	for _, name := range []string{"alice", "bob", "ticket"} {
		if strings.Contains(text, name) {
			t.Errorf("%s is in the metrics", name)
		}
	}
}
