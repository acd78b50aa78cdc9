package psql

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// This file gives each psql a control group of its own (cgroups(7), version 2),
// where twokey may make some: as root of a machine without a service manager, or as
// a service to which systemd delegates its group (Delegate=yes). Limits of a
// process bound what psql asks for; a group also bounds what the kernel keeps on
// its behalf, lets all psqls together stand back behind twokey, and is ended as a
// whole. Version 1 is not used: the distributions that have Landlock in the
// version that the cage needs have left it, and limits of processes hold there.

// A group is made of these: bastion for twokey itself, as a group that gives out
// controllers has no processes of its own, and in psqls one for each psql.
const (
	bastionGroup = "bastion"
	psqlsGroup   = "psqls"
)

// setting is a file of a group and what stands in it.
type setting struct{ file, value string }

// Of all psqls together: a third of twokey's share of the processors when there
// are not enough, however many they are.
var together = []setting{{"cpu.weight", "33"}}

// Of each: more memory than psql may ask for, so that it is told that there is no
// more, and can say so, before it is ended. The launcher has a few threads.
var each = []setting{{"memory.max", strconv.Itoa(576 << 20)}, {"memory.swap.max", "0"}, {"memory.oom.group", "1"}, {"pids.max", "16"}}

// controllers are those that this takes.
var controllers = []string{"cpu", "memory", "pids"}

// groups are where psqls' groups are made.
type groups struct {
	dir  string
	each []setting
	made atomic.Int64
}

// openGroups makes groups below twokey's own, or says why there are none. What
// a bastion that died has left there is removed.
func openGroups(own string, need []string, together, each []setting) (*groups, error) {
	if filepath.Base(own) == bastionGroup { // it was moved there before
		own = filepath.Dir(own)
	}
	if err := gives(own, need); err != nil {
		return nil, err
	}
	g := &groups{dir: filepath.Join(own, psqlsGroup), each: each}
	if _, err := os.Stat(filepath.Join(own, "cgroup.type")); errors.Is(err, fs.ErrNotExist) {
		g.dir = filepath.Join(own, "twokey-"+psqlsGroup) // the machine's root, which may hold processes, and others' groups
	} else if err := moveIn(own); err != nil {
		return nil, err
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	give := ""
	for _, c := range need {
		give += " +" + c
	}
	for _, dir := range []string{own, g.dir} {
		if err := write(dir, "cgroup.subtree_control", strings.TrimSpace(give)); err != nil {
			return nil, err
		}
	}
	if err := set(g.dir, together); err != nil {
		return nil, err
	}
	g.sweep()
	// A kernel without swap, for one, has no limit of it: better known now than to every psql.
	one, err := g.new()
	if err == nil {
		err = one.end()
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

// gives is an error that names the controllers which a group lacks.
func gives(dir string, need []string) error {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	has := strings.Fields(string(text))
	if lacks := slices.DeleteFunc(slices.Clone(need), func(c string) bool { return slices.Contains(has, c) }); len(lacks) > 0 {
		return fmt.Errorf("twokey's control group, of version 2, is not given %s", strings.Join(lacks, ", "))
	}
	return nil
}

// moveIn puts twokey one deeper into its group. That must be its own: others in
// it are not twokey's to move, and the group of a service that systemd did not
// hand over is systemd's.
func moveIn(own string) error {
	text, err := os.ReadFile(filepath.Join(own, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, pid := range strings.Fields(string(text)) {
		if pid != strconv.Itoa(os.Getpid()) {
			return errors.New("other processes are in twokey's control group; run it as a service, with Delegate=yes")
		}
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil && os.Getuid() == 0 && !delegated(own) {
		return errors.New("systemd keeps twokey's control group to itself; say Delegate=yes in its unit")
	}
	leaf := filepath.Join(own, bastionGroup)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return write(leaf, "cgroup.procs", "0")
}

// delegated reads systemd's mark. An ordinary user can write to no other.
func delegated(dir string) bool {
	value := make([]byte, 8)
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		if n, err := unix.Getxattr(dir, name, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// ownGroup finds the group that this process is in.
func ownGroup() (dir string, err error) {
	within, err := groupOf("self")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		if at := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(at) > 4 {
			if rest, err := filepath.Rel(at[3], within); err == nil && filepath.IsLocal(rest) {
				return filepath.Join(at[4], rest), nil
			}
		}
	}
	return "", errors.New("control groups of version 2 are not mounted")
}

// groupOf returns the group of a process as the kernel names it.
func groupOf(pid string) (string, error) {
	text, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, found := strings.CutPrefix(line, "0::"); found {
			return strings.TrimSuffix(path, "\n"), nil
		}
	}
	return "", errors.New("this kernel has no control groups of version 2")
}

// set writes settings of a group, and sees that they are in force.
func set(dir string, settings []setting) error {
	for _, s := range settings {
		if err := write(dir, s.file, s.value); err != nil {
			return err
		}
	}
	return verify(dir, settings)
}

// verify sees that settings of a group are in force.
func verify(dir string, settings []setting) error {
	for _, s := range settings {
		is, err := os.ReadFile(filepath.Join(dir, s.file))
		if err != nil {
			return err
		}
		if got := strings.TrimSpace(string(is)); got != s.value {
			return fmt.Errorf("%s of %s is %q, not %q", s.file, dir, got, s.value)
		}
	}
	return nil
}

// write writes to a file of a group, which is there or not, but never made.
func write(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// group is one psql's.
type group struct {
	*os.File // its folder, in which a process can be born
	settings []setting
}

// new makes one with its limits. Its name says whose it is.
func (g *groups) new() (*group, error) {
	dir := filepath.Join(g.dir, fmt.Sprintf("%d-%d", os.Getpid(), g.made.Add(1)))
	for errors.Is(os.Mkdir(dir, 0o755), fs.ErrExist) { // another bastion's that had our number
		dir = filepath.Join(g.dir, fmt.Sprintf("%d-%d", os.Getpid(), g.made.Add(1)))
	}
	err := set(dir, g.each)
	if err == nil {
		var f *os.File
		if f, err = os.Open(dir); err == nil {
			return &group{File: f, settings: g.each}, nil
		}
	}
	os.Remove(dir)
	return nil, fmt.Errorf("a control group for psql: %w", err)
}

// holds sees that a process is in the group, with its limits in force.
func (g *group) holds(pid int) error {
	is, err := groupOf(strconv.Itoa(pid))
	if err != nil {
		return err
	}
	if filepath.Base(is) != filepath.Base(g.Name()) {
		return fmt.Errorf("psql is in the control group %s, not in its own", is)
	}
	return verify(g.Name(), g.settings)
}

// end ends whatever is in the group, and the group.
func (g *group) end() error {
	defer g.Close()
	return endGroup(g.Name())
}

// endGroup waits a moment for what it killed to be gone.
func endGroup(dir string) (err error) {
	write(dir, "cgroup.kill", "1")
	for range 100 {
		if err = os.Remove(dir); !errors.Is(err, unix.EBUSY) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// sweep ends the groups of bastions that are no more.
func (g *groups) sweep() {
	left, _ := os.ReadDir(g.dir)
	for _, e := range left {
		name, _, _ := strings.Cut(e.Name(), "-")
		pid, err := strconv.Atoi(name)
		if err == nil && e.IsDir() && unix.Kill(pid, 0) == unix.ESRCH {
			endGroup(filepath.Join(g.dir, e.Name())) // the next start tries again
		}
	}
}
