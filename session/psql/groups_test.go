package psql_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/twokey/twokey/session/psql"
)

// This file is about control groups. Where the machine gives the controllers
// that the cage asks for, they are tried; the rest, that a psql is born in a group
// of its own which ends with it, needs none.

// grouped is a cage with control groups, or nil where this process may make none,
// and the cage says so.
func grouped(t *testing.T) (c *psql.Cage, given []string) {
	t.Helper()
	c, given, err := newCage(t).Grouped("")
	if err != nil {
		whole, err2 := psql.NewCage(psql.CageOptions{Groups: true})
		if err2 != nil {
			t.Fatal(err2)
		}
		if lacks := whole.Lacks(); !strings.Contains(lacks, "no cgroup (") {
			t.Fatalf("no control groups: %v; the cage says that it lacks %q", err, lacks)
		}
		t.Logf("NOT TRIED: no control groups for this user here, and the cage says so: %v", err)
		return nil, nil
	}
	t.Cleanup(func() { os.Remove(c.Groups()) })
	t.Logf("with the controllers %q", given)
	return c, given
}

// groupOf is the group that a process is in, as the kernel names it.
func groupOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "0::")
	name, _, _ := strings.Cut(after, "\n")
	return name
}

func TestEachPsqlHasAControlGroup(t *testing.T) {
	c, given := grouped(t)
	if c == nil {
		return
	}
	a, b := open(t, c, toCluster()), open(t, c, toCluster())
	answers(t, a)
	answers(t, b)
	of := groupOf(t, a.PID())
	if of == groupOf(t, b.PID()) || of == groupOf(t, os.Getpid()) || filepath.Base(filepath.Dir(of)) != filepath.Base(c.Groups()) {
		t.Errorf("one psql is in %s, the other in %s, twokey in %s", of, groupOf(t, b.PID()), groupOf(t, os.Getpid()))
	}
	dir := filepath.Join(c.Groups(), filepath.Base(of))
	limits := map[string]string{"memory.max": "603979776", "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": "16"}
	for file, want := range limits {
		controller, _, _ := strings.Cut(file, ".")
		got, err := os.ReadFile(filepath.Join(dir, file))
		if has := slices.Contains(given, controller); has && strings.TrimSpace(string(got)) != want || has != (err == nil) {
			t.Errorf("%s is %q, not %q: %v", file, got, want, err)
		}
	}
	if err := c.Probe(t.Context()); err != nil { // which looks at what is in force
		t.Error(err)
	}
	a.Kill()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the group of a psql that has ended is still there: %v", err)
	}
	answers(t, b)
}

// What is left by a bastion that died is ended by the next one, and nobody
// else's.
func TestControlGroupsOfTheDeadAreEnded(t *testing.T) {
	c, _ := grouped(t)
	if c == nil {
		return
	}
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(c.Groups(), fmt.Sprintf("%d-1", dead.ProcessState.Pid()))
	others := filepath.Join(c.Groups(), fmt.Sprintf("%d-1", os.Getppid()))
	for _, dir := range []string{left, others} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(dir)
	}
	f, err := os.Open(left)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sleeper := exec.Command("sleep", "1000")
	sleeper.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd()), Pdeathsig: syscall.SIGKILL}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	beside := open(t, c, toCluster())
	if _, _, err := c.Grouped(""); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the group is still there: %v", err)
	}
	if _, err := os.Stat(others); err != nil {
		t.Errorf("the group of one that lives is gone: %v", err)
	}
	answers(t, beside)
}

// A psql for which a group cannot be had, where others have one, does not start.
func TestNoPsqlStartsOutsideOfItsControlGroup(t *testing.T) {
	c, _ := grouped(t)
	if c == nil {
		return
	}
	if err := os.Remove(c.Groups()); err != nil {
		t.Fatal(err)
	}
	o := toCluster()
	uid, release, err := c.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	o.UID = uid
	if s, err := c.Start(o); err == nil {
		s.Kill()
		t.Error("it starts")
	} else if !strings.Contains(err.Error(), "control group") {
		t.Error(err)
	}
}

// Where there are none, the cage says why.
func TestWhyThereAreNoControlGroups(t *testing.T) {
	house := func(files map[string]string) string {
		dir := t.TempDir()
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	self := fmt.Sprintln(os.Getpid())
	for why, dir := range map[string]string{
		"no such file":                                  house(nil),
		"of version 2, is not given cpu, pids":          house(map[string]string{"cgroup.controllers": "memory io", "cgroup.type": "domain", "cgroup.procs": self}),
		"other processes are in twokey's control group": house(map[string]string{"cgroup.controllers": "cpu memory pids", "cgroup.type": "domain", "cgroup.procs": "1\n" + self}),
		"subtree_control: no such file":                 house(map[string]string{"cgroup.controllers": "cpu memory pids"}),
		"cpu.weight: no such file":                      house(map[string]string{"cgroup.controllers": "cpu memory pids", "cgroup.subtree_control": ""}),
	} {
		if strings.HasPrefix(why, "cpu") {
			inner := filepath.Join(dir, "twokey-psqls")
			if err := errors.Join(os.Mkdir(inner, 0o755), os.WriteFile(filepath.Join(inner, "cgroup.subtree_control"), nil, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if err := psql.OpenGroups(dir); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("not %q: %v", why, err)
		}
	}
}

// A limit that this kernel does not have is found out when groups are opened, and the cage goes
// without them and says so: not one psql after another fails.
func TestAControlGroupThatLacksALimitIsNone(t *testing.T) {
	c, _ := grouped(t)
	if c == nil {
		return
	}
	own := filepath.Dir(c.Groups())
	if err := psql.GroupedWith(own, "cgroup.max.depth", "3"); err != nil {
		t.Fatal(err)
	}
	if err := psql.GroupedWith(own, "memory.unheard.of", "0"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("not told that a limit is missing: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(c.Groups(), fmt.Sprintf("%d-*", os.Getpid())))
	if err != nil || len(left) > 0 {
		t.Errorf("the trial left %q, %v", left, err)
	}
}

// What psql may not ask for the kernel may still keep on its behalf: the group
// bounds that too, and ends its psql alone.
func TestAControlGroupBoundsMemory(t *testing.T) {
	c, given := grouped(t)
	if c == nil || !slices.Contains(given, "memory") {
		t.Log("this machine has no controller for it; what each psql may ask for is bounded in TestAGreedyPsqlOnlyEndsItself")
		return
	}
	s, beside := open(t, c, toCluster()), open(t, c, toCluster())
	answers(t, s)
	dir := filepath.Join(c.Groups(), filepath.Base(groupOf(t, s.PID())))
	if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte(fmt.Sprint(64<<20)), 0); err != nil {
		t.Fatal(err)
	}
	io.WriteString(writer{s}, "select repeat('x', 150<<20) as a \\gset\n\\echo end\n")
	if got := s.Wait(); got != 128+int(syscall.SIGKILL) {
		t.Errorf("it ended with status %d", got)
	}
	answers(t, beside)
}
