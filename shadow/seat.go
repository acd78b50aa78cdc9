package shadow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/twokey/twokey/session"
)

// This file is a shadow at a terminal: frames go out, keys come in.

// frameInterval is the shortest time between two frames. A slow network makes it
// longer; it never slows the view.
const frameInterval = time.Second / 30

// escWait is how long an ESC may be the beginning of a sequence.
const escWait = 100 * time.Millisecond

// SeatTerminal is the shadow's terminal.
type SeatTerminal struct {
	In     io.Reader
	Out    io.Writer
	Size   session.Size
	Resize <-chan session.Size
}

const (
	enter = "\x1b[?1049h\x1b[?7l\x1b[2J" // the alternate screen, no wrapping
	leave = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
)

// ErrLeft is returned by Sit and Stream when the shadow got up.
var ErrLeft = errors.New("you left")

// seatUI is one shadow's seat.
type seatUI struct {
	seat *session.Seat
	view *View
	t    SeatTerminal
	size session.Size
	keys keyReader

	mode   mode
	typed  []rune // in a prompt
	scroll int
	help   bool
	left   bool
	shown  frame
}

type mode int

const (
	watching mode = iota
	killing       // the reason is being typed; the gate is held
	saying
	leaving // asked to confirm
)

// Sit shows the session to a seated shadow until the session ends (nil), the
// shadow leaves (ErrLeft), the view fails, or ctx ends. It does not give up the
// seat: the caller does, whatever the reason.
func Sit(ctx context.Context, seat *session.Seat, v *View, t SeatTerminal) error {
	u := &seatUI{seat: seat, view: v, t: t, size: t.Size}
	if _, err := io.WriteString(t.Out, enter); err != nil {
		return err
	}
	err := u.run(ctx)
	io.WriteString(t.Out, leave)
	v.mu.Lock()
	cause := v.cause
	v.mu.Unlock()
	if err == nil && cause != nil {
		fmt.Fprintf(t.Out, "The session has ended: %s\r\n", Clean(cause.Error()))
	}
	return err
}

func (u *seatUI) run(ctx context.Context) error {
	input := make(chan []byte)
	done := make(chan struct{})
	defer close(done)
	go u.read(input, done) // ends with done, or when the channel that In reads is closed
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		changed := u.view.Changed()
		if err := u.paint(); err != nil {
			return err
		}
		pause := time.After(frameInterval)
		var esc <-chan time.Time
		if u.keys.pendingEsc() {
			esc = time.After(escWait)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-u.view.over:
			u.paint()
			return u.view.Err()
		case p, more := <-input:
			if !more {
				return io.EOF
			}
			u.press(p)
		case <-esc:
			u.key(u.keys.flushEsc())
		case size := <-u.t.Resize:
			u.size, u.shown = size, frame{}
			u.seat.Resize(size)
		case <-tick.C:
		case <-changed:
			<-pause
		}
		if u.left {
			return ErrLeft
		}
	}
}

func (u *seatUI) read(input chan<- []byte, done <-chan struct{}) {
	defer close(input)
	for {
		buf := make([]byte, 256)
		n, err := u.t.In.Read(buf)
		if n > 0 {
			select {
			case input <- buf[:n]:
			case <-done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (u *seatUI) press(p []byte) {
	for _, b := range p {
		if k := u.keys.take(b); k != keyNone {
			u.key(k)
		}
	}
}

// key does what a key means where we are.
func (u *seatUI) key(k Key) {
	switch {
	case k == keyKill && u.mode != killing: // from anywhere, at once
		u.seat.Hold()
		u.mode, u.typed = killing, nil
	case u.mode == watching:
		u.command(k)
	case u.mode == leaving:
		u.left = k == 'y' || k == 'Y' || k == keyLeave
		u.mode = watching
	case k == keyEsc:
		u.mode = watching
	case k == keyEnter:
		u.enter()
	case k == keyBack && len(u.typed) > 0:
		u.typed = u.typed[:len(u.typed)-1]
	case k > 0 && len(u.typed) < 200 && (unicode.IsPrint(rune(k)) && k < 0x80):
		u.typed = append(u.typed, rune(k))
	}
}

func (u *seatUI) command(k Key) {
	switch k {
	case keyHold:
		if u.seat.Holding() {
			u.seat.Release()
		} else {
			u.seat.Hold()
		}
	case keySay:
		u.mode, u.typed = saying, nil
	case keyLeave:
		u.mode = leaving
	case '?':
		u.help = !u.help
	case keyPageUp:
		u.scroll += 5
	case keyPageDown:
		u.scroll = max(u.scroll-5, 0)
	}
}

func (u *seatUI) enter() {
	text := strings.TrimSpace(string(u.typed))
	switch u.mode {
	case killing:
		if text == "" {
			text = "no reason given"
		}
		u.seat.Kill(text)
	case saying:
		if text != "" {
			u.seat.Say(text)
		}
	}
	u.mode, u.typed = watching, nil
}

func (u *seatUI) paint() error {
	if u.size.Cols < 40 || u.size.Rows < 10 {
		return u.write(frame{rows: []string{fit("This window is too small to watch in.", u.size.Cols), fit("Make it 40x10 or larger.", u.size.Cols)}, cursor: [2]int{0, -1}})
	}
	return u.write(u.view.draw(u.size, u.status()))
}

func (u *seatUI) write(f frame) error {
	text := update(u.shown, f)
	if len(u.shown.rows) == 0 {
		text = "\x1b[2J" + text
	}
	u.shown = f
	_, err := io.WriteString(u.t.Out, text)
	return err
}

func (u *seatUI) status() status {
	s := u.seat.Session()
	sum, gate, want := s.Summary(), s.Gate(), s.Request()
	words := []string{want.Engineer.Name, want.Target.Name + "+" + want.Mode.Name}
	if want.Reason != "" {
		words = append(words, want.Reason)
	}
	words = append(words, clock(time.Since(want.Started)), "gate "+gate.String(), Stored(s.Health()), "watching: "+strings.Join(sum.Shadows, ", "))
	st := status{open: gate.Open, words: Clean(" " + strings.Join(words, " · ")), scroll: u.scroll, help: u.help}
	switch u.mode {
	case killing:
		st.bottom = " KILL: the gate is shut. Why? (Enter ends the session, Esc only holds) " + string(u.typed) + "▏"
	case saying:
		st.bottom = " Say: " + string(u.typed) + "▏"
	case leaving:
		st.bottom = " Leave? Without enough watchers the gate shuts. y to leave, any other key to stay"
	default:
		st.bottom = " ^K kill  ^O hold/release  ^T say  ^X leave  PgUp/PgDn statements  ? help"
	}
	return st
}

// Stored says up to when a tape is in the store.
func Stored(h session.Health) string {
	switch {
	case h.Err != nil:
		return "RECORDING IN TROUBLE: " + h.Err.Error()
	case h.Bytes == 0:
		return "all stored"
	}
	return "stored to " + h.Lag.Round(time.Second).String() + " ago"
}
