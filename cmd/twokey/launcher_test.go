package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/twokey/twokey/session/psql/launch"
)

// The launcher of psql's cage must not wait for what the rest of this program
// makes when it starts (see package launch); what was made shows in the trace.
func TestTheLauncherComesFirst(t *testing.T) {
	launcher := exec.Command("/proc/self/exe")
	launcher.Args = []string{launch.Name, "no order"}
	launcher.Env = []string{"GODEBUG=inittrace=1"}
	out, err := launcher.CombinedOutput()
	if launcher.ProcessState == nil || launcher.ProcessState.ExitCode() != launch.Status {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), "init golang.org/x/sys/unix ") {
		t.Fatalf("no trace: %s", out)
	}
	for _, late := range []string{"regexp", "net", "net/http", "crypto/tls", "html/template", "main", "modernc.org/sqlite", "github.com/prometheus/client_golang/prometheus", "github.com/minio/minio-go/v7/pkg/s3utils", "github.com/twokey/twokey/bastion"} {
		if strings.Contains(string(out), "init "+late+" ") {
			t.Errorf("%s comes before the launcher", late)
		}
	}
}
