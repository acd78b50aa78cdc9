package bastion_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/session"
)

const (
	old   = "01JC0000000000000000000001"
	older = "01JB0000000000000000000001"
)

// withPast is a bastion with two recordings.
func withPast(t *testing.T) *house {
	h := open(t)
	now := time.Now()
	h.archive.summaries = []session.Summary{
		{ID: old, Code: "01D01", Engineer: "alice", Target: "orders", Mode: "write", State: session.Ended, Started: now.Add(-time.Hour),
			Shadows: []string{"bob"}, Cause: &session.Cause{Code: session.Killed, By: "bob", Text: "wrong \x1b]0;\u009btable\u202e"}, Statements: 2},
		{ID: older, Code: "01D01", Engineer: "sam", Target: "billing", Mode: "read", State: session.Ended, Started: now.AddDate(0, 0, -8)},
	}
	h.archive.events = map[string][]session.Event{
		old:   {{Type: session.Statement, Statement: &session.StatementInfo{N: 1, Text: "DELETE  from orders"}}},
		older: {{Type: session.Statement, Statement: &session.StatementInfo{N: 1, Text: "select 1"}}},
	}
	return h
}

func ids(t *testing.T, out string) (list []string) {
	t.Helper()
	for line := range strings.Lines(out) {
		var s struct{ ID string }
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, s.ID)
	}
	return list
}

func TestSessions(t *testing.T) {
	h := withPast(t)
	x := h.terminal(alice, "orders+watched", "")
	x.sees("shadow 7KQ01")
	live := h.live(1).Request().ID
	for name, c := range map[string]struct {
		who     session.Identity
		options string
		want    []string
	}{
		"dave, an auditor":  {dave, "", []string{live, old, older}},
		"sam, an admin":     {sam, "", []string{live, old, older}},
		"alice, her own":    {alice, "", []string{live, old}},
		"bob may shadow":    {bob, "", []string{live, old}},
		"carol, nothing":    {carol, "", nil},
		"by user":           {dave, "--user SAM", []string{older}},
		"by target":         {dave, "--target orders", []string{live, old}},
		"since":             {dave, "--since 7d", []string{live, old}},
		"until":             {dave, "--until 30m", []string{old, older}},
		"grep":              {dave, "--grep delete  FROM", nil},
		"grep with a quote": {dave, "--grep 'delete  FROM'", []string{old}},
		"grep, words":       {dave, "--grep from orders --user alice", []string{old}},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, status := h.run(c.who, "lobby", "sessions --json "+c.options)
			if got := ids(t, out); status != 0 || !slices.Equal(got, c.want) {
				t.Errorf("status %d, %q, got %q, want %q", status, errs, got, c.want)
			}
		})
	}
	if out, _, _ := h.run(dave, "lobby", "sessions --json"); strings.ContainsAny(out, "\x1b\u009b\u202e") {
		t.Errorf("JSON that drives a terminal: %q", out)
	}
	out, _, _ := h.run(dave, "lobby", "sessions")
	if !strings.Contains(out, "killed by bob: wrong ]0;table") || strings.ContainsAny(out, "\x1b\u009b\u202e") {
		t.Errorf("for people: %q", out)
	}
}

func TestOverviewTargetsWhoamiHelp(t *testing.T) {
	h := open(t)
	x := h.terminal(alice, "orders+watched", "")
	x.sees("shadow 7KQ01")
	out, _, status := h.run(bob, "lobby", "")
	for _, want := range []string{"You are bob.", "7KQ01", "alice", "orders+watched", "needs 1 person from engineering", "ssh -t -p 2222 bastion shadow 7KQ01", "ssh -p 2222 orders@bastion", "ssh -p 2222 orders+write@bastion"} {
		if !strings.Contains(out, want) || status != 0 {
			t.Errorf("status %d; %q is not in %q", status, want, out)
		}
	}
	if out, _, _ := h.run(alice, "lobby", ""); strings.Contains(out, "bastion shadow 7KQ01") {
		t.Errorf("alice is told to shadow herself: %q", out)
	}
	if out, _, _ := h.run(carol, "lobby", ""); strings.Contains(out, "7KQ01") || strings.Contains(out, "orders") {
		t.Errorf("carol sees %q", out)
	}
	out, _, _ = h.run(alice, "lobby", "targets --json")
	if n := strings.Count(out, `"target":"orders"`); n != 3 {
		t.Errorf("targets: %q", out)
	}
	out, _, _ = h.run(alice, "lobby", "whoami --json")
	var who session.Identity
	if err := json.Unmarshal([]byte(out), &who); err != nil || !who.SamePersonAs(alice) || who.Subject != alice.Subject {
		t.Errorf("whoami: %q, %v", out, err)
	}
	for _, command := range []string{"help", "--help", "help sessions", "sessions --help"} {
		out, errs, status := h.run(alice, "lobby", command)
		if status != 0 || errs != "" || !strings.Contains(out, "sessions") {
			t.Errorf("%s: status %d, %q, %q", command, status, out, errs)
		}
	}
	y := h.terminal(bob, "lobby", "whoami")
	y.ends(0)
	if screen := y.screen.String(); strings.Count(screen, "\n") != strings.Count(screen, "\r\n") {
		t.Errorf("lines do not end as a terminal needs it: %q", screen)
	}
}

func TestOnlyAuditorsLookAndItIsWrittenDown(t *testing.T) {
	h := withPast(t)
	for _, who := range []session.Identity{alice, bob, sam} {
		for _, command := range []string{"replay " + old, "export " + old, "verify --all"} {
			out, errs, status := h.run(who, "lobby", command)
			if status != 77 || out != "" || !strings.Contains(errs, "security") {
				t.Errorf("%s %s: status %d, %q, %q", who.Name, command, status, out, errs)
			}
		}
	}
	if len(h.archive.looked) != 0 {
		t.Errorf("in the books: %q", h.archive.looked)
	}
	out, _, status := h.run(dave, "lobby", "export "+strings.ToLower(old))
	if status != 0 || out != "cast of "+old+"\n" {
		t.Errorf("export: status %d, %q", status, out)
	}
	if out, _, _ := h.run(dave, "lobby", "export oldo1"); out != "cast of "+old+"\n" {
		t.Errorf("export by code, newest first: %q", out)
	}
	if out, _, status := h.run(dave, "lobby", "verify --all"); status != 0 || out != "ok []\n" {
		t.Errorf("verify: status %d, %q", status, out)
	}
	want := []string{"dave export " + old, "dave export " + old, "dave verify "}
	if !slices.Equal(h.archive.looked, want) {
		t.Errorf("in the books: %q", h.archive.looked)
	}
	if !strings.Contains(h.log.String(), "msg=audit person=dave") {
		t.Error("no audit line in the log")
	}
	for said, verdict := range map[string]struct {
		err    error
		status int
	}{
		"1 of 2 recordings are not proven": {session.Unproven{Recordings: 1, Of: 2, Ledger: 1}, 1},
		"the store cannot be reached":      {errors.New("the store cannot be reached"), 2},
		"2 findings in the ledger":         {session.Unproven{Of: 2, Ledger: 2}, 3},
	} {
		h.archive.finding = verdict.err
		if out, errs, status := h.run(dave, "lobby", "verify "+old); status != verdict.status || out == "" || !strings.Contains(errs, said) {
			t.Errorf("%s: status %d, %q, %q", said, status, out, errs)
		}
	}
	x := h.terminal(dave, "lobby", "export "+old)
	x.sees("not to a terminal")
	x.ends(2)
	h.archive.noBooks = true
	if out, errs, status := h.run(dave, "lobby", "export "+old); status == 0 || out != "" || !strings.Contains(errs, "could not be written down") {
		t.Errorf("without the books: status %d, %q, %q", status, out, errs)
	}
}

func TestKillCommand(t *testing.T) {
	h := open(t)
	x := h.terminal(alice, "orders+watched", "")
	x.sees("shadow 7KQ01")
	for _, who := range []session.Identity{alice, bob, carol, dave} {
		if _, errs, status := h.run(who, "lobby", "kill 7kq01 now"); status != 77 || !strings.Contains(errs, "only those who shadow") {
			t.Errorf("%s: status %d, %q", who.Name, status, errs)
		}
	}
	out, errs, status := h.run(sam, "lobby", "kill 7kqo1 that's -- the \"wrong\x07 one")
	if status != 0 || out != "killed 7KQ01\n" {
		t.Errorf("status %d, %q, %q", status, out, errs)
	}
	x.sees(`killed by sam: that's -- the "wrong one`)
	x.ends(137)
}

// The same commands serve on an auditor's own machine.
func TestRecordingsCommandsStandAlone(t *testing.T) {
	a := &archive{indexed: session.Indexed{At: time.Now()}, summaries: []session.Summary{{ID: old, Engineer: "alice", Target: "orders", Mode: "read"}}}
	var out syncBuffer
	for _, c := range (bastion.Recordings{Archive: a, Index: a}).Commands("ls", "search", "play", "export", "verify") {
		if c.Name() == "ls" {
			c.SetOut(&out)
			c.SetArgs([]string{"--json"})
			if err := c.Execute(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := ids(t, out.String()); !slices.Equal(got, []string{old}) {
		t.Errorf("%q", got)
	}
}

func TestCtrlCStopsACommand(t *testing.T) {
	h := withPast(t)
	h.archive.slow = true
	x := h.terminal(dave, "lobby", "verify --all")
	x.sees("checking")
	x.types("\x03")
	x.sees("twokey: stopped\r\n")
	x.ends(130)
}
