package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/twokey/twokey/recorder/store"
)

// Versity is a real S3 server, versitygw with its posix backend, on a loopback
// port and a temporary directory.
type Versity struct {
	Config store.S3Config // how to reach it

	t      testing.TB
	binary string
	addr   string
	dir    string
	cmd    *exec.Cmd
}

// StartVersity starts a server with one empty bucket, and stops it when the
// test ends. The binary is $TWOKEY_VERSITYGW, the repository's
// bin/versitygw, or the one in PATH; without one the test fails.
func StartVersity(t testing.TB) *Versity {
	t.Helper()
	v := &Versity{t: t, binary: findVersity(t), addr: freePort(), dir: t.TempDir()}
	v.Config = store.S3Config{
		Endpoint: "http://" + v.addr, Bucket: "recordings", Prefix: "prod",
		AccessKey: "twokey", SecretKey: "twokey-secret", OpTimeout: 10 * time.Second,
	}
	for _, dir := range []string{filepath.Join(v.dir, "objects", "recordings"), filepath.Join(v.dir, "versions")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	v.Start()
	t.Cleanup(v.Kill)
	return v
}

func findVersity(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("TWOKEY_VERSITYGW"); path != "" {
		return path
	}
	for dir, _ := os.Getwd(); ; dir = filepath.Dir(dir) {
		if path := filepath.Join(dir, "bin", "versitygw"); executable(path) {
			return path
		}
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == "/" {
			break
		}
	}
	path, err := exec.LookPath("versitygw")
	if err != nil {
		t.Fatal("versitygw, the S3 server of the tests, is not installed: run make deps")
	}
	return path
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

func freePort() string {
	for {
		// Below the ports that the kernel gives to clients, so that none takes it
		// before the server does, or while it is down.
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(20_000))); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
}

// Start starts the server again on the same port and data, after Kill.
func (v *Versity) Start() {
	v.t.Helper()
	v.cmd = exec.Command(v.binary, "--quiet", "--port", v.addr, "--access", v.Config.AccessKey, "--secret", v.Config.SecretKey,
		"posix", "--versioning-dir", filepath.Join(v.dir, "versions"), filepath.Join(v.dir, "objects"))
	v.cmd.Env = []string{"HOME=" + v.dir, "PATH=" + os.Getenv("PATH")}
	// It must not outlive a test binary that is killed.
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", v.addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			v.t.Fatal(fmt.Errorf("versitygw does not listen: %w", err))
		}
	}
}

// Kill ends the server with SIGKILL.
func (v *Versity) Kill() {
	if v.cmd != nil {
		v.cmd.Process.Kill()
		v.cmd.Wait()
		v.cmd = nil
	}
}

// Freeze stops the server without closing its connections; Thaw lets it go on.
// It returns once the kernel says that all of it stands still.
func (v *Versity) Freeze() {
	v.t.Helper()
	v.cmd.Process.Signal(syscall.SIGSTOP)
	for deadline := time.Now().Add(20 * time.Second); !v.stopped(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			v.t.Fatal("versitygw does not stop")
		}
	}
}

// stopped reports whether every thread of the server is in state T (proc(5)).
func (v *Versity) stopped() bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", v.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		return false
	}
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		if _, state, _ := bytes.Cut(stat, []byte(") ")); err == nil && !bytes.HasPrefix(state, []byte("T")) {
			return false
		}
	}
	return true
}

// Thaw is the end of Freeze.
func (v *Versity) Thaw() { v.cmd.Process.Signal(syscall.SIGCONT) }

// Store returns a client of the server's bucket.
func (v *Versity) Store() *store.S3 {
	v.t.Helper()
	s, err := store.NewS3(v.Config)
	if err != nil {
		v.t.Fatal(err)
	}
	return s
}

// Client speaks plain S3 to the server, as whoever has the bastion's credentials
// can: it deletes and writes over.
func (v *Versity) Client() *minio.Client {
	v.t.Helper()
	client, err := minio.New(v.addr, &minio.Options{
		Creds: credentials.NewStaticV4(v.Config.AccessKey, v.Config.SecretKey, ""), Region: "us-east-1",
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return client
}

// Lock makes a bucket with Object Lock, and uses that from here on. Without days
// it only has versions.
func (v *Versity) Lock(mode string, days int) {
	v.t.Helper()
	v.Config.Bucket, v.Config.LockMode, v.Config.LockDays = fmt.Sprintf("%s-%d", mode, days), mode, days
	if err := v.Client().MakeBucket(v.t.Context(), v.Config.Bucket, minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
		v.t.Fatal(err)
	}
}

// Dir is the directory that holds the bucket's objects as plain files.
func (v *Versity) Dir() string {
	return filepath.Join(v.dir, "objects", v.Config.Bucket, v.Config.Prefix)
}
