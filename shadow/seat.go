package shadow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/twokey/twokey/session"
)

// This file is a shadow at a terminal: keys come in, frames go out. The two do
// not wait for each other: a terminal that takes nothing, or a session whose
// tape hangs, must not stand between a shadow and the kill.

// frameInterval is the shortest time between two frames. A slow network makes it
// longer; it never slows the view.
const frameInterval = time.Second / 30

// floodInterval is the same while each frame is new from top to bottom. Nobody reads
// such frames, and each costs the machine on which the engineer waits for her rows. A
// key is answered as soon as ever.
const floodInterval = time.Second / 10

// echoWait is how long a change waits for what comes with it: a key and its echo are one frame.
const echoWait = 5 * time.Millisecond

// SeatTerminal is the shadow's terminal.
type SeatTerminal struct {
	In     io.Reader // keys
	Out    io.Writer // may block for as long as the terminal does
	Size   session.Size
	Resize <-chan session.Size // may be nil

	// Every two seconds the terminal is asked whether it is there. The client
	// behind which it is stopped, or a pipe nobody reads, answers nothing for
	// it, however much SSH's window still takes. Both may be nil.
	Asked    func()
	Answered func() // may be called much later than the next Asked
}

// askTerminal asks for the device's status (ECMA-48 8.3.35, DSR 5), which every
// terminal answers with ESC [ 0 n.
const (
	askTerminal   = "\x1b[5n"
	askedInterval = 2 * time.Second
)

const (
	enter = "\x1b[?1049h\x1b[?7l\x1b[?2004h" + inOrder // the alternate screen, no wrapping, pastes marked as such
	leave = asBefore + "\x1b[0m\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l"
)

// ErrLeft is returned by Sit and Stream when the shadow got up.
var ErrLeft = errors.New("you left")

// seatUI is one shadow's seat.
type seatUI struct {
	desk
	chair chair
	facts func() facts
	view  *View
	in    io.Reader
	out   io.Writer
	sizes <-chan session.Size
	keys  keyReader

	onAsked, onAnswered func()

	mu     sync.Mutex // of what follows, which the painter reads
	size   session.Size
	prompt prompt
	typed  answer // at a prompt
	pages
	asking  *asking // what is shown and waits for an answer, or nil
	locates bool    // the terminal says where its cursor is
	hint    string  // why the last key did not answer it
	denied  int     // the question that no is said to, while the reason is typed
	holding bool
	rows    bool // the gate is shut because the engineer has had the rows that were released
	pressed time.Time
	left    bool
	touched chan struct{} // holds a token when the frame must be drawn anew
}

// facts is what the status lines say.
type facts struct {
	me   string
	want session.Request
	gate session.Gate
	tape session.Health
	// awake is how long the seat counts without a key; 0 when none is asked for.
	awake time.Duration
}

type prompt int

const (
	watching prompt = iota
	killing         // the reason is being typed; the gate is held
	saying
	denying // the reason of a no is being typed
	leaving // asked to confirm
)

// Sit shows the session to a seated shadow until the session ends (nil), the
// shadow leaves (ErrLeft), the view or the terminal fails, or ctx ends (its
// cause). It does not give up the seat: the caller does, whatever the reason.
// After Sit, In is read until a Read returns, and dropped.
func Sit(ctx context.Context, seat *session.Seat, v *View, t SeatTerminal) error {
	s := seat.Session()
	known := facts{me: Clean(seat.Who().Name), want: s.Request()}
	return sit(ctx, seat, v, t, func() facts {
		now := known
		now.gate, now.tape, now.awake = s.Gate(), s.Health(), seat.Awake()
		return now
	})
}

func sit(ctx context.Context, c chair, v *View, t SeatTerminal, known func() facts) error {
	u := &seatUI{
		chair: c, facts: known, view: v, in: t.In, out: t.Out, sizes: t.Resize, size: t.Size, onAsked: t.Asked, onAnswered: t.Answered,
		desk: newDesk(), touched: make(chan struct{}, 1),
	}
	done := make(chan struct{})
	painted := make(chan error, 1)
	go func() { painted <- u.paint(done) }() // waited for below, as long as is decent: it may hang in a write
	err := u.watch(ctx, done, painted)
	close(done)
	return u.end(err, painted)
}

// watch is the life of a seat: keys, until there is a reason to end.
func (u *seatUI) watch(ctx context.Context, done chan struct{}, painted chan error) error {
	input, deaf := make(chan []byte), make(chan error, 1)
	go func() { deaf <- readChunks(u.in, input, done) }() // ends with done, or when the channel that In reads is closed
	go u.act(done)                                        // ends with done, unless the session's tape hangs; then with it
	for {
		var stuck <-chan time.Time
		if patience := u.keys.patience(); patience > 0 {
			stuck = time.After(patience)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-u.view.over:
			return u.view.Err()
		case err := <-painted:
			painted <- err
			return err
		case p := <-input:
			u.press(p)
		case err := <-deaf:
			return err
		case <-stuck:
			u.press(nil)
		case size := <-u.sizes:
			u.resize(size)
		}
		if u.left {
			return ErrLeft
		}
	}
}

// readChunks hands on what comes from a terminal. Its error, io.EOF included, is
// the end of a seat: nobody is to watch who cannot kill.
func readChunks(in io.Reader, input chan<- []byte, done <-chan struct{}) (err error) {
	defer caught(&err, "the keys could not be read")
	for {
		buf := make([]byte, 256)
		n, err := in.Read(buf)
		if n > 0 {
			select {
			case input <- buf[:n]:
			case <-done:
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

func (u *seatUI) resize(size session.Size) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.size = size
	if u.over != nil {
		u.over = u.over.resized(size.Cols, u.view.paneRows(size))
	}
	if u.asking != nil {
		u.asking.page = u.asking.page.resized(size.Cols, u.view.paneRows(size))
	}
	u.soon(func() { u.chair.Resize(size) })
	u.touch()
}

func (u *seatUI) touch() {
	select {
	case u.touched <- struct{}{}:
	default:
	}
}

// press takes what was typed; nil when a sequence stood still too long.
func (u *seatUI) press(p []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	defer u.touch()
	if p == nil {
		u.key(u.keys.giveUp())
	}
	for _, b := range p {
		u.key(u.keys.take(b))
	}
}

// key does what a key means where we are. The caller holds mu.
func (u *seatUI) key(k key) {
	if k != keyNone && k != keyAnswer && k != keyLocated { // a person has pressed it
		u.hint = ""
		u.present()
	}
	switch {
	case k == keyNone:
	case k == keyAnswer:
		if u.onAnswered != nil {
			u.soon(u.onAnswered)
		}
	case k == keyLocated:
		u.locates = true
		u.asking.located(u.keys.at, time.Now())
	case k == keyKill && u.prompt != killing: // from anywhere, at once
		u.hold(true)
		u.prompt, u.typed = killing, nil
	case u.prompt == watching:
		u.command(k)
	case u.prompt == leaving:
		u.left = k == 'y' || k == 'Y' || k == keyLeave
		u.prompt = watching
	case k == keyEsc, k == keyStop:
		u.prompt = watching
	case k == keyEnter:
		u.enter()
	default:
		u.typed.take(k)
	}
}

// present tells that somebody sits here, at most once a second.
func (u *seatUI) present() {
	if time.Since(u.pressed) >= time.Second {
		u.pressed = time.Now()
		u.soon(u.chair.Present)
	}
}

func (u *seatUI) hold(yes bool) {
	u.holding = yes
	if yes {
		u.soon(u.chair.Hold)
	} else {
		u.soon(u.chair.Release)
	}
}

func (u *seatUI) command(k key) {
	switch k {
	case keyHold:
		u.hold(!u.holding && !u.rows)
	case keyYes, keyAll, keyNo:
		u.decide(k)
	case keySay:
		u.prompt, u.typed = saying, nil
	case keyLeave, keyStop:
		u.prompt = leaving
	case '?':
		u.open(help, u.view, u.size)
	case 'f', 'F':
		u.open("", u.view, u.size)
	case 'u', 'U':
		u.spell()
	case keyEsc:
		u.back()
	default:
		u.scroll(k)
	}
}

// decide answers the question that is shown, or says why not yet.
func (u *seatUI) decide(k key) {
	a := u.asking
	if a == nil || k == keyAll && !a.all {
		return
	}
	if u.over != nil {
		return // the last line says that Esc shows it
	}
	if u.hint = a.answerable(time.Now()); u.hint != "" {
		return
	}
	if k == keyNo {
		u.prompt, u.typed, u.denied = denying, nil, a.n
		return
	}
	u.soon(func() { u.chair.Approve(a.n, k == keyAll) })
}

// spell shows what asks, or else the last statement, character by character.
func (u *seatUI) spell() {
	text, _ := u.view.statement(u.upto)
	if u.asking != nil {
		text = u.asking.text
	}
	u.open(spelled(text), u.view, u.size)
}

// scroll turns the pages of what asks, or scrolls the statements.
func (u *seatUI) scroll(k key) {
	if u.over == nil && u.asking != nil {
		u.asking.page.turn(k)
		return
	}
	u.pages.scroll(k, u.view, u.size)
}

func (u *seatUI) enter() {
	text := u.typed.text()
	switch u.prompt {
	case killing:
		if text == "" {
			text = "no reason given"
		}
		u.chair.Kill(text)
	case saying:
		if text != "" {
			u.soon(func() { u.chair.Say(text) })
		}
	case denying:
		if text == "" {
			text = "no reason given"
		}
		n := u.denied
		u.soon(func() { u.chair.Deny(n, text) })
	}
	u.prompt, u.typed = watching, nil
}

// paint draws until done, at most every frameInterval, and restores the
// terminal. It returns the terminal's error.
func (u *seatUI) paint(done <-chan struct{}) (err error) {
	defer caught(&err, "the seat could not be drawn")
	if _, err := io.WriteString(u.out, enter+locate(spot{2, 2})); err != nil {
		return err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var shown frame
	var asked time.Time
	for floods := 0; ; {
		if u.onAsked != nil && time.Since(asked) >= askedInterval {
			if _, err := io.WriteString(u.out, askTerminal); err != nil {
				return err
			}
			u.onAsked()
			asked = time.Now()
		}
		changed, before := u.view.Changed(), shown
		if shown, err = u.frame(shown); err != nil {
			return err
		}
		if floods++; !shown.isNew(before) {
			floods = 0
		}
		if !u.rest(floods > 1, done) {
			return u.farewell(shown)
		}
		select {
		case <-done:
			return u.farewell(shown)
		case <-changed:
			select {
			case <-done: // its last frame is next
			case <-time.After(echoWait):
			}
		case <-u.touched:
		case <-tick.C:
		}
	}
}

// rest is the time between two frames. It is false when there is no next one.
func (u *seatUI) rest(floods bool, done <-chan struct{}) bool {
	select {
	case <-done:
		return false
	case <-time.After(frameInterval):
	}
	if !floods {
		return true
	}
	select {
	case <-done:
		return false
	case <-u.touched:
		u.touch()
	case <-time.After(floodInterval - frameInterval):
	}
	return true
}

// frame sends what is different from the frame that is shown.
func (u *seatUI) frame(shown frame) (frame, error) {
	size, st := u.status(u.facts())
	next := tooSmall(size, st.bottom)
	if roomy(size) {
		next = u.view.draw(size, st)
	}
	if next.size = size; size != shown.size {
		shown = frame{}
	}
	if _, err := io.WriteString(u.out, update(shown, next)); err != nil {
		return next, err
	}
	_, err := io.WriteString(u.out, u.prove())
	return next, err
}

// prove is what asks the terminal whether it shows the question, once that has
// been sent. Where the terminal never says, that it was sent has to do.
func (u *seatUI) prove() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	text := u.asking.prove(u.size, now)
	if text != "" && !u.locates {
		u.asking.since = now
	}
	return text
}

// tooSmall is a window that nobody can watch in. What is typed there acts all the
// same, so it is shown.
func tooSmall(size session.Size, bottom string) frame {
	rows := []string{fit("Too small to watch in:", size.Cols), fit(fmt.Sprintf("make it %d x %d.", minCols, minRows), size.Cols), bar + pad(bottom, size.Cols) + reset}
	return frame{rows: rows[:max(min(size.Rows, len(rows)), 1)], y: -1}
}

// farewell shows the last frame, gives the terminal back as it was, and says
// why it is over.
func (u *seatUI) farewell(shown frame) error {
	if _, err := u.frame(shown); err != nil {
		return err
	}
	text := leave
	u.view.mu.Lock()
	if cause := u.view.cause; cause != nil {
		text += "The session has ended: " + Clean(cause.Error()) + "\r\n"
	}
	u.view.mu.Unlock()
	_, err := io.WriteString(u.out, text)
	return err
}

// status puts the facts into words, for a window of a size.
func (u *seatUI) status(known facts) (session.Size, status) {
	q, waits := u.view.question()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.asking == nil || u.asking.n != q.n {
		u.hint = ""
	}
	covered := u.over != nil || !roomy(u.size)
	u.asking = u.asking.show(q, waits, covered, u.size.Cols, u.view.paneRows(u.size))
	u.rows = known.gate.Because == session.Rows
	want := known.want
	who := []string{want.Engineer.Name, want.Target.Name + "+" + want.Mode.Name, clock(time.Since(want.Started))}
	if want.Reason != "" {
		who = append(who, want.Reason)
	}
	st := status{
		me: known.me, with: "also here: ", open: known.gate.Open, upto: u.upto, first: u.first,
		who:    " " + Clean(strings.Join(who, " · ")),
		gate:   Clean(" gate " + known.gate.String() + " · " + Stored(known.tape)),
		bottom: u.bottom(known),
	}
	switch {
	case u.over != nil:
		st.over = u.over.draw()
	case u.asking != nil:
		st.over = u.asking.page.draw()
	}
	return u.size, st
}

// bottom is the last line. The caller holds mu.
func (u *seatUI) bottom(known facts) string {
	if sleepy := u.sleepy(known); sleepy != "" {
		return sleepy
	}
	switch u.prompt {
	case killing:
		return u.typed.draw(" KILL (gate shut). Why? ", "Enter kills, Esc holds", u.size.Cols)
	case saying:
		return u.typed.draw(" Say: ", "Enter says it, Esc goes back", u.size.Cols)
	case denying:
		return u.typed.draw(fmt.Sprintf(" NO to #%d. Why? ", u.denied), "Enter says so, Esc goes back", u.size.Cols)
	case leaving:
		return " Leave? y leaves, any other key stays. Without enough watchers the gate shuts"
	}
	hold := "^O hold"
	if u.holding || u.rows {
		hold = "^O RELEASE"
	}
	keys := " ^K kill  " + hold + "  ^T say  ^X leave  "
	switch {
	case u.asking != nil && u.over == nil:
		return u.asking.line(Clean(known.want.Engineer.Name), u.hint, u.size.Cols)
	case u.asking != nil:
		return " " + strings.ToUpper(u.asking.wants()) + ": Esc shows it  ^K kill"
	case u.over != nil:
		return fmt.Sprintf(" ^K kill  %sEsc back  page %d of %d: PgUp PgDn Home End", u.news(), u.over.page+1, len(u.over.pages))
	case u.first != 0:
		return " THE SCREEN AS IT WAS (Esc) " + keys + "? help"
	case u.upto != 0:
		return " scrolled back (Esc) " + keys + "f full  ? help"
	}
	if u.onScreen {
		return keys + "PgUp screen  ? help"
	}
	return keys + "f full text  ? help"
}

// sleepy asks for a key when the seat is about to count no more for the lack of one.
func (u *seatUI) sleepy(known facts) string {
	left, presence := known.awake, known.want.Mode.Limits.Presence
	switch {
	case left == 0 || left > min(presence/3, time.Minute):
		return ""
	case left <= time.Nanosecond:
		return " ^K kill  ARE YOU THERE? You do not count as watching. Press any key"
	}
	return fmt.Sprintf(" ^K kill  ARE YOU THERE? Press any key: without one you count for %d s more", int(left.Seconds())+1)
}

// news is what the text over the pane hides.
func (u *seatUI) news() string {
	if n := u.view.since(u.over.seen); n > 0 {
		return fmt.Sprintf("%d NEWER STATEMENTS  ", n)
	}
	return ""
}

// Stored says up to when a tape is in the store, in words.
func Stored(h session.Health) string {
	switch {
	case h.Err != nil:
		return "RECORDING IN TROUBLE: " + h.Err.Error()
	case h.Bytes == 0:
		return "all stored"
	case h.Lag < time.Minute:
		return fmt.Sprintf("stored to %d s ago", int(h.Lag.Seconds()+0.5))
	}
	return "stored to " + h.Lag.Round(time.Second).String() + " ago"
}
