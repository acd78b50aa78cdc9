package psql_test

import (
	"io"
	"strings"
	"testing"
	"time"
)

// One psql may take what it can get, and only ends itself: the machine is not
// short of memory, and the psql beside it answers.
func TestAGreedyPsqlOnlyEndsItself(t *testing.T) {
	for name, greed := range map[string]struct{ script, says string }{
		"variables":                     {"\\set ON_ERROR_STOP on\n" + strings.Repeat("select repeat('x', 150<<20) as a \\gset\nselect repeat('x', 150<<20) as b \\gset\n", 2) + "\\echo end\n", "out of memory"},
		"a result larger than its room": {"select repeat('x', 250<<20) from generate_series(1, 3);\n\\echo end\n", "out of memory"},
		"a result taken in parts":       {"\\set FETCH_COUNT 1\n\\pset format unaligned\n\\o /dev/null\nselect repeat('x', 20<<20) from generate_series(1, 26);\n\\o\n\\echo end\n", "end"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCage(t)
			beside := open(t, c, toCluster())
			out := converse(t, c, toCluster(), greed.script)
			if !strings.Contains(out, greed.says) {
				t.Errorf("no %q in the %d bytes that end in %.300q", greed.says, len(out), out[max(0, len(out)-300):])
			}
			answers(t, beside)
		})
	}
}

// A psql that repeats a query without a pause stands back behind others, and
// ends when it is killed.
func TestAPsqlThatNeverRests(t *testing.T) {
	c := newCage(t)
	busy, beside := open(t, c, toCluster()), open(t, c, toCluster())
	io.WriteString(writer{busy}, "select 1 \\watch 0.001\n") // psql before 16 takes 0 for a second
	go io.Copy(io.Discard, busy)                             // ends with psql
	for range 5 {
		answers(t, beside)
	}
	busy.Kill()
	answers(t, beside)
}

// answers waits for a psql's answer.
func answers(t *testing.T, s interface {
	io.Reader
	Write([]byte) (int, error)
	Kill()
}) {
	t.Helper()
	defer time.AfterFunc(2*time.Minute, s.Kill).Stop()
	const song = "here\n"
	heard := make([]byte, len(song))
	if _, err := io.WriteString(s, "\\echo here\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, heard); err != nil || string(heard) != song {
		t.Errorf("the psql beside it says %q: %v", heard, err)
	}
}
