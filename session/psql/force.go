package psql

import (
	"fmt"
	"os"
	"strings"
)

// This file asks the kernel what is in force around a running psql (proc(5)).
// Landlock does not show there; that it holds, the canary tries.

// inForce returns what is missing around process pid, as an error.
func (c *Cage) inForce(pid, uid int) error {
	id := fmt.Sprint(uid)
	status := map[string]string{
		"NoNewPrivs": "1", "Seccomp": "2", "Uid": strings.TrimSpace(strings.Repeat(id+" ", 4)),
		"CapPrm": noCapabilities, "CapEff": noCapabilities, "CapAmb": noCapabilities,
	}
	limits := map[string]string{
		"Max file size": "0 0", "Max core file size": "0 0", "Max open files": "64 64", "Max address space": "536870912 536870912",
		"Max locked memory": "0 0", "Max msgqueue size": "0 0",
	}
	if c.users != nil {
		status["Groups"], status["Gid"], limits["Max processes"] = "", status["Uid"], "1 1"
	}
	if err := compare(fmt.Sprintf("/proc/%d/status", pid), ":", status); err != nil {
		return err
	}
	return compare(fmt.Sprintf("/proc/%d/limits", pid), "  ", limits)
}

const noCapabilities = "0000000000000000"

// compare reads a file of lines, each a name, the separator and values, of
// which the first ones must be those wanted. A line that is not there is a
// difference.
func compare(path, separator string, want map[string]string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("what is in force around psql cannot be seen: %w", err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, values, _ := strings.Cut(line, separator)
		got[name] = strings.Join(strings.Fields(values), " ")
	}
	for name, value := range want {
		is, ok := got[name]
		if !ok || is != value && !(value != "" && strings.HasPrefix(is, value+" ")) {
			return fmt.Errorf("around psql %s is %q, not %q", name, is, value)
		}
	}
	return nil
}
