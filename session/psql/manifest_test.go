package psql_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/twokey/twokey/session/psql"
)

// What manifests say of the cage must be what the kernel says of a psql in it.
func TestTheCageSaysWhatIsInForce(t *testing.T) {
	for name, c := range map[string]*psql.Cage{"usual": newCage(t), "without namespaces": newCage(t).Together(), "off": newFree(t)} {
		s := open(t, c, toCluster())
		io.WriteString(writer{s}, "\\echo here\n")
		if _, err := s.Read(make([]byte, 10)); err != nil {
			t.Fatal(name, err)
		}
		proc := fmt.Sprintf("/proc/%d", s.PID())
		var st unix.Stat_t
		status, err := os.ReadFile(proc + "/status")
		theirs, err2 := os.Readlink(proc + "/ns/net")
		ours, err3 := os.Readlink("/proc/self/ns/net")
		if err := unix.Stat(proc, &st); err != nil || err2 != nil || err3 != nil {
			t.Fatal(name, err, err2, err3)
		}
		if err != nil {
			t.Fatal(name, err)
		}
		in, err := os.ReadFile(proc + "/cgroup")
		if err != nil {
			t.Fatal(name, err)
		}
		caged := strings.Contains(string(status), "Seccomp:\t2")
		says := c.String()
		for word, is := range map[string]bool{
			"off": !caged, "landlock abi": caged, "seccomp": caged, "rlimits": caged, "no new privileges": caged,
			"namespaces, empty root": theirs != ours, "own uid": int(st.Uid) != os.Getuid(),
			", cgroup": strings.Contains(string(in), "psqls/"),
		} {
			if strings.Contains(says, word) != is {
				t.Errorf("%s: %q, but %s is %v", name, says, word, is)
			}
		}
	}
}

// A canary that was not let finish has shown nothing.
func TestACanaryCutShortIsNoProof(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if newCage(t).Probe(ctx) == nil {
		t.Error("the cage is said to hold")
	}
}
