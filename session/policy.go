package session

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Target is a database an engineer may ask for.
type Target struct {
	Name  string
	Modes []Mode // never empty; the first one is the default
}

// Mode finds a mode by name; "" is the first one.
func (t Target) Mode(name string) (Mode, bool) {
	for _, m := range t.Modes {
		if name == "" || m.Name == name {
			return m, true
		}
	}
	return Mode{}, false
}

// Mode is a named level of access to a target, with its own rules.
type Mode struct {
	Name      string
	Engineers []string // groups that may open it
	Shadows   Quorum   // empty: alone, said so in the configuration
	Approve   Approve  // which statements wait for a shadow's yes
	Reason    bool     // a reason must be given
	Limits    Limits

	// BreakGlass says who may open the mode without its shadows in an emergency.
	BreakGlass BreakGlass
}

// Approve says which statements wait for a shadow's yes.
type Approve string

const (
	ApproveNone   Approve = ""       // none does
	ApproveEach   Approve = "each"   // every one
	ApproveWrites Approve = "writes" // every one that is not plainly a read
	ApproveCommit Approve = "commit" // writes run, and what they did waits before it is committed
)

// BreakGlass says who may open a mode alone, and for how long that may stay
// unreviewed before they may not again. The zero value allows nobody.
type BreakGlass struct {
	Groups []string
	Review time.Duration
}

// Limits bound a session. Zero means no limit, except Wait, Grace and Approval,
// which the configuration always fills.
type Limits struct {
	Wait     time.Duration // how long to wait for the first quorum
	Duration time.Duration // from the first opening of the gate
	Idle     time.Duration // without a keystroke and without a running statement
	Grace    time.Duration // how long a shut quorum may come back
	Presence time.Duration // how long a shadow may press no key and still count
	Approval time.Duration // how long a statement waits for a shadow's yes or no
	Rows     int64         // that the engineer gets before a shadow must release more
}

// Quorum is the shadows a mode asks for: all needs must be met at once, by
// different people, none of them the engineer. An empty Quorum asks for nobody.
type Quorum []Need

// Need is one entry of a quorum.
type Need struct {
	Count  int      `json:"count"`            // at least 1
	Groups []string `json:"groups,omitempty"` // any of these
	Other  string   `json:"other,omitempty"`  // a claim that must be known for both and differ from the engineer's
}

func (n Need) String() string {
	who := "1 person"
	if n.Count != 1 {
		who = fmt.Sprintf("%d people", n.Count)
	}
	if len(n.Groups) > 0 {
		who += " from " + strings.Join(n.Groups, " or ")
	}
	if n.Other != "" {
		who += " of another " + n.Other
	}
	return who
}

// String is who it takes, in words.
func (q Quorum) String() string {
	words := make([]string, len(q))
	for i, n := range q {
		words[i] = n.String()
	}
	return strings.Join(words, ", and ")
}

// fits says why the candidate does not count for this need, or "". Another spelling of
// a team is no other team.
func (n Need) fits(engineer, candidate Identity) string {
	if !candidate.InAny(n.Groups) {
		return "you are not in " + strings.Join(n.Groups, " or ")
	}
	if n.Other == "" {
		return ""
	}
	theirs, hers := candidate.Claims[n.Other], engineer.Claims[n.Other]
	switch {
	case theirs == "" || hers == "":
		return "the identity provider does not say the " + n.Other + " of you both"
	case strings.EqualFold(strings.TrimSpace(theirs), strings.TrimSpace(hers)):
		return "you are of the same " + n.Other + " as the engineer"
	}
	return ""
}

// Eligible returns nil when the candidate may sit down as shadow of the
// engineer, and otherwise why not, in words for the candidate.
func (q Quorum) Eligible(engineer, candidate Identity) error {
	if candidate.SamePersonAs(engineer) {
		return fmt.Errorf("nobody shadows themselves: this session is yours")
	}
	var why []string
	for _, n := range q {
		reason := n.fits(engineer, candidate)
		if reason == "" {
			return nil
		}
		why = append(why, reason)
	}
	if len(why) == 0 {
		return fmt.Errorf("this mode asks for no shadow")
	}
	return fmt.Errorf("%s", strings.Join(why, "; "))
}

// Missing returns what the people there leave unmet, nil when the quorum is
// met. People who are the engineer count not at all, and whoever is there with
// two accounts counts once, for what either of them may be.
// It finds the assignment of people to needs that leaves the fewest unmet
// (augmenting paths, as for any bipartite matching), so the order of entries
// and of arrivals does not matter.
func (q Quorum) Missing(engineer Identity, there []Identity) []Need {
	people := distinct(engineer, there)
	holder := make([][]int, len(q)) // people assigned to each need
	assigned := make([]int, len(people))
	for i := range assigned {
		assigned[i] = -1
	}
	var place func(need int, seen []bool) bool
	place = func(need int, seen []bool) bool {
		for p := range people {
			if seen[p] || !people[p].fit(q[need], engineer) {
				continue
			}
			seen[p] = true
			if before := assigned[p]; before < 0 || (before != need && place(before, seen)) {
				if before >= 0 {
					holder[before] = without(holder[before], p)
				}
				assigned[p] = need
				holder[need] = append(holder[need], p)
				return true
			}
		}
		return false
	}
	var missing []Need
	for i, n := range q {
		for range max(n.Count, 1) {
			if !place(i, make([]bool, len(people))) {
				break
			}
		}
	}
	for i, n := range q {
		if left := max(n.Count, 1) - len(holder[i]); left > 0 {
			n.Count = left
			missing = append(missing, n)
		}
	}
	return missing
}

func without(list []int, x int) []int {
	kept := list[:0]
	for _, v := range list {
		if v != x {
			kept = append(kept, v)
		}
	}
	return kept
}

// human is the accounts of one person.
type human []Identity

func (h human) fit(n Need, engineer Identity) bool {
	return slices.ContainsFunc(h, func(i Identity) bool { return n.fits(engineer, i) == "" })
}

// distinct tells people apart, and leaves out the engineer. Accounts that are
// the same person as a third are one another's too, whoever came first.
func distinct(engineer Identity, there []Identity) (people []human) {
	_, left := take(engineer, there)
	for len(left) > 0 {
		var who human
		who, left = take(left[0], left[1:])
		people = append(people, who)
	}
	return people
}

// take takes one person's accounts out of a list.
func take(first Identity, list []Identity) (who human, others []Identity) {
	who, others = human{first}, slices.Clone(list)
	for i := 0; i < len(who); i++ {
		one := who[i]
		others = slices.DeleteFunc(others, func(p Identity) bool {
			same := p.SamePersonAs(one)
			if same {
				who = append(who, p)
			}
			return same
		})
	}
	return who, others
}
