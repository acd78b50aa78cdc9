package bastion_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/session"
)

// reach opens a channel to a forwarded port, and returns what comes out of it.
func reach(c *ssh.Client, host string, port uint32) (came string, err error) {
	ch, requests, err := c.OpenChannel("direct-tcpip", ssh.Marshal(struct {
		Host string
		Port uint32
		From string
		Src  uint32
	}{host, port, "127.0.0.1", 1}))
	if err != nil {
		return "", err
	}
	go ssh.DiscardRequests(requests)
	all, _ := io.ReadAll(ch)
	return string(all), nil
}

// A forwarded port leads to the session's own target and nowhere else, and
// whoever may not have the session reads so.
func TestWhereAPortLeads(t *testing.T) {
	var mu sync.Mutex
	h := open(t, func(o *bastion.Options) {
		o.TurnAway = func(conn net.Conn, why string) error {
			mu.Lock()
			defer mu.Unlock()
			_, err := io.WriteString(conn, why)
			return err
		}
	})
	for _, tt := range []struct {
		who    session.Identity
		user   string
		host   string
		port   uint32
		refuse string // of the channel
		away   string // what the client reads
	}{
		{alice, "orders", "localhost", 5432, "nothing is forwarded but the session's own target: ssh -N -L 5432:orders:5432", ""},
		{alice, "orders", "127.0.0.1", 5432, "nothing is forwarded", ""},
		{alice, "orders", "orders.", 5432, "nothing is forwarded", ""},
		{alice, "orders", "orders", 22, "nothing is forwarded", ""},
		{alice, "orders", "orders", 5432 + 1<<16, "nothing is forwarded", ""},
		{alice, "orders", "", 5432, "nothing is forwarded", ""},
		{alice, "lobby", "orders", 5432, "nothing is forwarded but the session's own target: ssh -N -L 5432:TARGET:5432", ""},
		{alice, "lobby", "TARGET", 5432, "nothing is forwarded", ""},
		{alice, "orders+nope", "orders", 5432, "has no mode", ""},
		{alice, "orders+write", "orders", 5432, "", "ssh -N cannot give one; put this behind the command, without -N: -- --no-psql --reason"},
		{carol, "orders", "orders", 5432, "", "you are not in it"},
	} {
		came, err := reach(h.as(tt.who, tt.user), tt.host, tt.port)
		var refused *ssh.OpenChannelError
		switch {
		case tt.refuse != "" && (!errors.As(err, &refused) || !strings.Contains(refused.Message, tt.refuse)):
			t.Errorf("%s to %s:%d: %v", tt.user, tt.host, tt.port, err)
		case tt.refuse == "" && (err != nil || !strings.Contains(came, tt.away)):
			t.Errorf("%s to %s:%d: %q, %v", tt.user, tt.host, tt.port, came, err)
		}
	}
	if live := h.server.Sessions.Live(); len(live) > 0 {
		t.Errorf("%d sessions were begun", len(live))
	}
}

// The first client opens a session, the others share it; it ends with the
// connection.
func TestForwardedPortsShareASession(t *testing.T) {
	h := open(t)
	c := h.as(alice, "orders")
	for range 3 {
		go reach(c, "orders", 5432)
	}
	s := h.live(1)
	if !s.Request().NoShell || len(h.server.Sessions.Live()) != 1 {
		t.Errorf("%+v, of %d", s.Request(), len(h.server.Sessions.Live()))
	}
	if _, _, err := c.OpenChannel("session", nil); err == nil {
		t.Error("a shell beside it")
	}
	c.Close()
	<-s.Done()
}

// When the session ends, so does the connection: nobody could read why.
func TestAForwardedSessionThatEnds(t *testing.T) {
	h := open(t)
	c := h.as(alice, "orders")
	go reach(c, "orders", 5432)
	s := h.live(1)
	s.Kill(bob, "enough")
	c.Wait()
	<-s.Done()
}
