package bastion_test

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/session"
)

func TestEngineerOnATerminal(t *testing.T) {
	h := open(t)
	x := h.terminal(alice, "orders+write", "")
	x.sees("Reason: ")
	if len(h.options.Sessions.Live()) != 0 {
		t.Error("a session before the reason")
	}
	x.types("tickkk\x7f\x7fet 42\x1b[A\t\x07\u202e!\r")
	x.sees("You asked for orders, mode write.\r\n")
	x.sees("Reason: ticket 42 !\r\n")
	x.sees("recorded, as 01JD0000000000000000000001")
	x.sees("1 person from engineering")
	x.sees("\r\n  ssh -t -p 2222 bastion shadow 7KQ01\r\n")
	s := h.live(1)
	if r := s.Request(); r.Reason != "ticket 42 !" || r.Args != nil || r.Size != (session.Size{Cols: 100, Rows: 24}) || r.Term != "xterm-256color" || r.Engineer.Name != "alice" || r.Engineer.Credential.From == "" {
		t.Errorf("request %+v", r)
	}
	seat, err := s.Sit(bob, bobsWindow)
	if err != nil {
		t.Fatal(err)
	}
	x.sees("psql is here")
	x.types("select 1;\r")
	eventually(t, "psql reads", func() bool { return h.psql(s).typed() == "select 1;\r" })
	seat.Kill("the wrong table")
	x.sees("killed by bob: the wrong table")
	x.ends(137)
}

func TestLeavingAtThePrompt(t *testing.T) {
	h := open(t)
	for _, key := range []string{"\x03", "\x04", "half\x03"} {
		x := h.terminal(alice, "orders+write", "")
		x.sees("Reason: ")
		x.types(key)
		x.sees("twokey: you left; nothing was opened")
		x.ends(130)
	}
	x := h.terminal(alice, "orders+write", "")
	x.sees("Reason: ")
	x.session.Close()
	if len(h.options.Sessions.Live()) != 0 {
		t.Error("something was opened")
	}
}

func TestEngineerWithoutATerminal(t *testing.T) {
	h := open(t)
	c := h.as(alice, "orders")
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs syncBuffer
	s.Stdout, s.Stderr, s.Stdin = &out, &errs, strings.NewReader("select 1;\n")
	err = s.Run("--csv -c select 'a  b' as x")
	if status := exitStatus(t, err); status != 3 { // psql's own
		t.Errorf("status %d", status)
	}
	if out.String() != "psql is here\n" || errs.String() != "" {
		t.Errorf("output %q, errors %q", out.String(), errs.String())
	}
	want, _ := h.psqls["01JD0000000000000000000001"].request()
	if strings.Join(want.Args, "|") != "--csv|-c|select 'a  b' as x" || want.Size != (session.Size{}) {
		t.Errorf("request %+v", want)
	}
	if got := h.psqls["01JD0000000000000000000001"].typed(); got != "select 1;\n" {
		t.Errorf("psql read %q", got)
	}
}

func TestWithoutATerminalBytesAreLeftAlone(t *testing.T) {
	h := open(t)
	c := h.as(alice, "orders")
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out syncBuffer
	s.Stdout = &out
	in, err := s.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	p := h.psql(h.live(1))
	raw := "\x00\xff\x1b]0;title\x07\x1b[8m\r\n\n"
	eventually(t, "psql", func() bool { return strings.Contains(out.String(), "here") })
	p.print.Write([]byte(raw))
	in.Close()
	s.Wait()
	if got, _ := strings.CutPrefix(out.String(), "psql is here\n"); got != raw {
		t.Errorf("%q arrived as %q", raw, got)
	}
}

func TestRefusals(t *testing.T) {
	h := open(t)
	for name, c := range map[string]struct {
		who           session.Identity
		user, command string
		status        int
		says          string
	}{
		"not an engineer":     {carol, "orders", "", 77, "orders mode read is for engineering, and you are not in it"},
		"no such mode":        {alice, "orders+admin", "", 77, `target orders has no mode "admin"; it has read, write, watched`},
		"no mode named":       {alice, "orders+", "", 77, "has no mode"},
		"reason missing":      {alice, "orders+write", "-c select 1", 77, "put --reason 'text' before psql's arguments"},
		"psql argument":       {alice, "orders", "-o /tmp/x", 77, "-o writes files"},
		"no SQL":              {alice, "orders", "--csv -c", 2, "-c needs SQL"},
		"option behind SQL":   {alice, "orders", "-c select 1 --csv", 2, "put -c and its SQL last"},
		"store does not work": {alice, "orders", "--reason make it fail", 69, "the store does not answer"},
		"unknown command":     {alice, "lobby", "frobnicate", 2, `unknown command "frobnicate"`},
		"unknown option":      {alice, "lobby", "sessions --frob", 2, "unknown flag: --frob"},
		"completion":          {alice, "lobby", "__complete ''", 2, "unknown command"},
		"hostile command":     {alice, "lobby", "\x1b]0;x\x07\u202e", 2, "unknown command"},
		"a NUL":               {alice, "orders", "-c select \x00", 2, "NUL"},
		"bad ID":              {alice, "lobby", "shadow ../../etc", 2, "is no session ID"},
		"no such session":     {bob, "lobby", "kill 7kq99 x", 1, "no session 7KQ99 is live"},
		"bad time":            {dave, "lobby", "sessions --since yesterday", 2, "is no point in time"},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, status := h.run(c.who, c.user, c.command)
			if status != c.status || out != "" || !strings.HasPrefix(errs, "twokey: ") || !strings.Contains(errs, c.says) {
				t.Errorf("status %d, output %q, errors %q", status, out, errs)
			}
			if strings.Count(errs, "\n") != 1 || strings.ContainsAny(errs, "\x1b\x00\u202e") {
				t.Errorf("not one clean line: %q", errs)
			}
		})
	}
	if n := len(h.options.Sessions.Live()); n != 0 {
		t.Errorf("%d sessions were opened", n)
	}
}

func TestHostileUserNamesAreTheLobby(t *testing.T) {
	h := open(t)
	for _, user := range []string{"", "root", "order", "orders ", "ORDERS", "../orders", strings.Repeat("orders", 5000), "\x1b[2J", "+", "+write"} {
		c, err := h.dial(user, ssh.PublicKeys(h.ca.certify(alice)))
		if err != nil {
			t.Errorf("%q: %v", user, err)
			continue
		}
		if out, _, status := result(t, c, "whoami", nil); status != 0 || !strings.Contains(out, "alice") {
			t.Errorf("%q: status %d, %q", user, status, out)
		}
		c.Close()
	}
}

func TestAReasonForAScript(t *testing.T) {
	h := open(t)
	c := h.as(alice, "orders+write")
	s, _ := c.NewSession()
	in, _ := s.StdinPipe()
	var errs syncBuffer
	s.Stderr = &errs
	if err := s.Start("--reason ticket 42: it's late --csv"); err != nil {
		t.Fatal(err)
	}
	live := h.live(1)
	if r := live.Request(); r.Reason != "ticket 42: it's late" || strings.Join(r.Args, "|") != "--csv" {
		t.Errorf("request %+v", r)
	}
	eventually(t, "the command for the shadow", func() bool { return strings.Contains(errs.String(), "ssh -t -p 2222 bastion shadow 7KQ01\n") })
	c.Close()
	<-live.Done()
	if cause := live.Summary().Cause; cause == nil || cause.Code != session.Disconnected {
		t.Errorf("ended with %v", cause)
	}
	in.Close()
}

func TestASignalEndsAScript(t *testing.T) {
	h := open(t)
	c := h.as(alice, "orders")
	s, _ := c.NewSession()
	if _, err := s.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	live := h.live(1)
	s.Signal(ssh.SIGUSR1)
	s.Signal(ssh.SIGINT)
	<-live.Done()
	if cause := live.Summary().Cause; cause.Code != session.Disconnected || !strings.Contains(cause.Text, "INT") {
		t.Errorf("ended with %v", cause)
	}
}

// A laptop that sleeps answers nothing and closes nothing.
func TestAClientThatIsGoneWithoutAWordEndsTheSession(t *testing.T) {
	h := open(t)
	network := &tunnel{to: h.addr}
	c := network.dial(t, clientConfig("orders", ssh.PublicKeys(h.ca.certify(alice))))
	x := sitDown(t, c, "")
	x.sees("psql is here")
	live := h.live(1)
	network.cut()
	<-live.Done()
	if cause := live.Summary().Cause; cause.Code != session.Disconnected {
		t.Errorf("ended with %v", cause)
	}
}

// Errors are read by a person, also when output goes to a file.
func TestErrorsAreFilteredWithoutATerminal(t *testing.T) {
	h := open(t)
	c := h.as(alice, "orders")
	x, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs syncBuffer
	x.Stdout, x.Stderr = &out, &errs
	in, err := x.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Shell(); err != nil {
		t.Fatal(err)
	}
	p := h.psql(h.live(1))
	p.warn.Write([]byte("NOTICE: \x1b]52;c;ZXZpbA==\x07\x1b[8mhidden\n"))
	p.print.Write([]byte("\x1b]52;c;ZXZpbA==\x07"))
	eventually(t, "both have come", func() bool {
		return strings.Contains(errs.String(), "hidden\n") && strings.Contains(out.String(), "ZXZ")
	})
	if got := errs.String(); strings.Contains(got, "\x1b]") || strings.Contains(got, "[8m") {
		t.Errorf("standard error is %q", got)
	}
	if got := out.String(); !strings.Contains(got, "\x1b]52;c;ZXZpbA==\x07") {
		t.Errorf("output was changed: %q", got)
	}
	in.Close()
	x.Wait()
}

// Whatever ends a session in the middle of a pager, the terminal comes back,
// and the last words are on the screen that stays.
func TestTheTerminalIsGivenBack(t *testing.T) {
	h := open(t)
	x := h.terminal(alice, "orders", "")
	s := h.live(1)
	x.sees("psql is here")
	h.psql(s).print.Write([]byte("\x1b[?1049h\x1b[?25lin a pager\x1b]0;a string that does not end"))
	x.sees("in a pager")
	s.Kill(bob, "stop")
	x.ends(137)
	_, after, _ := strings.Cut(x.screen.String(), "in a pager")
	back, words := strings.Index(after, "\x1b[?1049l"), strings.Index(after, "killed by bob: stop")
	if back < 0 || words < back || !strings.Contains(after, "\x1b[?25h") {
		t.Errorf("after the pager came %q", after)
	}
}
