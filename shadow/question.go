package shadow

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twokey/twokey/session"
)

// This file is how a seat says yes or no: to a text that was shown to its end,
// and not by a key that was meant for the one before.

// settle is how long a question must have been shown before a key answers it.
const settle = 500 * time.Millisecond

// question is what waits for a shadow's answer.
type question struct {
	n   int
	all bool // yes may be for the whole transaction
	// commit: it has run, and the yes keeps what it did.
	commit bool
	text   string // clean, with line ends
}

// ask takes note of a question. The caller holds mu.
func (v *View) ask(a *session.AskInfo) {
	q := question{n: a.N, all: a.All, commit: a.Kind == session.AskCommit}
	q.text = oneLine(a.Text)
	if len(a.Params) > 0 {
		q.text += string(lineBreak) + "-- " + oneLine(fmt.Sprintf("%q", a.Params))
	}
	if len(a.Did) > 0 {
		q.text += "\nSo far in this transaction:"
	}
	for _, did := range a.Did {
		q.text += "\n  " + oneLine(did)
	}
	v.questions = append(v.questions, q)
}

// answered forgets one. The caller holds mu.
func (v *View) answered(n int) {
	v.questions = slices.DeleteFunc(v.questions, func(q question) bool { return q.n == n })
}

// question returns the one that has waited longest.
func (v *View) question() (q question, waits bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.questions) == 0 {
		return question{}, false
	}
	return v.questions[0], true
}

// waits reports whether a question still does.
func (v *View) waits(n int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(v.questions, func(q question) bool { return q.n == n })
}

// wants is what a yes is for, in words.
func (q question) wants() string {
	if q.commit {
		return "asks to COMMIT"
	}
	return "asks to run"
}

// asking is the question that a seat shows.
type asking struct {
	question
	page  *reading
	since time.Time // it is shown
	read  bool      // to its end
}

// show brings what is shown up to date, just before it is drawn. It is nil when
// nothing waits.
func (k *asking) show(q question, waits bool, size session.Size, now time.Time) *asking {
	switch {
	case !waits:
		return nil
	case k == nil || k.n != q.n:
		k = &asking{question: q, page: read(q.text, size.Cols, paneRows(size)), since: now}
	}
	k.read = k.read || k.page.page == len(k.page.pages)-1
	return k
}

// answerable says why a key does not answer yet, or "".
func (k *asking) answerable(now time.Time) string {
	switch {
	case !k.read:
		return "read it to its end first: PgDn"
	case now.Sub(k.since) < settle:
		return "this one has just come"
	}
	return ""
}

// line is the last line of the seat while something waits; a hint says why the
// last key did not answer it.
func (k *asking) line(engineer, hint string) string {
	all := ""
	if k.all {
		all = "  ^A yes to all in this transaction"
	}
	text := fmt.Sprintf(" #%d %s %s  ^Y yes  ^N no%s  ^K kill", k.n, engineer, k.wants(), all)
	if pages := len(k.page.pages); pages > 1 {
		text = fmt.Sprintf(" page %d of %d, PgDn ·", k.page.page+1, pages) + text
	}
	if hint != "" {
		text = " " + hint + " ·" + text
	}
	return text
}

// spoken is the question as a line for those who have no terminal.
func (q question) spoken() string {
	text := fmt.Sprintf("#%d %s: %s", q.n, q.wants(), strings.ReplaceAll(q.text, "\n", " · "))
	if q.all {
		return text + fmt.Sprintf(" (approve %d, approve-all %d, deny %d REASON)", q.n, q.n, q.n)
	}
	return text + fmt.Sprintf(" (approve %d, deny %d REASON)", q.n, q.n)
}
