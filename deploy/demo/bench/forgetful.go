package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/twokey/twokey/deploy/demo/house"
)

// This file measures what a session pays for its recording: a million rows by
// ssh through the bastion, and through one that is the same but for its tape,
// which keeps nothing. No configuration makes such a bastion, so that this
// builds one, from the source with one line more.

// forgets is where the tape takes an event, and what it then begins with.
const (
	tapeSource = "recorder/tape.go"
	takesEvent = "func (t *Tape) append(e session.Event) error {\n"
	forgets    = "\tif e.Type != session.End {\n\t\treturn nil\n\t}\n"
)

// taping compares the two, in turns; the column of sshd is the bastion that records nothing.
func taping(ctx context.Context, h *house.House, _ *sshd) ([]row, error) {
	port, err := startForgetful(ctx, h)
	if err != nil {
		return nil, err
	}
	var both []*line
	for _, words := range [][]string{{"orders+read@bastion"}, {"-p", port, "orders+read@bastion"}} {
		l, err := dial(viaTwokey(h, "alice", true, words...))
		if err != nil {
			return nil, err
		}
		defer l.hangUp()
		if err := l.await(ctx, house.Patience, "orders=> "); err != nil {
			return nil, err
		}
		if err := l.say(ctx, "\\pset pager off\r", "Pager usage is off", "orders=> "); err != nil {
			return nil, err
		}
		both = append(both, l)
	}
	var speed [2][]float64
	for range 2 * transfers {
		for i, l := range both {
			mbs, err := flood(ctx, l)
			if err != nil {
				return nil, err
			}
			speed[i] = append(speed[i], mbs)
		}
	}
	return []row{{"a million rows, recorded / nothing recorded", "MB/s", median(speed[0]), median(speed[1]), "0.95 or more"}}, nil
}

// startForgetful builds the bastion whose tape keeps nothing, and starts it beside the
// other, with the same keys.
func startForgetful(ctx context.Context, h *house.House) (port string, err error) {
	program, err := buildForgetful(ctx, h)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(h.Config())
	if err != nil {
		return "", err
	}
	config, door, err := elsewhere(string(text), h.SSH())
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(h.Config()), "forgetful.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return "", err
	}
	if _, err := h.Run(ctx, "forgetful", door, program, "serve", "--config", path); err != nil {
		return "", err
	}
	_, port, err = net.SplitHostPort(door)
	return port, err
}

var listens = regexp.MustCompile(`listen: "([^"]+)"`)

// elsewhere is the configuration with other addresses, state and recordings. door is where
// it then listens in place of an address.
func elsewhere(config, ssh string) (changed, door string, err error) {
	for _, found := range listens.FindAllStringSubmatch(config, -1) {
		address, err := house.FreeAddress()
		if err != nil {
			return "", "", err
		}
		if config = strings.ReplaceAll(config, found[1], address); found[1] == ssh {
			door = address
		}
	}
	return strings.NewReplacer("state: ../state\n", "state: ../state-forgetful\n", "s3://recordings\n", "s3://recordings/forgetful\n").Replace(config), door, nil
}

func buildForgetful(ctx context.Context, h *house.House) (program string, err error) {
	root := filepath.Dir(filepath.Dir(h.Bin("twokey")))
	source := filepath.Join(root, tapeSource)
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	changed := strings.Replace(string(text), takesEvent, takesEvent+forgets, 1)
	if changed == string(text) {
		return "", fmt.Errorf("%s does not take events where it did; tell this file where", source)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {source: h.Path("forgetful.go")}})
	if err != nil {
		return "", err
	}
	for path, data := range map[string][]byte{h.Path("forgetful.go"): []byte(changed), h.Path("overlay.json"): overlay} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return "", err
		}
	}
	program = h.Path("forgetful")
	build := exec.CommandContext(ctx, "go", "build", "-overlay", h.Path("overlay.json"), "-o", program, "./cmd/twokey")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building a bastion whose tape keeps nothing: %w: %s", err, out)
	}
	return program, nil
}
