package session_test

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twokey/twokey/session"
)

// without is a session for forwarded clients alone.
func without(want *session.Request, _ *story) {
	want.NoShell, want.Join = true, "ssh -t HOST shadow ABCDE"
}

// comes is a client that comes to the session; it is there when comes returns.
func (st *story) comes() (c *client, gone chan error) {
	near, far := net.Pipe()
	st.t.Cleanup(func() { near.Close() })
	gone = make(chan error, 1)
	before := len(st.db.clients)
	go func() { gone <- st.Forward(far) }()
	synctest.Wait()
	if len(st.db.clients) == before {
		return nil, gone
	}
	return st.db.clients[before], gone
}

func reads(t *testing.T, c *client, all ...string) {
	t.Helper()
	synctest.Wait()
	for _, text := range all {
		if !strings.Contains(c.all(), text) {
			t.Errorf("the client does not read %q in %q", text, c.all())
		}
	}
}

func TestAForwardedClientWaitsForAShadow(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs, without)
		c, gone := st.comes()
		reads(t, c, "nothing reaches the database yet: it takes 1 person from engineering to watch", "Send a colleague: ssh -t HOST shadow ABCDE")
		if strings.Contains(c.all(), "served") {
			t.Error("it was served with nobody there")
		}
		seat := st.sit(bob)
		reads(t, c, "bob sat down as shadow", "the gate is open", "served")
		seat.Hold()
		reads(t, c, "held by bob")
		late, _ := st.comes()
		reads(t, late, "the gate is shut: held by bob", "served")
		seat.Kill("enough")
		<-st.over
		<-gone
		reads(t, c, "ends by killed by bob: enough")
		if opens, killed := st.db.counts(); st.status != 137 || opens != 1 || killed != 1 {
			t.Errorf("status %d, opened %d times, killed %d times", st.status, opens, killed)
		}
	})
}

func TestAForwardedClientIsToldThatNobodyCame(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, pairs, without)
		c, gone := st.comes()
		<-st.over
		<-gone
		reads(t, c, "told nobody-came")
	})
}

// Where there is no psql, Ctrl-C is the end, before and after it opened; what
// else is typed is nothing, and the end of standard input is none.
func TestCtrlCWithoutPsql(t *testing.T) {
	for watched, want := range map[bool]session.Code{false: session.Abandoned, true: session.Quit} {
		tell(t, func(t *testing.T) {
			st := begin(t, pairs, without)
			if watched {
				st.sit(bob)
			}
			synctest.Wait()
			st.types("select 1;")
			synctest.Wait()
			st.types("\x03")
			<-st.over
			if st.cause.Code != want || st.status != map[bool]int{false: 130, true: 0}[watched] {
				t.Errorf("it ended by %v with %d", st.cause, st.status)
			}
		})
	}
}

func TestTooManyForwardedClients(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, alone, without)
		for range 16 {
			if c, _ := st.comes(); c == nil {
				t.Fatal("it did not come in")
			}
		}
		if c, gone := st.comes(); c != nil || <-gone == nil {
			t.Error("the seventeenth came in")
		}
		st.hangup(nil)
		<-st.over
	})
}

// psql and clients at once are one session.
func TestForwardedClientsBesidePsql(t *testing.T) {
	tell(t, func(t *testing.T) {
		st := begin(t, alone)
		synctest.Wait()
		c, gone := st.comes()
		reads(t, c, "served")
		st.db.psql.exit(0)
		<-st.over
		<-gone
		reads(t, c, "ends by quit")
	})
}
