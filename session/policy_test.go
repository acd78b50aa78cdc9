package session_test

import (
	"errors"
	"testing"

	"github.com/twokey/twokey/session"
)

func of(team string, who session.Identity) session.Identity {
	who.Claims = map[string]string{"team": team}
	return who
}

var (
	dba     = person("dora", "dba")
	cto     = person("chris", "cto")
	both    = person("bella", "dba", "cto")
	ctoTwin = session.Identity{Issuer: "https://idp", Subject: "other", SamePerson: "e-7", Groups: []string{"cto"}}
	dbaTwin = session.Identity{Issuer: "https://idp", Subject: "another", SamePerson: "e-7", Groups: []string{"dba"}}
)

func TestQuorum(t *testing.T) {
	one := session.Quorum{{Count: 1, Groups: []string{"engineering"}}}
	bank := session.Quorum{{Count: 1, Groups: []string{"dba"}}, {Count: 1, Groups: []string{"cto"}}}
	team := session.Quorum{{Count: 2, Groups: []string{"engineering"}, Other: "team"}}
	tests := map[string]struct {
		quorum session.Quorum
		there  []session.Identity
		left   int // people still missing
	}{
		"alone asks for nobody":            {nil, nil, 0},
		"one, nobody there":                {one, nil, 1},
		"one, bob":                         {one, []session.Identity{bob}, 0},
		"one, alice herself":               {one, []session.Identity{alice}, 1},
		"one, carol":                       {one, []session.Identity{carol}, 1},
		"one, nobody's identity":           {one, []session.Identity{{Groups: []string{"engineering"}}}, 1},
		"a count of zero is one":           {session.Quorum{{Groups: []string{"engineering"}}}, nil, 1},
		"no groups are nobody's":           {session.Quorum{{Count: 1}}, []session.Identity{bob}, 1},
		"bank, both":                       {bank, []session.Identity{dba, cto}, 0},
		"bank, one person in two roles":    {bank, []session.Identity{both}, 1},
		"bank, twice the same":             {bank, []session.Identity{both, both}, 1},
		"bank, the flexible one first":     {bank, []session.Identity{both, dba}, 0},
		"bank, the flexible one and a cto": {bank, []session.Identity{both, cto}, 0},
		"bank, two accounts of one human":  {bank, []session.Identity{dbaTwin, ctoTwin}, 1},
		"another team, same team":          {team, []session.Identity{of("pay", bob), of("pay", person("eve", "engineering"))}, 2},
		"another team, one of each":        {team, []session.Identity{of("web", bob), of("pay", person("eve", "engineering"))}, 1},
		"another team, two":                {team, []session.Identity{of("web", bob), of("ops", person("eve", "engineering"))}, 0},
		"another team, team unknown":       {team, []session.Identity{bob, person("eve", "engineering")}, 2},
	}
	engineer := of("pay", alice)
	for name, tt := range tests {
		left := 0
		for _, n := range tt.quorum.Missing(engineer, tt.there) {
			left += n.Count
		}
		if left != tt.left {
			t.Errorf("%s: %d missing, want %d", name, left, tt.left)
		}
	}
}

func TestGate(t *testing.T) {
	open := session.Facts{Engineer: alice, Quorum: pairs.Shadows, There: []session.Identity{bob}}
	tests := map[string]struct {
		change func(*session.Facts)
		want   session.Because
	}{
		"all there":            {func(*session.Facts) {}, session.AllThere},
		"no facts":             {func(f *session.Facts) { *f = session.Facts{} }, session.Nobody},
		"ending":               {func(f *session.Facts) { f.Ending = session.Cause{Code: session.Killed} }, session.Ending},
		"recorder":             {func(f *session.Facts) { f.Recorder = errors.New("lag") }, session.Recorder},
		"shadow gone":          {func(f *session.Facts) { f.There = nil }, session.Watching},
		"only alice":           {func(f *session.Facts) { f.There = []session.Identity{alice, alice} }, session.Watching},
		"held":                 {func(f *session.Facts) { f.Holds = []string{"bob"} }, session.Held},
		"held and gone":        {func(f *session.Facts) { f.Holds = []string{"bob"}; f.There = nil }, session.Watching},
		"alone":                {func(f *session.Facts) { f.Quorum, f.There = nil, nil }, session.AllThere},
		"alone with no tape":   {func(f *session.Facts) { f.Quorum = nil; f.Recorder = errors.New("lag") }, session.Recorder},
		"alone and held":       {func(f *session.Facts) { f.Quorum = nil; f.Holds = []string{"bob"} }, session.Held},
		"alone and ending":     {func(f *session.Facts) { f.Quorum = nil; f.Ending = session.Cause{} }, session.Ending},
		"an unknown engineer":  {func(f *session.Facts) { f.Engineer = session.Identity{Name: "alice"} }, session.Nobody},
		"everything at once":   {func(f *session.Facts) { f.Ending = session.Cause{}; f.Holds = []string{"bob"} }, session.Ending},
		"two asked, one there": {func(f *session.Facts) { f.Quorum = session.Quorum{{Count: 2, Groups: []string{"engineering"}}} }, session.Watching},
	}
	for name, tt := range tests {
		f := open
		tt.change(&f)
		g := f.Gate()
		if g.Because != tt.want || g.Open != (tt.want == session.AllThere) || g.Open == (g.Why != "") {
			t.Errorf("%s: %+v, want %s", name, g, tt.want)
		}
	}
	if (session.Gate{}).Open {
		t.Error("the zero gate is open")
	}
}

func BenchmarkGate(b *testing.B) {
	f := session.Facts{Engineer: alice, Quorum: pairs.Shadows, There: []session.Identity{bob}}
	for b.Loop() {
		if !f.Gate().Open {
			b.Fatal("shut")
		}
	}
}
