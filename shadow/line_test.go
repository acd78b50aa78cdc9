package shadow_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// engineer is a terminal behind a Line.
type engineer struct {
	*shadow.Model
	line *shadow.Line
}

func newEngineer(cols, rows int) *engineer {
	e := &engineer{Model: shadow.NewModel(cols, rows)}
	e.line = shadow.NewLine(writer(e.Raw), func() session.Size { return session.Size{Cols: cols, Rows: rows} })
	return e
}

// reads is what the session does with words.
func (e *engineer) reads(words string) {
	before, after := e.line.Aside()
	e.line.Write([]byte("\x18" + before + words + "\r\n" + after))
}

// shows is what is on the screen, with | for the cursor.
func (e *engineer) shows() string {
	lines := e.Lines()
	x, y := e.Cursor()
	if cells := []rune(lines[y]); x < len(cells) {
		lines[y] = string(cells[:x]) + "|" + string(cells[x:])
	} else {
		lines[y] += strings.Repeat(" ", x-len(cells)) + "|"
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

const edits = "\x1b[?2004h"

func TestWordsStandAboveTheLine(t *testing.T) {
	for name, c := range map[string]struct{ printed, then, want string }{
		"nothing yet":               {"", "orders=> ", "bob says hi\norders=> |"},
		"a prompt":                  {edits + "orders=> ", "select", "bob says hi\norders=> select|"},
		"what is typed":             {"42\r\n" + edits + "orders=> select 1", "2;", "42\nbob says hi\norders=> select 12;|"},
		"the cursor in the middle":  {edits + "orders=> select\b\b\b", "", "bob says hi\norders=> sel|ect"},
		"more than a row":           {edits + "orders=> " + strings.Repeat("x", 40), "y", "bob says hi\norders=> xxxxxxxxxxxxxxxxxxxxx\nxxxxxxxxxxxxxxxxxxxy|"},
		"a row to its end":          {edits + "orders=> " + strings.Repeat("x", 21), "y", "bob says hi\norders=> xxxxxxxxxxxxxxxxxxxxx\ny|"},
		"a wide end":                {edits + "orders=> " + strings.Repeat("語", 10) + "x", "y", "bob says hi\norders=> 語語語語語語語語語語x\ny|"},
		"several rows, the first":   {edits + "orders=> select\n\r1,\n\r2;\x1b[2A", "!", "bob says hi\nor!|ers=> select\n1,\n2;"},
		"after a partial line":      {"no end" + edits + "orders=> a", "", "bob says hi\nno endorders=> a|"},
		"while it runs":             {edits + "orders=> select 1;\r\n\x1b[?2004l\r", "1\r\n", "orders=> select 1;\nbob says hi\n1\n|"},
		"in the middle of a table":  {" id | na", "me", "bob says hi\n id | name|"},
		"a password":                {"Password: ", "\r\nok", "bob says hi\nPassword:\nok|"},
		"a list of completions":     {edits + "orders=> \r\na b\r\norders=> s", "", "bob says hi\norders=>\na b\norders=> s|"},
		"a cleared screen":          {"old\r\n" + edits + "orders=> s\x1b[H\x1b[2Jorders=> s", "", "bob says hi\norders=> s|"},
		"colours":                   {edits + "\x1b[31morders=> ", "s", "bob says hi\norders=> s|"},
		"line drawing and no wrap":  {"\x1b(0q", "", "bob says hi\n─|"},
		"another screen":            {"a\x1b[?1049hb", "", " b\nbob says hi\n|"},
		"an edit that was given up": {edits + "orders=> sel^C\r\n\x1b[?2004l\r" + edits + "orders=> ", "x", "orders=> sel^C\nbob says hi\norders=> x|"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngineer(30, 8)
			e.line.Write([]byte(c.printed))
			e.reads("bob says hi")
			e.line.Write([]byte(c.then))
			if got := e.shows(); got != c.want {
				t.Errorf("the terminal shows\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// Several words one after another stand in their order.
func TestWordsInTheirOrder(t *testing.T) {
	e := newEngineer(40, 10)
	e.line.Write([]byte(edits + "orders=> select\n\r1;"))
	for i := range 3 {
		e.reads(fmt.Sprint("words ", i))
	}
	if got, want := e.shows(), "words 0\nwords 1\nwords 2\norders=> select\n1;|"; got != want {
		t.Errorf("the terminal shows\n%s\nwant\n%s", got, want)
	}
}

// At the bottom of a full screen everything moves up and the line stays whole.
func TestWordsAtTheBottom(t *testing.T) {
	e := newEngineer(20, 4)
	e.line.Write([]byte("1\r\n2\r\n3\r\n" + edits + "orders=> abc\b"))
	e.reads("words that take more than a row")
	if got, want := e.Lines(), []string{"3", "words that take more", " than a row", "orders=> abc"}; !slices.Equal(got, want) {
		t.Errorf("the terminal shows %q, want %q", got, want)
	}
	if x, y := e.Cursor(); x != 11 || y != 3 {
		t.Errorf("the cursor is at %d, %d", x, y)
	}
}

// A line of which too much was printed is left alone, and no memory goes into it.
func TestWordsBehindALongLine(t *testing.T) {
	e := newEngineer(20, 4)
	for range 10_000 {
		e.line.Write([]byte("no end of this line, "))
	}
	e.reads("bob says hi")
	if got := e.Lines(); got[2] != "bob says hi" || got[3] != "" {
		t.Errorf("the terminal shows %q", got)
	}
	e.line.Write([]byte("\r\n" + edits + "orders=> "))
	e.reads("and again")
	if got := e.Lines(); got[2] != "and again" || got[3] != "orders=>" {
		t.Errorf("then it shows %q", got)
	}
}

// How the output is cut into pieces makes no difference.
func TestWordsAboveALineInPieces(t *testing.T) {
	const printed = "42\r\n" + edits + "orders=> sel\x1b[?2004l\r\n\x1b[?2004l\r" + edits + "orders=> sélect\b\b"
	want := newEngineer(30, 8)
	want.line.Write([]byte(printed))
	want.reads("hi")
	for size := 1; size < 9; size++ {
		e := newEngineer(30, 8)
		for piece := range slices.Chunk([]byte(printed), size) {
			e.line.Write(piece)
		}
		if e.reads("hi"); e.shows() != want.shows() {
			t.Errorf("in pieces of %d:\n%s\nwant\n%s", size, e.shows(), want.shows())
		}
	}
}
