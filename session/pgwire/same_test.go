package pgwire_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/twokey/twokey/session/pgwire/pgtest"
)

// This file holds the gateway against the database itself: whoever talks
// through it reads what they would have read without it, byte for byte.

// changing is what two runs of the same script on the same database do not
// have in common.
var changing = regexp.MustCompile(`process with PID \d+|pg_temp_\d+|pg_toast_\d+|` + // of \watch:
	`(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} \(every`)

// TestPsqlPrintsTheSame compares what psql prints through the gateway with
// what it prints directly. The scripts clean up behind themselves.
func TestPsqlPrintsTheSame(t *testing.T) {
	scripts, err := filepath.Glob("testdata/psql/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	statements, printed := 0, 0
	for _, path := range scripts {
		t.Run(filepath.Base(path), func(t *testing.T) {
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			wantOut, wantErrs := directly(string(script), "-a")
			r := open(t, upstream())
			out, errs := r.psql(string(script), "-a")
			same(t, out, wantOut)
			same(t, errs, wantErrs)
			statements += strings.Count(r.door.tape(), "> simple ") + strings.Count(r.door.tape(), "> execute ")
			printed += len(out) + len(errs)
		})
	}
	t.Logf("%d statements printed %d KiB", statements, printed>>10)
	if statements < 500 || printed < 4<<20 {
		t.Errorf("the scripts ran only %d statements, which printed %d bytes", statements, printed)
	}
}

// directly runs a script in psql without the gateway.
func directly(script string, args ...string) (out, errs string) {
	psql := exec.Command(pgtest.Bin("psql"), append([]string{"-X"}, args...)...)
	psql.Env = []string{"PGHOST=" + cluster.Socket, "PGPORT=" + itoa(cluster.Port), "PGUSER=app", "PGDATABASE=orders"}
	var stdout, stderr lockedBuffer
	psql.Stdin, psql.Stdout, psql.Stderr = strings.NewReader(script), &stdout, &stderr
	psql.Run()
	return stdout.String(), stderr.String()
}

// same compares two texts line by line.
func same(t *testing.T, got, want string) {
	t.Helper()
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] && changing.ReplaceAllString(a[i], "…") != changing.ReplaceAllString(b[i], "…") {
			t.Errorf("line %d: %.300q, directly %.300q", i+1, a[min(i, len(a)-1)], b[min(i, len(b)-1)])
			return
		}
	}
}
