package shadow_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file sits down as bob: keys in, and what his terminal then shows.

// chair notes what a seat's keys do.
type chair struct {
	mu   sync.Mutex
	done []string
}

func (c *chair) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = append(c.done, what)
}

func (c *chair) Hold()               { c.note("hold") }
func (c *chair) Release()            { c.note("release") }
func (c *chair) Say(text string)     { c.note("say " + text) }
func (c *chair) Kill(reason string)  { c.note("kill " + reason) }
func (c *chair) Resize(session.Size) {}
func (c *chair) Present()            {}
func (c *chair) Approve(n int, all bool) {
	c.note(fmt.Sprintf("approve %d %v", n, all))
}
func (c *chair) Deny(n int, why string) { c.note(fmt.Sprintf("deny %d %s", n, why)) }

// did waits until something was done with a seat's keys.
func (c *chair) did() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.done)
}

// bob is a seated shadow. What he sees is his terminal's screen, not the bytes.
type bob struct {
	t    *testing.T
	keys *io.PipeWriter
	size chan session.Size
	ends chan error
	seat *chair

	mu     sync.Mutex
	screen *shadow.Model
}

func (b *bob) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.screen.Raw(p)
	return len(p), nil
}

func sitDown(t *testing.T, v *shadow.View, size session.Size) *bob {
	t.Helper()
	return sit(t, v, size, 0)
}

// sitDownAwake is a seat in a mode that asks for a key every minute, with so
// much of it left.
func sitDownAwake(t *testing.T, v *shadow.View, left time.Duration) *bob {
	t.Helper()
	return sit(t, v, session.Size{Cols: 80, Rows: 24}, left)
}

func sit(t *testing.T, v *shadow.View, size session.Size, awake time.Duration) *bob {
	t.Helper()
	b := newBob(t, size)
	b.sit(v, b, awake)
	return b
}

func newBob(t *testing.T, size session.Size) *bob {
	return &bob{t: t, size: make(chan session.Size), ends: make(chan error, 1), seat: &chair{}, screen: shadow.NewModel(size.Cols, size.Rows)}
}

// sit is bob at a terminal that writes to out.
func (b *bob) sit(v *shadow.View, out io.Writer, awake time.Duration) {
	var in *io.PipeReader
	in, b.keys = io.Pipe()
	cols, rows := b.screen.Size()
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		b.ends <- shadow.SitOn(ctx, b.seat, v, shadow.SeatTerminal{In: in, Out: out, Size: session.Size{Cols: cols, Rows: rows}, Resize: b.size},
			session.Request{Mode: session.Mode{Limits: session.Limits{Presence: time.Minute}}}, awake, func() session.Gate { return session.Gate{Open: true} })
	}()
	b.t.Cleanup(func() {
		b.keys.Close()
		stop()
		<-b.ends
	})
}

func (b *bob) types(keys string) {
	b.t.Helper()
	if _, err := io.WriteString(b.keys, keys); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bob) resize(size session.Size) {
	b.mu.Lock()
	b.screen.Resize(size.Cols, size.Rows)
	b.mu.Unlock()
	b.size <- size
}

func (b *bob) shows() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.screen.Lines(), "\n")
}

// until waits for a screen that is as it should be.
func (b *bob) until(what string, ok func(screen string) bool) {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		screen := b.shows()
		if ok(screen) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("bob does not see %s; his terminal shows:\n%s", what, screen)
		}
	}
}

func (b *bob) sees(text string) {
	b.t.Helper()
	b.until(text, func(screen string) bool { return strings.Contains(screen, text) })
}

func runs(n int, sql string, params ...string) session.Event {
	return session.Event{Type: session.Statement, Statement: &session.StatementInfo{N: n, Protocol: "simple", Text: sql, Params: params}}
}

func ended(n int, tag string) session.Event {
	return session.Event{Type: session.Result, Result: &session.ResultInfo{N: n, Tag: tag}}
}

// A statement whose end is behind white space is seen, without any key.
func TestWhiteSpaceHidesNothing(t *testing.T) {
	gaps := map[string]string{
		"\n":         "select 1;↵delete from orders;",
		" ":          "select 1; delete from orders;",
		"\t":         "select 1; delete from orders;",
		"\u00a0":     "select 1; delete from orders;",
		" \u200b":    "select 1; �delete from orders;",
		"\u200b":     "select 1;�delete from orders;",
		"\u3164":     "select 1;�delete from orders;",
		" ↵":         "select 1; � � �",
		"-- x\r\n\t": "select 1;-- x↵-- x↵",
	}
	for gap, want := range gaps {
		for _, size := range []session.Size{{Cols: 40, Rows: 10}, {Cols: 80, Rows: 24}, {Cols: 300, Rows: 60}} {
			t.Run(fmt.Sprintf("%q at %dx%d", gap, size.Cols, size.Rows), func(t *testing.T) {
				v := shadow.NewView(session.Size{})
				v.Apply(runs(1, "select 1;"+strings.Repeat(gap, 300)+"delete from orders;"))
				b := sitDown(t, v, size)
				b.until(want, func(screen string) bool { return strings.Contains(joined(screen), want) })
			})
		}
	}
}

// joined takes the indent and the line ends out of wrapped rows.
func joined(screen string) string {
	return strings.ReplaceAll(screen, "\n         ", "")
}

// What does not fit is counted where the statement stands, whether it runs or
// has ended, and however little room there is.
func TestAStatementThatDoesNotFitSaysSo(t *testing.T) {
	sql := "select '" + strings.Repeat("x", 5000) + "'; delete from orders"
	v := shadow.NewView(session.Size{})
	v.Apply(runs(1, sql))
	b := sitDown(t, v, session.Size{Cols: 80, Rows: 24})
	b.sees(fmt.Sprintf("… %d more characters, f shows them", len(sql)-5*71))
	b.sees("running")
	v.Apply(ended(1, "DELETE 100"))
	b.until("the result", func(screen string) bool {
		return strings.Contains(screen, "DELETE 100") && strings.Contains(screen, "more characters")
	})
	v.Apply(runs(2, "select 2"))
	b.sees("… +")
	b.resize(session.Size{Cols: 40, Rows: 10})
	b.until("how much is left out", func(screen string) bool {
		return strings.Contains(screen, "select… +5023    DELETE 100")
	})
}

// A text that is being read stays at its place when the window gets another size.
func TestReadingInAnotherSize(t *testing.T) {
	v := shadow.NewView(session.Size{})
	v.Apply(runs(1, strings.Repeat("x", 2000)+" here "+strings.Repeat("y", 1000)))
	b := sitDown(t, v, session.Size{Cols: 80, Rows: 24})
	b.types("f" + strings.Repeat("\x1b[6~", 4))
	b.sees("page 5 of")
	b.sees(" here ")
	b.resize(session.Size{Cols: 40, Rows: 10})
	b.sees("page 17 of")
	b.sees(" here ")
	b.resize(session.Size{Cols: 80, Rows: 24})
	b.sees("page 5 of")
}

// The last character of a statement can be read, and every other.
func TestTheWholeOfAStatement(t *testing.T) {
	var words []string
	for i := range 400 {
		words = append(words, fmt.Sprintf("word%03d", i))
	}
	v := shadow.NewView(session.Size{})
	v.Apply(runs(1, strings.Join(words, " ")+"\n-- and\ndelete from orders", "the parameter"))
	b := sitDown(t, v, session.Size{Cols: 80, Rows: 24})
	b.types("f")
	b.sees("word000")
	for page, at := 1, 0; at < len(words); page++ {
		b.sees(fmt.Sprintf("page %d of", page))
		for screen := strings.ReplaceAll(b.shows(), "\n", ""); at < len(words) && strings.Contains(screen, words[at]); {
			at++
		}
		if page > 400 {
			t.Fatalf("%s is on no page", words[at])
		}
		b.types("\x1b[6~")
	}
	b.types("\x1b[F")
	b.sees("delete from orders↵\n-- [\"the parameter\"]\nrunning")
	v.Apply(runs(2, "drop table orders"))
	b.sees("1 NEWER STATEMENTS")
	b.types("\x1b[H")
	b.sees("word000")
	b.types("f")
	b.sees("page 1 of 1")
	b.sees("drop table orders")
	b.types("f")
	b.sees("f full text")
}

// A statement that has gone by is found again by scrolling, and scrolling stays
// where it is while others come.
func TestAnEarlierStatement(t *testing.T) {
	v := shadow.NewView(session.Size{})
	for i := range 40 {
		v.Apply(runs(i, fmt.Sprintf("select %02d%s", i, strings.Repeat(" , 1", 100))))
		v.Apply(ended(i, "SELECT 1"))
	}
	b := sitDown(t, v, session.Size{Cols: 80, Rows: 24})
	b.types("\x1b[5~\x1b[5~\x1b[A") // back to the one with number 28
	b.sees("scrolled back")
	b.sees("select 28 , 1 , 1 , 1 , 1 , 1 , 1 , 1")
	v.Apply(runs(40, "select 40"))
	b.types("f")
	b.sees("00:00:00 select 28")
	b.sees("page 1 of 2")
	b.types("\x1b[F")
	b.sees("SELECT 1, 0s")
	b.types("\x1b")
	b.sees("scrolled back")
	b.types("\x1b")
	b.sees("select 40")
}

// A statement of megabytes loses its middle, and says so; what a view keeps is bounded.
func TestALongStatementKeepsBothEnds(t *testing.T) {
	oneGoroutine(t)
	v := shadow.NewView(session.Size{})
	v.Apply(runs(1, "the beginning "+strings.Repeat("世", 4<<20)+" the end"))
	b := sitDown(t, v, session.Size{Cols: 80, Rows: 24})
	b.sees("the beginning")
	b.types("f\x1b[F")
	b.sees("the end\nrunning")
	for i := range 4 {
		v.Apply(runs(i+2, strings.Repeat("\xff", 4<<20)))
		if lines, bytes := v.Remembers(); bytes > 16<<20 {
			t.Fatalf("%d lines with %d bytes are kept", lines, bytes)
		}
	}
	b.types("\x1b")
	b.sees("f full text")
	b.types("\x1b[H")
	b.sees("earlier lines are forgotten here")
}

// The help is whole in any window, and does not promise that a hold stops what runs.
func TestHelp(t *testing.T) {
	for _, size := range []session.Size{{Cols: 80, Rows: 24}, {Cols: 40, Rows: 10}} {
		b := sitDown(t, shadow.NewView(session.Size{}), size)
		b.types("?")
		b.sees("Ctrl-K  kill")
		b.types("\x1b[F")
		b.until("the end of it", func(screen string) bool { return strings.Contains(strings.ReplaceAll(screen, "\n", ""), "this help") })
	}
}

// broken is input whose reader breaks.
type broken struct{}

func (broken) Read([]byte) (int, error) { panic("index out of range") }

// gone is input that fails.
type gone struct{}

var errGone = errors.New("connection reset")

func (gone) Read([]byte) (int, error) { return 0, errGone }

// Whoever cannot press a key any more is told, and does not go on to sit there.
func TestInputThatBreaksIsTheEnd(t *testing.T) {
	v := shadow.NewView(session.Size{})
	waits := tape(session.Event{Type: session.Output, Bytes: []byte("x")}, session.Event{At: time.Hour, Type: session.End})
	size := session.Size{Cols: 80, Rows: 24}
	ends := map[string]func(in io.Reader) error{
		"at a terminal": func(in io.Reader) error {
			return shadow.SitOn(context.Background(), &chair{}, v, shadow.SeatTerminal{In: in, Out: io.Discard, Size: size},
				session.Request{}, 0, func() session.Gate { return session.Gate{} })
		},
		"with a stream": func(in io.Reader) error {
			return shadow.StreamOn(context.Background(), &chair{}, v, in, io.Discard)
		},
		"at a replay": func(in io.Reader) error {
			return shadow.Replay(context.Background(), shadow.Recording{Tape: waits}, shadow.PlayTerminal{In: in, Out: io.Discard, Size: size}, shadow.PlayOptions{})
		},
		"at a replay that stands still": func(in io.Reader) error {
			in = io.MultiReader(strings.NewReader(" "), in)
			return shadow.Replay(context.Background(), shadow.Recording{Tape: waits}, shadow.PlayTerminal{In: in, Out: io.Discard, Size: size}, shadow.PlayOptions{})
		},
		"at a replay in lines": func(in io.Reader) error {
			in = io.MultiReader(strings.NewReader(" "), in)
			_, err := shadow.Play(context.Background(), waits(context.Background(), 0), shadow.PlayTerminal{In: in, Out: io.Discard}, shadow.PlayOptions{})
			return err
		},
	}
	for where, end := range ends {
		if err := end(broken{}); err == nil || !strings.Contains(err.Error(), "could not be read: index out of range") {
			t.Errorf("%s: a reader that breaks ends with %v", where, err)
		}
		if err := end(gone{}); !errors.Is(err, errGone) {
			t.Errorf("%s: a reader that fails ends with %v", where, err)
		}
	}
}

// A stream keeps its seat when no more commands come, and a hold is explained.
func TestAStreamOutlivesItsInput(t *testing.T) {
	v := shadow.NewView(session.Size{})
	out, ends := make(chan string, 100), make(chan error, 1)
	go func() {
		ends <- shadow.StreamOn(context.Background(), &chair{}, v, strings.NewReader("hold\n"), writer(func(p []byte) { out <- string(p) }))
	}()
	var all string
	for !strings.Contains(all, "nothing new starts until you release; what runs already runs on, kill ends it") {
		all += <-out
	}
	v.Apply(runs(1, "select 1"))
	for !strings.Contains(all, "> select 1") {
		all += <-out
	}
	v.End()
	if err := <-ends; err != nil {
		t.Error(err)
	}
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// The statements have what the screen does not need, and nearly all where there is no psql.
func TestRoomForStatements(t *testing.T) {
	v := shadow.NewView(session.Size{Cols: 80, Rows: 24})
	for rows, want := range map[int]int{24: 6, 40: 12, 60: 32} {
		if got := v.PaneRows(session.Size{Cols: 80, Rows: rows}); got != want {
			t.Errorf("%d of %d rows, want %d", got, rows, want)
		}
	}
	v.Few()
	v.Apply(session.Event{Type: session.Resize, Size: session.Size{Cols: 80, Rows: 50}})
	if got := v.PaneRows(session.Size{Cols: 80, Rows: 24}); got != 15 {
		t.Errorf("without psql %d of 24 rows, want 15", got)
	}
}

// A flood that nobody can read costs few frames, and its end is shown all the same.
func TestAFloodIsDrawnSeldom(t *testing.T) {
	size := session.Size{Cols: 80, Rows: 24}
	v, b := shadow.NewView(size), newBob(t, size)
	var frames atomic.Int32
	b.sit(v, writer(func(p []byte) {
		b.Write(p)
		if strings.Count(string(p), "row ") > 10 {
			frames.Add(1)
		}
	}), 0)
	b.sees("^K kill")
	began := time.Now()
	for n := 0; time.Since(began) < time.Second; n++ {
		v.Apply(prints(0, strings.Repeat(fmt.Sprintf("row %d\r\n", n), 24)))
	}
	took := time.Since(began)
	v.Apply(prints(0, "the end"))
	b.sees("the end")
	if most := 3 + int(took/(time.Second/10)); int(frames.Load()) > most {
		t.Errorf("%d frames in %s", frames.Load(), took)
	}
}
