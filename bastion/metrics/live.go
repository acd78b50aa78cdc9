package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/twokey/twokey/session"
)

// This file is what is read from the live sessions when somebody asks.

var (
	sessions = prometheus.NewDesc("twokey_sessions", "Sessions now, by state.", []string{"state"}, nil)
	lag      = prometheus.NewDesc("twokey_recording_lag_seconds", "Age of the oldest event of any live session that is not in the store yet.", nil, nil)
	unstored = prometheus.NewDesc("twokey_recording_unstored_bytes", "Bytes of the live sessions' events that are not in the store yet, before compression.", nil, nil)
	troubled = prometheus.NewDesc("twokey_recording_trouble", "Live sessions whose gate is shut because their recording can not be relied on.", nil, nil)
)

// live collects them.
type live struct{ registry *session.Registry }

func (live) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sessions, lag, unstored, troubled} {
		to <- d
	}
}

func (l live) Collect(to chan<- prometheus.Metric) {
	states := map[session.State]int{session.Waiting: 0, session.Open: 0, session.Shut: 0}
	var oldest time.Duration
	var bytes int64
	var trouble int
	for _, s := range l.registry.Live() {
		if state := s.Summary().State; state != session.Ended { // it is being sealed
			states[state]++
		}
		h := s.Health()
		oldest, bytes = max(oldest, h.Lag), bytes+h.Bytes
		if h.Err != nil {
			trouble++
		}
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for state, n := range states {
		gauge(sessions, float64(n), string(state))
	}
	gauge(lag, oldest.Seconds())
	gauge(unstored, float64(bytes))
	gauge(troubled, float64(trouble))
}
