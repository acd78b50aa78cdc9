package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/creack/pty"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file prints: what is told, and terminals as boxes, side by side where
// there is room.

type stage struct {
	out    io.Writer
	cols   int
	colour bool
}

func newStage(out *os.File) *stage {
	s := &stage{out: out, cols: 170}
	if rows, cols, err := pty.Getsize(out); err == nil && rows > 0 && cols > 0 {
		s.cols, s.colour = cols, os.Getenv("NO_COLOR") == ""
	}
	return s
}

func (s *stage) style(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *stage) heading(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(s.out, "\n%s\n\n", s.style("1;7", "  "+text+"  "))
}

// line prints one line as it is.
func (s *stage) line(format string, args ...any) { fmt.Fprintf(s.out, "  "+format+"\n", args...) }

// says tells what is going on.
func (s *stage) says(text string) {
	for line := range strings.SplitSeq(ansi.Wordwrap(text, min(s.cols-2, 110), ""), "\n") {
		fmt.Fprintf(s.out, "%s\n", s.style("1;36", line))
	}
}

// checked notes something that was looked up beside the terminals.
func (s *stage) checked(format string, args ...any) {
	fmt.Fprintf(s.out, "  %s %s\n", s.style("32", "✓"), fmt.Sprintf(format, args...))
}

// sceneRows is how much of a terminal is shown: its end.
const sceneRows = 26

// scene shows terminals.
func (s *stage) scene(all ...*house.Terminal) {
	boxes := make([][]string, len(all))
	width := 0
	for i, t := range all {
		boxes[i] = box(t, s.cols-2)
		width += ansi.StringWidth(boxes[i][0]) + 1
	}
	if width-1 > s.cols {
		for _, b := range boxes {
			fmt.Fprintf(s.out, "%s\n", strings.Join(b, "\n"))
		}
		fmt.Fprintln(s.out)
		return
	}
	fmt.Fprintf(s.out, "%s\n\n", strings.Join(beside(boxes), "\n"))
}

// beside joins boxes line by line.
func beside(boxes [][]string) []string {
	var lines []string
	for row := 0; ; row++ {
		var line string
		more := false
		for _, b := range boxes {
			cell := strings.Repeat(" ", ansi.StringWidth(b[0]))
			if row < len(b) {
				cell, more = b[row], true
			}
			line += cell + " "
		}
		if !more {
			return lines
		}
		lines = append(lines, strings.TrimRight(line, " "))
	}
}

// box is a terminal's screen in a frame, with the person's name on it, as far
// as there is room for it.
func box(t *house.Terminal, most int) []string {
	width := min(t.Width(), most)
	lines := t.Lines()
	lines = lines[max(0, len(lines)-sceneRows):]
	box := []string{"┌─ " + t.Title + " " + strings.Repeat("─", max(0, width-ansi.StringWidth(t.Title)-3)) + "┐"}
	for _, line := range lines {
		line = ansi.Truncate(line, width, "")
		box = append(box, "│"+line+strings.Repeat(" ", max(0, width-ansi.StringWidth(line)))+"│")
	}
	return append(box, "└"+strings.Repeat("─", width)+"┘")
}
