package bastion_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/session"
)

// waiting is alice, whose session waits for a shadow.
func waiting(t *testing.T, h *house) (*terminal, *session.Session) {
	t.Helper()
	x := h.terminal(alice, "orders+watched", "")
	x.sees("shadow 7KQ01")
	return x, h.live(1)
}

func TestAShadowAtATerminal(t *testing.T) {
	h := open(t)
	x, s := waiting(t, h)
	y := h.terminal(bob, "lobby", "shadow 7kq01")
	x.sees("psql is here")
	y.sees("psql is here")
	h.psql(s).print.Write([]byte("on \x1b]0;owned\x07the screen\r\n"))
	y.sees("on the screen")
	x.sees("on the screen")
	for name, screen := range map[string]string{"alice": x.screen.String(), "bob": y.screen.String()} {
		if strings.Contains(screen, "owned") || strings.Contains(screen, "\x1b]") {
			t.Errorf("%s's terminal was driven: %q", name, screen)
		}
	}
	y.keys.Close()
	y.session.Close()
	x.sees("bob left")
	x.sees("the gate is shut")
	if s.Gate().Open {
		t.Error("the gate is open and nobody watches")
	}
	if out, errs, status := h.run(bob, "lobby", "kill 7KQ01 that will do"); status != 0 {
		t.Errorf("bob, who has sat there, may not kill: %q, %q", out, errs)
	}
	x.sees("killed by bob: that will do")
	x.ends(137)
}

func TestAShadowWithoutATerminal(t *testing.T) {
	h := open(t)
	x, s := waiting(t, h)
	c := h.as(bob, "lobby")
	y, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out syncBuffer
	y.Stdout = &out
	in, err := y.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := y.Start("shadow 7KQ01"); err != nil {
		t.Fatal(err)
	}
	x.sees("psql is here")
	io.WriteString(in, "hold\n")
	eventually(t, "the gate shut", func() bool { return !s.Gate().Open })
	io.WriteString(in, "release\n")
	eventually(t, "the gate open", func() bool { return s.Gate().Open })
	io.WriteString(in, "kill that's wrong\n")
	x.sees("killed by bob: that's wrong")
	x.ends(137)
	if err := y.Wait(); exitStatus(t, err) != 0 {
		t.Errorf("bob's status: %v", err)
	}
}

func TestNobodyElseSitsDown(t *testing.T) {
	h := open(t)
	x, s := waiting(t, h)
	for _, who := range []session.Identity{alice, carol, dave, sam} {
		_, errs, status := h.run(who, "lobby", "shadow 7KQ01")
		if status != 77 || !strings.HasPrefix(errs, "twokey: ") {
			t.Errorf("%s: status %d, %q", who.Name, status, errs)
		}
	}
	if s.Gate().Open {
		t.Error("the gate is open")
	}
	x.types("\x03")
	x.ends(130)
	y := h.terminal(alice, "orders", "")
	y.sees("psql is here")
	if _, errs, status := h.run(bob, "lobby", "shadow 7KQ02"); status != 77 || !strings.Contains(errs, "asks for no shadow") {
		t.Errorf("a mode without shadows: status %d, %q", status, errs)
	}
}

// A shadow whose network is cut counts no more after two questions, and again
// when it answers.
func TestAShadowWhoDoesNotAnswerDoesNotCount(t *testing.T) {
	h := open(t)
	x, s := waiting(t, h)
	network := &tunnel{to: h.addr}
	y := sitDown(t, network.dial(t, clientConfig("lobby", ssh.PublicKeys(h.ca.certify(bob)))), "shadow 7KQ01")
	x.sees("psql is here")
	y.sees("psql is here")
	network.cut()
	x.sees("bob's connection does not answer")
	if s.Gate().Open {
		t.Error("the gate is open")
	}
	network.mend()
	x.sees("bob answers again")
	eventually(t, "the gate open again", func() bool { return s.Gate().Open })
}

// A shadow whose terminal takes nothing watches nothing, though the client answers.
func TestAShadowWhoTakesNothingDoesNotCount(t *testing.T) {
	h := open(t)
	x, s := waiting(t, h)
	seat, err := s.Sit(bob, bobsWindow)
	if err != nil {
		t.Fatal(err)
	}
	x.sees("psql is here")
	terminal, out := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		_, err := bastion.Watched(seat, 20*time.Millisecond, out).Write([]byte("a frame"))
		wrote <- err
	}()
	x.sees("bob's connection does not answer")
	if s.Gate().Open {
		t.Error("the gate is open")
	}
	if _, err := io.ReadFull(terminal, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	x.sees("bob answers again")
	if err := <-wrote; err != nil || !s.Gate().Open {
		t.Errorf("%v, the gate is %v", err, s.Gate())
	}
}

// A terminal that is stopped behind a client that is not: the client's window
// takes frames for a long time, and it answers for itself.
func TestAShadowWhoseTerminalIsStoppedDoesNotCount(t *testing.T) {
	h := open(t, func(o *bastion.Options) { o.Limits.Keepalive = 300 * time.Millisecond })
	x, s := waiting(t, h)
	y := h.terminal(bob, "lobby", "shadow 7KQ01")
	x.sees("psql is here")
	y.sees("\x1b[5n")
	y.types("\x1b[0n")
	x.sees("bob's connection does not answer")
	if s.Gate().Open {
		t.Error("the gate is open")
	}
	y.types("\x1b[0n")
	x.sees("bob answers again")
	eventually(t, "the gate open again", func() bool { return s.Gate().Open })
}

// Whoever sits counts as watching, so a session that cannot be seen must end.
func TestWhatCannotBeSeenEnds(t *testing.T) {
	h := open(t)
	x, s := waiting(t, h)
	y := h.terminal(bob, "lobby", "shadow 7KQ01")
	x.sees("psql is here")
	h.server.BreakView(s)
	x.sees("nobody could watch any more")
	x.ends(70)
	y.ends(0)
	if _, errs, status := h.run(bob, "lobby", "shadow 7KQ01"); status == 0 {
		t.Errorf("bob sat down: %q", errs)
	}
}

func TestASmallWindowDoesNotCount(t *testing.T) {
	h := open(t)
	x, s := waiting(t, h)
	y := h.terminal(bob, "lobby", "shadow 7KQ01")
	x.sees("psql is here")
	if err := y.session.WindowChange(6, 30); err != nil {
		t.Fatal(err)
	}
	x.sees("window is too small")
	if s.Gate().Open {
		t.Error("the gate is open")
	}
	if err := y.session.WindowChange(40, 120); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the gate open again", func() bool { return s.Gate().Open })
}

func TestReplay(t *testing.T) {
	h := withPast(t)
	h.archive.events[old] = []session.Event{
		{Type: session.Resize, Size: session.Size{Cols: 80, Rows: 24}},
		{Type: session.Output, At: time.Second, Bytes: []byte("psql\x1b]0;owned\x07 was here\r\n")},
		{Type: session.Output, At: time.Hour, Bytes: []byte("an hour later\r\n")},
	}
	out, errs, status := h.run(dave, "lobby", "replay "+old+" --max-idle 1ms --speed 2")
	if status != 0 || out != "psql was here\nan hour later\n" {
		t.Errorf("status %d, %q, %q", status, out, errs)
	}
	x := h.terminal(dave, "lobby", "replay "+old+" --at 30m")
	x.sees("psql was here")
	x.types("q")
	x.ends(0)
	if strings.Contains(x.screen.String(), "an hour later") {
		t.Error("not in its time")
	}
	if _, errs, status := h.run(dave, "lobby", "replay "+older+" --follow --at 1m"); status != 2 || !strings.Contains(errs, "begins at the end") {
		t.Errorf("status %d, %q", status, errs)
	}
	if _, errs, status := h.run(dave, "lobby", "replay "+older+" --speed 0"); status != 2 || !strings.Contains(errs, "--speed is from") {
		t.Errorf("status %d, %q", status, errs)
	}
	if _, errs, status := h.run(dave, "lobby", "replay 01JA0000000000000000000001"); status != 1 || !strings.Contains(errs, "no such recording") {
		t.Errorf("status %d, %q", status, errs)
	}
}
