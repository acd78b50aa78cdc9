package pgwire_test

import (
	"strings"
	"testing"

	"github.com/twokey/twokey/session/pgwire"
)

// Statements that differ in their literals alone are parsed once. What is not
// known, and what may be read in two ways, has no label.
func TestLabels(t *testing.T) {
	db, err := pgwire.NewDatabase(upstream())
	if err != nil {
		t.Fatal(err)
	}
	var parsed []string
	r := listenWith(t, db, pgwire.Options{For: request(), Labels: func(sql string) []string {
		parsed = append(parsed, sql)
		if strings.HasPrefix(sql, "selec ") {
			return nil
		}
		return []string{"select paid"}
	}})
	r.psql(`select 1 /* a */, 'x' from paid;
select 22.5 /* b */, 'it''s', $$z$$ from paid;
select 22 /* c */, 'y' from paid;
select 'a\' = '; from paid --';
selec 1;
selec 1;
alter role nobody password 'secret';
`)
	if got, want := strings.Join(parsed, "\n"), `select 1 /* a */, 'x' from paid;
select 22.5 /* b */, 'it''s', $$z$$ from paid;
selec 1;
selec 1;
alter role nobody password '[password]';`; got != want {
		t.Errorf("parsed\n%s\nwant\n%s", got, want)
	}
	tape := r.door.tape()
	if n := strings.Count(tape, `touches=["select paid"]`); n != 4 {
		t.Errorf("%d statements have labels, want 4:\n%s", n, tape)
	}
}

// What the configuration hides of parameters, nobody gets to read.
func TestRedaction(t *testing.T) {
	db, err := pgwire.NewDatabase(upstream())
	if err != nil {
		t.Fatal(err)
	}
	redact, err := pgwire.NewRedaction([]string{"bytea", "jsonb"}, 20)
	if err != nil {
		t.Fatal(err)
	}
	r := listenWith(t, db, pgwire.Options{For: request(), Redact: redact})
	conn := r.connect()
	sql := "select $1::int, $2::bytea, $3::text, $4::jsonb"
	values := [][]byte{[]byte("7"), []byte("secret"), []byte(strings.Repeat("s", 21)), nil}
	if _, err := conn.Prepare(t.Context(), "described", sql, nil); err != nil { // and so the types are known
		t.Fatal(err)
	}
	for range 2 {
		if res := conn.ExecPrepared(t.Context(), "described", values, nil, nil).Read(); res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	values[2] = []byte("a word")
	if res := conn.ExecParams(t.Context(), sql, values, []uint32{23, 17, 25, 3802}, nil, nil).Read(); res.Err != nil {
		t.Fatal(res.Err)
	}
	if res := conn.ExecParams(t.Context(), sql, values, nil, nil, nil).Read(); res.Err != nil { // and so they are not
		t.Fatal(res.Err)
	}
	tape := r.door.tape()
	for want, times := range map[string]int{
		`params=["7" "[redacted, 6 bytes]" "[redacted, 21 bytes]" "null"]`:                  2,
		`params=["7" "[redacted, 6 bytes]" "a word" "null"]`:                                1,
		`params=["[redacted, 1 bytes]" "[redacted, 6 bytes]" "[redacted, 6 bytes]" "null"]`: 1,
		"secret": 0,
	} {
		if n := strings.Count(tape, want); n != times {
			t.Errorf("%s is on the tape %d times, want %d:\n%s", want, n, times, tape)
		}
	}
	if _, err := pgwire.NewRedaction([]string{"bytes"}, 0); err == nil {
		t.Error("a type that is none was taken")
	}
}
