package shadow

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/twokey/twokey/session"
)

// This file is a shadow without a terminal: lines out, lines in, for scripts
// and for being read aloud. As at the seat, what goes out never stands in the
// way of a command.

// Stream prints what happens, a line each, and takes commands as lines, until
// the session ends (nil), the shadow leaves (ErrLeft), the view or out fails,
// in cannot be read, or ctx ends (its cause). The end of in is not the end: the seat is kept for as
// long as the connection is up. It does not give up the seat: the caller does.
// After Stream, in is read until a Read returns, and dropped.
//
// A line begins with the time and ">" for a statement, "<" for its result, "·"
// for what people did; or with "|" for text on the engineer's screen.
func Stream(ctx context.Context, seat *session.Seat, v *View, in io.Reader, out io.Writer) error {
	return stream(ctx, seat, v, in, out)
}

func stream(ctx context.Context, c chair, v *View, in io.Reader, out io.Writer) error {
	u := &streamUI{chair: c, view: v, lines: v.read(), desk: newDesk()}
	defer v.done(u.lines)
	done := make(chan struct{})
	printed := make(chan error, 1)
	go func() { printed <- u.print(out, done) }() // waited for below, as long as is decent: it may hang in a write
	err := u.listen(ctx, in, done, printed)
	close(done)
	return u.end(err, printed)
}

type streamUI struct {
	desk
	chair chair
	view  *View
	lines *lineReader
}

func (u *streamUI) listen(ctx context.Context, in io.Reader, done chan struct{}, printed chan error) error {
	commands, deaf := make(chan string), make(chan error, 1)
	go func() { deaf <- readLines(in, commands, done) }() // ends with done, or when the channel that in reads is closed
	go u.act(done)                                        // ends with done, unless the session's tape hangs; then with it
	u.view.answer(u.lines, "a plain stream, as there is no terminal (ssh -t asks for one); "+streamHelp)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-u.view.over:
			return u.view.Err()
		case err := <-printed:
			printed <- err
			return err
		case err := <-deaf:
			if err != nil {
				return err
			}
		case command := <-commands:
			answer, left := u.obey(command)
			if left {
				return ErrLeft
			}
			u.view.answer(u.lines, answer)
		}
	}
}

// print prints until done, and then what is left.
func (u *streamUI) print(out io.Writer, done <-chan struct{}) error {
	for over := false; ; {
		lines, changed := u.view.take(u.lines)
		if len(lines) > 0 {
			if _, err := io.WriteString(out, strings.Join(lines, "\n")+"\n"); err != nil {
				return err
			}
		}
		if over {
			return nil
		}
		select {
		case <-changed:
		case <-done:
			over = true
		}
	}
}

// readLines reads commands; of one that is too long to be any, the beginning.
// The end of in is no error.
func readLines(in io.Reader, lines chan<- string, done <-chan struct{}) (err error) {
	defer caught(&err, "the commands could not be read")
	r := bufio.NewReaderSize(in, 4<<10)
	for {
		text, cut, err := r.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		command := string(text)
		for cut && err == nil {
			_, cut, err = r.ReadLine()
		}
		select {
		case lines <- command:
		case <-done:
			return nil
		}
	}
}

const streamHelp = "commands: hold, release, kill REASON, say TEXT, approve N, approve-all N, deny N REASON, spell, leave, help"

// obey does what a line says.
func (u *streamUI) obey(command string) (answer string, left bool) {
	word, rest, _ := strings.Cut(strings.TrimSpace(command), " ")
	rest = strings.TrimSpace(Clean(rest))
	u.soon(u.chair.Present)
	switch strings.ToLower(word) {
	case "hold":
		u.soon(u.chair.Hold)
		return "you hold: nothing new starts until you release; what runs already runs on, kill ends it", false
	case "release":
		u.soon(u.chair.Release)
		return "released", false
	case "kill":
		if rest == "" {
			rest = "no reason given"
		}
		u.chair.Kill(rest)
		return "killed", false
	case "say":
		if rest == "" {
			return "say what? " + streamHelp, false
		}
		u.soon(func() { u.chair.Say(rest) })
		return "said", false
	case "approve", "approve-all", "deny":
		return u.decide(strings.ToLower(word), rest), false
	case "spell":
		return u.spell(), false
	case "leave":
		return "", true
	case "", "help":
		return streamHelp, false
	}
	return fmt.Sprintf("unknown command %q; %s", Clean(word), streamHelp), false
}

// spell is what asks, or else the last statement, character by character.
func (u *streamUI) spell() string {
	text, _ := u.view.statement(0)
	if q, waits := u.view.question(); waits {
		text = q.listed()
	}
	return strings.ReplaceAll(spelled(text), "\n", " · ")
}

// decide answers a question by its number.
func (u *streamUI) decide(word, rest string) string {
	number, why, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(strings.TrimPrefix(number, "#"))
	if err != nil || !u.view.waits(n) {
		return fmt.Sprintf("nothing waits for an answer under the number %q", number)
	}
	if word == "deny" {
		if why = strings.TrimSpace(why); why == "" {
			why = "no reason given"
		}
		u.soon(func() { u.chair.Deny(n, why) })
		return "no is sent"
	}
	u.soon(func() { u.chair.Approve(n, word == "approve-all") })
	return "yes is sent"
}
