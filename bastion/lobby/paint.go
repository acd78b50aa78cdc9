package lobby

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twokey/twokey/session"
)

// This file brings frames to the terminal. Whoever has a frame leaves it and
// goes on; what a slow terminal did not take in time it never gets.

const (
	enter = "\x1b[?1049h\x1b[?7l\x1b[?25l\x1b[?2004h" // the alternate screen, no wrapping, no cursor, pastes marked as such
	leave = "\x1b[0m\x1b[?2004l\x1b[?25h\x1b[?7h\x1b[?1049l"
	bell  = "\a"

	frameInterval    = 50 * time.Millisecond
	farewellPatience = 2 * time.Second
)

// frame is what the terminal should show.
type frame struct {
	size session.Size
	rows []string
}

type painter struct {
	out  io.Writer
	done chan struct{}
	over chan error

	mu    sync.Mutex // never held in a write
	next  frame
	rings bool
	left  chan struct{} // holds a token when there is a frame
}

func newPainter(out io.Writer) *painter {
	return &painter{out: out, done: make(chan struct{}), over: make(chan error, 1), left: make(chan struct{}, 1)}
}

// show leaves a frame.
func (p *painter) show(f frame, rings bool) {
	p.mu.Lock()
	p.next, p.rings = f, p.rings || rings
	p.mu.Unlock()
	select {
	case p.left <- struct{}{}:
	default:
	}
}

// run paints until end, or until the terminal fails.
func (p *painter) run() (err error) {
	defer func() { p.over <- err }()
	defer caught(&err)
	if _, err := io.WriteString(p.out, enter); err != nil {
		return err
	}
	var shown frame
	for {
		select {
		case <-p.done:
			_, err := io.WriteString(p.out, leave)
			return err
		case <-p.left:
		}
		next, rings := p.take()
		text := update(shown, next)
		if rings {
			text += bell
		}
		if text != "" {
			if _, err := io.WriteString(p.out, text); err != nil {
				return err
			}
		}
		shown = next
		select {
		case <-p.done:
		case <-time.After(frameInterval):
		}
	}
}

func (p *painter) take() (frame, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rings := p.rings
	p.rings = false
	return p.next, rings
}

// end gives the terminal back and waits for that, as long as is decent: it may
// hang in a write, which ends with the connection.
func (p *painter) end() error {
	close(p.done)
	select {
	case err := <-p.over:
		return err
	case <-time.After(farewellPatience):
		return fmt.Errorf("the terminal takes nothing")
	}
}

// update is what brings a terminal from one frame to the next: the rows that changed.
func update(from, to frame) string {
	if from.size != to.size {
		from = frame{}
	}
	if slices.Equal(from.rows, to.rows) {
		return ""
	}
	var b strings.Builder
	if from.rows == nil {
		b.WriteString("\x1b[0m\x1b[2J")
	}
	for i, row := range to.rows {
		if i >= len(from.rows) || from.rows[i] != row {
			fmt.Fprintf(&b, "\x1b[%d;1H\x1b[K%s", i+1, row)
		}
	}
	for i := len(to.rows); i < len(from.rows); i++ {
		fmt.Fprintf(&b, "\x1b[%d;1H\x1b[K", i+1)
	}
	return b.String()
}
