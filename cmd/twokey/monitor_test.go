package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/rogpeppe/go-internal/testscript"
)

// monitored PATH STATUS PATTERN: what the bastion answers to an operator's
// machine, in the end.
func monitoredCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: monitored PATH STATUS PATTERN")
	}
	waitFor(ts, func() error {
		resp, err := http.Get("http://" + world(ts).monitor + args[0])
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if fmt.Sprint(resp.StatusCode) != args[1] {
			return fmt.Errorf("%s: %s: %s", args[0], resp.Status, text)
		}
		return match(string(text), args[2], neg, args[0])
	})
}
