package shadow

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twokey/twokey/session"
)

// This file is how a seat says yes or no: to a text that was shown to its end,
// and not by a key that was meant for the one before. What was sent is not
// shown yet: the network may hold it back for seconds, and whoever asks can see
// to that with a flood of output. So the terminal is asked how far it is.

// settle is how long a question must have been shown before a key answers it.
const settle = 500 * time.Millisecond

// proveAgain is how long the terminal may take to say that it shows a question
// before it is asked again: it may have got another size in between.
const proveAgain = 2 * time.Second

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
	q.text = marked(q.text)
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
	read  bool      // its end is in the frame that was drawn last, or was in one before
	asked time.Time // when the terminal was asked whether it shows that
	at    spot      // and where its cursor was put for that
	since time.Time // it is known to be shown to its end
}

// spot is a cell of a terminal, counted from 1.
type spot struct{ row, col int }

// show brings what is shown up to date, just before it is drawn; covered when
// something else will be in its place. It is nil when nothing waits.
func (k *asking) show(q question, waits, covered bool, cols, rows int) *asking {
	switch {
	case !waits:
		return nil
	case k == nil || k.n != q.n:
		k = &asking{question: q, page: readSQL(q.text, cols, rows)}
	}
	k.read = k.read || !covered && k.page.page == len(k.page.pages)-1
	return k
}

// prove asks the terminal to say when it has come as far as this, in a way that
// no answer for another question can be taken for. "" when that is not needed.
func (k *asking) prove(size session.Size, now time.Time) string {
	if k == nil || !k.read || !k.since.IsZero() || now.Sub(k.asked) < proveAgain {
		return ""
	}
	rows, cols := max(size.Rows-1, 1), max(size.Cols, 1)
	k.asked, k.at = now, spot{2 + k.n%rows, 1 + k.n/rows%cols}
	return locate(k.at)
}

// locate asks where the cursor is (ECMA-48 8.3.35, DSR 6) after it was put somewhere;
// it is back where it was then (DECSC, DECRC).
func locate(at spot) string { return fmt.Sprintf("\x1b7\x1b[%d;%dH\x1b[6n\x1b8", at.row, at.col) }

// located takes the terminal's answer.
func (k *asking) located(at spot, now time.Time) {
	if k != nil && at == k.at && k.since.IsZero() {
		k.since = now
	}
}

// answerable says why a key does not answer yet, or "".
func (k *asking) answerable(now time.Time) string {
	switch {
	case !k.read:
		return "read it to its end first: PgDn"
	case k.since.IsZero() || now.Sub(k.since) < settle:
		return "this one has just come"
	}
	return ""
}

// line is the last line of the seat while something waits; a hint says why the
// last key did not answer it. Its keys are in sight however narrow the window is
// and whoever asks: what does not fit is cut off before them.
func (k *asking) line(engineer, hint string, cols int) string {
	text := fmt.Sprintf(" #%d %s %s", k.n, engineer, k.wants())
	if hint != "" {
		text = " " + hint + " ·" + text
	}
	keys, long := "  ^Y yes  ^N no", ""
	if k.all {
		keys, long = keys+"  ^A all", " in this transaction"
	}
	if pages := len(k.page.pages); pages > 1 {
		more := fmt.Sprintf("  page %d of %d", k.page.page+1, pages)
		if !k.read { // nothing answers it before its end
			keys, long = more+": PgDn", ""
		} else if textWidth(text+more+keys) < cols-len(killKey) {
			keys = more + keys
		}
	}
	if textWidth(text+keys+long+killKey) <= cols {
		keys += long
	}
	keys += killKey
	return fit(text, max(cols-textWidth(keys), 1)) + keys
}

const killKey = "  ^K kill"

// listed is the question as one line of the list of statements.
func (q question) listed() string {
	return fmt.Sprintf("#%d %s: %s", q.n, q.wants(), strings.ReplaceAll(q.text, "\n", " · "))
}

// spoken is the question as a line for those who have no terminal.
func (q question) spoken() string {
	text := q.listed()
	if q.all {
		return text + fmt.Sprintf(" (approve %d, approve-all %d, deny %d REASON)", q.n, q.n, q.n)
	}
	return text + fmt.Sprintf(" (approve %d, deny %d REASON)", q.n, q.n)
}
