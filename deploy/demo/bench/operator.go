package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file is the database's operator: a psql that stays open beside the
// bastion, so that an answer takes less than a millisecond.

type operator struct {
	psql    *exec.Cmd
	in      io.WriteCloser
	answers *bufio.Scanner
}

func newOperator(h *house.House) (*operator, error) {
	o := &operator{psql: h.DB.Operator("orders")}
	var err error
	if o.in, err = o.psql.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := o.psql.StdoutPipe()
	if err != nil {
		return nil, err
	}
	o.answers = bufio.NewScanner(out)
	return o, o.psql.Start()
}

// endOfAnswer is a line that no answer has.
const endOfAnswer = "-- end of the answer"

// ask sends SQL and returns what psql prints.
func (o *operator) ask(sql string) (answer string, err error) {
	if _, err := fmt.Fprintf(o.in, "%s\n\\echo '%s'\n", sql, endOfAnswer); err != nil {
		return "", err
	}
	var lines []string
	for o.answers.Scan() {
		if o.answers.Text() == endOfAnswer {
			return strings.Join(lines, "\n"), nil
		}
		lines = append(lines, o.answers.Text())
	}
	return "", fmt.Errorf("the operator's psql ended at: %s", sql)
}

// finds waits until a backend of app_rw runs a statement of which this is true.
func (o *operator) finds(ctx context.Context, condition string) (pid string, err error) {
	err = house.Within(ctx, house.Patience, func() (bool, error) {
		pid, err = o.ask("select pid from pg_stat_activity where usename = 'app_rw' and state = 'active' and " + condition + ";")
		return pid != "", err
	}, func() error { return fmt.Errorf("no statement runs where %s", condition) })
	return pid, err
}

// buries waits until the backend is gone, looking every millisecond.
func (o *operator) buries(ctx context.Context, pid string) error {
	for late := time.After(house.Patience); ; time.Sleep(time.Millisecond) {
		there, err := o.ask("select pid from pg_stat_activity where pid = " + pid + ";")
		if err != nil || there == "" {
			return err
		}
		select {
		case <-late:
			return fmt.Errorf("backend %s is still there", pid)
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
	}
}

func (o *operator) leave() {
	o.in.Close()
	o.psql.Wait()
}
