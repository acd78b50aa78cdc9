package session_test

import (
	"fmt"
	"math/rand/v2"
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

// What banks and startups would write, one line each.
func TestWhoMaySitDown(t *testing.T) {
	engineer := of("pay", alice)
	tests := map[string]struct {
		quorum session.Quorum
		who    session.Identity
		may    bool
	}{
		"one of us, bob":              {session.Quorum{{Count: 1, Groups: []string{"engineering"}}}, bob, true},
		"one of us, alice herself":    {session.Quorum{{Count: 1, Groups: []string{"engineering"}}}, alice, false},
		"one of us, carol":            {session.Quorum{{Count: 1, Groups: []string{"engineering"}}}, carol, false},
		"a dba and the cto, a dba":    {session.Quorum{{Count: 1, Groups: []string{"dba"}}, {Count: 1, Groups: []string{"cto"}}}, dba, true},
		"a dba and the cto, the cto":  {session.Quorum{{Count: 1, Groups: []string{"dba"}}, {Count: 1, Groups: []string{"cto"}}}, cto, true},
		"a dba and the cto, bob":      {session.Quorum{{Count: 1, Groups: []string{"dba"}}, {Count: 1, Groups: []string{"cto"}}}, bob, false},
		"another team, the same":      {session.Quorum{{Count: 2, Groups: []string{"engineering"}, Other: "team"}}, of("pay", bob), false},
		"another team, in capitals":   {session.Quorum{{Count: 2, Groups: []string{"engineering"}, Other: "team"}}, of("PAY ", bob), false},
		"another team, another":       {session.Quorum{{Count: 2, Groups: []string{"engineering"}, Other: "team"}}, of("web", bob), true},
		"another team, none known":    {session.Quorum{{Count: 2, Groups: []string{"engineering"}, Other: "team"}}, bob, false},
		"nobody is asked for":         {nil, bob, false},
		"somebody who is nobody":      {session.Quorum{{Count: 1, Groups: []string{"engineering"}}}, session.Identity{Groups: []string{"engineering"}}, false},
		"the same sub of another idp": {session.Quorum{{Count: 1, Groups: []string{"engineering"}}}, session.Identity{Issuer: "https://other", Subject: alice.Subject, Groups: []string{"engineering"}}, true},
	}
	for name, tt := range tests {
		if why := tt.quorum.Eligible(engineer, tt.who); (why == nil) != tt.may {
			t.Errorf("%s: %v", name, why)
		}
	}
}

// Whatever the rules and whoever is there, as many needs are met as can be, each
// by a person of its own, and the order of arrival changes nothing. The model tries
// all ways to seat them.
func TestQuorumIsTheBestSeating(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	some := func(of ...string) (list []string) {
		for _, s := range of {
			if r.IntN(2) == 0 {
				list = append(list, s)
			}
		}
		return list
	}
	anyone := func() session.Identity {
		i := session.Identity{
			Issuer: fmt.Sprintf("https://idp%d", r.IntN(2)), Subject: fmt.Sprintf("s%d", r.IntN(4)), Groups: some("a", "b"),
			Claims: map[string]string{"team": []string{"", "x", "y"}[r.IntN(3)]},
		}
		if r.IntN(3) == 0 {
			i.SamePerson = fmt.Sprintf("e-%d", r.IntN(3))
		}
		return i
	}
	for range 20_000 {
		engineer, quorum, there := anyone(), session.Quorum{}, []session.Identity{}
		for range r.IntN(3) {
			quorum = append(quorum, session.Need{Count: 1 + r.IntN(2), Groups: some("a", "b"), Other: []string{"", "team"}[r.IntN(2)]})
		}
		for range r.IntN(6) {
			there = append(there, anyone())
		}
		want := fewestMissing(quorum, engineer, there)
		for range 3 {
			if got := quorum.Missing(engineer, there); people(got) != want {
				t.Fatalf("%d missing, the model says %d:\nengineer %+v\nquorum %+v\nthere %+v", people(got), want, engineer, quorum, there)
			}
			r.Shuffle(len(there), func(i, j int) { there[i], there[j] = there[j], there[i] })
		}
	}
}

func people(needs []session.Need) (n int) {
	for _, need := range needs {
		n += need.Count
	}
	return n
}

// fewestMissing is the model: chairs for people, tried in every way.
func fewestMissing(quorum session.Quorum, engineer session.Identity, there []session.Identity) int {
	humans := make([]int, len(there)) // who is whom; 0 is the engineer
	for i := range humans {
		humans[i] = i + 1
	}
	same := func(a, b session.Identity) bool {
		return a.Issuer == b.Issuer && a.Subject == b.Subject || a.SamePerson != "" && a.SamePerson == b.SamePerson
	}
	for range there { // as often as a chain can be long
		for i, a := range there {
			if same(a, engineer) {
				humans[i] = 0
			}
			for j, b := range there {
				if same(a, b) {
					humans[i], humans[j] = min(humans[i], humans[j]), min(humans[i], humans[j])
				}
			}
		}
	}
	var chairs []session.Need
	for _, n := range quorum {
		for range n.Count {
			chairs = append(chairs, n)
		}
	}
	fits := func(n session.Need, h int) bool {
		for i, p := range there {
			in := false
			for _, g := range n.Groups {
				for _, has := range p.Groups {
					in = in || g == has
				}
			}
			ours, theirs := engineer.Claims[n.Other], p.Claims[n.Other]
			if humans[i] == h && h > 0 && in && (n.Other == "" || ours != "" && theirs != "" && ours != theirs) {
				return true
			}
		}
		return false
	}
	var seat func(chair int, taken int) int
	seat = func(chair, taken int) int {
		if chair == len(chairs) {
			return 0
		}
		best := 1 + seat(chair+1, taken)
		for h := 1; h <= len(there); h++ {
			if taken&(1<<h) == 0 && fits(chairs[chair], h) {
				best = min(best, seat(chair+1, taken|1<<h))
			}
		}
		return best
	}
	return seat(0, 0)
}
