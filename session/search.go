package session

import (
	"slices"
	"strings"
	"time"
)

// This file holds the words in which recordings are looked for: what is asked,
// and what is found.

// Query says which sessions are looked for. The zero Query is all of them.
type Query struct {
	// Seer is who asks, where that is somebody who may not see everything.
	Seer *Seer

	ID, Code         string // exactly these
	Engineer, Shadow string // names, in any case, whole or up to their @
	Target, Mode     string
	Since, Until     time.Time // begun
	End              Code
	Flags            []string // each of them

	// Text must be in a statement, or, with Screen, in what was on the screen. Case,
	// the kind and amount of white space, and whether an accent is a character of its own
	// (Unicode's NFC and NFD) do not matter; nothing in it is special.
	Text   string
	Screen bool

	Before Place // only what lies before it; newest comes first
}

// Seer is a person who sees their own sessions, those they shadowed, and those of
// some modes.
type Seer struct {
	Who   Identity
	Modes []ModeName
}

// ModeName names a mode of a target.
type ModeName struct{ Target, Mode string }

// Place is where something was found. The zero Place is the end of everything.
type Place struct {
	ID string // of the session
	N  int    // counts what was found in it; 0: the beginning of the session
}

// Found is a session that has ended and lies in the store.
type Found struct {
	Summary
	Opened Identity   `json:"-"` // the engineer
	Seated []Identity `json:"-"` // everybody who sat down as shadow
}

// Hit is a text that was found.
type Hit struct {
	Found
	Place  Place
	At     time.Duration // since the session began
	N      int           // of the statement; 0: it was on the screen
	Text   string        // all of the statement, or the lines around it, on one line
	Offset int           // where in Text the match begins, in runes
}

// Indexed says how much of the store an index holds.
type Indexed struct {
	At        time.Time // when it last followed the store; zero: never
	Sessions  int
	Unread    int      // of these, what is in them is still to be read
	Encrypted int      // there is nothing here that opens them
	Broken    int      // can not be read
	Cut       int      // hold more text than is indexed
	Troubles  []string // of some that are not in it, because their manifest can not be read
}

// UnprovenFlag is set, in listings alone, on a session whose manifest is by no
// key that is trusted.
const UnprovenFlag = "unproven"

// Matches reports whether a session is what is looked for, as far as its summary
// tells: Seer, Text and Before are not in it.
func (q Query) Matches(s Summary) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(q.ID, s.ID) && is(q.Code, s.Code) && is(q.Target, s.Target) && is(q.Mode, s.Mode) &&
		(q.Engineer == "" || Called(s.Engineer, q.Engineer)) &&
		(q.Shadow == "" || slices.ContainsFunc(s.Shadows, func(name string) bool { return Called(name, q.Shadow) })) &&
		(q.Since.IsZero() || !s.Started.Before(q.Since)) &&
		(q.Until.IsZero() || !s.Started.After(q.Until)) &&
		(q.End == "" || s.Cause != nil && s.Cause.Code == q.End) &&
		!slices.ContainsFunc(q.Flags, func(f string) bool { return !slices.Contains(s.Flags, f) })
}

// Called reports whether somebody goes by a name: all of theirs, or what stands
// before its @, in any case.
func Called(name, as string) bool {
	name, as = strings.ToLower(name), strings.ToLower(as)
	local, _, _ := strings.Cut(name, "@")
	return name == as || local == as
}
