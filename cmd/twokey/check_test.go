package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// part makes a probe with a fixed answer.
func part(name, detail string, err error) probe {
	return probe{name, func(context.Context) (string, error) { return detail, err }}
}

func TestExaminePrintsInOrder(t *testing.T) {
	second := make(chan struct{})
	probes := []probe{
		{"first", func(context.Context) (string, error) { <-second; return "slow and fine", nil }},
		{"second", func(context.Context) (string, error) { close(second); return "", errors.New("plain trouble") }},
		part("third", "works", warns("change it", "not nice")),
		part("fourth", "", warns("", "only a warning")),
		part("fifth", "never said", errors.Join(fails("do this", "one"), nil, warns("and that", "two"), fmt.Errorf("three: %w", fails("wrapped", "inside")))),
		part("sixth", "", fails("clean it", "a server said \x1b[31m\r\nok   sixth          fine\u202e")),
		{"seventh", func(context.Context) (string, error) { panic("oh") }},
	}
	want := `ok   first          slow and fine
FAIL second         plain trouble
ok   third          works
warn third          not nice
                    → change it
warn fourth         only a warning
FAIL fifth          one
                    → do this
warn fifth          two
                    → and that
FAIL fifth          three: inside
                    → wrapped
FAIL sixth          a server said [31m ok sixth fine
                    → clean it
FAIL seventh        a bug in twokey: oh
                    → please report this
`
	var out bytes.Buffer
	if err := examine(t.Context(), &out, probes, time.Minute, false); !errors.Is(err, errUnhealthy) {
		t.Errorf("got %v", err)
	}
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestExamineIsWellWithWarnings(t *testing.T) {
	var out bytes.Buffer
	if err := examine(t.Context(), &out, []probe{part("a", "fine", warns("x", "y"))}, time.Minute, true); err != nil {
		t.Error(err)
	}
	var got []finding
	for d := json.NewDecoder(&out); d.More(); {
		var f finding
		if err := d.Decode(&f); err != nil {
			t.Fatal(err)
		}
		got = append(got, f)
	}
	if len(got) != 2 || got[0] != (finding{"a", "ok", "fine", ""}) || got[1] != (finding{"a", "warn", "y", "x"}) {
		t.Errorf("got %+v", got)
	}
}

func TestExamineBoundsEachPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		probes := []probe{
			{"deaf", func(context.Context) (string, error) { <-stuck; return "", nil }},
			{"slow", func(ctx context.Context) (string, error) { <-ctx.Done(); return "", fmt.Errorf("dial: %w", ctx.Err()) }},
			part("quick", "fine", nil),
		}
		var out bytes.Buffer
		start := time.Now()
		err := examine(t.Context(), &out, probes, probeTime, false)
		if took := time.Since(start); took > probeTime+probeTime/5 || !errors.Is(err, errUnhealthy) {
			t.Errorf("it took %s, and %v", took, err)
		}
		want := `FAIL deaf           no answer within 5s
                    → see whether it is reachable from this machine
FAIL slow           no answer within 5s (dial: context deadline exceeded)
ok   quick          fine
`
		if out.String() != want {
			t.Errorf("got\n%s\nwant\n%s", out.String(), want)
		}
		close(stuck)
	})
}

func check(t *testing.T, path string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := runCheck(t.Context(), &out, path, false)
	return out.String(), err
}

func TestCheckSaysEveryMistake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "twokey.yaml")
	os.WriteFile(path, []byte(strings.Replace(whole, "ttl: 8h, source_address: false", "ttl: 8, source_address: maybe", 1)), 0o600)
	out, err := check(t, path)
	want := "FAIL config         " + path + ":10:83: ttl: \"8\" has no unit; write 8s, 8m or 8h\n" +
		"FAIL config         " + path + ":10:102: source_address: expected true or false, not text\n"
	if out != want || !errors.Is(err, errUnhealthy) {
		t.Errorf("got %v and\n%s\nwant\n%s", err, out, want)
	}
}

func TestCheckWithoutFile(t *testing.T) {
	out, err := check(t, "/nowhere/twokey.yaml")
	if !errors.Is(err, errUnhealthy) || !strings.Contains(out, "→ give the file with --config") {
		t.Errorf("got %v and\n%s", err, out)
	}
}

func TestProbeKeys(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(keys string) error
		want   string // of the trouble; "" for none
	}{
		{"as made", func(string) error { return nil }, ""},
		{"one is gone", func(k string) error { return os.Remove(k + "/host") }, "ssh.host_key: file KEYS/host is not there"},
		{"one is open to everyone", func(k string) error { return os.Chmod(k+"/user_ca", 0o644) }, "certificates.user_ca: the secret file KEYS/user_ca is open to everyone on this machine; run: chmod o-rwx KEYS/user_ca"},
		{"one is open to the group", func(k string) error { return os.Chmod(k+"/user_ca", 0o640) }, "certificates.user_ca: the group of KEYS/user_ca can use it (mode 0640)"},
		{"one is no key", func(k string) error { return os.WriteFile(k+"/recording", []byte("x"), 0o600) }, "recordings.signing_key: file KEYS/recording is no private key in OpenSSH's format: ssh: no key found"},
		{"user CA and host CA are one", func(k string) error {
			data, err := os.ReadFile(k + "/user_ca")
			return errors.Join(err, os.WriteFile(k+"/host_ca", data, 0o600))
		}, "certificates.user_ca and certificates.host_ca are the same key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			initIn(t, dir)
			if err := c.damage(dir + "/keys"); err != nil {
				t.Fatal(err)
			}
			config, err := loadConfig(dir + "/twokey.yaml")
			if err != nil {
				t.Fatal(err)
			}
			_, err = probeKeys(config)
			got := strings.ReplaceAll(fmt.Sprint(err), dir+"/keys", "KEYS")
			if c.want == "" && err != nil || c.want != "" && got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestProbeClock(t *testing.T) {
	for _, c := range []struct {
		name string
		off  time.Duration
		want string
	}{
		{"right", 0, ""},
		{"a little slow", 20 * time.Second, "this clock is -20s off"},
		{"far ahead", -10 * time.Minute, "this clock is 10m0s off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", time.Now().Add(c.off).UTC().Format(http.TimeFormat))
			}))
			defer server.Close()
			_, err := probeClock(t.Context(), &Config{Login: LoginConfig{Issuer: server.URL}})
			got := fmt.Sprint(err)
			if c.want == "" && err != nil || !within(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	if _, err := probeClock(t.Context(), &Config{Login: LoginConfig{Issuer: "http://127.0.0.1:1"}}); err == nil {
		t.Error("a clock that nobody confirmed is fine")
	}
}

// within compares what was said about a clock, which may be a second off.
func within(got, want string) bool {
	for _, second := range []string{"-20s", "-19s", "-21s"} {
		if strings.Contains(got, strings.Replace(want, "-20s", second, 1)) {
			return true
		}
	}
	return strings.Contains(strings.Replace(got, "9m59s", "10m0s", 1), want)
}

func TestProbeSpool(t *testing.T) {
	dir := t.TempDir()
	if detail, err := probeSpool(dir + "/new"); failed(err) || !strings.Contains(detail, "which serve will make") {
		t.Errorf("a folder to be made: %s, %v", detail, err)
	}
	if detail, err := probeSpool(dir); failed(err) || !strings.Contains(detail, "written and synced") {
		t.Errorf("a folder: %s, %v", detail, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("the doctor left %v", left)
	}
	os.WriteFile(dir+"/file", nil, 0o600)
	if _, err := probeSpool(dir + "/file"); !failed(err) {
		t.Error("a file is a fine spool")
	}
	if _, err := probeSpool(dir + "/a/b"); !failed(err) {
		t.Error("a folder in no folder is a fine spool")
	}
}

func TestProbeStore(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name  string
		store StoreConfig
		want  string // of the detail, or else of the trouble
		fail  bool
	}{
		{"a folder", StoreConfig{URL: "file://" + dir, Dir: dir}, "wrote and read 1 object in", false},
		{"again", StoreConfig{URL: "file://" + dir, Dir: dir}, "wrote and read 1 object in", false},
		{"a folder to be made", StoreConfig{URL: "file://x", Dir: dir + "/new"}, "which serve will make", false},
		{"nobody there", StoreConfig{URL: "s3://b", Bucket: "bucket", Endpoint: "http://127.0.0.1:1", AccessKey: Secret{literal: "x"}, SecretKey: Secret{literal: "y"}}, "s3://b: ", true},
		{"no secret", StoreConfig{URL: "s3://b", Bucket: "bucket", Endpoint: "http://127.0.0.1:1", AccessKey: Secret{Env: "TWOKEY_TEST_NOT"}}, "s3://b: recordings.s3.access_key: the environment variable TWOKEY_TEST_NOT is not set", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			detail, err := probeStore(t.Context(), c.store)
			got := detail
			if failed(err) {
				got = err.Error()
			}
			if failed(err) != c.fail || !strings.Contains(got, c.want) {
				t.Errorf("got %s, %v; want %s", detail, err, c.want)
			}
		})
	}
	if _, err := os.Stat(dir + "/new"); err == nil {
		t.Error("the doctor made the store's folder")
	}
}

func TestProbeDatabaseThatIsNotThere(t *testing.T) {
	target := TargetConfig{Name: "orders", Postgres: PostgresConfig{Host: "127.0.0.1", Port: 1, Database: "orders", SSLMode: "disable"}}
	mode := ModeConfig{RoleConfig: RoleConfig{User: "app_ro", Password: Secret{Env: "TWOKEY_TEST_NOT"}}}
	for _, want := range []string{
		"the password of role app_ro could not be read: the environment variable TWOKEY_TEST_NOT is not set",
		"no database answers at 127.0.0.1:1",
	} {
		_, err := probeDatabase(t.Context(), target, mode)
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		mode.Password = Secret{literal: "x"}
	}
}

// provider is an identity provider as far as the doctor goes: it says what it
// is, and answers a browser that begins a login.
func provider(t *testing.T, login http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{
			"issuer": server.URL, "authorization_endpoint": server.URL + "/auth", "token_endpoint": server.URL + "/token",
			"jwks_uri": server.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /auth", login)
	return server.URL
}

func TestProbeLogin(t *testing.T) {
	answer := func(status int, location string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(status)
		}
	}
	for _, c := range []struct {
		name   string
		issuer string
		secret Secret
		want   string // of the trouble; "" for none
		fail   bool
	}{
		{"a page to sign in", provider(t, answer(200, "")), Secret{}, "", false},
		{"another page to sign in", provider(t, answer(302, "/login?id=1")), Secret{}, "", false},
		{"a client it does not know", provider(t, answer(400, "")), Secret{}, "seems to refuse our logins: it answers 400 Bad Request", false},
		{"a scope it does not know", provider(t, answer(302, "http://127.0.0.1:8022/login/callback?error=invalid_scope")), Secret{}, "refuse our logins: invalid_scope", false},
		{"nobody there", "http://127.0.0.1:1", Secret{}, "asking http://127.0.0.1:1 for its configuration", true},
		{"another name", provider(t, answer(200, "")) + "/", Secret{}, "did not match the issuer", true},
		{"no secret", "http://127.0.0.1:1", Secret{Env: "TWOKEY_TEST_NOT"}, "login.client_secret: the environment variable TWOKEY_TEST_NOT is not set", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := &Config{HTTP: HTTPConfig{URL: "http://127.0.0.1:8022"}, Login: LoginConfig{
				Issuer: c.issuer, ClientID: "twokey", ClientSecret: c.secret, Scopes: []string{"openid"},
			}}
			_, err := probeLogin(t.Context(), config)
			if failed(err) != c.fail || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestProbeCage leaves the canary to package psql and to the dramas: it runs
// this very program again, which here is a test.
func TestProbeCage(t *testing.T) {
	if _, err := probeCage(t.Context(), CageConfig{Off: true}); err == nil || failed(err) {
		t.Errorf("no cage: %v", err)
	}
	if _, err := probeCage(t.Context(), CageConfig{Psql: "/etc/passwd"}); !failed(err) {
		t.Errorf("/etc/passwd is a fine psql: %v", err)
	}
}

// failed reports whether more than warnings were found; a test runs on any filesystem.
func failed(err error) bool {
	for _, f := range (probe{}).findings("x", err) {
		if f.State == "FAIL" {
			return true
		}
	}
	return false
}
