package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/twokey/twokey/session"
)

// This file is what is read from the live sessions when somebody asks.

// patience is how long all live sessions together are waited for: one whose disk
// hangs does not answer, and that is when operators look here.
const patience = time.Second

// stuck is the state of a session that did not answer.
const stuck session.State = "stuck"

var (
	sessions = prometheus.NewDesc("twokey_sessions", "Sessions now, by state; stuck: it does not answer, as its spool hangs.", []string{"state"}, nil)
	lag      = prometheus.NewDesc("twokey_recording_lag_seconds", "Age of the oldest event of any live session that is not in the store yet; of one that is stuck, since it was asked.", nil, nil)
	unstored = prometheus.NewDesc("twokey_recording_unstored_bytes", "Bytes of the live sessions' events that are not in the store yet, before compression.", nil, nil)
	troubled = prometheus.NewDesc("twokey_recording_trouble", "Live sessions whose gate is shut because their recording can not be relied on, or that are stuck.", nil, nil)
)

// live collects them.
type live struct {
	registry *session.Registry
	call     session.RollCall
}

func (*live) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sessions, lag, unstored, troubled} {
		to <- d
	}
}

// Collect asks each session, and waits no longer than patience.
func (l *live) Collect(to chan<- prometheus.Metric) {
	states := map[session.State]int{session.Waiting: 0, session.Open: 0, session.Shut: 0, stuck: 0}
	var oldest time.Duration
	var bytes int64
	var trouble int
	for _, p := range l.call.Of(l.registry.Live(), patience) {
		if p.Silent > 0 {
			states[stuck]++
			trouble++
			oldest = max(oldest, p.Silent)
			continue
		}
		if p.Summary.State != session.Ended { // it is being sealed
			states[p.Summary.State]++
		}
		oldest, bytes = max(oldest, p.Health.Lag), bytes+p.Health.Bytes
		if p.Health.Err != nil {
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
