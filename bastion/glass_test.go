package bastion_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/session"
)

// olga is on call: she may break glass.
var olga = person("olga", "engineering", "oncall")

func TestBreakingGlassOnATerminal(t *testing.T) {
	h := open(t)
	x := h.terminal(olga, "orders+watched", "--break-glass")
	x.sees("Reason: ") // though the mode asks for none
	x.types("\r")
	x.sees("Breaking glass takes a reason")
	if len(h.options.Sessions.Live()) != 0 {
		t.Error("a session before the reason")
	}
	x.types("db down\r")
	x.sees("*** GLASS BROKEN: you open orders, mode watched, ALONE. ***\r\n")
	x.sees("Reason: db down\r\n")
	x.sees("recorded, as 01JD0000000000000000000001, and flagged")
	x.sees("Within 24h somebody else must replay it and sign it off, or you break no more glass:\r\n\r\n" +
		"  ssh -p 2222 bastion review 01JD0000000000000000000001 --ok\r\n")
	x.sees("psql is here") // with nobody there
	s := h.live(1)
	if r := s.Request(); !r.BreakGlass || r.Reason != "db down" || r.Args != nil || len(r.Mode.Shadows) == 0 {
		t.Errorf("request %+v", r)
	}
	if flags := s.Summary().Flags; !slices.Equal(flags, []string{"break-glass"}) {
		t.Errorf("flags %q", flags)
	}
	for _, want := range []string{"level=WARN", `msg="glass broken"`, "person=olga", "session=01JD0000000000000000000001", `reason="db down"`} {
		if !strings.Contains(h.log.String(), want) {
			t.Errorf("no %s in the log", want)
		}
	}
	if out, _, _ := h.run(bob, "lobby", ""); !strings.Contains(out, "GLASS BROKEN") || !strings.Contains(out, "bastion shadow 7KQ01") {
		t.Errorf("bob reads %q", out)
	}
	// The shadow's seat is there all the same.
	seat, err := s.Sit(bob, bobsWindow)
	if err != nil {
		t.Fatal(err)
	}
	seat.Hold()
	if s.Gate().Open {
		t.Error("open though held")
	}
	seat.Release()
	seat.Kill("no emergency")
	x.sees("killed by bob: no emergency")
	x.ends(137)
}

func TestBreakingGlassWithoutATerminal(t *testing.T) {
	h := open(t)
	out, errs, status := h.run(olga, "orders+watched", "--break-glass --reason db down -c select 1")
	if status != 3 || out != "psql is here\n" { // psql's own
		t.Errorf("status %d, output %q", status, out)
	}
	if strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "twokey: GLASS BROKEN: orders, mode watched, is open to you ALONE") ||
		!strings.Contains(errs, "within 24h: ssh -p 2222 bastion review 01JD0000000000000000000001 --ok") {
		t.Errorf("errors %q", errs)
	}
}

func TestWhoMayNotBreakGlass(t *testing.T) {
	owing := func(h *house) { h.archive.owes = []string{old, older} }
	for name, c := range map[string]struct {
		who           session.Identity
		user, command string
		before        func(*house)
		status        int
		says          string
	}{
		"in no such group":      {alice, "orders+watched", "--break-glass --reason x", nil, 77, "opening orders mode watched alone is for oncall, and you are not in it"},
		"no engineer":           {person("otto", "oncall"), "orders+watched", "--break-glass --reason x", nil, 77, "is for engineering, and you are not in it"},
		"nobody may":            {olga, "orders+write", "--break-glass --reason x", nil, 77, "opening orders mode write alone is for nobody"},
		"nobody has to watch":   {olga, "orders", "--break-glass --reason x", nil, 77, "there is no glass to break"},
		"without a reason":      {olga, "orders+watched", "--break-glass", nil, 77, "breaking glass takes a reason: put --reason 'text'"},
		"behind psql's":         {olga, "orders+watched", "--csv --break-glass -o", nil, 77, "-o writes files"},
		"who owes a review":     {olga, "orders+watched", "--break-glass --reason x", owing, 77, old + " alone, and nobody has signed it off"},
		"what a colleague does": {olga, "orders+watched", "--break-glass --reason x", owing, 77, "ssh -p 2222 bastion review " + old + " --ok"},
		"nobody knows":          {olga, "orders+watched", "--break-glass --reason x", func(h *house) { h.archive.noBooks = true }, 77, "can not be known"},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			if c.before != nil {
				c.before(h)
			}
			out, errs, status := h.run(c.who, c.user, c.command)
			if status != c.status || out != "" || !strings.Contains(errs, c.says) || strings.Count(errs, "\n") != 1 {
				t.Errorf("status %d, output %q, errors %q", status, out, errs)
			}
			if len(h.options.Sessions.Live()) != 0 || strings.Contains(h.log.String(), "glass broken") {
				t.Error("a session was opened")
			}
		})
	}
	h := open(t, func(o *bastion.Options) { o.Reviews = nil })
	if _, errs, status := h.run(olga, "orders+watched", "--break-glass --reason x"); status != 77 || !strings.Contains(errs, "can not be known") {
		t.Errorf("without reviews: status %d, %q", status, errs)
	}
}

func TestWhoWaitsIsToldAboutTheGlass(t *testing.T) {
	h := open(t)
	const offer = "In an emergency you may open it alone: ssh -t -p 2222 orders+watched@bastion -- --break-glass\r\n"
	x := h.terminal(olga, "orders+watched", "")
	x.sees("shadow 7KQ01")
	x.sees(offer)
	y := h.terminal(alice, "orders+watched", "")
	y.sees("psql has not started")
	h.archive.owes = []string{old}
	z := h.terminal(olga, "orders+watched", "")
	z.sees("psql has not started")
	for _, other := range []*terminal{y, z} {
		if strings.Contains(other.screen.String(), "emergency") {
			t.Errorf("told though it may not be: %q", other.screen.String())
		}
	}
}

// withGlass is a bastion on which olga has broken glass, and alice opened a
// mode that asks for nobody.
func withGlass(t *testing.T) *house {
	h := withPast(t)
	h.archive.summaries[0].Engineer, h.archive.summaries[0].Flags = "olga", []string{"break-glass", "killed"}
	h.archive.summaries[1].Engineer, h.archive.summaries[1].Flags = "alice", []string{"alone"}
	h.archive.asked = map[string]session.Request{
		old:   {ID: old, Engineer: olga, Mode: twoModes.Modes[2], BreakGlass: true},
		older: {ID: older, Engineer: alice, Mode: twoModes.Modes[0]},
	}
	return h
}

func TestReview(t *testing.T) {
	h := withGlass(t)
	h.archive.summaries[0].Started = time.Now()
	other := olga
	other.Subject, other.SamePerson = "sub-other", "e-1"
	her := olga
	her.SamePerson = "e-1"
	h.archive.asked[old] = session.Request{ID: old, Engineer: her, Mode: twoModes.Modes[2], BreakGlass: true}
	for _, c := range []struct {
		name    string
		who     session.Identity
		command string
		status  int
		says    string
	}{
		{"an outsider does not replay", carol, "replay " + old, 77, "for those who may review it"},
		{"an outsider does not review", carol, "review " + old + " --ok", 77, "you are not in engineering"},
		{"she does not replay", her, "replay " + old, 77, "for auditors"},
		{"she does not review", her, "review " + old + " --ok", 77, "nobody reviews themselves"},
		{"nor as another", other, "review " + old + " --ok", 77, "nobody reviews themselves"},
		{"not before a replay", bob, "review " + old + " --ok fine", 77, "replay it first"},
		{"an auditor, neither", dave, "review " + old + " --ok fine", 77, "replay it first"},
		{"bob does not export", bob, "export " + old, 77, "export is for auditors"},
		{"bob replays", bob, "replay " + old + " --speed 1000", 0, ""},
		{"bob does not replay what was not opened alone", bob, "replay " + older, 77, "replay is for auditors"},
		{"neither of both", bob, "review " + old, 2, "one of --ok and --raise"},
		{"both", bob, "review " + old + " --ok --raise x", 2, "one of --ok and --raise"},
		{"no ID", bob, "review --ok", 2, "review takes an ID"},
		{"raising without a word", bob, "review " + old + " --raise", 2, "say what must be looked at"},
		{"what is not there", bob, "review 01JA0000000000000000000001 --ok", 1, "is not in the store"},
		{"raising", bob, "review --raise " + strings.ToLower(old) + " all the\x07 customers?", 0, "olga breaks no more glass until"},
		{"by code", bob, "review 01d01 --ok it was olga's ticket", 0, "signed off " + old},
		{"an admin replays what was opened alone", sam, "replay " + old, 0, ""},
		{"and reviews it", sam, "review " + old + " --ok", 0, "signed off"},
		{"an auditor reviews anything", dave, "replay " + older, 0, ""},
		{"an auditor reviews anything", dave, "review " + older + " --raise why?", 0, "raised " + older + "\n"},
	} {
		out, errs, status := h.run(c.who, "lobby", c.command)
		if status != c.status || !strings.Contains(out+errs, c.says) {
			t.Errorf("%s: status %d, %q, %q", c.name, status, out, errs)
		}
	}
	want := []string{"bob raise " + old + " all the customers?", "bob ok " + old + " it was olga's ticket", "sam ok " + old, "dave raise " + older + " why?"}
	if !slices.Equal(h.archive.reviewed, want) {
		t.Errorf("in the books: %q", h.archive.reviewed)
	}
	if log := h.log.String(); !strings.Contains(log, `level=WARN msg=review person=bob`) || !strings.Contains(log, `level=INFO msg=review person=sam`) {
		t.Error("the log does not have the reviews")
	}
}

func TestWhatRunsIsNotReviewed(t *testing.T) {
	h := open(t)
	x := h.terminal(olga, "orders+watched", "--break-glass --reason x")
	x.sees("psql is here")
	if _, errs, status := h.run(dave, "lobby", "review 7kq01 --ok"); status != 1 || !strings.Contains(errs, "still runs") {
		t.Errorf("status %d, %q", status, errs)
	}
}

func TestListsOfWhatIsToBeReviewed(t *testing.T) {
	h := withGlass(t)
	x := h.terminal(olga, "orders+watched", "--break-glass --reason x")
	x.sees("psql is here")
	live := h.live(1).Request().ID
	unreviewed := func(want ...string) {
		t.Helper()
		out, errs, status := h.run(dave, "lobby", "sessions --unreviewed --json")
		if got := ids(t, out); status != 0 || !slices.Equal(got, want) {
			t.Errorf("status %d, %q, got %q, want %q", status, errs, got, want)
		}
	}
	unreviewed(live, old)
	h.archive.reviewed = []string{"bob raise " + old + " hm"}
	unreviewed(live, old)
	if out, _, _ := h.run(dave, "lobby", "sessions"); !strings.Contains(out, "break-glass, killed, raised by bob") {
		t.Errorf("for people: %q", out)
	}
	h.archive.reviewed = []string{"bob raise " + old + " hm", "dave ok " + old}
	unreviewed(live)
	out, _, _ := h.run(dave, "lobby", "sessions --json")
	var got struct {
		ID, Reviewed, Engineer string
		By                     string `json:"reviewed_by"`
		Flags                  []string
	}
	if err := json.Unmarshal([]byte(strings.Split(out, "\n")[1]), &got); err != nil || got.ID != old || got.Reviewed != "ok" || got.By != "dave" || got.Flags[0] != "break-glass" || got.Engineer != "olga" {
		t.Errorf("%v: %+v in %q", err, got, out)
	}
}
