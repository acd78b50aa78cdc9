package shadow_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/twokey/twokey/session"
	"github.com/twokey/twokey/shadow"
)

func reads(n int, sql string) session.Event {
	e := runs(n, sql)
	e.Statement.Touches = []string{session.Catalogue}
	return e
}

// What a client reads from the catalogues by itself takes one line, and hides
// nothing else: neither what comes between, nor that it failed.
func TestReadsOfTheCatalogueAreFolded(t *testing.T) {
	v := shadow.NewView(session.Size{})
	r := v.Read()
	v.Apply(runs(1, "select 1"))
	v.Apply(ended(1, "SELECT 1"))
	for i := range 20 {
		v.Apply(reads(2+i, "select * from pg_class"))
		v.Apply(ended(2+i, "SELECT 400"))
	}
	v.Apply(runs(22, "delete from orders"))
	v.Apply(ended(22, "DELETE 4"))
	v.Apply(reads(23, "select * from pg_type"))
	v.Apply(reads(24, "select * from pg_proc"))
	v.Apply(session.Event{Type: session.Result, Result: &session.ResultInfo{N: 23, SQLState: "42501", Message: "permission denied"}})
	v.Apply(ended(24, "SELECT 7"))

	got := v.Take(r)
	want := []string{
		"00:00:00 > select 1",
		"00:00:00 < SELECT 1, 0s  (select 1)",
		"00:00:00 > select * from pg_class",
		"00:00:00 < SELECT 400, 0s  (select * from pg_class)",
		"> … and 19 more reads of the catalogue",
		"00:00:00 > delete from orders",
		"00:00:00 < DELETE 4, 0s  (delete from orders)",
		"00:00:00 > select * from pg_type",
		"> … and 1 more reads of the catalogue",
	}
	if len(got) < len(want) || !slices.Equal(got[:len(want)], want) || !strings.Contains(strings.Join(got, "\n"), "42501 permission denied") {
		t.Errorf("told:\n%s\nwant, and the error:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	b := sitDown(t, v, session.Size{Cols: 120, Rows: 30})
	b.until("one line for twenty, and the error", func(screen string) bool {
		return strings.Contains(screen, "(20 reads of the catalogue, the last:) select * from pg_class") && strings.Contains(screen, "delete from orders") &&
			strings.Contains(screen, "(2 reads of the catalogue, the last:) select * from pg_proc") && strings.Contains(screen, "42501 permission denied")
	})
}
