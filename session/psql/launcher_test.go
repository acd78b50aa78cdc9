package psql_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// A launcher that waits is nobody's: it has read nothing and is not psql. Told,
// it is a psql like any other, and the next one waits.
func TestALauncherWaitsForTheNextPsql(t *testing.T) {
	c := newCage(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.KeepReady(ctx) }()
	next, waits := c.Next()
	if name, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", waits)); err != nil || strings.HasSuffix(name, "/psql") {
		t.Errorf("what waits is %s: %v", name, err)
	}
	s := open(t, next, toCluster())
	answers(t, s)
	if s.PID() != waits {
		t.Errorf("psql is %d, and %d waited", s.PID(), waits)
	}
	next, waits = c.Next()
	if err := next.Probe(t.Context()); err != nil { // by that one, and one that was not there before
		t.Error(err)
	}
	if runs(fmt.Sprint(waits)) {
		t.Error("the canary was not the launcher that waited")
	}
	next, waits = c.Next()
	syscall.Kill(waits, syscall.SIGKILL)
	eventually(t, "it is gone", func() bool { return !runs(fmt.Sprint(waits)) })
	answers(t, open(t, next, toCluster()))

	stop()
	<-done
}
