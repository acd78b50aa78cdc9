package shadow_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// This file shows what was recorded of real programs, and the pages of vttest
// as far as the filter lets them through. What must be seen was written down by
// xterm.js (go test -run TestScreens -update), so that nobody's mistake is in it
// twice; where ours is meant to differ, it says why.

var rewrite = flag.Bool("update", false, "write down anew what must be seen")

// golden is a show under a name, and what must be seen at its end.
type golden struct {
	name string
	show show
	grid grid
	why  string // ours differs from xterm.js, or ""
}

// readGoldens reads a file of testdata/screens. For each: a line with === and
// the name, lines with a size or a quoted piece of output, --- and the cursor, rows.
// A line with ~ says why ours is meant to show something else than xterm.js.
func readGoldens(t *testing.T, file string) (list []*golden) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var g *golden
	seen := false
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		var p part
		switch {
		case strings.HasPrefix(line, "=== "):
			g, seen = &golden{name: line[4:]}, false
			list = append(list, g)
		case seen:
			g.grid.Rows = append(g.grid.Rows, line)
		case strings.HasPrefix(line, "~ "):
			g.why = line
		case strings.HasPrefix(line, "--- "):
			seen = true
			_, err = fmt.Sscanf(line, "--- %d,%d", &g.grid.X, &g.grid.Y)
		case strings.HasPrefix(line, `"`):
			p.Data, err = strconv.Unquote(line)
			g.show.Parts = append(g.show.Parts, p)
		case g.show.Cols == 0:
			_, err = fmt.Sscanf(line, "%dx%d", &g.show.Cols, &g.show.Rows)
		default:
			_, err = fmt.Sscanf(line, "%dx%d", &p.Cols, &p.Rows)
			g.show.Parts = append(g.show.Parts, p)
		}
		if err != nil {
			t.Fatalf("%s:%d: %v", file, i+1, err)
		}
	}
	return list
}

func writeGoldens(t *testing.T, file string, list []*golden) {
	t.Helper()
	var shows []show
	for _, g := range list {
		shows = append(shows, g.show)
	}
	var b strings.Builder
	for i, g := range theirs(t, shows) {
		fmt.Fprintf(&b, "=== %s\n%dx%d\n", list[i].name, shows[i].Cols, shows[i].Rows)
		for _, p := range shows[i].Parts {
			if p.Cols > 0 {
				fmt.Fprintf(&b, "%dx%d\n", p.Cols, p.Rows)
			} else {
				fmt.Fprintf(&b, "%q\n", p.Data)
			}
		}
		if list[i].why != "" {
			g = shows[i].ours()
			fmt.Fprintln(&b, list[i].why)
		}
		fmt.Fprintf(&b, "--- %d,%d\n%s\n", g.X, g.Y, strings.TrimRight(strings.Join(g.Rows, "\n"), "\n"))
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestScreens(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "screens", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal("there are no screens", err)
	}
	count := 0
	for _, file := range files {
		if *rewrite {
			writeGoldens(t, file, readGoldens(t, file))
		}
		for _, g := range readGoldens(t, file) {
			count++
			t.Run(g.name, func(t *testing.T) {
				ours := g.show.ours()
				g.grid.Rows = slices.Concat(g.grid.Rows, make([]string, len(ours.Rows)-len(g.grid.Rows)))
				if diff := ours.differs(g.grid); diff != "" {
					t.Errorf("%s: %s; it shows\n%s", filepath.Base(file), diff, strings.Join(ours.Rows, "\n"))
				}
			})
		}
	}
	if count < 150 {
		t.Errorf("there are %d screens", count)
	}
}
