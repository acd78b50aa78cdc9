package metrics

import (
	"sync"
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

	mu    sync.Mutex
	looks map[*session.Session]*look
}

// look is one look at a session.
type look struct {
	done   chan struct{} // closed when the session has answered
	began  time.Time
	state  session.State
	health session.Health
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
	late := time.After(patience)
	out := false
	for _, k := range l.look() {
		if !out {
			select {
			case <-k.done:
			case <-late:
				out = true
			}
		}
		if !k.answered() {
			states[stuck]++
			trouble++
			oldest = max(oldest, time.Since(k.began))
			continue
		}
		if k.state != session.Ended { // it is being sealed
			states[k.state]++
		}
		oldest, bytes = max(oldest, k.health.Lag), bytes+k.health.Bytes
		if k.health.Err != nil {
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

// look looks at every live session, but not again at one that has not answered.
func (l *live) look() []*look {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.looks
	l.looks = map[*session.Session]*look{}
	var all []*look
	for _, s := range l.registry.Live() {
		k := before[s]
		if k == nil || k.answered() {
			k = &look{done: make(chan struct{}), began: time.Now()}
			// Nobody waits for it longer than patience: it ends when the session's
			// disk answers, and until then is the only one for this session.
			go k.ask(s)
		}
		l.looks[s] = k
		all = append(all, k)
	}
	return all
}

func (k *look) ask(s *session.Session) {
	defer close(k.done)
	k.state, k.health = s.Summary().State, s.Health()
}

func (k *look) answered() bool {
	select {
	case <-k.done:
		return true
	default:
		return false
	}
}
