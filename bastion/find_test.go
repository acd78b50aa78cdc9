package bastion_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
)

// Who may list a session may search it; nobody learns more, not even how many others there are.
func TestEveryoneSearchesWhatTheyMayList(t *testing.T) {
	h := withPast(t)
	h.archive.indexed.Encrypted = 7
	for name, c := range map[string]struct {
		who     session.Identity
		command string
		want    []string
	}{
		"dave, an auditor":            {dave, "search select", []string{older}},
		"sam, an admin, his own":      {sam, "search 'delete  from'", []string{old}},
		"alice, her own":              {alice, "search 'delete  from'", []string{old}},
		"alice, what is not hers":     {alice, "search select", nil},
		"bob, who may shadow":         {bob, "search 'delete  from'", []string{old}},
		"bob, what he may not shadow": {bob, "search select", nil},
		"carol, nothing":              {carol, "search 'delete  from'", nil},
		"filtered":                    {dave, "search --user bob select", nil},
		"grep is the same":            {alice, "sessions --grep select", nil},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, status := h.run(c.who, "lobby", c.command+" --json")
			var got []string
			for line := range strings.Lines(out) {
				var hit struct{ Session, ID string }
				if err := json.Unmarshal([]byte(line), &hit); err != nil {
					t.Fatal(err)
				}
				got = append(got, hit.Session+hit.ID)
			}
			if status != 0 || !slices.Equal(got, c.want) {
				t.Errorf("status %d, %q: %q, want %q", status, errs, got, c.want)
			}
			all := c.who.Name == "dave" || c.who.Name == "sam"
			if strings.Contains(errs, "7 recordings are encrypted") != all || !strings.Contains(errs, "recordings are encrypted") {
				t.Errorf("of what is encrypted: %q", errs)
			}
		})
	}
	if !slices.Contains(h.archive.looked, "alice search ") {
		t.Errorf("in the books: %q", h.archive.looked)
	}
	h.archive.noBooks = true
	if out, errs, status := h.run(alice, "lobby", "search delete"); status == 0 || out != "" || !strings.Contains(errs, "could not be written down") {
		t.Errorf("without the books: status %d, %q, %q", status, out, errs)
	}
}

func TestSearchTellsWhereAndHowToSeeIt(t *testing.T) {
	h := withPast(t)
	h.archive.events[old] = []session.Event{{At: 83500 * time.Millisecond, Type: session.Statement,
		Statement: &session.StatementInfo{N: 3, Text: strings.Repeat("x", 300) + " delete \x1b]0;\u009bfrom payments"}}}
	out, errs, status := h.run(dave, "lobby", "search delete")
	lines := strings.Split(out, "\n")
	if status != 0 || errs != "" || len(lines) != 4 || !strings.HasPrefix(lines[0], old+"  ") || !strings.Contains(lines[0], "Z  alice  orders+write") {
		t.Fatalf("status %d, %q, %q", status, errs, out)
	}
	if !strings.HasPrefix(lines[1], "    …xxx") || !strings.HasSuffix(lines[1], "delete ]0;from payments") || lines[2] != "    ssh -t -p 2222 bastion replay "+old+" --at 1m23s" {
		t.Errorf("%q", lines[1:])
	}
	if out, _, _ := h.run(alice, "lobby", "search delete"); !strings.Contains(out, "payments") || strings.Contains(out, "replay") {
		t.Errorf("alice, who may not replay: %q", out)
	}
	out, _, _ = h.run(dave, "lobby", "search delete --json")
	var hit struct {
		Session, Engineer, Target, Mode, Statement, Place, Replay string
		Time                                                      time.Time
		At                                                        float64
		N                                                         int
	}
	if err := json.Unmarshal([]byte(out), &hit); err != nil || hit.N != 3 || hit.At != 83.5 || hit.Place != old+":1" || strings.ContainsAny(out, "\x1b\u009b") {
		t.Errorf("%v: %q", err, out)
	}
}

func TestListingsComeByThePage(t *testing.T) {
	h := withPast(t)
	out, errs, status := h.run(dave, "lobby", "sessions --limit 1")
	if status != 0 || strings.Count(out, "\n") != 1 || !strings.Contains(errs, "there are more than these 1; the next page: --before "+old) {
		t.Errorf("status %d, %q, %q", status, out, errs)
	}
	out, errs, _ = h.run(dave, "lobby", "sessions --limit 1 --before "+strings.ToLower(old))
	if !strings.Contains(out, older) || errs != "" {
		t.Errorf("%q, %q", out, errs)
	}
	h.archive.summaries = nil
	for i := range 60 {
		h.archive.summaries = append(h.archive.summaries, session.Summary{ID: fmt.Sprintf("01JC00000000000000000000%02d", 60-i), Engineer: "alice", State: session.Ended})
	}
	if out, errs, _ = h.run(dave, "lobby", "sessions"); strings.Count(out, "\n") != 50 || !strings.Contains(errs, "more than these 50") {
		t.Errorf("%q, %q", out, errs)
	}
	if out, errs, _ = h.run(dave, "lobby", "sessions --json"); strings.Count(out, "\n") != 60 || errs != "" {
		t.Errorf("programs get all: %q, %q", out, errs)
	}
}

func TestWhatIsMissingInAnAnswerIsSaid(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		indexed session.Indexed
		stale   error
		command string
		status  int
		says    string
	}{
		"all there":        {session.Indexed{At: now, Unread: 3, Broken: 2, Encrypted: 1}, nil, "sessions", 0, ""},
		"not yet read":     {session.Indexed{At: now, Unread: 3}, nil, "search delete", 1, "3 recordings have not been searched yet"},
		"damaged":          {session.Indexed{At: now, Broken: 1}, nil, "sessions --grep delete", 1, "1 recording could not be searched"},
		"encrypted":        {session.Indexed{At: now, Encrypted: 2}, nil, "search delete", 0, "2 recordings are encrypted, and nothing here opens them"},
		"a bad manifest":   {session.Indexed{At: now, Troubles: []string{"recording X: broken\x1b"}}, nil, "sessions", 1, "twokey: recording X: broken\n"},
		"the first time":   {session.Indexed{}, nil, "sessions", 1, "still being listed"},
		"the store is off": {session.Indexed{At: now.Add(-time.Hour)}, errors.New("it does not answer"), "sessions", 1, "last looked at"},
	} {
		t.Run(name, func(t *testing.T) {
			h := withPast(t)
			h.archive.indexed, h.archive.stale = c.indexed, c.stale
			out, errs, status := h.run(dave, "lobby", c.command)
			if status != c.status || !strings.Contains(out, old) || !strings.Contains(errs, c.says) || c.says == "" && errs != "" {
				t.Errorf("status %d, %q, %q", status, out, errs)
			}
		})
	}
}

func TestFindingTakesNoNonsense(t *testing.T) {
	h := withPast(t)
	for command, says := range map[string]string{
		"search":                              "search 'delete from payments'",
		"search ''":                           "search 'delete from payments'",
		"search " + strings.Repeat("x", 1001): "at most 1000 characters",
		"sessions --flag break_glass":         "there is no flag",
		"sessions --end kill":                 "no session ends as",
		"sessions --limit -1":                 "--limit",
		"sessions --before 7kq01":             "--before takes",
		"sessions --before " + old + ":x":     "--before takes",
		"sessions --output":                   "there is none",
		"sessions x":                          "takes no arguments",
	} {
		if out, errs, status := h.run(dave, "lobby", command); status != 2 || out != "" || !strings.Contains(errs, says) {
			t.Errorf("%.40s: status %d, %q, %q", command, status, out, errs)
		}
	}
}

func TestSessionsByEveryFilter(t *testing.T) {
	h := withPast(t)
	h.archive.summaries[0].Flags = []string{"killed", "break-glass"}
	for options, want := range map[string][]string{
		"--shadow BOB": {old}, "--shadow alice": nil, "--mode read": {older}, "--end killed": {old}, "--end quit": nil,
		"--flag killed": {old}, "--flag killed --flag break-glass": {old}, "--flag unclean": nil,
	} {
		out, errs, status := h.run(dave, "lobby", "sessions --json "+options)
		if got := ids(t, out); status != 0 || !slices.Equal(got, want) {
			t.Errorf("%s: status %d, %q: %q, want %q", options, status, errs, got, want)
		}
	}
}
