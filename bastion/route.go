package bastion

import (
	"fmt"
	"strings"

	"github.com/twokey/twokey/session"
)

// This file reads the SSH user name, which says what somebody wants: a target,
// a target and mode, or, with any other name, the lobby.

// maxUser bounds the part of a user name that is looked at.
const maxUser = 128

// wish is what somebody came for. The zero wish is the lobby.
type wish struct {
	target session.Target
	mode   session.Mode
	note   string // for the lobby: the name looked like a target and is none
}

func (w wish) lobby() bool { return w.target.Name == "" }

// route finds the target and mode of a user name. An error is a refusal.
func route(user string, targets []session.Target) (wish, error) {
	if len(user) > maxUser {
		return wish{}, nil
	}
	name, mode, hasMode := strings.Cut(user, "+")
	for _, t := range targets {
		if t.Name != name || name == "" {
			continue
		}
		m, ok := t.Mode(mode)
		if !ok || hasMode && mode == "" {
			return wish{}, refusal("target %s has no mode %q; it has %s", t.Name, mode, strings.Join(modeNames(t), ", "))
		}
		return wish{target: t, mode: m}, nil
	}
	if hasMode {
		return wish{note: fmt.Sprintf("there is no target %q; this is the lobby", session.OneLine(name, 40))}, nil
	}
	return wish{}, nil
}

// userFor is the user name that asks for a mode.
func userFor(t session.Target, m session.Mode) string {
	if len(t.Modes) > 0 && t.Modes[0].Name == m.Name {
		return t.Name
	}
	return t.Name + "+" + m.Name
}

func modeNames(t session.Target) []string {
	names := make([]string, len(t.Modes))
	for i, m := range t.Modes {
		names[i] = m.Name
	}
	return names
}

// mayOpen says why somebody may not open a mode, or nil.
func mayOpen(who session.Identity, t session.Target, m session.Mode) error {
	if !who.Valid() {
		return refusal("nobody knows who you are")
	}
	if !who.InAny(m.Engineers) {
		return refusal("%s mode %s is for %s, and you are not in it", t.Name, m.Name, orNobody(m.Engineers))
	}
	return nil
}

func orNobody(groups []string) string {
	if len(groups) == 0 {
		return "nobody"
	}
	return strings.Join(groups, " or ")
}
