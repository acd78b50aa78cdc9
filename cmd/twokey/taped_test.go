package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/twokey/twokey/session"
)

// This file asks an exported tape what happened in which order. It reads the
// format by itself, as an auditor's own program would.

// taped is a line of a tape.
type taped struct {
	code string // o, i, r, m or e
	text string // of all but e
	session.Event
}

// words reports whether these are twokey's own, which need no open gate.
func (e taped) words() bool { return strings.Contains(e.text, "\x1b[1mtwokey:\x1b[0m ") }

func readTape(text string) (events []taped, err error) {
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 16<<20)
	lines.Scan() // the header
	for lines.Scan() {
		var parts []any
		if err := json.Unmarshal(lines.Bytes(), &parts); err != nil {
			return nil, err
		}
		e := taped{code: parts[1].(string)}
		e.text = parts[2].(string)
		if e.code == "e" {
			if err := json.Unmarshal([]byte(e.text), &e.Event); err != nil {
				return nil, err
			}
		}
		events = append(events, e)
	}
	return events, lines.Err()
}

// tape gated FILE: nothing was typed, sent to the database or shown but while the
// gate was open and a shadow sat there; some was typed then, and some when it was shut.
//
// tape rows FILE QUERY: the query counts what the tape says was inserted, but
// for what was under way at the kill; nothing was sent after it.
func tapeCmd(ts *testscript.TestScript, _ bool, args []string) {
	events, err := readTape(ts.ReadFile(args[1]))
	ts.Check(err)
	switch args[0] {
	case "gated":
		ts.Check(gated(events))
	case "rows":
		out, err := world(ts).pg.ExecIn("orders", args[2])
		ts.Check(err)
		rows, err := strconv.Atoi(strings.TrimSpace(out))
		ts.Check(err)
		ts.Check(rowsAsTaped(events, rows))
	default:
		ts.Fatalf("usage: tape gated FILE | rows FILE QUERY")
	}
}

func gated(events []taped) error {
	open, seated, typed, dropped := false, 0, 0, 0
	for i, e := range events {
		switch {
		case e.Type == session.GateOpen:
			open = true
		case e.Type == session.GateShut:
			open = false
		case e.Type == session.Join:
			seated++
		case e.Type == session.Leave:
			seated--
		case e.Type == session.Dropped:
			dropped += e.N
		case e.code == "i", e.Type == session.Statement, e.code == "o" && !e.words():
			if e.code == "i" {
				typed++
			}
			if !open || seated < 1 {
				return fmt.Errorf("line %d of the tape: %s %q with the gate open %v and %d seated", i+2, e.code, e.text, open, seated)
			}
		}
	}
	if typed == 0 || dropped == 0 {
		return fmt.Errorf("%d passed and %d were dropped: that proves nothing", typed, dropped)
	}
	return nil
}

func rowsAsTaped(events []taped, rows int) error {
	done, unknown, killed := 0, 0, false
	for _, e := range events {
		switch {
		case e.Type == session.Kill:
			killed = true
		case e.Type == session.Statement && killed:
			return errors.New("a statement was sent after the kill: " + e.Statement.Text)
		case e.Type == session.Result && e.Result.Tag == "INSERT 0 1":
			done++
		case e.Type == session.Result && e.Result.SQLState != "":
			unknown++
		}
	}
	if !killed || done+unknown < 5 || unknown > 1 || rows < done || rows > done+unknown {
		return fmt.Errorf("killed %v; %d inserted by the tape, %d unknown; %d rows", killed, done, unknown, rows)
	}
	return nil
}
