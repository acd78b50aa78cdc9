// Package metrics counts what happens at the bastion, for operators: what runs,
// how long people waited for their shadows, what was refused and why, how far
// the recordings lag. It is the only user of Prometheus' client.
//
// Its one idea: what is is read when somebody asks (the live sessions know
// their state), and only what happened is counted. No label ever holds a name, an
// address or anything else that a person chose, so their number is bounded.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/twokey/twokey/session"
)

// Options say what is measured. Sessions must be there.
type Options struct {
	Sessions *session.Registry
	Version  string
	Cage     string // what is in force around psql, as manifests have it
	Confined bool   // false: psql runs without a cage
}

// Metrics counts. It is the bastion's Meter.
type Metrics struct {
	all *prometheus.Registry

	deeds    *prometheus.CounterVec
	refusals *prometheus.CounterVec
	ended    *prometheus.CounterVec
	alarms   prometheus.Counter
	waited   prometheus.Histogram
	lasted   prometheus.Histogram
}

// New makes the counters, all at zero.
func New(o Options) *Metrics {
	m := &Metrics{
		all: prometheus.NewRegistry(),
		deeds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "twokey_deeds_total", Help: "What people did, in the words of the audit trail: came-in, certificate, asked, sat-down, killed, ..."}, []string{"what"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "twokey_refusals_total", Help: "What was refused, by cause: connection (limits), crowd (logins from one address), person (connections of one), certificate, login, or the cause as a session's end has it."}, []string{"cause"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "twokey_sessions_ended_total", Help: "Sessions that have ended, by cause."}, []string{"cause"}),
		alarms: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "twokey_alarms_total", Help: "Sessions that ended with an alarm: somebody must look at their recording."}),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "twokey_session_wait_seconds", Help: "From the request of a session to its gate's first opening; sessions that never opened are not in it.",
			Buckets: []float64{.1, 1, 5, 15, 60, 180, 600, 1800}}),
		lasted: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "twokey_session_duration_seconds", Help: "From the gate's first opening to the end.",
			Buckets: []float64{1, 10, 60, 300, 900, 1800, 3600, 7200}}),
	}
	about := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "twokey_build_info", Help: "1; the version is a label."}, []string{"version"})
	about.WithLabelValues(o.Version).Set(1)
	cage := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "twokey_cage_confined", Help: "1 when psql is confined, 0 when the configuration has switched the cage off; what is in force is a label."}, []string{"cage"})
	if confined := cage.WithLabelValues(o.Cage); o.Confined {
		confined.Set(1)
	}
	// What matters must be there before it happens: alerts compare with zero.
	for _, what := range []session.DeedType{session.DeedCertificate, session.DeedKilled, session.DeedBrokeGlass} {
		m.deeds.WithLabelValues(string(what))
	}
	m.ended.WithLabelValues(string(session.Killed))
	m.all.MustRegister(m.deeds, m.refusals, m.ended, m.alarms, m.waited, m.lasted, about, cage, &live{registry: o.Sessions},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves what Prometheus scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.all, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Did counts a deed.
func (m *Metrics) Did(what session.DeedType) { m.deeds.WithLabelValues(string(what)).Inc() }

// Refused counts what was refused. The cause is one of a few words of ours.
func (m *Metrics) Refused(cause string) { m.refusals.WithLabelValues(cause).Inc() }

// Ended counts a session that has ended.
func (m *Metrics) Ended(s session.Summary) {
	if s.Cause != nil {
		m.ended.WithLabelValues(string(s.Cause.Code)).Inc()
	}
	for _, flag := range s.Flags {
		if flag == "alarm" {
			m.alarms.Inc()
		}
	}
	if !s.Opened.IsZero() {
		m.waited.Observe(s.Opened.Sub(s.Started).Seconds())
		m.lasted.Observe(s.Ended.Sub(s.Opened).Seconds())
	}
}
