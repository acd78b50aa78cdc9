package main

import (
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// killedAfter runs twokey and kills it when it has printed so many lines, and a
// moment later. It reports whether it was still there.
func killedAfter(t *testing.T, lines int, later time.Duration, args ...string) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asMain+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for read := bufio.NewReader(out); lines > 0; lines-- {
		if _, err := read.ReadString('\n'); err != nil {
			break
		}
	}
	time.Sleep(later)
	cmd.Process.Kill()
	io.Copy(io.Discard, out)
	cmd.Wait()
	return !cmd.ProcessState.Exited()
}

// wholeKeys fails when a key is there that is none, or a public half that is another's, and
// returns the private ones by their names.
func wholeKeys(t *testing.T, dir string) map[string]string {
	t.Helper()
	keys := map[string]string{}
	err := filepath.WalkDir(filepath.Join(dir, "keys"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if info, _ := d.Info(); strings.HasSuffix(path, ".pub") {
			private, err := os.ReadFile(strings.TrimSuffix(path, ".pub"))
			signer, err2 := ssh.ParsePrivateKey(private)
			if err != nil || err2 != nil || !bytes.HasPrefix(data, bytes.TrimSpace(ssh.MarshalAuthorizedKey(signer.PublicKey()))) {
				t.Errorf("%s is not its key's: %v, %v, %q", path, err, err2, data)
			}
			return nil
		} else if _, err := ssh.ParsePrivateKey(data); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, mode %v", path, err, info.Mode())
		}
		keys[d.Name()] = string(data)
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return keys
}

// init is killed at any moment: what is there is whole, the next run completes it, and
// changes nothing of it.
func TestInitKilledAtAnyMoment(t *testing.T) {
	cut := 0
	for n := 0; n < 25 || cut < 5 && n < 500; n++ { // on a busy machine many a kill comes too late
		dir := t.TempDir()
		if killedAfter(t, n%6, rand.N(3*time.Millisecond), "init", "--dir", dir, "--host", "b.example.com") {
			cut++
		}
		before := wholeKeys(t, dir)
		initIn(t, dir)
		after := wholeKeys(t, dir)
		for name, key := range before {
			if after[name] != key {
				t.Errorf("the next run changed %s", name)
			}
		}
		if _, err := loadConfig(filepath.Join(dir, "twokey.yaml")); err != nil || len(after) != len(initKeys) {
			t.Errorf("the next run left %d keys; %v", len(after), err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "keys", halfMade+"*")); len(left) > 0 {
			t.Errorf("it left %s", left)
		}
	}
	if cut < 5 {
		t.Errorf("only %d were killed in the middle", cut)
	}
}

// So is init --rotate: the present key stays as it is, and a new one that is there is
// whole; the next run takes the one that was cut off, and completes it.
func TestRotateKilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	initIn(t, dir)
	present := contents(t, dir)
	cut := 0
	for n := 0; n < 20 || cut < 4 && n < 500; n++ {
		if killedAfter(t, n%2, rand.N(2*time.Millisecond), "init", "--dir", dir, "--rotate", "user_ca") {
			cut++
		}
		made := wholeKeys(t, dir)
		half, _ := filepath.Glob(filepath.Join(dir, "keys", "user_ca-*"))
		var out bytes.Buffer
		if err := runRotate(&out, dir, "user_ca", time.Date(2030, 1, 1, 0, 0, n, 0, time.UTC)); err != nil || !strings.Contains(out.String(), "old_user_cas: [{file: keys/user_ca.pub") {
			t.Fatalf("the next run: %v: %s", err, &out)
		}
		after := wholeKeys(t, dir)
		if len(half) == 1 && len(after) != len(made) {
			t.Errorf("a key was cut off, and the next run made another: %s", half)
		}
		for name := range after {
			path := filepath.Join(dir, "keys", name)
			if _, err := os.Stat(path + ".pub"); err != nil {
				t.Errorf("after the next run: %v", err)
			}
			if strings.HasPrefix(name, "user_ca-") {
				os.Remove(path)
				os.Remove(path + ".pub")
			}
		}
		if now := contents(t, dir); now != present {
			t.Fatalf("something else has changed:\n%s", now)
		}
	}
	if cut < 4 {
		t.Errorf("only %d were killed in the middle", cut)
	}
}

// A file that init makes is never there in part, for whoever looks or after a power cut.
func TestAFileIsThereWholeOrNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	want := bytes.Repeat([]byte("key"), 200)
	over := make(chan struct{})
	seen := make(chan int)
	go func() {
		for {
			select {
			case <-over:
				close(seen)
				return
			default:
			}
			if got, err := os.ReadFile(path); err == nil && !bytes.Equal(got, want) {
				seen <- len(got)
				return
			}
		}
	}()
	for range 500 {
		if made, err := writeNew(path, want, 0o600); err != nil || !made {
			t.Fatal(made, err)
		}
		if made, err := writeNew(path, []byte("other"), 0o600); err != nil || made {
			t.Fatal(made, err)
		}
		os.Remove(path)
	}
	close(over)
	if n, half := <-seen; half {
		t.Errorf("it was seen with %d of %d bytes", n, len(want))
	}
}

// A rotation that was cut off between the halves of the new key is completed.
func TestRotateCompletesWhatWasCutOff(t *testing.T) {
	dir := t.TempDir()
	initIn(t, dir)
	var first, second bytes.Buffer
	if err := runRotate(&first, dir, "host_ca", time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	made, _ := filepath.Glob(filepath.Join(dir, "keys", "host_ca-*.pub"))
	if len(made) != 1 {
		t.Fatal(made)
	}
	before := contents(t, dir)
	os.Remove(made[0])
	if err := runRotate(&second, dir, "host_ca", time.Now()); err != nil || contents(t, dir) != before {
		t.Errorf("%v; it left %s", err, contents(t, dir))
	}
	if _, steps, _ := strings.Cut(first.String(), "Next:"); !strings.Contains(second.String(), steps) {
		t.Errorf("it says %s", &second)
	}
}
