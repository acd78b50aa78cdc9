package shadow

import (
	"fmt"
	"time"

	"github.com/twokey/twokey/session"
)

// This file is what both kinds of seat share: how commands reach the session
// without anything waiting for it, and how a seat ends.

// chair is what a seat's buttons do; session.Seat is one.
type chair interface {
	Hold()
	Release()
	Say(text string)
	Kill(reason string) // waits for nothing
	Resize(size session.Size)
	Approve(n int, all bool)
	Deny(n int, why string)
	Present()
}

// desk hands over what waits for the tape, in order. A kill does not go this way.
type desk struct {
	acts chan func()
	idle chan struct{} // closed when act has returned
}

func newDesk() desk { return desk{acts: make(chan func(), 64), idle: make(chan struct{})} }

// act does what was handed over, until done, and then what is left.
func (d desk) act(done <-chan struct{}) {
	defer close(d.idle)
	for {
		select {
		case do := <-d.acts:
			do()
		case <-done:
			for {
				select {
				case do := <-d.acts:
					do()
				default:
					return
				}
			}
		}
	}
}

// soon hands over. When so much waits already that there is no room, the tape
// hangs, and it is dropped: the gate is shut then anyway.
func (d desk) soon(do func()) {
	select {
	case d.acts <- do:
	default:
	}
}

// caught is deferred where a peer's bytes are read: a mistake of ours in there is
// the error of that seat, not the end of the bastion.
func caught(err *error, what string) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s: %v", what, p)
	}
}

// farewellPatience is how long a terminal may take for the last frame or line,
// and the tape for the last commands.
const farewellPatience = 2 * time.Second

// end waits for what was handed over and for what is shown at the end, as long
// as is decent. A failure to show it matters only when nothing else went wrong.
func (d desk) end(err error, shown <-chan error) error {
	enough := time.After(farewellPatience)
	select {
	case <-d.idle:
	case <-enough:
		return err
	}
	select {
	case failed := <-shown:
		if err == nil {
			return failed
		}
	case <-enough:
	}
	return err
}
