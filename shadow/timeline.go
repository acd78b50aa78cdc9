package shadow

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twokey/twokey/session"
)

// This file is time, as the seat at a recording shows and reads it.

// replayHelp is what the keys do there.
const replayHelp = "space  stop, go on; at the end: again        q, Ctrl-C  leave\n" +
	"Left Right (or , .)  5 s back, on; with Shift (or < >) a minute    Home End  the beginning, the end\n" +
	"[ ]  the statement before, the next    { }  what else has a mark    g  go to a time: 90, 1:30, 1m30s, 50%\n" +
	"+ -  faster, slower    i  cut long pauses short, or not\n" +
	"/  search statements and screen    n N  the next, the one before\n" +
	"f  the whole text of the last statement shown    u  the same, all but plain letters by their numbers\n" +
	"PgUp PgDn Up Down  earlier and later ones    Esc  back\n" +
	"On the timeline: │ a statement, x one that failed, J L somebody sat down, left, ? asked for a yes,\n" +
	"H held, ! alarm, K killed, * found"

// timeline remembers the bar that was drawn last: marks may be many.
type timeline struct {
	cols, marks, hits int
	length            time.Duration
	bar               []rune
}

// importance of marks that fall together: the later ones are shown.
var importance = []markKind{markStatement, markFailed, markLeave, markJoin, markAsk, markFound, markHold, markAlarm, markKill}

// draw is a row of so many cells: a bar with marks, and where we are on it.
func (l *timeline) draw(x *index, s *search, at, length time.Duration, cols int) string {
	l.prepare(x, s, length, cols)
	here := column(at, length, cols)
	var b strings.Builder
	for i, r := range l.bar {
		switch {
		case i == here:
			b.WriteString(bar + string(r) + reset)
		case r == '─' && i < here:
			b.WriteRune('━')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func column(at, length time.Duration, cols int) int {
	if length <= 0 {
		return 0
	}
	return min(int(float64(at)/float64(length)*float64(cols)), cols-1)
}

// prepare brings the bar up to date.
func (l *timeline) prepare(x *index, s *search, length time.Duration, cols int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var hits []moment
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		hits = s.hits
	}
	now := timeline{cols: cols, marks: len(x.marks), hits: len(hits), length: length}
	if l.bar != nil && now.cols == l.cols && now.marks == l.marks && now.hits == l.hits && now.length == l.length {
		return
	}
	now.bar = []rune(strings.Repeat("─", cols))
	set := func(at time.Duration, kind markKind) {
		r := &now.bar[column(at, length, cols)]
		if slices.Index(importance, kind) > slices.Index(importance, markKind(*r)) {
			*r = rune(kind)
		}
	}
	for _, m := range x.marks {
		set(m.at, m.kind)
	}
	for _, m := range hits {
		set(m.at, markFound)
	}
	*l = now
}

var errNoTime = errors.New("that is no time: 90, 1:30, 1:02:03, 1m30s or 50%")

// parseTime reads a time into a recording as people type it.
func parseTime(text string, length time.Duration) (time.Duration, error) {
	const most = 1000 * time.Hour
	if percent, found := strings.CutSuffix(text, "%"); found {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(n >= 0 && n <= 100) {
			return 0, errNoTime
		}
		return time.Duration(n / 100 * float64(length)), nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 && d < most {
		return d, nil
	}
	var seconds float64
	parts := strings.Split(text, ":")
	for _, part := range parts {
		n, err := strconv.ParseFloat(part, 64)
		if err != nil || !(n >= 0 && n < 1e6) || len(parts) > 3 {
			return 0, errNoTime
		}
		seconds = seconds*60 + n
	}
	if d := time.Duration(seconds * float64(time.Second)); d < most {
		return d, nil
	}
	return 0, errNoTime
}

// speedText is how fast it is, in words.
func speedText(speed float64) string {
	return strconv.FormatFloat(speed, 'g', 4, 64) + "x"
}

// stamp is what a frame depends on, but for the view.
type stamp struct {
	size                    session.Size
	where                   moment
	here, column            int
	length                  time.Duration
	hits, keys              int
	arrived, over, all, end bool
	hint                    string
}

// frame sends what is different from what is shown, no more often than every
// frameInterval.
func (u *replayUI) frame() error {
	now, s := time.Now(), u.stamp()
	if s == u.drawn || now.Sub(u.painted) < frameInterval-time.Millisecond {
		return nil
	}
	u.drawn, u.painted = s, now
	next := tooSmall(u.size, " q leave")
	if roomy(u.size) {
		next = u.picture()
	}
	if next.size = u.size; next.size != u.shown.size {
		u.shown = frame{}
	}
	if u.t.Colourless {
		for i, row := range next.rows {
			next.rows[i] = colourless(row)
		}
	}
	text := update(u.shown, next)
	if !u.entered {
		text, u.entered = enter+text, true
	}
	u.shown = next
	_, err := io.WriteString(u.t.Out, text)
	return err
}

func (u *replayUI) stamp() stamp {
	w := u.reel.where()
	length, all := u.length()
	s := stamp{
		size: u.size, where: w.at, here: int(u.here() / time.Second), column: column(u.here(), length, u.size.Cols),
		length: length, keys: u.pressed, arrived: u.state(w) != "SEEK", over: w.over, all: all, end: u.told, hint: u.hint,
	}
	if u.find != nil {
		s.hits, _ = u.find.known()
	}
	return s
}

// farewell gives the terminal back, and says why it was over, at the end.
func (u *replayUI) farewell() error {
	if !u.entered {
		return nil
	}
	text := leave
	if w := u.reel.where(); w.over && w.arrived && u.reel.view.ending() != "" {
		text += clock(w.at.at) + " " + u.reel.view.ending() + "\r\n"
	}
	_, err := io.WriteString(u.t.Out, text)
	return err
}

// picture is the frame.
func (u *replayUI) picture() frame {
	w := u.reel.where()
	st := status{who: u.who(), bottom: u.bottom(w), upto: u.upto, first: u.first, with: "watched by ", time: u.timeline(w)}
	if st.open, st.gate = u.reel.view.gate(); st.gate != "" {
		st.gate = ": " + st.gate
	}
	st.gate = map[bool]string{true: " gate open", false: " gate shut"}[st.open] + st.gate
	if u.over != nil {
		st.over = u.over.draw()
	}
	return u.reel.view.draw(u.window(), st)
}

// who is whose recording it is, and the time of day.
func (u *replayUI) who() string {
	a := u.recording.About
	parts := []string{"REPLAY"}
	if u.recording.Live {
		parts[0] = "FOLLOWING"
	}
	if a.Engineer != "" {
		parts = append(parts, a.Engineer, a.Target+"+"+a.Mode)
	}
	if !a.Started.IsZero() {
		parts = append(parts, a.Started.Add(u.here()).UTC().Format("2006-01-02 15:04:05Z"))
	}
	if a.Reason != "" {
		parts = append(parts, a.Reason)
	}
	return " " + Clean(strings.Join(parts, " · "))
}

// timeline is the row with the time.
func (u *replayUI) timeline(w whereabouts) string {
	length, all := u.length()
	left := fmt.Sprintf("%-5s %s ", u.state(w), clock(min(u.here(), length)))
	right := fmt.Sprintf(" %s %s", clock(length), speedText(u.clock.speed))
	if !all {
		right = fmt.Sprintf(" %s+ %s", clock(length), speedText(u.clock.speed))
	}
	if u.idle > 0 {
		right += " idle<" + u.idle.String()
	}
	cols := max(u.size.Cols-len(left)-len(right), 1)
	return left + u.line.draw(u.index, u.find, u.here(), length, cols) + fit(right, max(u.size.Cols-len(left)-cols, 1))
}

func (u *replayUI) state(w whereabouts) string {
	switch {
	case w.over && w.arrived:
		return "END"
	case u.live:
		return "LIVE"
	case !u.late.IsZero() && time.Since(u.late) > quick:
		return "SEEK"
	case u.clock.since.IsZero():
		return "PAUSE"
	}
	return "PLAY"
}

// bottom is the last line.
func (u *replayUI) bottom(w whereabouts) string {
	switch {
	case u.prompt == goingTo:
		return u.typed.draw(" Go to: ", "90, 1:30, 1m30s or 50%", u.size.Cols)
	case u.prompt == searching:
		return u.typed.draw(" Search: ", "Enter searches, Esc goes back", u.size.Cols)
	case u.over != nil:
		return fmt.Sprintf(" Esc back  page %d of %d: PgUp PgDn Home End", u.over.page+1, len(u.over.pages))
	case u.hint != "":
		return " " + u.hint
	case u.looking != 0:
		return " searching for " + Clean(u.find.text) + " …"
	case w.err != nil && w.over:
		return " IT CAN NOT BE READ ON FROM HERE: " + Clean(w.err.Error())
	case w.over && w.arrived:
		return u.atEnd()
	}
	keys := " space stop  [ ] statements  <- -> 5 s  g go to  / search  ? help  q leave"
	if u.clock.since.IsZero() {
		keys = strings.Replace(keys, "stop", "play", 1)
	}
	if u.upto != 0 || u.first != 0 {
		keys = " scrolled back (Esc) " + keys
	}
	if u.find != nil {
		hits, all := u.find.known()
		keys = fmt.Sprintf(" n N %s of %s ", map[bool]string{true: strconv.Itoa(hits), false: strconv.Itoa(hits) + "+"}[all], Clean(u.find.text)) + keys
	}
	return keys
}

// atEnd says what the end was, and what has not been seen by then.
func (u *replayUI) atEnd() string {
	text := u.reel.view.ending()
	if text == "" {
		text = "this is all that is stored so far"
	}
	if u.recording.Seen != nil && !u.told {
		if left, all, sure := u.unseen(); sure && left > 0 {
			text += fmt.Sprintf(" · %d of %d statements were not shown: [ ] goes through them", left, all)
		}
	}
	return " " + text + " · space plays it again  q leave"
}
