package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file is what comes after the story: where things lie, and what to try.

// epilogue says where the recording is and how to prove it again.
func (p *play) epilogue() {
	p.stage.line("The recording lies in %s.", p.folder(p.recording))
	p.stage.line("To prove it, there:")
	p.stage.line("  %s", p.verifyCommand())
	p.stage.line("  %s", sumCommand)
	p.stage.line("  zstd -dc *.cast.zst | asciinema play -")
}

// invite says what a person can do by hand while everything runs.
func invite(w *house.House, stage *stage) {
	stage.heading("Now you: everything keeps running until Ctrl-C")
	ssh := func(who, rest string) string { return "ssh -F " + w.Path(who, ".ssh", "config") + " " + rest }
	stage.line("As alice, in one terminal:")
	stage.line("  %s", ssh("alice", "orders+write@bastion"))
	stage.line("As bob, in another (the code is on alice's screen, and in the list):")
	stage.line("  %s", ssh("bob", "bastion"))
	stage.line("  %s", ssh("bob", "-t bastion shadow CODE"))
	stage.line("As dave, the auditor:")
	stage.line("  %s", ssh("dave", "bastion sessions"))
	stage.line("  %s", ssh("dave", "-t bastion replay ID --max-idle 1s"))
	stage.line("As frank, who has no certificate yet (in the browser, pick anybody):")
	stage.line("  %s", ssh("frank", "bastion whoami"))
	stage.line("Logs and configuration: %s, %s", w.Path("log"), w.Config())
}

// quietly runs a command in a person's home and returns what it prints.
func (p *play) quietly(name, command string) string {
	if p.err != nil {
		return ""
	}
	c := exec.CommandContext(p.ctx, "bash", "-c", command)
	c.Dir, c.Env = p.house.Path(name), []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.house.Path(name), "LANG=C.UTF-8"}
	out, err := c.Output()
	if err != nil {
		var said string
		if exit, ok := err.(*exec.ExitError); ok {
			said = strings.TrimSpace(string(exit.Stderr))
		}
		p.fails(&commandError{command, said, err})
	}
	return string(out)
}

type commandError struct {
	command, said string
	err           error
}

func (e *commandError) Error() string { return e.command + ": " + e.err.Error() + ": " + e.said }
func (e *commandError) Unwrap() error { return e.err }

// field reads one text field of a JSON object.
func field(object, name string) string {
	var fields map[string]any
	if json.Unmarshal([]byte(object), &fields) != nil {
		return ""
	}
	text, _ := fields[name].(string)
	return text
}
