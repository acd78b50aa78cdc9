package shadow

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/twokey/twokey/session"
)

// This file is a shadow without a terminal: lines out, lines in, for scripts
// and for being read aloud.

// Stream prints what happens, a line each, and takes commands as lines, until
// the session ends (nil), the shadow leaves (ErrLeft), the view fails, or ctx
// ends. The end of in is not the end: the seat is kept for as long as the
// connection is up.
func Stream(ctx context.Context, seat *session.Seat, v *View, in io.Reader, out io.Writer) error {
	lines := make(chan string)
	done := make(chan struct{})
	defer close(done)
	go readLines(in, lines, done) // ends with done, or when the channel that in reads is closed
	feed := &lineFeed{view: v, out: out}
	for {
		changed := v.Changed()
		if err := feed.print(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-v.over:
			feed.print()
			return v.Err()
		case line, more := <-lines:
			if !more {
				lines = nil
				continue
			}
			answer, left := obey(seat, line)
			if left {
				return ErrLeft
			}
			if _, err := fmt.Fprintln(out, answer); err != nil {
				return err
			}
		case <-changed:
		}
	}
}

func readLines(in io.Reader, lines chan<- string, done <-chan struct{}) {
	defer close(lines)
	s := bufio.NewScanner(in)
	s.Buffer(nil, 4<<10)
	for s.Scan() {
		select {
		case lines <- s.Text():
		case <-done:
			return
		}
	}
}

const streamHelp = "commands: hold, release, kill REASON, say TEXT, leave, help"

// obey does what a line says.
func obey(seat *session.Seat, line string) (answer string, left bool) {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch strings.ToLower(word) {
	case "hold":
		seat.Hold()
		return "you hold: nothing goes on until you release", false
	case "release":
		seat.Release()
		return "released", false
	case "kill":
		if rest = strings.TrimSpace(Clean(rest)); rest == "" {
			rest = "no reason given"
		}
		seat.Kill(rest)
		return "killed", false
	case "say":
		seat.Say(rest)
		return "said", false
	case "leave":
		return "", true
	case "", "help":
		return streamHelp, false
	}
	return fmt.Sprintf("unknown command %q; %s", Clean(word), streamHelp), false
}

// lineFeed prints the lines of a view, each once when it begins and statements
// again when they are done.
type lineFeed struct {
	view    *View
	out     io.Writer
	next    int          // number of the first line not yet printed
	running map[int]bool // statements printed as running
}

func (f *lineFeed) print() error {
	var b bytes.Buffer
	if f.running == nil {
		f.running = map[int]bool{}
	}
	f.view.mu.Lock()
	for n := range f.running {
		if at := n - f.view.dropped; at < 0 || !f.view.lines[at].Running {
			if at >= 0 {
				printDone(&b, f.view.lines[at])
			}
			delete(f.running, n)
		}
	}
	for ; f.next < f.view.dropped+len(f.view.lines); f.next++ {
		at := f.next - f.view.dropped
		if at < 0 {
			continue
		}
		switch l := f.view.lines[at]; {
		case l.Remark:
			fmt.Fprintf(&b, "%s · %s\n", clock(l.At), l.Text)
		case l.Running:
			fmt.Fprintf(&b, "%s > %s\n", clock(l.At), l.Text)
			f.running[f.next] = true
		default:
			fmt.Fprintf(&b, "%s > %s\n", clock(l.At), l.Text)
			printDone(&b, l)
		}
	}
	f.view.mu.Unlock()
	if b.Len() == 0 {
		return nil
	}
	_, err := f.out.Write(b.Bytes())
	return err
}

func printDone(b *bytes.Buffer, l Line) {
	fmt.Fprintf(b, "%s < %s  (%s)\n", clock(l.At), l.Result, fit(l.Text, 60))
}
