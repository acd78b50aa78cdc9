package lobby

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// This file is the lobby as lines: what there was is known, and what changes is
// told. Nothing is drawn, so that it can be read aloud.

// ErrLeft is returned when somebody left.
var ErrLeft = errors.New("you left")

// Tell writes a line for each change until Ctrl-C, Ctrl-D or q, or until ctx ends
// (its cause). join is what to type to sit down at a session, by its code.
func Tell(ctx context.Context, hall Hall, t Terminal, join func(code string) string) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() { // ends when a Read of In returns
		chunks := make(chan []byte)
		go func() { stop(read(ctx, t.In, chunks)) }() // the same
		for {
			select {
			case chunk := <-chunks:
				for _, b := range chunk {
					if b == 0x03 || b == 0x04 || b == 'q' {
						stop(ErrLeft)
					}
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	news := hall.News()
	told := states(hall.Look())
	for {
		select {
		case <-news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		news = hall.News()
		now := states(hall.Look())
		for _, line := range changes(told, now, join) {
			if _, err := io.WriteString(t.Out, line); err != nil {
				return err
			}
		}
		told = now
		select {
		case <-time.After(newsInterval):
		case <-ctx.Done():
		}
	}
}

// state is what is told of a session.
type state struct {
	Session
	waits bool
}

func states(b Board) (list []state) {
	b = b.clean()
	for _, s := range b.Waiting {
		list = append(list, state{s, true})
	}
	for _, s := range b.Live {
		list = append(list, state{s, false})
	}
	return list
}

// changes are the lines for what is different. The bell rings when somebody
// begins to wait whom one may shadow.
func changes(before, now []state, join func(string) string) (lines []string) {
	was := map[string]state{}
	for _, s := range before {
		was[s.ID] = s
	}
	for _, s := range now {
		old, known := was[s.ID]
		delete(was, s.ID)
		switch {
		case known && old.waits == s.waits:
		case s.waits && s.Barred == "":
			lines = append(lines, fmt.Sprintf("%s%s waits for a shadow: %s %s. It takes %s. Sit down with: %s\n", bell, s.about(), s.Code, s.Reason, s.Needs, join(s.Code)))
		case s.waits:
			lines = append(lines, fmt.Sprintf("%s waits for a shadow: %s. It takes %s.\n", s.about(), s.Code, s.Needs))
		default:
			lines = append(lines, fmt.Sprintf("%s is live: %s, %s.\n", s.about(), s.Code, s.rest()))
		}
	}
	for _, s := range before {
		if _, ended := was[s.ID]; ended {
			lines = append(lines, fmt.Sprintf("%s has ended: %s.\n", s.about(), s.Code))
		}
	}
	return lines
}

func (s state) about() string { return s.Engineer + " at " + s.Wants }
