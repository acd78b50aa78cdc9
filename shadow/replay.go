package shadow

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/twokey/twokey/session"
)

// This file is the seat at a recording: what a shadow saw, and time. Nothing of
// what is on the tape gets to the terminal but as cells of the screen model and as
// cleaned text, as at a live session.

// Recording is what is played on a terminal.
type Recording struct {
	Tape  Tape
	About session.Summary // whose it is, as far as that is known
	// Live: begin at the end of the tape and stay there. It waits for what comes.
	Live bool
	// Seen is called once, as soon as all statements and the end have been shown;
	// nil when nobody asks.
	Seen func() error
}

// Slowest and fastest, and the idle limit that its key sets when there is none.
const (
	minSpeed    = 0.01
	maxSpeed    = 1024
	defaultIdle = 2 * time.Second
)

// How far the arrow keys go.
const (
	stepNear = 5 * time.Second
	stepFar  = time.Minute
)

// replayUI is one viewer's seat at a recording.
type replayUI struct {
	pages
	recording Recording
	t         PlayTerminal
	reel      *reel
	index     *index
	keys      keyReader
	size      session.Size

	clock   clockwork
	want    moment        // where the view shall be
	idle    time.Duration // the longest pause; 0: as long as it was
	live    bool          // at the end of the tape, whatever it is
	prompt  replayPrompt
	typed   answer
	hint    string
	find    *search
	stop    context.CancelFunc // of find
	whole   bool               // what is read is a statement
	looking int                // for a hit that is not known yet: 1 the next, -1 the last before
	line    timeline

	seen   stretches // what has been shown
	tally  tally     // of it, when it is sure
	last   moment    // that has been shown
	jumped bool      // what is shown next does not go on from there
	missed bool      // nor is what went by meanwhile shown
	told   bool      // Seen was called
	left   bool

	ctx     context.Context // of those who read the tape
	works   sync.WaitGroup  // they
	entered bool            // the terminal was taken
	shown   frame
	drawn   stamp
	painted time.Time // when that was
	pressed int       // bytes of keys, and other sizes
	late    time.Time // since when the view is not where it shall be; the zero time: it is
}

type replayPrompt int

const (
	playing replayPrompt = iota
	goingTo
	searching
)

// clockwork says how far a recording is that is played.
type clockwork struct {
	base  time.Duration
	since time.Time // the zero time: it stands still
	speed float64
}

func (c *clockwork) now() time.Duration {
	if c.since.IsZero() {
		return c.base
	}
	return c.base + time.Duration(float64(time.Since(c.since))*c.speed)
}

// set goes on from a time.
func (c *clockwork) set(at time.Duration) {
	c.base = max(at, 0)
	if !c.since.IsZero() {
		c.since = time.Now()
	}
}

func (c *clockwork) run(yes bool) {
	c.base, c.since = c.now(), time.Time{}
	if yes {
		c.since = time.Now()
	}
}

// Replay shows a recording on a terminal until the viewer leaves (nil), the
// recording or the terminal fails, or ctx ends (its cause). After Replay, In is
// read until a Read returns, and dropped.
func Replay(ctx context.Context, r Recording, t PlayTerminal, o PlayOptions) error {
	reading, stop := context.WithCancel(ctx)
	u := newReplay(reading, r, t, o)
	defer u.works.Wait()
	defer stop()
	u.works.Go(func() { u.reel.run(reading) })
	u.works.Go(func() { u.index.read(reading, r.Tape) })
	input, deaf, done := make(chan []byte), make(chan error, 1), make(chan struct{})
	defer close(done)
	go func() { deaf <- readChunks(t.In, input, done) }() // ends with done, or when what In reads is closed
	err := u.watch(ctx, input, deaf)
	failed := u.farewell()
	if !errors.Is(err, ErrLeft) {
		return err
	}
	return cmp.Or(u.reel.where().err, failed)
}

func newReplay(ctx context.Context, r Recording, t PlayTerminal, o PlayOptions) *replayUI {
	if o.Speed <= 0 {
		o.Speed = 1
	}
	x := newIndex()
	u := &replayUI{recording: r, t: t, index: x, ctx: ctx, size: t.Size, idle: o.MaxIdle, live: r.Live, jumped: o.At > 0 || r.Live, stop: func() {}}
	u.clock = clockwork{base: max(o.At, 0), since: time.Now(), speed: min(max(o.Speed, minSpeed), maxSpeed)}
	if u.want = by(u.clock.base); u.live {
		u.want = forever
	}
	u.reel = newReel(r.Tape, x, u.want)
	return u
}

// quick is how long a tape may take to show its beginning, or that it has none,
// before the terminal is taken.
const quick = 300 * time.Millisecond

// watch is the life of the seat: keys, and frames.
func (u *replayUI) watch(ctx context.Context, input <-chan []byte, deaf <-chan error) error {
	tick := time.NewTicker(frameInterval)
	defer tick.Stop()
	first, begins := u.reel.came, time.After(quick)
	var stuck <-chan time.Time // frames do not put it off
	for !u.left {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case p := <-input:
			u.press(p)
			if stuck = nil; u.keys.patience() > 0 {
				stuck = time.After(u.keys.patience())
			}
		case err := <-deaf:
			if errors.Is(err, io.EOF) {
				err = ErrLeft // nobody can press a key any more
			}
			return err
		case <-stuck:
			stuck = nil
			u.key(u.keys.giveUp())
			u.pressed++
		case size := <-u.t.Resize:
			u.resize(size)
		case <-first:
			first, begins = nil, nil
		case <-begins:
			first, begins = nil, nil
		case <-tick.C:
		}
		if first != nil {
			continue
		}
		if err := u.advance(); err != nil {
			return err
		}
		if err := u.frame(); err != nil {
			return err
		}
	}
	return ErrLeft
}

func (u *replayUI) resize(size session.Size) {
	u.size = size
	if u.over != nil {
		u.over = u.over.resized(size.Cols, u.reel.view.paneRows(u.window()))
	}
}

// window is where everything is but the timeline.
func (u *replayUI) window() session.Size {
	return session.Size{Cols: u.size.Cols, Rows: u.size.Rows - 1}
}

// advance lets time go by. What cannot be read at all is an error.
func (u *replayUI) advance() error {
	if u.looking != 0 {
		u.found(u.looking)
	}
	w := u.reel.where()
	switch {
	case w.err != nil && w.at == (moment{}):
		return w.err
	case w.arrived:
		u.late = time.Time{}
		u.showed(w.at)
	case u.live: // it waits for what comes
		u.late = time.Time{}
	case u.late.IsZero():
		u.late = time.Now()
	}
	switch {
	case u.live || u.clock.since.IsZero():
	case !w.arrived:
		u.clock.set(u.want.at) // it waits for the screen
	case w.at != u.drawn.where: // and for it to be drawn
	case w.over:
		u.clock.run(false)
		u.clock.set(w.at.at)
	default:
		now := u.clock.now()
		if u.idle > 0 && w.next > now && now >= w.at.at+u.idle {
			now = w.next
			u.clock.set(now)
		}
		u.play(by(now))
	}
	if w.over && w.arrived && w.err == nil {
		return u.tell()
	}
	return nil
}

// play goes on to a moment, or less far: however fast it is played, no more
// statements come at once than the pane has rows, so that each is seen.
func (u *replayUI) play(to moment) {
	if m, sooner := u.index.nth(u.reel.view.paneRows(u.window()), u.want, to); sooner {
		u.clock.set(m.at)
		to = m
	}
	u.be(to)
}

// be wants the view to be at a moment.
func (u *replayUI) be(m moment) {
	if m != u.want {
		u.want = m
		u.reel.seek(m)
	}
}

// jump goes to a moment, past what lies between.
func (u *replayUI) jump(m moment) {
	u.jumped, u.upto, u.live = true, 0, false
	u.clock.set(m.at)
	u.be(m)
}

// land goes to a moment and stays there.
func (u *replayUI) land(m moment) {
	u.clock.run(false)
	u.jump(m)
}

// here is the time that is shown.
func (u *replayUI) here() time.Duration {
	if u.live {
		return u.reel.where().at.at
	}
	return min(u.clock.now(), max(u.want.at, u.clock.base))
}

// showed notes that everything up to a moment has been shown, since the last
// jump; and behind a jump the newest statement, which is shown whole. What went
// by while there was something over the list, or no room for it, has not been.
func (u *replayUI) showed(m moment) {
	if u.blind() {
		u.missed = true
		return
	}
	from := u.last
	if u.jumped || u.missed {
		from = m
		if at, any := u.reel.view.newest(); any && at < m.at {
			from = moment{at: at}
		}
	}
	if !u.seen.holds(from, m) {
		u.seen.add(stretch{from, m})
		u.tally = tally{}
	}
	if u.jumped && u.whole && u.over != nil { // what is read is the statement that is shown now
		u.over = nil
		u.open("", u.reel.view, u.window())
	}
	u.last, u.jumped, u.missed = m, false, false
}

// blind reports whether statements go by unseen.
func (u *replayUI) blind() bool {
	reads := u.over != nil && !(u.whole && u.jumped) // behind a jump it is the newest statement that is read
	return reads || u.upto != 0 || !roomy(u.size)
}

// tell says, once, that all has been shown.
func (u *replayUI) tell() error {
	if u.told || u.recording.Seen == nil || u.reel.view.ending() == "" {
		return nil
	}
	if left, _, sure := u.unseen(); left > 0 || !sure {
		return nil
	}
	u.told = true
	return u.recording.Seen()
}

// tally is how many statements there are, and how many have not been shown.
type tally struct {
	left, all int
	sure      bool
}

// unseen counts again only when more has been shown: a frame is no time for it.
func (u *replayUI) unseen() (left, all int, sure bool) {
	if !u.tally.sure {
		u.tally.left, u.tally.all, u.tally.sure = u.index.unseen(u.seen)
	}
	return u.tally.left, u.tally.all, u.tally.sure
}

// press takes what was typed.
func (u *replayUI) press(p []byte) {
	u.pressed += len(p)
	for _, b := range p {
		u.key(u.keys.take(b))
	}
}

func (u *replayUI) key(k key) {
	switch {
	case k == keyNone, k == keyAnswer, k == keyLocated: // nobody has pressed it
		return
	case k == keyStop, k == keyEnd, k == keyLeave:
		u.left = true
	case u.prompt == playing:
		u.hint = ""
		u.command(k)
	case k == keyEsc:
		u.prompt = playing
	case k == keyEnter:
		u.enter()
	default:
		u.typed.take(k)
	}
}

func (u *replayUI) command(k key) {
	switch k {
	case 'q', 'Q':
		u.left = true
	case ' ':
		u.toggle()
	case keyLeft, keyRight, keyFarLeft, keyFarRight, ',', '.', '<', '>':
		u.jump(by(max(u.here()+steps[k], 0)))
	case '[', ']', '{', '}':
		u.step(k)
	case '+', '=':
		u.faster(2)
	case '-', '_':
		u.faster(0.5)
	case 'i', 'I':
		u.limitIdle()
	case 'g', 'G':
		u.prompt, u.typed = goingTo, nil
	case '/':
		u.prompt, u.typed = searching, nil
	case 'n':
		u.found(1)
	case 'N':
		u.found(-1)
	default:
		u.look(k)
	}
}

// steps is how far keys go in time.
var steps = map[key]time.Duration{
	keyLeft: -stepNear, keyRight: stepNear, ',': -stepNear, '.': stepNear,
	keyFarLeft: -stepFar, keyFarRight: stepFar, '<': -stepFar, '>': stepFar,
}

// look is a key that changes what is looked at, and not when.
func (u *replayUI) look(k key) {
	switch {
	case k == '?':
		u.whole = false
		u.open(replayHelp, u.reel.view, u.window())
	case k == 'f', k == 'F':
		u.whole = true
		u.open("", u.reel.view, u.window())
	case k == 'u', k == 'U':
		u.whole = false
		text, _ := u.reel.view.statement(u.upto)
		u.open(spelled(text), u.reel.view, u.window())
	case k == keyEsc:
		u.back()
	case u.over == nil && k == keyHome:
		u.jump(by(0))
	case u.over == nil && k == keyLast:
		u.toEnd()
	default:
		u.scroll(k, u.reel.view, u.window())
	}
}

// toEnd goes to the end of the tape: of what runs, to stay there.
func (u *replayUI) toEnd() {
	u.jumped, u.upto, u.live = true, 0, true
	u.be(forever)
}

// toggle stops and goes on; at the end it begins again.
func (u *replayUI) toggle() {
	w := u.reel.where()
	switch {
	case w.over && w.arrived && w.err == nil:
		u.jump(by(0))
		u.clock.run(true)
	case u.live:
		u.land(w.at)
	default:
		u.clock.run(u.clock.since.IsZero())
	}
}

// step goes to a statement, or to what else has a mark.
func (u *replayUI) step(k key) {
	from := u.want
	if u.live {
		from = u.reel.where().at
	}
	m, found := u.index.step(from, k == '[' || k == '{', k == '[' || k == ']')
	switch _, all := u.index.length(); {
	case found:
		u.land(m)
	case k == '[' || k == '{':
		u.hint = "none before this"
	case !all:
		u.hint = "none is known yet: the recording is being read"
	default:
		u.hint = "none after this"
	}
}

func (u *replayUI) faster(by float64) {
	u.clock.base = u.here()
	u.clock.set(u.clock.base)
	u.clock.speed = min(max(u.clock.speed*by, minSpeed), maxSpeed)
}

func (u *replayUI) limitIdle() {
	if u.idle > 0 {
		u.idle = 0
	} else {
		u.idle = defaultIdle
	}
}

func (u *replayUI) enter() {
	text := u.typed.text()
	was := u.prompt
	u.prompt, u.typed = playing, nil
	switch {
	case text == "":
	case was == goingTo:
		length, _ := u.length()
		at, err := parseTime(text, length)
		if err != nil {
			u.hint = err.Error()
			return
		}
		u.jump(by(at))
	case was == searching:
		u.search(text)
	}
}

// search looks for a text, beginning where we are.
func (u *replayUI) search(text string) {
	u.stop()
	ctx, stop := context.WithCancel(u.ctx)
	u.find, u.stop = newSearch(text), stop
	find := u.find
	u.works.Go(func() { find.read(ctx, u.recording.Tape) })
	u.looking = 1
}

// found goes to the next hit, or the last one before, as soon as it is known.
func (u *replayUI) found(direction int) {
	if u.find == nil {
		u.hint = "/ searches"
		return
	}
	from := u.want
	if u.live {
		from = u.reel.where().at
	}
	m, found, sure := u.find.step(from, direction < 0)
	switch {
	case !sure:
		u.looking = direction
		return
	case found:
		u.land(m)
	case direction < 0:
		u.hint = "nothing before this"
	default:
		u.hint = "nothing after this: N goes back"
	}
	u.looking = 0
}

// length is how long the recording is, and whether that is certain.
func (u *replayUI) length() (time.Duration, bool) {
	length, all := u.index.length()
	if a := u.recording.About; !all && !a.Ended.IsZero() {
		length = max(length, a.Ended.Sub(a.Started))
	}
	return max(length, u.reel.where().at.at), all
}
