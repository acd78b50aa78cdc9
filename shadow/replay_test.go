package shadow_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file sits down as dave, an auditor, at recordings: keys in, and what his
// terminal then shows.

// tape is a recording of some events.
func tape(events ...session.Event) shadow.Tape {
	return func(ctx context.Context, from time.Duration) iter.Seq2[session.Event, error] {
		return func(yield func(session.Event, error) bool) {
			for _, e := range events {
				if e.At >= from && (ctx.Err() != nil || !yield(e, nil)) {
					return
				}
			}
		}
	}
}

// prints is output at a time.
func prints(at time.Duration, text string) session.Event {
	return session.Event{At: at, Type: session.Output, Bytes: []byte(text)}
}

func at(at time.Duration, e session.Event) session.Event {
	e.At = at
	return e
}

// story is what dave replays: ten minutes, three statements, and a kill.
func story() []session.Event {
	const s, m = time.Second, time.Minute
	return []session.Event{
		{Type: session.Resize, Size: session.Size{Cols: 100, Rows: 30}},
		prints(0, "psql (17)\r\n"),
		{At: 5 * s, Type: session.Join, Who: "bob"},
		{At: 5 * s, Type: session.GateOpen},
		prints(6*s, "orders=> "),
		prints(20*s, "select 40 + 2;\r\n"),
		at(20*s, runs(1, "select 40\n+ 2;")),
		at(20*s+3, ended(1, "SELECT 1")),
		prints(20*s+5, " ?column? \r\n       42\r\norders=> "),
		prints(3*m, "delete from orders where id = 7;\r\n"),
		at(3*m, runs(2, "delete from orders where id = 7;")),
		at(3*m+s, ended(2, "DELETE 1")),
		prints(3*m+s, "DELETE 1\r\norders=> "),
		{At: 4 * m, Type: session.Hold, Who: "bob"},
		{At: 4 * m, Type: session.GateShut, Text: "held by bob"},
		{At: 5 * m, Type: session.Release, Who: "bob"},
		{At: 5 * m, Type: session.GateOpen},
		prints(8*m, "drop table orders;\r\n"),
		at(8*m, runs(3, "drop table orders;")),
		{At: 8*m + s, Type: session.Kill, Who: "bob", Text: "no"},
		{At: 10 * m, Type: session.End, Cause: &session.Cause{Code: session.Killed, By: "bob", Text: "no"}},
	}
}

// dave is a viewer of a recording.
type dave struct {
	*bob
	mu   sync.Mutex
	seen int
	sent strings.Builder
}

func (d *dave) Write(p []byte) (int, error) {
	d.mu.Lock()
	d.sent.Write(p)
	d.mu.Unlock()
	return d.bob.Write(p)
}

func (d *dave) told() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen
}

// replays opens a recording on dave's terminal, standing still unless o says
// how fast.
func replays(t *testing.T, r shadow.Recording, size session.Size, o shadow.PlayOptions) *dave {
	t.Helper()
	d := &dave{bob: newBob(t, size)}
	r.Seen = func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.seen++
		return nil
	}
	var in *io.PipeReader
	in, d.keys = io.Pipe()
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		d.ends <- shadow.Replay(ctx, r, shadow.PlayTerminal{In: in, Out: d, Size: size, Resize: d.size, Colourless: true}, o)
		in.Close()
	}()
	t.Cleanup(func() {
		stop()
		d.keys.Close()
		<-d.ends
	})
	if o.Speed == 0 {
		d.sees("PLAY")
		d.types(" ")
		d.sees("PAUSE")
	}
	return d
}

func replaysStory(t *testing.T) *dave {
	t.Helper()
	about := session.Summary{Engineer: "alice", Target: "orders", Mode: "write", Reason: "ticket 42", Started: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
	return replays(t, shadow.Recording{Tape: tape(story()...), About: about}, session.Size{Cols: 100, Rows: 40}, shadow.PlayOptions{})
}

// Every key does what the help says.
func TestReplayKeys(t *testing.T) {
	for _, c := range []struct{ keys, sees string }{
		{"\x1b[C\x1b[C", "00:00:10"},
		{"..", "00:00:10"},
		{"\x1b[1;2C\x1b[1;2C\x1b[D", "00:01:55"},
		{">>,", "00:01:55"},
		{"><", "00:00:00"},
		{"\x1b[C\x1b[1;5D", "00:00:00"},
		{"]", "00:00:20 select 40↵+ 2;"},
		{"]]", "00:03:00 delete from orders where id = 7;"},
		{"]]]", "00:08:00 drop table orders;"},
		{"]]]]", "none after this"},
		{"]][", "PAUSE 00:00:20"},
		{"[", "none before this"},
		{"}", "bob sat down"},
		{"}}", "PAUSE 00:04:00"},
		{"}}}", "bob killed the session: no"},
		{"}}}{", "bob holds"},
		{"g90\r", "PAUSE 00:01:30"},
		{"g1:30\r", "PAUSE 00:01:30"},
		{"g0:01:30\r", "PAUSE 00:01:30"},
		{"g1m30s\r", "PAUSE 00:01:30"},
		{"g50%\r", "PAUSE 00:05:00"},
		{"g9\x7f2:00\r", "PAUSE 00:02:00"},
		{"g1:30\x1b", "space play"},
		{"gnoon\r", "that is no time"},
		{"g4:30\r", "gate shut: held by bob"},
		{"g5:30\r", "gate open · watched by bob"},
		{"+", "00:10:00 2x"},
		{"--", "00:10:00 0.25x"},
		{"i", "1x idle<2s"},
		{"\x1b[F", "END"},
		{"\x1b[F", "killed by bob: no"},
		{"\x1b[F", "2 of 3 statements were not shown"},
		{"\x1b[F\x1b[H", "00:00:00"},
		{"\x1b[F ", "PLAY"},
		{"/DELETE FROM\r", "delete from orders where id = 7;"},
		{"/42\r", "       42"},
		{"/orders\rn", "PAUSE 00:00:20"},
		{"/nothing like it\r", "nothing after this"},
		{"/42\rN", "nothing before this"},
		{"n", "/ searches"},
		{"?", "Shift (or < >) a minute"},
		{"??", "space play"},
		{"]f", "page 1 of 1"},
		{"]]f", "delete from orders where id = 7;\nrunning"},
	} {
		t.Run(c.keys, func(t *testing.T) {
			t.Parallel()
			d := replaysStory(t)
			d.sees("00:00:00 / 00:10:00"[11:]) // all of it is known
			d.types(c.keys)
			d.sees(c.sees)
		})
	}
}

// stuff is what a random tape is made of.
var stuff = append([]string{
	"orders=> select 1;\r\n", "a line that is quite a bit longer than the screen is wide, so that it wraps\r\n", "\r\n\r\n\r\n\r\n\r\n", "\x1b[2J\x1b[H",
	"\x1b[3A", "\x1b[31mred\x1b[0m", "wide 世界 ", "e\u0301", "\x1b[", "12;", "5H", "\xe4\xb8", "\x96", "\t", "\b\b", strings.Repeat("row\r\n", 40),
	strings.Repeat("x", 9000), "\x1b[?25l", "\x1b]0;", "title\x07", "\x1b[L", "\x1b[2M", "\x1b[4@", "\x1b[P",
}, states...)

// randomTape has a few hundred events, many of them at the same time.
func randomTape(r *rand.Rand) (shadow.Tape, time.Duration) {
	var events []session.Event
	var now time.Duration
	n := 0
	if r.IntN(4) > 0 {
		events = append(events, session.Event{Type: session.Resize, Size: session.Size{Cols: 60, Rows: 12}})
	}
	for range 50 + r.IntN(400) {
		now += time.Duration(r.IntN(3)) * time.Duration(r.IntN(2e9))
		switch r.IntN(12) {
		case 0:
			n++
			events = append(events, at(now, runs(n, fmt.Sprintf("select %d", n))))
		case 1:
			n++
			e := at(now, runs(n, "select oid from pg_class"))
			e.Statement.Touches = []string{session.Catalogue}
			events = append(events, e)
		case 2:
			events = append(events, at(now, ended(r.IntN(n+1), "SELECT 1")))
		case 3:
			events = append(events, session.Event{At: now, Type: session.Resize, Size: session.Size{Cols: 20 + r.IntN(100), Rows: 5 + r.IntN(40)}})
		case 4:
			events = append(events, session.Event{At: now, Type: []session.EventType{session.Join, session.Leave, session.GateOpen, session.GateShut}[r.IntN(4)], Who: "bob"})
		case 5:
			events = append(events, session.Event{At: now, Type: session.Asked, Ask: &session.AskInfo{N: n, Text: "drop table x"}},
				session.Event{At: now, Type: session.Denied, Ask: &session.AskInfo{N: r.IntN(n + 1)}})
		default:
			events = append(events, prints(now, stuff[r.IntN(len(stuff))]))
		}
	}
	return tape(append(events, session.Event{At: now + 1, Type: session.End, Cause: &session.Cause{Code: session.Quit}})...), now + 1
}

// Wherever one comes from, a moment looks as it did when it was played.
func TestSeekingIsPlaying(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 6))
		tape, length := randomTape(r)
		reel := shadow.NewReel(tape, 1+r.IntN(20_000))
		for i := range 12 {
			if i == 6 {
				reel.Indexed()
			}
			when, n := time.Duration(r.Int64N(int64(length)+1)), 1<<30
			if r.IntN(3) == 0 {
				n = r.IntN(4)
			}
			if got, want := reel.To(when, n), shadow.PlayedTo(tape, when, n); got != want {
				t.Fatalf("seed %d: at %v (%d), after %d jumps, it shows\n%s\nplayed up to there it shows\n%s", seed, when, n, i, got, want)
			}
		}
		reel.Close()
	}
}

// A long tape costs no more memory than is set aside for it.
func TestScenesAreBounded(t *testing.T) {
	oneGoroutine(t)
	wide := session.Event{Type: session.Resize, Size: session.Size{Cols: 500, Rows: 200}}
	full := strings.Repeat(strings.Repeat("x", 500), 200)
	long := func(_ context.Context, from time.Duration) iter.Seq2[session.Event, error] {
		return func(yield func(session.Event, error) bool) {
			if from == 0 && !yield(wide, nil) {
				return
			}
			for i := range 300 {
				if e := prints(time.Duration(i)*time.Second, full); e.At >= from && !yield(e, nil) {
					return
				}
			}
		}
	}
	reel := shadow.NewReel(long, 1)
	defer reel.Close()
	scenes, weight, _ := reel.Indexed()
	if weight > 32<<20 || scenes < 3 {
		t.Errorf("%d scenes weigh %d bytes", scenes, weight)
	}
	if got, want := reel.To(150*time.Second, 3), shadow.PlayedTo(long, 150*time.Second, 3); got != want {
		t.Error("the middle of it is another")
	}
}

// Pieces are what was printed, no more of it at once than fits on a screen.
func TestPieces(t *testing.T) {
	all := strings.Repeat("a line\r\n", 100) + strings.Repeat("y", 10_000) + "\n"
	var got strings.Builder
	for _, p := range shadow.Pieces(tape(prints(0, all), prints(0, ""), prints(time.Second, "z"))) {
		if got.Write(p); strings.Count(string(p), "\n") > 4 || len(p) > 4096 {
			t.Errorf("a piece of %d bytes: %.80q", len(p), p)
		}
	}
	if got.String() != all+"z" {
		t.Error("something is lost")
	}
}

// What has been seen is what was played, and the statements that were gone to.
func TestAllHasBeenSeen(t *testing.T) {
	d := replaysStory(t)
	d.types("\x1b[F")
	d.sees("2 of 3 statements were not shown")
	d.types("[[")
	d.sees("PAUSE 00:03:00")
	d.types("\x1b[F")
	d.sees("1 of 3 statements were not shown")
	if d.told() > 0 {
		t.Error("not all has been seen")
	}
	d.types("\x1b[H]")
	d.sees("PAUSE 00:00:20")
	d.types("\x1b[F")
	d.until("the end", func(screen string) bool {
		return strings.Contains(screen, "END") && !strings.Contains(screen, "not shown")
	})
	d.types("q")
	if err := <-d.ends; err != nil || d.told() != 1 {
		t.Errorf("it ended with %v, and that all was seen was told %d times", err, d.told())
	}
	d.ends <- nil
	if sent := d.sent.String(); !strings.HasSuffix(sent, "00:10:00 the session has ended: killed by bob: no\r\n") {
		t.Errorf("the last words are %q", sent[max(len(sent)-200, 0):])
	}
}

func TestPlayedFastItHasBeenSeen(t *testing.T) {
	d := replays(t, shadow.Recording{Tape: tape(story()...)}, session.Size{Cols: 80, Rows: 24}, shadow.PlayOptions{Speed: 1000, MaxIdle: time.Second})
	d.sees("END")
	d.until("that it was told", func(string) bool { return d.told() == 1 })
}

// However fast it is played, each statement is on the screen once.
func TestPlayedFastNothingIsSkipped(t *testing.T) {
	var events []session.Event
	const many = 60
	for i := range many {
		when := time.Second + time.Duration(i)*time.Microsecond
		events = append(events, at(when, runs(i+1, fmt.Sprintf("select 'no %03d'", i))), at(when, ended(i+1, "SELECT 1")))
	}
	events = append(events, session.Event{At: 2 * time.Hour, Type: session.End})
	d := replays(t, shadow.Recording{Tape: tape(events...)}, session.Size{Cols: 80, Rows: 24}, shadow.PlayOptions{})
	d.sees("02:00:00 1x")
	d.types("++++++++++ ")
	d.sees("END")
	d.until("that it was told", func(string) bool { return d.told() == 1 })
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range many {
		if text := fmt.Sprintf("select 'no %03d'", i); !strings.Contains(d.sent.String(), text) {
			t.Errorf("%s was on no screen", text)
		}
	}
}

// What goes by behind the help, above what was scrolled back to, or on a terminal
// with no room for it, has not been seen.
func TestWhatNobodyCouldSeeWasNotSeen(t *testing.T) {
	for name, blind := range map[string]func(d *dave){
		"help":     func(d *dave) { d.types("?"); d.sees("Shift (or < >) a minute") },
		"scrolled": func(d *dave) { d.types("]]\x1b[A\x1b[A"); d.sees("scrolled back") },
		"small":    func(d *dave) { d.resize(session.Size{Cols: 39, Rows: 24}); d.sees("Too small") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := replaysStory(t)
			d.sees("00:10:00 1x")
			blind(d)
			d.types("i++++++++++ ")
			time.Sleep(time.Second)
			d.resize(session.Size{Cols: 100, Rows: 40})
			d.types("\x1b")
			d.sees("statements were not shown")
			if d.told() > 0 {
				t.Error("it was told that all has been seen")
			}
		})
	}
}

// Without a terminal, too, what no screen had is told: a client's on a forwarded port.
func TestStatementsInAPipe(t *testing.T) {
	var out strings.Builder
	events := tape(at(time.Millisecond, runs(1, "delete from orders\nwhere id = 7")), at(time.Millisecond, ended(1, "DELETE 1")), session.Event{At: time.Millisecond, Type: session.End})
	whole, err := shadow.Play(t.Context(), events(t.Context(), 0), shadow.PlayTerminal{Out: &out}, shadow.PlayOptions{})
	if want := "[00:00:00 > delete from orders↵where id = 7]\n[00:00:00: ended]\n"; !whole || err != nil || out.String() != want {
		t.Errorf("whole: %v, %v: %q", whole, err, out.String())
	}
}

func TestStretches(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 9))
		var list shadow.Stretches
		var seen [50]bool // of the points and of what lies between them
		for range r.IntN(12) {
			from := r.IntN(24) * 2
			to := from + r.IntN((48-from)/2+1)*2
			list.Add(time.Duration(from), time.Duration(to))
			for i := from; i <= to; i++ {
				seen[i] = true
			}
		}
		for from := range 49 {
			all := true
			for to := from; to < 49; to++ {
				all = all && seen[to]
				if from%2 == 0 && to%2 == 0 && list.Holds(time.Duration(from), time.Duration(to)) != all {
					t.Fatalf("seed %d: %v holds %d to %d is not %v", seed, list, from, to, all)
				}
			}
		}
	}
}

func TestTimesAsTyped(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90": 90 * time.Second, "1:30": 90 * time.Second, "1:02:03": 3723 * time.Second, "1m30s": 90 * time.Second, "0": 0, "50%": 300 * time.Second,
		"1.5": 1500 * time.Millisecond, "1m23.456789s": 83456789 * time.Microsecond, "0:01:23.5": 83500 * time.Millisecond,
	} {
		if got, err := shadow.ParseTime(text, 10*time.Minute); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"noon", "-5", "-1m", "1:2:3:4", "1:-2", "NaN", "+Inf", "1e300", "101%", "NaN%", "9999999999h", ":", "1:"} {
		if got, err := shadow.ParseTime(text, 10*time.Minute); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

// Nothing of a tape gets to the terminal, nothing in an escape sequence is a key,
// and without colours there are none.
func TestReplayIsClean(t *testing.T) {
	events := []session.Event{{Type: session.Resize, Size: session.Size{Cols: 80, Rows: 24}}}
	for i, text := range append(stuff, "\x1b]52;c;ZXZpbA==\x07", "\x1bP+q544e\x1b\\", "\x1b[c", "\x1b[6n", "\u009b6n", "\x1b[38;2;1;2;3mx", "\x1b[48;5;9my\x1b[97;1mz") {
		events = append(events, prints(time.Duration(i)*10*time.Millisecond, text), at(time.Duration(i)*10*time.Millisecond, runs(i, text)))
	}
	about := session.Summary{Engineer: "eve\x1b]0;x\x07", Target: "\x1b[c", Reason: "\u009b6n"}
	end := session.Event{At: time.Second, Type: session.End, Cause: &session.Cause{Code: session.Killed, By: "\x1b]0;x\x07", Text: "\x1b[6n"}}
	d := replays(t, shadow.Recording{Tape: tape(append(events, end)...), About: about}, session.Size{Cols: 80, Rows: 24}, shadow.PlayOptions{Speed: 0.5})
	d.sees("END")
	d.types("\x1b[201~\x1b[200~q\x03qqq\x1b[201~\x1b]qq\x07\x1bPqq\x03\x1b\\\x1b[12;40R\x1b[0n\x1b[?1;2c\x1b]0;q")
	time.Sleep(50 * time.Millisecond)
	d.types("\x07")
	d.sees("END")
	d.types("q")
	<-d.ends
	d.ends <- nil
	allowed := regexp.MustCompile(`\x1b\[(\?(1049|7|2004|25)[hl]|[0-9;]*[HGKJm])|\r\n`)
	colour := regexp.MustCompile(`\x1b\[[0-9;]*(3|4|9|10)[0-9][;m][0-9;]*`)
	rest := d.sent.String()
	for _, once := range []string{"\x1b[8l\x1b[1 k", "\x1b[8h\x1b[0 k"} { // the seat's own, see rtl.go
		rest = strings.Replace(rest, once, "", 1)
	}
	rest = allowed.ReplaceAllString(rest, "")
	if i := strings.IndexFunc(rest, unicode.IsControl); i >= 0 {
		t.Errorf("this was sent: %q", rest[max(i-20, 0):min(i+40, len(rest))])
	}
	if got := colour.FindString(d.sent.String()); got != "" {
		t.Errorf("a colour: %q", got)
	}
}

// A recording that can be read only so far shows that far, and says so.
func TestReplayOfABrokenRecording(t *testing.T) {
	errCut := errors.New("segment 2: it is not what was recorded")
	cut := func(ctx context.Context, from time.Duration) iter.Seq2[session.Event, error] {
		return func(yield func(session.Event, error) bool) {
			for e := range tape(story()[:8]...)(ctx, from) {
				if !yield(e, nil) {
					return
				}
			}
			yield(session.Event{}, errCut)
		}
	}
	d := replays(t, shadow.Recording{Tape: cut}, session.Size{Cols: 80, Rows: 24}, shadow.PlayOptions{})
	d.types("\x1b[F")
	d.sees("CAN NOT BE READ ON FROM HERE: segment 2")
	d.sees("select 40")
	d.types("\x1b[Hq")
	if err := <-d.ends; err != nil && !errors.Is(err, errCut) || d.told() > 0 {
		t.Errorf("it ended with %v, told %d", err, d.told())
	}
	d.ends <- nil
}

// Who follows what runs goes back in it while nothing comes, and on to its end.
func TestFollowing(t *testing.T) {
	more := make(chan struct{})
	runs := func(ctx context.Context, from time.Duration) iter.Seq2[session.Event, error] {
		return func(yield func(session.Event, error) bool) {
			for i, e := range story() {
				if i == 13 {
					select {
					case <-more:
					case <-ctx.Done():
						yield(session.Event{}, ctx.Err())
						return
					}
				}
				if e.At >= from && !yield(e, nil) {
					return
				}
			}
		}
	}
	d := replays(t, shadow.Recording{Tape: runs, Live: true}, session.Size{Cols: 80, Rows: 24}, shadow.PlayOptions{Speed: 1})
	d.sees("LIVE  00:03:01")
	d.sees("FOLLOWING")
	d.types("[[")
	d.sees("PAUSE 00:00:20")
	d.types("\x1b[F")
	d.sees("LIVE  00:03:01")
	d.types("\x1b[D")
	d.sees("LIVE  00:02:56"[6:])
	d.types("\x1b[F")
	close(more)
	d.sees("END   00:10:00")
	d.types("/order")
	d.resize(session.Size{Cols: 300, Rows: 80})
	d.sees("Search: order")
	d.types("s\r")
	d.sees("nothing after this")
	d.resize(session.Size{Cols: 30, Rows: 8})
	d.sees("Too small")
	d.types("\x04")
	if err := <-d.ends; err != nil {
		t.Error(err)
	}
	d.ends <- nil
}
