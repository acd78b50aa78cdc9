package psql

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/twokey/twokey/session/psql/launch"
)

// This file asks the kernel what is in force around a running psql (proc(5)).
// Landlock does not show there; that it holds, the canary tries.

// inForce returns what is missing around a psql, as an error. The socket is the gateway's folder.
func (c *Cage) inForce(s *Shell, uid int, socket string) error {
	id := fmt.Sprint(uid)
	status := map[string]string{
		"NoNewPrivs": "1", "Seccomp": "2", "Uid": strings.TrimSpace(strings.Repeat(id+" ", 4)),
		"CapPrm": noCapabilities, "CapEff": noCapabilities, "CapAmb": noCapabilities, "CapInh": noCapabilities,
	}
	limits := map[string]string{
		"Max file size": "0 0", "Max core file size": "0 0", "Max open files": "64 64", "Max address space": "536870912 536870912",
		"Max locked memory": "0 0", "Max msgqueue size": "0 0",
	}
	if c.users != nil {
		status["Groups"], status["Gid"], status["CapBnd"], limits["Max processes"] = "", status["Uid"], noCapabilities, "1 1"
	}
	proc := fmt.Sprintf("/proc/%d/", s.PID())
	return errors.Join(c.isGrouped(s), compare(proc+"status", ":", status), compare(proc+"limits", "  ", limits), standsBack(proc), c.isApart(proc, socket))
}

// standsBack looks at the priority and at who goes first without memory.
func standsBack(proc string) error {
	score, err := os.ReadFile(proc + "oom_score_adj")
	if err != nil || strings.TrimSpace(string(score)) != fmt.Sprint(launch.OOMScoreAdj) {
		return fmt.Errorf("psql does not go first when memory is gone: %q %w", score, err)
	}
	stat, err := os.ReadFile(proc + "stat")
	_, after, _ := strings.Cut(string(stat), ") ") // the name before may hold anything
	nice, err2 := launch.Behind()
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if fields := strings.Fields(after); len(fields) < 17 || fields[16] != fmt.Sprint(nice) {
		return fmt.Errorf("psql's priority is that of others: %q %w", stat, err)
	}
	return nil
}

// isGrouped looks at its control group, and at the group's limits.
func (c *Cage) isGrouped(s *Shell) error {
	switch {
	case c.groups == nil:
		return nil
	case s.group == nil:
		return errors.New("psql has no control group")
	}
	return s.group.holds(s.PID())
}

// isApart looks at the namespaces, and for the machine's files in the root.
func (c *Cage) isApart(proc, socket string) error {
	if !c.apart {
		return nil
	}
	for _, kind := range []string{"mnt", "pid", "net", "ipc", "uts"} {
		theirs, err := os.Readlink(proc + "ns/" + kind)
		ours, err2 := os.Readlink("/proc/self/ns/" + kind)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		if theirs == ours {
			return fmt.Errorf("psql shares the %s namespace with twokey", kind)
		}
	}
	octal := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	mounts, err := os.ReadFile(proc + "mountinfo")
	if err != nil {
		return err
	}
	for mount := range strings.Lines(string(mounts)) {
		fields := strings.Fields(mount)
		if len(fields) < 7 || !strings.HasPrefix(fields[5], "ro,") {
			return fmt.Errorf("psql's root can be written to at %q", mount)
		}
		if fields[6] != "-" { // shared:N, master:N
			return fmt.Errorf("what is mounted on the machine is also mounted in psql's root, at %q", mount)
		}
		point := octal.Replace(fields[4])
		known := point == "/" || point == socket || slices.ContainsFunc(c.places, func(p launch.Place) bool { return p.At == point })
		if !known {
			return fmt.Errorf("psql's root holds %s", point)
		}
	}
	return nil
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
