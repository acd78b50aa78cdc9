package bastion_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/session"
)

// The lobby on a terminal: sitting down leads back, an open target does not.
func TestLiveLobby(t *testing.T) {
	h := open(t)
	b := h.terminal(bob, "lobby", "")
	b.sees("> orders ")
	a := h.terminal(alice, "orders+watched", "")
	a.sees("shadow 7KQ01")
	b.sees("> 7KQ01  alice")
	b.sees("\a")
	time.Sleep(time.Second) // Enter right after the list changed means nothing
	b.types("\r")
	a.sees("bob sat down as shadow")
	b.types("\x18y")
	a.sees("bob left")
	b.sees("you left 7KQ01")
	a.types("\x03")
	b.types("q")
	b.ends(0)
	if got := b.screen.String(); strings.Count(got, "\x1b[?1049h") != strings.Count(got, "\x1b[?1049l") {
		t.Errorf("the terminal is not given back: %q", got)
	}
}

// A kill from a seat in the lobby is said there.
func TestLobbySaysHowItEnded(t *testing.T) {
	h := open(t)
	b := h.terminal(bob, "lobby", "")
	b.sees("> orders ")
	a := h.terminal(alice, "orders+watched", "")
	b.sees("> 7KQ01")
	time.Sleep(time.Second)
	b.types("\r")
	a.sees("bob sat down")
	b.types("\x0bthat is enough\r")
	a.sees("killed by bob: that is enough")
	b.sees("7KQ01 has ended: killed by bob: that is enough")
	b.types("\x04")
	b.ends(0)
}

// Whoever has opened a target from the lobby leaves with its status.
func TestOpenFromTheLobby(t *testing.T) {
	h := open(t)
	b := h.terminal(bob, "lobby", "")
	b.sees("> orders ")
	b.types("/write\r\r")
	b.sees("Reason: ")
	b.types("\x03")
	b.ends(130)
	x := h.terminal(bob, "lobby", "")
	x.sees("> orders ")
	x.types("\r")
	s := h.live(1)
	x.sees("Nobody has to watch")
	eventually(t, "psql", func() bool { return h.psql(s).typed() == "" && s.Gate().Open })
	s.Finish(session.Cause{Code: session.Killed, By: "sam", Text: "enough"})
	x.ends(137)
}

// What was proven on the way in holds for so long and no longer.
func TestLobbyEndsWithTheCertificate(t *testing.T) {
	h := open(t)
	soon := func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Add(3 * time.Second).Unix()) }
	c, err := h.dial("lobby", ssh.PublicKeys(h.ca.certify(bob, soon)))
	if err != nil {
		t.Fatal(err)
	}
	b := sitDown(t, c, "")
	b.sees("> orders ")
	b.sees("your certificate has ended")
	b.ends(77)
}

func TestLobbyEndsWithTheBastion(t *testing.T) {
	h := open(t, func(o *bastion.Options) { o.Limits.Shutdown = time.Minute })
	b := h.terminal(bob, "lobby", "")
	b.sees("> orders ")
	began := time.Now()
	if err := h.shutdown(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the lobby held up the end for %s", took)
	}
	b.sees("this bastion is stopping")
}

func TestPlainLobby(t *testing.T) {
	h := open(t)
	s, err := h.as(bob, "lobby").NewSession()
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, session: s, over: make(chan error, 1)}
	s.Stdout = &x.screen
	x.keys, _ = s.StdinPipe()
	if err := s.RequestPty("dumb", 24, 80, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	s.Shell()
	go func() { x.over <- s.Wait() }()
	x.sees("What changes is told here")
	a := h.terminal(alice, "orders+watched", "")
	x.sees("alice at orders+watched waits for a shadow: 7KQ01")
	a.types("\x03")
	x.sees("alice at orders+watched has ended: 7KQ01")
	if got := x.screen.String(); strings.Contains(got, "\x1b") {
		t.Errorf("drawn: %q", got)
	}
	x.types("\x03")
	x.ends(0)
}

// NO_COLOR is heard, and psql gets none of it.
func TestLobbyWithoutColours(t *testing.T) {
	h := open(t)
	s, err := h.as(bob, "lobby").NewSession()
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, session: s, over: make(chan error, 1)}
	s.Stdout = &x.screen
	x.keys, _ = s.StdinPipe()
	if err := s.Setenv("NO_COLOR", "1"); err != nil {
		t.Fatal(err)
	}
	if err := s.RequestPty("xterm-256color", 24, 80, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	s.Shell()
	go func() { x.over <- s.Wait() }()
	x.sees("> orders ")
	h.terminal(alice, "orders+watched", "")
	x.sees("> 7KQ01")
	if got := x.screen.String(); strings.Contains(got, "[1;30") || strings.Contains(got, ";43m") || strings.Contains(got, "[43") {
		t.Errorf("coloured: %q", got)
	}
	time.Sleep(time.Second)
	x.types("/nobody\r\r")
	x.sees("Nobody has to watch")
	p := h.psql(h.live(2))
	eventually(t, "psql's request", func() bool { r, _ := p.request(); return r.ID != "" })
	if r, _ := p.request(); len(r.Env) > 0 {
		t.Errorf("psql gets %q", r.Env)
	}
}

// Many people in the lobby cost next to nothing while nothing happens.
// TWOKEY_LOBBIES=200 measures with as many.
func TestManyLobbies(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("TWOKEY_LOBBIES"))
	span := 10 * time.Second
	if n == 0 {
		n, span = 10, time.Second
	}
	h := open(t, func(o *bastion.Options) { o.Limits.Keepalive = 5 * time.Second })
	var all []*terminal
	for range n {
		x := h.terminal(bob, "lobby", "")
		x.sees("> orders ")
		all = append(all, x)
	}
	measure := func(what string) {
		before, bytes := spent(), written(all)
		time.Sleep(span)
		t.Logf("%d lobbies, %s: %.2f%% of a core, %d bytes a second to each, both ends of SSH included", n, what,
			100*float64(spent()-before)/float64(span), (written(all)-bytes)/n/int(span.Seconds()))
	}
	measure("nothing live")
	if got := written(all); got > 10_000*n {
		t.Errorf("%d bytes", got)
	}
	h.terminal(alice, "orders+watched", "").sees("7KQ01")
	for _, x := range all {
		x.sees("> 7KQ01")
	}
	measure("one waits")
}

func spent() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func written(all []*terminal) (n int) {
	for _, x := range all {
		n += len(x.screen.String())
	}
	return n
}
