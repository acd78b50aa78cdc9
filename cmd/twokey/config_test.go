package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/session"
)

// whole is a configuration that says everything this version can do.
const whole = `ssh:   {listen: ":2222", host_key: {file: keys/host}}
http:  {listen: ":8022", url: "https://bastion.example.com"}
state: /var/lib/twokey
login:
  issuer: https://idp.example.com
  client_id: twokey
  client_secret: {env: TWOKEY_OIDC_SECRET}
  scopes: [openid, email, profile, groups]
  claims: {name: email, groups: groups, team: department, same_person: employee_id}
certificates: {user_ca: {file: keys/user_ca}, host_ca: {file: keys/host_ca}, ttl: 8h, source_address: false}
recordings:
  store: s3://recordings/prod
  s3: {endpoint: "https://s3.example.com", region: us-east-1, access_key: {env: AK}, secret_key: {env: SK}}
  segment: {every: 1s, bytes: 256KiB}
  signing_key: {file: keys/recording}
  max_lag: {time: 60s, bytes: 64MiB}
auditors: {groups: [security]}
admins:   {groups: [platform]}
targets:
  - name: orders
    postgres: {host: orders-db, port: 5432, database: orders, sslmode: verify-full, sslrootcert: ca.pem, other_databases: [archive]}
    modes:
      - name: read
        login: {user: app_ro, password: {file: secrets/ro}}
        engineers: {groups: [engineering]}
        shadows: none
      - name: write
        login: {user: app_rw, password: {file: secrets/rw}}
        engineers: {groups: [engineering]}
        shadows: [{count: 1, groups: [engineering, dba], other: team}]
        approve: none
        reason: required
        limits: {wait: 15m, duration: 1h, idle: 15m, grace: 30s, statement_timeout: 30m, idle_in_transaction_session_timeout: none}
        break_glass: {groups: [oncall], review: 12h}
`

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := parseConfig("/etc/twokey/twokey.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// edited is the whole configuration with one change.
func edited(t *testing.T, old, new string) string {
	t.Helper()
	if !strings.Contains(whole, old) {
		t.Fatalf("the whole configuration has no %q", old)
	}
	return strings.Replace(whole, old, new, 1)
}

func TestWhole(t *testing.T) {
	c := parse(t, whole)
	want := []session.Target{{Name: "orders", Modes: []session.Mode{
		{Name: "read", Engineers: []string{"engineering"}, Limits: session.Limits{Wait: 15 * time.Minute, Grace: 30 * time.Second, Approval: 2 * time.Minute}},
		{Name: "write", Engineers: []string{"engineering"}, Reason: true,
			Shadows: session.Quorum{{Count: 1, Groups: []string{"engineering", "dba"}, Other: "team"}},
			Limits:  session.Limits{Wait: 15 * time.Minute, Duration: time.Hour, Idle: 15 * time.Minute, Grace: 30 * time.Second, Approval: 2 * time.Minute},

			BreakGlass: session.BreakGlass{Groups: []string{"oncall"}, Review: 12 * time.Hour}},
	}}}
	if got := c.targets(); !reflect.DeepEqual(got, want) {
		t.Errorf("targets\n got %+v\nwant %+v", got, want)
	}
	for _, same := range []struct{ what, got, want any }{
		{"state", c.State, "/var/lib/twokey"},
		{"host key", c.SSH.HostKey.File, "/etc/twokey/keys/host"},
		{"other databases", strings.Join(c.Targets[0].Postgres.Others, " "), "archive"},
		{"root certificate", c.Targets[0].Postgres.SSLRootCert, "/etc/twokey/ca.pem"},
		{"bucket", c.Recordings.Store.Bucket + "|" + c.Recordings.Store.Prefix, "recordings|prod"},
		{"segment", c.Recordings.SegmentBytes, int64(256 << 10)},
		{"lag", c.Recordings.MaxLagTime, time.Minute},
		{"statement timeout", c.Targets[0].Modes[1].StatementTimeout, 30 * time.Minute},
		{"claims", c.Login.Claims.Others["team"], "department"},
		{"same person", c.Login.Claims.SamePerson, "employee_id"},
		{"url", c.HTTP.URL, "https://bastion.example.com"},
		{"name", c.SSH.Name, "bastion.example.com:2222"},
		{"warnings", len(c.Warnings), 1}, // http without tls on all addresses
	} {
		if same.got != same.want {
			t.Errorf("%s: got %v, want %v", same.what, same.got, same.want)
		}
	}
	if _, m, ok := c.target("orders", "write"); !ok || m.User != "app_rw" {
		t.Errorf("target orders+write: got %+v, %v", m, ok)
	}
	if _, _, ok := c.target("orders", "admin"); ok {
		t.Error("target orders+admin was found")
	}
}

func TestRedact(t *testing.T) {
	with := func(redact string) string {
		return edited(t, "  max_lag: {time: 60s, bytes: 64MiB}\n", "  redact: "+redact+"\n")
	}
	got := parse(t, with("{types: [bytea, jsonb], longer: 4KiB}")).Recordings.Redact
	if strings.Join(got.Types, " ") != "bytea jsonb" || got.Longer != 4096 {
		t.Errorf("%+v", got)
	}
	_, err := parseConfig("c.yaml", []byte(with("{types: [bytes]}")))
	if want := `c.yaml:16:19: types: "bytes" is not one of Postgres' own types, such as bytea, jsonb or varchar`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v", err)
	}
}

func TestWhatIsLeftOut(t *testing.T) {
	shadows := "        shadows: [{count: 1, groups: [engineering, dba], other: team}]\n"
	for _, c := range []struct {
		name, old, new string
		want           session.Quorum
	}{
		{"shadows", shadows, "", session.Quorum{{Count: 1, Groups: []string{"engineering"}}}},
		{"count", "{count: 1, ", "{", session.Quorum{{Count: 1, Groups: []string{"engineering", "dba"}, Other: "team"}}},
		{"groups", "groups: [engineering, dba], ", "", session.Quorum{{Count: 1, Groups: []string{"engineering"}, Other: "team"}}},
		{"everything", "{count: 1, groups: [engineering, dba], other: team}", "{}", session.Quorum{{Count: 1, Groups: []string{"engineering"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := parse(t, edited(t, c.old, c.new)).targets()[0].Modes[1]
			if !reflect.DeepEqual(m.Shadows, c.want) {
				t.Errorf("got %v, want %v", m.Shadows, c.want)
			}
		})
	}
	if m := parse(t, whole).targets()[0].Modes[0]; m.Shadows != nil || m.BreakGlass.Groups != nil {
		t.Errorf("shadows: none: got %v and glass that %v may break", m.Shadows, m.BreakGlass.Groups)
	}
	if m := parse(t, edited(t, ", review: 12h", "")).targets()[0].Modes[1]; m.BreakGlass.Review != 24*time.Hour {
		t.Errorf("review: got %v, want 24h", m.BreakGlass.Review)
	}
}

func TestAccepted(t *testing.T) {
	for _, c := range []struct{ name, old, new string }{
		{"cage: off", "admins: ", "cage: off\nadmins: "},
		{"history: off", "admins: ", "history: off\nadmins: "},
		{"history: on", "admins: ", "history: on\nadmins: "},
		{"cage: psql", "admins: ", "cage: {psql: /opt/psql}\nadmins: "},
		{"a folder as store", "  store: s3://recordings/prod\n  s3: {endpoint: \"https://s3.example.com\", region: us-east-1, access_key: {env: AK}, secret_key: {env: SK}}\n", "  store: file:///srv/recordings\n"},
		{"a bucket without a prefix", "s3://recordings/prod", "s3://recordings"},
		{"loopback without TLS", `{listen: ":8022", url: "https://bastion.example.com"}`, `{listen: "127.0.0.1:8022", url: "http://localhost:8022/"}`},
		{"any free port", `":2222"`, `"127.0.0.1:0"`},
		{"a name of its own", "host_key: {file: keys/host}", "host_key: {file: keys/host}, name: ssh.example.com"},
		{"an issuer on loopback", "https://idp.example.com", "http://127.0.0.1:9998/"},
		{"no auditors, no admins", "auditors: {groups: [security]}\nadmins:   {groups: [platform]}\n", ""},
		{"a public client", "  client_secret: {env: TWOKEY_OIDC_SECRET}\n", ""},
		{"a socket", "host: orders-db, port: 5432, database: orders, sslmode: verify-full", "host: /run/postgresql, database: orders"},
		{"a socket, and said", "host: orders-db, port: 5432, database: orders, sslmode: verify-full", "host: /run/postgresql, database: orders, sslmode: disable"},
		{"no idle limit", "idle: 15m", "idle: none"},
		{"days", "duration: 1h", "duration: 1d"},
		{"comments and a document's start", "ssh: ", "# hello\n---\n# again\nssh: "},
		{"Windows line ends", "state: /var/lib/twokey\n", "state: /var/lib/twokey\r\n"},
		{"quoted keys", "state: ", "\"state\": "},
	} {
		t.Run(c.name, func(t *testing.T) { parse(t, edited(t, c.old, c.new)) })
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"a literal secret", "{file: secrets/ro}", "hunter2",
			"/etc/twokey/twokey.yaml:24:41: password: is written in the configuration; better {file: PATH} or {env: NAME}"},
		{"cage: off", "admins: ", "cage: off\nadmins: ",
			"/etc/twokey/twokey.yaml:18:7: cage: psql runs without a cage: whoever types in it can run programs and read files as this service"},
		{"a database that is not proven", "sslmode: verify-full", "sslmode: require",
			"/etc/twokey/twokey.yaml:21:72: sslmode: require does not prove that this is your database; verify-full does"},
		{"a superuser", "{user: app_rw,", "{user: app_rw, superuser: app_rw,",
			"/etc/twokey/twokey.yaml:28:42: superuser: a superuser can run programs on the database's machine and switch off whatever watches there"},
		{"a store over plain http", "https://s3.example.com", "http://s3.example.com",
			"/etc/twokey/twokey.yaml:13:18: endpoint: is plain http: recordings can be read on their way to the store"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := parse(t, edited(t, c.old, c.new)).Warnings
			if !slices.Contains(got, c.want) {
				t.Errorf("got %q, want among them %q", got, c.want)
			}
		})
	}
}

func TestFilesThatAreNoConfiguration(t *testing.T) {
	deep := strings.Repeat("[", 500_000)
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "x:1:1: the configuration is empty; `twokey init` writes one to start from"},
		{"only a comment", "# soon\n", "x:1:1: the configuration is empty; `twokey init` writes one to start from"},
		{"a word", "hello", "x:1:1: the configuration: expected a mapping of ssh, http, state, login, certificates, recordings, auditors, admins, targets, cage, history, drain, notify, monitor, not text"},
		{"too large", strings.Repeat("#\n", configLimit/2+1), "x:1:1: the file is larger than 1024 KiB; is this the configuration?"},
		{"not UTF-8", "state: \xff", "x:1:8: the file is not UTF-8 text"},
		{"deep lists", deep, "x:1:25: nested too deeply"},
		{"deep mappings", strings.Repeat("{a: ", 100_000), "x:1:97: nested too deeply"},
		{"deep entries", strings.Repeat("- ", 200_000), "x:1:257: nested too deeply"},
		{"too many keys", strings.Repeat("a: 1\n", mostKeys+1), "x:20001:2: more than 20000 keys; is this the configuration?"},
		{"a bomb", "a: &a [x,x]\nb: &b [*a,*a]\n", strings.Join([]string{
			"x:1:4: anchors, aliases and merge keys are not allowed; write the value out",
			"x:2:4: anchors, aliases and merge keys are not allowed; write the value out",
			"x:2:8: anchors, aliases and merge keys are not allowed; write the value out",
			"x:2:11: anchors, aliases and merge keys are not allowed; write the value out"}, "\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parseConfig("x", []byte(c.text))
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestManyMistakesAreCounted(t *testing.T) {
	_, err := parseConfig("x", []byte(strings.Repeat("a: 1\n", 300)))
	all := err.(Mistakes)
	// 7 keys are missing, 1 is unknown, 299 times it is doubled.
	if last := all[len(all)-1].Text; len(all) != mostMistakes || last != "and 208 more mistakes from here on" {
		t.Errorf("got %d mistakes, the last: %s", len(all), last)
	}
}

func TestLoadRefusesWhatEveryoneCanChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "twokey.yaml")
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadConfig(path); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := loadConfig(path); err == nil || !strings.Contains(err.Error(), "run: chmod o-w "+path) {
		t.Errorf("got %v", err)
	}
	if _, err := loadConfig(path + ".not"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode fs.FileMode) Secret {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
		return Secret{File: path}
	}
	t.Setenv("TWOKEY_TEST", "from env")
	for _, c := range []struct {
		name   string
		secret Secret
		want   string
		fail   string
	}{
		{"a file", file("a", "pass word\n", 0o600), "pass word", ""},
		{"a file of the group", file("b", "x", 0o640), "x", ""},
		{"one newline and no more", file("c", "x\n\n", 0o600), "x\n", ""},
		{"a line of Windows", file("d", "x\r\n", 0o600), "x", ""},
		{"a file of everyone", file("e", "x", 0o644), "", "run: chmod o-rwx " + dir + "/e"},
		{"an empty file", file("f", "\n", 0o600), "", "is empty"},
		{"a huge file", file("g", strings.Repeat("x", secretLimit+1), 0o600), "", "is larger than 64 KiB"},
		{"no file", Secret{File: dir + "/not"}, "", "no such file"},
		{"a folder", Secret{File: dir}, "", "is a folder"},
		{"a variable", Secret{Env: "TWOKEY_TEST"}, "from env", ""},
		{"no variable", Secret{Env: "TWOKEY_TEST_NOT"}, "", "TWOKEY_TEST_NOT is not set"},
		{"a literal", Secret{literal: "x"}, "x", ""},
		{"nothing", Secret{}, "", "not configured"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.secret.Value()
			if got != c.want || (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
				t.Errorf("got %q, %v; want %q, %q", got, err, c.want, c.fail)
			}
		})
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	c := parse(t, edited(t, "{file: secrets/ro}", "hunter2"))
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", c, c, c), strings.Join(c.Warnings, "")} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("a secret was printed: %s", text)
		}
	}
	if _, m, _ := c.target("orders", "read"); true {
		if got, err := m.Password.Value(); got != "hunter2" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(whole))
	for _, c := range mistakes {
		f.Add([]byte(strings.Replace(whole, c.old, c.new, 1)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig("x", data)
		if (c == nil) == (err == nil) {
			t.Fatal("neither a configuration nor mistakes")
		}
		if err != nil {
			places(t, err, data)
			return
		}
		for _, target := range c.targets() {
			if len(target.Modes) == 0 || target.Name == "" {
				t.Fatalf("accepted a target that cannot be asked for: %+v", target)
			}
			for _, m := range target.Modes {
				if len(m.Engineers) == 0 || m.Limits.Wait <= 0 || m.Limits.Grace <= 0 {
					t.Fatalf("accepted a mode that nobody bounds: %+v", m)
				}
				if m.BreakGlass.Groups != nil && (len(m.Shadows) == 0 || m.BreakGlass.Review < time.Hour) {
					t.Fatalf("accepted glass that is none, or is reviewed at once: %+v", m)
				}
				for _, n := range m.Shadows {
					if n.Count < 1 || len(n.Groups) == 0 {
						t.Fatalf("accepted a shadow that nobody is: %+v", n)
					}
				}
			}
		}
	})
}

// places checks that each mistake is one line and lies within the file.
func places(t *testing.T, err error, data []byte) {
	for _, m := range err.(Mistakes) {
		if m.Line < 1 || m.Column < 1 || m.Line > strings.Count(string(data), "\n")+strings.Count(string(data), "\r")+2 {
			t.Fatalf("a mistake outside of the file: %v", m)
		}
		if strings.ContainsAny(m.Text, "\n\r\x1b") {
			t.Fatalf("a mistake on several lines: %q", m.Text)
		}
	}
}
