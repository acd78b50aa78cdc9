package shadow_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

// This file hands an exported recording to the player that most people have,
// asciinema-player, in a real browser: it must end with the screen that the seat
// shows, know every marker, and complain of nothing.

// screening is what the player shows at the end, and came by.
type screening struct {
	Rows    []string `json:"rows"`
	Markers []struct {
		Label string  `json:"label"`
		Time  float64 `json:"time"`
	} `json:"markers"`
	Timeline   int      `json:"timeline"` // markers on it
	Errors     []string `json:"errors"`
	Complaints []string `json:"complaints"` // on the browser's console
}

// performance is a session with what players find hard: a rune cut between reads,
// bytes that are no text, another size, controls that JSON must escape, an own event of
// twokey's between them all.
func performance() []session.Event {
	ms := time.Millisecond
	out := func(at time.Duration, text string) session.Event {
		return session.Event{At: at, Type: session.Output, Bytes: []byte(text)}
	}
	return []session.Event{
		{At: 10 * ms, Type: session.Join, Who: "bob"},
		{At: 20 * ms, Type: session.GateOpen},
		out(30*ms, "psql (15.18)\u2028\x7f\u0085\r\n\xff\xfe\x80 are no text\r\n"),
		out(40*ms, "\x1b[2J\x1b[H"), // players skip what is no text, and may show what the seat does not
		out(50*ms, "orders=> "),
		{At: 60 * ms, Type: session.Input, Bytes: []byte("select 'ü';\r")},
		{At: 70 * ms, Type: session.Statement, Statement: &session.StatementInfo{N: 1, Protocol: "simple", Text: "select 'ü' -- \"q\" <&>\n;"}},
		out(80*ms, "select 'ü\xe2\x82"),
		{At: 90 * ms, Type: session.Result, Result: &session.ResultInfo{N: 1, Tag: "SELECT 1", Rows: 1}},
		// Not more rows: the player then shows what scrolled off or was cleared, as some terminals do and xterm does not.
		{At: 95 * ms, Type: session.Resize, Size: session.Size{Cols: 70, Rows: 10}},
		out(100*ms, "\xac\x1b[1;31m red\x1b[0m 日本\t\"\\/\r\n"),
		out(110*ms, strings.Repeat("0123456789", 9)+"\r\n"), // wraps
		out(120*ms, "a\bb\x1b[3C.\x1b[2Dc\r\n\x1b[4mlast\x1b[K"),
		{At: 130 * ms, Type: session.Statement, Statement: &session.StatementInfo{N: 2, Protocol: "simple", Text: "select 2"}},
		out(140*ms, "."), // a marker behind the last output is on no timeline
	}
}

func TestThePlayerShowsWhatTheSeatDoes(t *testing.T) {
	cast, model := performed(t)
	got := screened(t, cast)
	if len(got.Errors)+len(got.Complaints) > 0 {
		t.Errorf("the player fails with %q, the browser complains of %q", got.Errors, got.Complaints)
	}
	for i := range got.Rows {
		got.Rows[i] = strings.TrimRight(got.Rows[i], " ")
	}
	if want := model.Lines(); !slices.Equal(got.Rows, want) {
		t.Errorf("the player shows\n%q\nand the seat\n%q", got.Rows, want)
	}
	var labels []string
	for _, m := range got.Markers {
		labels = append(labels, m.Label)
	}
	if want := []string{"bob sat down", "select 'ü' -- \"q\" <&> ;", "select 2"}; !slices.Equal(labels, want) || got.Timeline != len(want) {
		t.Errorf("the player came by %q, and has %d on its timeline; want %q", labels, got.Timeline, want)
	}
}

// performed is the performance as it is exported, and our own screen after it.
func performed(t *testing.T) (cast []byte, model *shadow.Model) {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := recorder.New(recorder.Options{Dir: t.TempDir(), Store: s, Signer: signer})
	if err != nil {
		t.Fatal(err)
	}
	want := session.Request{ID: "01KAQ8J5V5M6Q2W3E4R5T6Y7V8", Started: time.Now(), Size: session.Size{Cols: 50, Rows: 10}, Term: "xterm-256color"}
	tape, err := r.Begin(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range performance() {
		if err := tape.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := tape.Seal(session.Summary{ID: want.ID, Cause: &session.Cause{Code: session.Quit}}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	var exported bytes.Buffer
	a := recorder.OpenArchive(s, []ssh.PublicKey{signer.PublicKey()}, nil)
	if err := a.Export(t.Context(), want.ID, &exported); err != nil {
		t.Fatal(err)
	}
	model = shadow.NewModel(want.Size.Cols, want.Size.Rows)
	for e, err := range a.Events(t.Context(), want.ID) {
		switch {
		case err != nil:
			t.Fatal(err)
		case e.Type == session.Output:
			model.Print(e.Bytes)
		case e.Type == session.Resize:
			model.Resize(e.Size.Cols, e.Size.Rows)
		}
	}
	return exported.Bytes(), model
}

// screened plays a cast in the player.
func screened(t *testing.T, cast []byte) (p screening) {
	t.Helper()
	dir := installed(t, "player")
	file := filepath.Join(t.TempDir(), "x.cast")
	if err := os.WriteFile(file, cast, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "play.mjs", file)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &p)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return p
}
