package bastion_test

import (
	"net"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/session"
)

// meter remembers what it hears.
type meter struct {
	mu    sync.Mutex
	heard []string
}

func (m *meter) hear(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heard = append(m.heard, what)
}

func (m *meter) Did(what session.DeedType) { m.hear("did " + string(what)) }
func (m *meter) Refused(cause string)      { m.hear("refused " + cause) }
func (m *meter) Ended(s session.Summary) {
	opened := "never opened"
	if !s.Opened.IsZero() && !s.Opened.Before(s.Started) && !s.Ended.Before(s.Opened) {
		opened = "opened"
	}
	m.hear("ended " + string(s.Cause.Code) + ", " + opened)
}

func (m *meter) has(what string) bool { return m.count(what) > 0 }

func (m *meter) count(what string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.heard {
		if h == what {
			n++
		}
	}
	return n
}

// Everything that is refused and everything that ends is counted, without a ledger too.
func TestWhatIsCounted(t *testing.T) {
	m := &meter{}
	h := open(t, func(o *bastion.Options) { o.Meter, o.Limits.Strangers = m, 4 })
	expect := func(what string) {
		t.Helper()
		eventually(t, what, func() bool { return m.has(what) })
	}
	if _, err := h.dial("lobby", ssh.PublicKeys(newAuthority(t).certify(alice))); err == nil {
		t.Fatal("somebody else's certificate was taken")
	}
	expect("refused certificate")
	h.run(carol, "orders", "")
	expect("refused " + string(session.Refused))
	expect("did " + string(session.DeedCameIn))
	expect("did " + string(session.DeedRefused))
	h.run(alice, "orders+write", "--reason 'make it fail' -c 'select 1'")
	expect("refused " + string(session.NoRecorder))

	asks := h.terminal(alice, "orders+watched", "")
	h.live(1).Kill(sam, "enough")
	<-asks.over
	expect("ended killed, never opened")
	reads := h.terminal(alice, "orders", "")
	eventually(t, "her session is open", func() bool {
		live := h.options.Sessions.Live()
		return len(live) == 1 && !live[0].Summary().Opened.IsZero()
	})
	h.live(1).Kill(sam, "enough")
	<-reads.over
	expect("ended killed, opened")

	for range 6 { // of strangers from one address
		nc, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	expect("refused connection")
}
