package shadow_test

import (
	"context"
	"flag"
	"fmt"
	"html"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file looks at the seat as a whole: at an open gate, held, with a question,
// while a kill is typed, and at a replay that plays, stands still, has found something and is over, in three sizes (go test -run TestLooks
// -update writes them down anew). make pictures draws what is seen for the README.

var pictures = flag.String("pictures", "", "the folder to draw pictures into")

// looks are the seats that are looked at: what happens, what bob types, and what
// he must see then.
var looks = []struct {
	name   string
	gate   session.Gate
	events []session.Event
	keys   string
	sees   string
}{
	{"open", session.Gate{Open: true}, nil, "", "gate open"},
	{"held", session.Gate{Because: session.Held, Why: "held by bob"}, []session.Event{{At: 71 * time.Second, Type: session.Hold, Who: "bob"}}, "\x0f", "^O RELEASE"},
	{"approval", session.Gate{Open: true}, []session.Event{{At: 80 * time.Second, Type: session.Asked, Ask: &session.AskInfo{
		N: 1, Kind: session.AskCommit, All: true, Text: "commit",
		Did: []string{"UPDATE 200: update orders set state = 'paid' where state = 'new'", "DELETE 3: delete from notes where order_id is null"},
	}}}, "", "asks to COMMIT"},
	{"kill", session.Gate{Because: session.Held, Why: "held by bob"}, nil, "\x0bthat is all of them", "of them"},
	{"scrolled", session.Gate{Open: true}, nil, "\t\x1b[5~", "THE SCREEN AS IT WAS"},
}

// step is what is typed, and what must be seen then.
type step struct{ keys, sees string }

// replayLooks are the replays that are looked at, and from when on they are played.
var replayLooks = []struct {
	name  string
	from  time.Duration
	steps []step
}{
	{"playing", 75 * time.Second, []step{{"----------", "0.01x"}}},
	{"replay", 71 * time.Second, []step{{" ", "space play"}}},
	{"found", 0, []step{{" ", "space play"}, {"/orders\r", "n N"}, {"n", "PAUSE 00:00:30"}}},
	{"end", 0, []step{{"\x1b[F", "killed by bob: all of them · 2 of 3"}}},
}

// scene is alice at work.
func scene(size session.Size) []session.Event {
	const s = time.Second
	out := func(at time.Duration, text string) session.Event {
		return session.Event{At: at, Type: session.Output, Bytes: []byte(strings.ReplaceAll(text, "\n", "\r\n"))}
	}
	var table strings.Builder
	for i := range 14 {
		fmt.Fprintf(&table, " %3d | %-13s | %-7s | %7.2f\n", i+1, [...]string{"Ada Lovelace", "Grüße GmbH", "Zoë"}[i%3], [...]string{"paid", "new"}[i%2], float64(i+1)*17.5)
	}
	return []session.Event{
		{Type: session.Resize, Size: session.Size{Cols: 80, Rows: 24}},
		{At: 4 * s, Type: session.Join, Who: "bob"},
		{At: 4 * s, Type: session.GateOpen},
		out(5*s, "psql (15.18)\nType \"help\" for help.\n\norders=> select id, customer, state, total from orders order by id limit 14;\n"),
		at(30*s, runs(1, "select id, customer, state, total from orders order by id limit 14")),
		out(30*s, " id  | customer      | state   |  total  \n-----+---------------+---------+---------\n"+table.String()+"(14 rows)\n\n"),
		at(30*s, session.Event{Type: session.Result, Result: &session.ResultInfo{N: 1, Tag: "SELECT 14", Rows: 14, Took: 3100 * time.Microsecond}}),
		out(52*s, "orders=> select * form orders;\n\x1b[31mERROR:  syntax error at or near \"form\"\x1b[m\nLINE 1: select * form orders;\n                 ^\n"),
		at(52*s, runs(2, "select * form orders")),
		at(52*s, session.Event{Type: session.Result, Result: &session.ResultInfo{N: 2, SQLState: "42601", Message: `syntax error at or near "form"`, Took: 400 * time.Microsecond}}),
		at(60*s, session.Event{Type: session.Say, Who: "carol", Text: "only the new ones, please"}),
		out(70*s, "orders=> update orders set state = 'paid' where state = 'new';\n"),
		at(70*s, runs(3, "update orders set state = 'paid' where state = 'new'")),
	}
}

// passing is what depends on when the test runs.
var passing = regexp.MustCompile(`00:00:\d\d( · ticket)`)

func TestLooks(t *testing.T) {
	for _, size := range []session.Size{{Cols: 60, Rows: 16}, {Cols: 80, Rows: 24}, {Cols: 132, Rows: 40}} {
		for _, l := range looks {
			name := fmt.Sprintf("%s-%dx%d", l.name, size.Cols, size.Rows)
			t.Run(name, func(t *testing.T) {
				v := shadow.NewView(size)
				for _, e := range append(scene(size), l.events...) {
					v.Apply(e)
				}
				b := newBob(t, size)
				b.sitWith(v, l.gate)
				b.sees("gate ")
				b.types(l.keys)
				b.sees(l.sees)
				looksLike(t, name, b.shows())
				b.draw(l.name, size)
			})
		}
		for _, r := range replayLooks {
			name := fmt.Sprintf("%s-%dx%d", r.name, size.Cols, size.Rows)
			t.Run(name, func(t *testing.T) {
				b := newBob(t, size)
				b.replay(append(scene(size), session.Event{At: 95 * time.Second, Type: session.End, Cause: &session.Cause{Code: session.Killed, By: "bob", Text: "all of them"}}), r.from)
				b.sees("00:01:35 1x")
				for _, step := range r.steps {
					b.types(step.keys)
					b.sees(step.sees)
				}
				looksLike(t, name, b.shows())
				b.draw(r.name, size)
			})
		}
	}
}

// sitWith sits at a session with a gate.
func (b *bob) sitWith(v *shadow.View, gate session.Gate) {
	in, keys := io.Pipe()
	b.keys = keys
	cols, rows := b.screen.Size()
	ctx, stop := context.WithCancel(context.Background())
	want := session.Request{Engineer: session.Identity{Name: "alice"}, Target: session.Target{Name: "orders"}, Mode: session.Mode{Name: "write"}, Reason: "ticket 42", Started: time.Now()}
	go func() {
		b.ends <- shadow.SitOn(ctx, b.seat, v, shadow.SeatTerminal{In: in, Out: b, Size: session.Size{Cols: cols, Rows: rows}}, want, 0, func() session.Gate { return gate })
	}()
	b.t.Cleanup(func() {
		keys.Close()
		stop()
		<-b.ends
	})
}

// replay sits at a recording of alice's.
func (b *bob) replay(events []session.Event, from time.Duration) {
	in, keys := io.Pipe()
	b.keys = keys
	cols, rows := b.screen.Size()
	ctx, stop := context.WithCancel(context.Background())
	about := session.Summary{Engineer: "alice", Target: "orders", Mode: "write", Reason: "ticket 42", Started: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
	told := func() error { return nil }
	go func() {
		b.ends <- shadow.Replay(ctx, shadow.Recording{Tape: tape(events...), About: about, Seen: told}, shadow.PlayTerminal{In: in, Out: b, Size: session.Size{Cols: cols, Rows: rows}}, shadow.PlayOptions{At: from})
	}()
	b.t.Cleanup(func() {
		keys.Close()
		stop()
		<-b.ends
	})
}

// looksLike compares a screen with what was written down.
func looksLike(t *testing.T, name, got string) {
	t.Helper()
	got = passing.ReplaceAllString(got, "00:00:00$1")
	file := filepath.Join("testdata", "seat", name+".txt")
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the seat looks like\n%s\nnot like\n%s", got, want)
	}
}

// draw draws a picture of what bob sees.
func (b *bob) draw(name string, size session.Size) {
	if *pictures == "" || size.Cols != 80 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := os.WriteFile(filepath.Join(*pictures, name+".svg"), []byte(passing.ReplaceAllString(svg(b.screen), "00:00:00$1")), 0o644); err != nil {
		b.t.Error(err)
	}
}

// The lobby is drawn from its own golden screen.
func TestPictureOfTheLobby(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "bastion", "lobby", "testdata", "colours-80x24.txt"))
	if err != nil {
		t.Fatal(err)
	}
	b := newBob(t, session.Size{Cols: 80, Rows: 24})
	b.screen.Raw([]byte(strings.ReplaceAll(strings.TrimRight(string(text), "\n"), "\n", "\r\n")))
	b.draw("lobby", session.Size{Cols: 80, Rows: 24})
}

const (
	cellWidth, cellHeight = 9, 18
	paper, ink            = "#16181d", "#d8dade"
)

// svg is a picture of a screen: a rectangle for each run of a background, a text
// for each run of one look.
func svg(m *shadow.Model) string {
	cols, rows := m.Size()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="15">`+"\n",
		cols*cellWidth+16, rows*cellHeight+16)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="6" fill="%s"/>`+"\n", paper)
	all := m.Looks()
	for y := range rows {
		for x := 0; x < cols; {
			end, text := x, ""
			for ; end < cols && all[y][end] == all[y][x]; end++ {
				part, _ := m.Cell(end, y)
				text += part
			}
			b.WriteString(run(x, y, end-x, text, all[y][x]))
			x = end
		}
	}
	return b.String() + "</svg>\n"
}

func run(x, y, width int, text string, look shadow.Look) string {
	fg, bg := rgb(look[0], ink), rgb(look[1], "")
	if look[2]&(1<<4) != 0 {
		if bg == "" {
			bg = paper
		}
		fg, bg = bg, fg
	}
	left, top, out := 8+x*cellWidth, 8+y*cellHeight, ""
	if bg != "" {
		out = fmt.Sprintf(`<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", left, top, width*cellWidth, cellHeight, bg)
	}
	trimmed := strings.TrimLeft(text, " ")
	if trimmed == "" {
		return out
	}
	more := ""
	if look[2]&1 != 0 {
		more += ` font-weight="bold"`
	}
	if look[2]&2 != 0 {
		more += ` opacity="0.6"`
	}
	skipped := len(text) - len(trimmed)
	trimmed = strings.TrimRight(trimmed, " ")
	return out + fmt.Sprintf(`<text x="%d" y="%d" fill="%s"%s textLength="%d" xml:space="preserve">%s</text>`+"\n",
		left+skipped*cellWidth, top+14, fg, more, len([]rune(trimmed))*cellWidth, html.EscapeString(trimmed))
}

// rgb is a colour as SVG has it; that of the terminal is given.
func rgb(c int, own string) string {
	basic := [8]string{"#2b2e36", "#e0575b", "#6cc070", "#d9b44a", "#6a9fe8", "#c678dd", "#56b6c2", "#d8dade"}
	switch n := c & 0xffffff; {
	case c == 0:
		return own
	case c>>24 == 2:
		return fmt.Sprintf("#%06x", n)
	case n == 16:
		return "#000000"
	case n == 231:
		return "#ffffff"
	default:
		return basic[n&7]
	}
}
