package lobby_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/vt"

	"github.com/twokey/twokey/bastion/lobby"
	"github.com/twokey/twokey/session"
)

var renew = flag.Bool("update", false, "write the golden screens anew")

// hall is a hall whose board the test hangs.
type hall struct {
	mu    sync.Mutex
	board lobby.Board
	news  chan struct{}
	looks int
}

func newHall(b lobby.Board) *hall { return &hall{board: b, news: make(chan struct{})} }

func (h *hall) News() <-chan struct{} { h.mu.Lock(); defer h.mu.Unlock(); return h.news }

func (h *hall) Look() lobby.Board {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looks++
	return h.board
}

func (h *hall) hang(b lobby.Board) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.board = b
	close(h.news)
	h.news = make(chan struct{})
}

// visitor is somebody in the lobby.
type visitor struct {
	t    *testing.T
	hall *hall
	keys io.WriteCloser
	size chan session.Size
	stop context.CancelCauseFunc
	over chan struct{}

	choice lobby.Choice
	err    error

	mu     sync.Mutex
	screen *vt.Emulator
	raw    bytes.Buffer
	stuck  chan struct{} // nil: the terminal takes what it gets
}

func (v *visitor) Write(p []byte) (int, error) {
	v.mu.Lock()
	stuck := v.stuck
	v.raw.Write(p)
	v.screen.Write(p)
	v.mu.Unlock()
	if stuck != nil {
		<-stuck
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func enter(t *testing.T, b lobby.Board, size session.Size) *visitor {
	t.Helper()
	in, keys := io.Pipe()
	ctx, stop := context.WithCancelCause(context.Background())
	v := &visitor{t: t, hall: newHall(b), keys: keys, size: make(chan session.Size, 1), stop: stop, over: make(chan struct{}), screen: vt.NewEmulator(size.Cols, size.Rows)}
	go io.Copy(io.Discard, v.screen)
	terminal := lobby.Terminal{In: in, Out: v, Size: size, Resize: v.size, Colours: true, Me: "bob@example.com"}
	go func() {
		defer close(v.over)
		v.choice, v.err = lobby.Show(ctx, v.hall, terminal)
	}()
	t.Cleanup(func() { stop(io.EOF); keys.Close(); <-v.over })
	return v
}

func (v *visitor) types(keys string) { io.WriteString(v.keys, keys) }

func (v *visitor) shows() string { v.mu.Lock(); defer v.mu.Unlock(); return v.screen.String() }
func (v *visitor) got() string   { v.mu.Lock(); defer v.mu.Unlock(); return v.raw.String() }

func (v *visitor) sees(text string) {
	v.t.Helper()
	v.eventually(fmt.Sprintf("%q", text), func() bool { return strings.Contains(v.shows(), text) })
}

func (v *visitor) eventually(what string, ok func() bool) {
	v.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			v.t.Fatalf("never: %s; the terminal shows:\n%s", what, v.shows())
		}
	}
}

func (v *visitor) leaves() (lobby.Choice, error) {
	v.t.Helper()
	select {
	case <-v.over:
	case <-time.After(10 * time.Second):
		v.t.Fatalf("it does not end; the terminal shows:\n%s", v.shows())
	}
	return v.choice, v.err
}

var (
	began  = time.Date(2026, 11, 23, 14, 3, 12, 0, time.UTC)
	usual  = session.Size{Cols: 80, Rows: 24}
	waits  = lobby.Session{ID: "01JD1", Code: "7KQ2M", Engineer: "alice@example.com", Wants: "orders+write", Reason: "ticket 42: the stuck order of the Meyer family", Since: began, Needs: "1 person from engineering"}
	barred = lobby.Session{ID: "01JD2", Code: "9ZZ0A", Engineer: "bob@example.com", Wants: "billing+write", Reason: "closing the year", Since: began.Add(-time.Minute), Needs: "1 person from dba, and 1 person from cto", Barred: "nobody shadows themselves: this session is yours"}
	live   = lobby.Session{ID: "01JD3", Code: "3FR7T", Engineer: "carol@example.com", Wants: "orders+write", Reason: "ticket 40", Since: began.Add(-time.Hour), State: "gate open · stored to 1 s ago · watched by dave@example.com"}
	glass  = lobby.Session{ID: "01JD4", Code: "QQ0XY", Engineer: "frank@example.com", Wants: "billing+write", Reason: "the payments stand still", Since: began.Add(-5 * time.Minute), State: "gate open · all stored", Alarm: "GLASS BROKEN: opened alone"}
	opens  = []lobby.Target{{Name: "orders", Watched: "nobody has to watch"}, {Name: "orders+write", Watched: "watched by 1 person from engineering"}}
	board  = lobby.Board{Waiting: []lobby.Session{waits, barred}, Live: []lobby.Session{live, glass}, Targets: opens}
)

// The screens, in three sizes and tiny ones.
func TestGoldenScreens(t *testing.T) {
	for name, c := range map[string]struct {
		board lobby.Board
		size  session.Size
	}{
		"empty-80x24":  {lobby.Board{Targets: opens}, usual},
		"busy-80x24":   {board, usual},
		"busy-120x40":  {board, session.Size{Cols: 120, Rows: 40}},
		"busy-300x80":  {board, session.Size{Cols: 300, Rows: 80}},
		"nobody-80x24": {lobby.Board{}, usual},
		"tiny-20x5":    {board, session.Size{Cols: 20, Rows: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			screen := vt.NewEmulator(c.size.Cols, c.size.Rows)
			rows := lobby.Draw("bob@example.com", c.board, c.size, began.Add(42*time.Second))
			if len(rows) != c.size.Rows {
				t.Errorf("%d rows", len(rows))
			}
			for i, row := range rows {
				fmt.Fprintf(screen, "\x1b[?7l\x1b[%d;1H%s", i+1, row)
			}
			got := strings.Split(strings.ReplaceAll(screen.String(), "\r", ""), "\n")
			for i := range got {
				got[i] = strings.TrimRight(got[i], " ")
			}
			golden(t, name, strings.Join(got, "\n")+"\n")
		})
	}
}

// One with its colours, of which make pictures makes the README's.
func TestGoldenColours(t *testing.T) {
	golden(t, "colours-80x24", strings.Join(lobby.Draw("bob@example.com", board, usual, began.Add(42*time.Second)), "\n")+"\n")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *renew {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the screen is\n%s\nwant\n%s\n(go test -update writes it anew)", got, want)
	}
}

// Whatever the size, no row is longer than the terminal is wide.
func TestEverySizeFits(t *testing.T) {
	for cols := 1; cols < 140; cols += 3 {
		for rows := 1; rows < 40; rows += 2 {
			list := lobby.Draw("bob", board, session.Size{Cols: cols, Rows: rows}, began)
			if len(list) != rows {
				t.Fatalf("%d x %d: %d rows", cols, rows, len(list))
			}
			for _, row := range list {
				if lipgloss.Width(row) > cols {
					t.Fatalf("%d x %d: the row %q", cols, rows, row)
				}
			}
		}
	}
}

func TestSomebodyBeginsToWait(t *testing.T) {
	v := enter(t, lobby.Board{Targets: opens}, usual)
	v.sees("> orders ")
	v.hall.hang(lobby.Board{Waiting: []lobby.Session{waits}, Targets: opens})
	v.sees("> 7KQ2M  alice@example.com  orders+write")
	v.sees("needs 1 person from engineering · ticket 42")
	v.eventually("the bell", func() bool { return strings.Count(v.got(), "\a") == 1 })
	v.types("\r")
	v.sees("press Enter again")
	time.Sleep(800 * time.Millisecond)
	v.types("\r")
	if c, err := v.leaves(); err != nil || c.Sit != waits.ID {
		t.Errorf("chosen: %+v, %v", c, err)
	}
	if !strings.HasSuffix(v.got(), "\x1b[?1049l") {
		t.Errorf("the terminal is not given back: %q", v.got()[max(0, len(v.got())-60):])
	}
}

// Whoever was there before, or may not be watched, rings no bell.
func TestNoBell(t *testing.T) {
	v := enter(t, lobby.Board{Waiting: []lobby.Session{waits}, Targets: opens}, usual)
	v.sees("7KQ2M")
	v.hall.hang(lobby.Board{Waiting: []lobby.Session{waits, barred}, Targets: opens})
	v.sees("9ZZ0A")
	v.types("j\r")
	v.sees("you may not sit down there: nobody shadows themselves")
	if strings.Contains(v.got(), "\a") {
		t.Error("the bell rang")
	}
}

// The cursor stays on what it is on, however the list changes, and Enter right
// after it had to move does nothing.
func TestTheCursorStays(t *testing.T) {
	v := enter(t, lobby.Board{Live: []lobby.Session{live}, Targets: opens}, usual)
	v.sees("> 3FR7T")
	v.types("jj")
	v.sees("> orders+write")
	v.hall.hang(board)
	v.sees("7KQ2M")
	v.sees("> orders+write")
	v.hall.hang(lobby.Board{Waiting: board.Waiting, Live: board.Live, Targets: opens[:1]})
	v.sees("> orders ")
	v.types("\r")
	v.sees("press Enter again")
}

func TestFilterHelpLeave(t *testing.T) {
	v := enter(t, board, usual)
	v.sees("7KQ2M")
	v.types("/billing GLASS")
	v.eventually("one session", func() bool { return !strings.Contains(v.shows(), "7KQ2M") && strings.Contains(v.shows(), "> QQ0XY") })
	v.types("\x1b")
	v.sees("7KQ2M")
	v.types("?")
	v.sees("The bell rings when somebody begins to wait")
	v.types("?")
	v.sees("> QQ0XY")
	v.size <- session.Size{Cols: 10, Rows: 3}
	v.eventually("a tiny screen", func() bool { return strings.Contains(v.got(), "> QQ0XY…") || strings.Contains(v.got(), " > QQ0XY") })
	v.types("q")
	if _, err := v.leaves(); !errors.Is(err, lobby.ErrLeft) {
		t.Errorf("left: %v", err)
	}
}

// What a terminal answers, a paste and hostile text are no keys and drive nothing.
func TestNothingButKeys(t *testing.T) {
	hostile := waits
	hostile.Reason = "\x1b]52;c;aGk=\a\x1b[2J\x9b5n\u202eq\r\n" + strings.Repeat("語", 600)
	hostile.Engineer = "a\x1b[31m" + strings.Repeat("\u0301", 50)
	v := enter(t, lobby.Board{Waiting: []lobby.Session{hostile}, Targets: opens}, usual)
	v.sees("7KQ2M")
	for _, input := range []string{
		"\x1b]11;rgb:q/q/q\x1b\\", "\x1b[?1;2c", "\x1b[?2026;2$y", "\x1b[200~q\rq\x03\x1b[201~", "\x1bP>|q\r\x1b\\", "\x1b[q", "\x1bq",
		"\x1b[200~" + strings.Repeat("q\r", 1<<20) + "\x1b[201~",
	} {
		v.types(input)
	}
	v.types("/zz")
	v.sees("/zz")
	select {
	case <-v.over:
		t.Fatalf("it ended: %+v %v", v.choice, v.err)
	default:
	}
	for _, bad := range []string{"\x1b]", "\x1bP", "\u009b", "\x1b[c", "\x1b[5n", "\x1b[?u", "\u202e"} {
		if strings.Contains(v.got(), bad) {
			t.Errorf("the terminal got %q", bad)
		}
	}
}

// A terminal that takes nothing keeps nobody: the lobby ends when it is told.
func TestStoppedTerminal(t *testing.T) {
	v := enter(t, board, usual)
	v.sees("7KQ2M")
	stuck := make(chan struct{})
	v.mu.Lock()
	v.stuck = stuck
	v.mu.Unlock()
	for range 50 {
		v.hall.hang(board)
		v.types("j")
	}
	gone := errors.New("gone")
	v.stop(gone)
	if _, err := v.leaves(); !errors.Is(err, gone) {
		t.Errorf("it ended with %v", err)
	}
	close(stuck)
}

// A mistake in the model ends this lobby, and gives the terminal back.
func TestPanic(t *testing.T) {
	v := enter(t, board, usual)
	v.sees("7KQ2M")
	v.size <- session.Size{Cols: 80, Rows: 1 << 60}
	if _, err := v.leaves(); err == nil || !strings.Contains(err.Error(), "broke") {
		t.Errorf("it ended with %v", err)
	}
	if !strings.HasSuffix(v.got(), "\x1b[?1049l") {
		t.Error("the terminal is not given back")
	}
}

// Nothing happens: nothing is written, and nobody looks.
func TestIdle(t *testing.T) {
	v := enter(t, lobby.Board{Targets: opens}, usual)
	v.sees("> orders")
	time.Sleep(300 * time.Millisecond)
	v.hall.mu.Lock()
	looks, wrote := v.hall.looks, len(v.got())
	v.hall.mu.Unlock()
	time.Sleep(1500 * time.Millisecond)
	v.hall.mu.Lock()
	defer v.hall.mu.Unlock()
	if v.hall.looks != looks || len(v.got()) != wrote {
		t.Errorf("%d looks, %d bytes, then %d, %d", looks, wrote, v.hall.looks, len(v.got()))
	}
}

// Lines for those who want nothing drawn.
func TestTell(t *testing.T) {
	h := newHall(lobby.Board{Targets: opens})
	in, keys := io.Pipe()
	v := &visitor{t: t, screen: vt.NewEmulator(80, 24)}
	over := make(chan error, 1)
	go func() {
		over <- lobby.Tell(context.Background(), h, lobby.Terminal{In: in, Out: v}, func(code string) string { return "ssh -t bastion shadow " + code })
	}()
	v.eventually("a look", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.looks > 0 })
	step := func(b lobby.Board, want string) {
		t.Helper()
		v.eventually(want, func() bool { h.hang(b); time.Sleep(20 * time.Millisecond); return strings.Contains(v.got(), want) })
	}
	step(lobby.Board{Waiting: []lobby.Session{waits}}, "\aalice@example.com at orders+write waits for a shadow: 7KQ2M ticket 42: the stuck order of the Meyer family. It takes 1 person from engineering. Sit down with: ssh -t bastion shadow 7KQ2M\n")
	opened := waits
	opened.Needs, opened.State = "", "gate open"
	step(lobby.Board{Live: []lobby.Session{opened}}, "alice@example.com at orders+write is live: 7KQ2M, gate open")
	step(lobby.Board{}, "alice@example.com at orders+write has ended: 7KQ2M.\n")
	io.WriteString(keys, "\x03")
	if err := <-over; !errors.Is(err, lobby.ErrLeft) {
		t.Errorf("left: %v", err)
	}
}
