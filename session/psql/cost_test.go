package psql_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// What the cage costs at start: psql from nothing to its end, having said one
// word, in the cage and as a plain child.
func BenchmarkStart(b *testing.B) {
	real := newCage(b).Path()
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.Command(real, "-X", "-c", `\echo hello`)
			cmd.Env = append(os.Environ(), "PGHOST="+cluster.Socket, "PGUSER=postgres", "PGSSLMODE=disable", "PGGSSENCMODE=disable", "PGPORT="+fmt.Sprint(cluster.Port), "PGDATABASE=postgres")
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	})
	b.Run("caged", func(b *testing.B) {
		c := newCage(b)
		for b.Loop() {
			uid, release, err := c.Reserve()
			if err != nil {
				b.Fatal(err)
			}
			o := toCluster()
			o.UID, o.Args = uid, []string{"-c", `\echo hello`}
			s, err := c.Start(o)
			if err != nil {
				b.Fatal(err)
			}
			if out, _ := io.ReadAll(s); string(out) != "hello\n" {
				b.Fatalf("%q", out)
			}
			if status := s.Wait(); status != 0 {
				b.Fatalf("status %d", status)
			}
			s.Kill()
			release()
		}
	})
}
