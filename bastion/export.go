package bastion

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/twokey/twokey/session"
)

// This file is the export command: a recording as a plain file, for other tools.

func (r Recordings) exportCommand(name string) *cobra.Command {
	var raw, statements, asCSV bool
	c := &cobra.Command{
		Use:   name + " ID",
		Short: "a plain asciicast v2 file on standard output, or what is in it",
		Args:  oneID,
		RunE: func(c *cobra.Command, args []string) error {
			if raw && statements || asCSV && !statements {
				return misuse("--raw and --statements exclude each other, and --csv is for --statements")
			}
			ctx := c.Context()
			id, err := r.find(ctx, args[0])
			if err != nil {
				return err
			}
			if err := r.look(ctx, "export", id); err != nil {
				return err
			}
			switch out := c.OutOrStdout(); {
			case raw:
				return r.exportRaw(ctx, id, out)
			case statements:
				return r.exportStatements(ctx, id, out, asCSV)
			default:
				return r.Archive.Export(ctx, id, out)
			}
		},
	}
	c.Flags().BoolVar(&raw, "raw", false, "the exact bytes that the engineer's terminal got")
	c.Flags().BoolVar(&statements, "statements", false, "the statements, a JSON object a line")
	c.Flags().BoolVar(&asCSV, "csv", false, "the statements as CSV (RFC 4180); what a spreadsheet would run as a formula has an apostrophe before it")
	return c
}

// exportRaw writes what psql printed on the terminal, or to standard output.
func (r Recordings) exportRaw(ctx context.Context, id string, out io.Writer) error {
	for e, err := range r.Archive.Events(ctx, id) {
		if err != nil {
			return err
		}
		if e.Type == session.Output {
			if _, err := out.Write(e.Bytes); err != nil {
				return err
			}
		}
	}
	return nil
}

// exported is a statement with what became of it.
type exported struct {
	Session  string    `json:"session"`
	Engineer string    `json:"engineer"`
	Target   string    `json:"target"`
	Mode     string    `json:"mode"`
	Time     time.Time `json:"time"`
	At       float64   `json:"at"` // seconds into the session
	session.StatementInfo
	Result *session.ResultInfo `json:"result,omitempty"` // nil: nothing was heard of it any more
}

// exportStatements writes the statements that were run, each when its result is
// there, and those without one at the end.
func (r Recordings) exportStatements(ctx context.Context, id string, out io.Writer, asCSV bool) error {
	about, err := r.Archive.Summary(ctx, id)
	if err != nil {
		return err
	}
	write := jsonStatements(out)
	if asCSV {
		write = csvStatements(out)
	}
	running := map[int]exported{}
	for e, err := range r.Archive.Events(ctx, id) {
		if err != nil {
			return err
		}
		switch {
		case e.Type == session.Statement && e.Statement != nil && e.Statement.Protocol != "parse":
			running[e.Statement.N] = exported{
				Session: id, Engineer: about.Engineer, Target: about.Target, Mode: about.Mode,
				Time: about.Started.Add(e.At).UTC(), At: e.At.Seconds(), StatementInfo: *e.Statement,
			}
		case e.Type == session.Result && e.Result != nil:
			x, known := running[e.Result.N]
			if !known {
				continue
			}
			delete(running, e.Result.N)
			x.Result = e.Result
			if err := write(x); err != nil {
				return err
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(running)) {
		if err := write(running[n]); err != nil {
			return err
		}
	}
	return write(exported{})
}

func jsonStatements(out io.Writer) func(exported) error {
	return func(x exported) error {
		if x.Session == "" {
			return nil // the end
		}
		return jsonLine(out, x)
	}
}

var csvHead = []string{
	"session", "time", "at", "engineer", "target", "mode", "n", "conn", "database", "protocol", "name", "text", "params", "within", "touches",
	"tag", "rows", "bytes", "took_ms", "sqlstate", "message", "tx", "copy_sha256",
}

// cells makes texts safe for a spreadsheet, which runs what begins like a formula:
// an apostrophe before it, which spreadsheets take for "this is text", also where they
// read full-width signs as others.
func cells(texts []string) []string {
	for i, text := range texts {
		if first, _ := utf8.DecodeRuneInString(text); text != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
			texts[i] = "'" + text
		}
	}
	return texts
}

func csvStatements(out io.Writer) func(exported) error {
	lines := csv.NewWriter(out)
	lines.Write(csvHead) // an error is Flush's, too
	return func(x exported) error {
		if x.Session == "" {
			lines.Flush()
			return lines.Error()
		}
		params := ""
		if x.Params != nil {
			text, err := json.Marshal(x.Params)
			if err != nil {
				return err
			}
			params = string(text)
		}
		record := []string{
			x.Session, x.Time.Format(time.RFC3339Nano), strconv.FormatFloat(x.At, 'f', 6, 64), x.Engineer, x.Target, x.Mode,
			strconv.Itoa(x.N), strconv.Itoa(x.Conn), x.Database, x.Protocol, x.Name, x.Text, params, x.Within, strings.Join(x.Touches, ", "),
		}
		if r := x.Result; r != nil {
			record = append(record, r.Tag, strconv.FormatInt(r.Rows, 10), strconv.FormatInt(r.Bytes, 10),
				strconv.FormatFloat(float64(r.Took.Microseconds())/1000, 'f', 3, 64), r.SQLState, r.Message, r.Tx, r.CopySHA)
		} else {
			record = append(record, make([]string, 8)...)
		}
		return lines.Write(cells(record))
	}
}
