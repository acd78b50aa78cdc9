package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// This file holds the import arrows of ARCHITECTURE.md as data. They keep the
// house what it is: a part that may not import another can not come to depend
// on it, and a technology with one home can be replaced in one place.

const module = "github.com/twokey/twokey"

// arrows says which of our packages each of ours may import. A new package
// needs a line here. Tests may import testArrows in addition.
var arrows = map[string][]string{
	"session":                  nil, // and nothing third-party
	"session/psql":             {"session", "session/psql/launch"},
	"session/psql/launch":      nil, // and next to nothing: it must come first
	"session/pgwire":           {"session"},
	"session/pgwire/label":     {"session"},
	"session/pgwire/pgtest":    nil,
	"certs":                    {"session"},
	"certs/oidc":               {"session", "certs"},
	"shadow":                   {"session"},
	"recorder":                 {"session", "recorder/store"},
	"recorder/index":           {"session", "recorder"},
	"recorder/store":           nil,
	"recorder/store/storetest": {"recorder/store"},
	"bastion":                  {"session", "shadow", "certs", "bastion/lobby"},
	"bastion/lobby":            {"session", "shadow"},
	"bastion/notify":           {"session"},
	"bastion/metrics":          {"session"},
	"cmd/twokey": {
		"bastion/notify", "bastion/metrics", "session", "session/psql", "session/pgwire", "session/pgwire/label", "certs", "certs/oidc", "shadow", "recorder", "recorder/index", "recorder/store", "bastion",
	},
}

// testArrows says what the tests of a package may import besides: real parts to
// run against.
var testArrows = map[string][]string{
	"session/psql":   {"session/pgwire", "session/pgwire/pgtest"},
	"session/pgwire": {"session/pgwire/pgtest"},
	"recorder":       {"recorder/store/storetest"},
	"recorder/index": {"recorder/store"},
	"recorder/store": {"recorder/store/storetest"},
	"shadow":         {"recorder", "recorder/store"}, // an export, for other players
	"cmd/twokey":     {"session/pgwire/pgtest", "recorder/store/storetest", "session/psql/launch"},
}

// homes says which of our packages may import a third-party module, or what
// begins with it. A new dependency needs a line here, and a reason in the
// commit that adds it.
var homes = map[string][]string{
	"github.com/gliderlabs/ssh":           {"bastion"},
	"github.com/pires/go-proxyproto":      {"bastion"},
	"github.com/prometheus/client_golang": {"bastion/metrics"},
	"github.com/spf13/cobra":              {"cmd/twokey", "bastion"}, // one command tree, on this machine and over SSH
	"github.com/spf13/pflag":              {"cmd/twokey", "bastion"}, // cobra's flags
	"github.com/goccy/go-yaml":            {"cmd/twokey"},
	"github.com/coreos/go-oidc/v3":        {"certs/oidc"},
	"golang.org/x/oauth2":                 {"certs/oidc"},
	"github.com/creack/pty":               {"session/psql"},
	"github.com/jackc/pgx/v5":             {"session/pgwire", "session/pgwire/pgtest"},
	"github.com/wasilibs/go-pgquery":      {"session/pgwire/label"},
	"github.com/mattn/go-runewidth":       {"shadow"},
	"charm.land/bubbletea/v2":             {"bastion/lobby"},
	"charm.land/lipgloss/v2":              {"bastion/lobby"},
	"github.com/minio/minio-go/v7":        {"recorder/store", "recorder/store/storetest"},
	"filippo.io/age":                      {"recorder"},
	"github.com/hiddeco/sshsig":           {"recorder"},
	"github.com/klauspost/compress":       {"recorder"},
	"github.com/oklog/ulid/v2":            {"recorder", "recorder/index", "cmd/twokey"},
	"modernc.org/sqlite":                  {"recorder/index"},
	"golang.org/x/text/unicode/norm":      {"recorder/index"},                             // an accent is found whichever way it was typed
	"golang.org/x/crypto/ssh":             {"bastion", "certs", "recorder", "cmd/twokey"}, // keys and certificates
	"golang.org/x/sys/unix":               {"session/psql", "session/psql/launch", "session/pgwire", "recorder", "cmd/twokey"},
	"golang.org/x/term":                   {"cmd/twokey"}, // is this a terminal, and its keys, on any system
}

// testHomes says what tests may import besides.
var testHomes = map[string][]string{
	"github.com/rogpeppe/go-internal/testscript": {"cmd/twokey"},
	"github.com/creack/pty":                      {"cmd/twokey", "bastion", "session/psql/launch"},
	"github.com/charmbracelet/x/vt":              {"cmd/twokey", "session/psql", "bastion/lobby"}, // a terminal to look at
	"github.com/jackc/pgx/v5":                    {"cmd/twokey", "session/psql"},
	"github.com/klauspost/compress":              {"cmd/twokey"},
	"github.com/minio/minio-go/v7":               {"recorder"}, // a thief
	"golang.org/x/crypto/ssh":                    {"certs/oidc", "shadow", "recorder/index"},
	"github.com/go-jose/go-jose/v4":              {"certs/oidc"},
}

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// imports lists our packages with everything they import, on Linux.
func imports(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...")
	cmd.Env = append(cmd.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestArrows(t *testing.T) {
	packages := imports(t)
	if len(packages) == 0 {
		t.Fatal("no packages")
	}
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if _, known := arrows[name]; !known {
			t.Errorf("package %s is new: say in arrows what it may import", name)
			continue
		}
		for _, wrong := range misled(name, p.Imports, false) {
			t.Error(wrong)
		}
		for _, wrong := range misled(name, slices.Concat(p.TestImports, p.XTestImports), true) {
			t.Error(wrong)
		}
	}
}

// misled returns a sentence for each import that no arrow and no home allows.
func misled(name string, imports []string, test bool) []string {
	var wrong []string
	in, ours, theirs := name, arrows[name], []map[string][]string{homes}
	if test {
		in, ours, theirs = "the tests of "+name, append(slices.Clone(ours), append(testArrows[name], name)...), append(theirs, testHomes)
	}
	for _, path := range imports {
		local, isOurs := strings.CutPrefix(path, module+"/")
		first, _, _ := strings.Cut(path, "/")
		switch {
		case isOurs && !slices.Contains(ours, local):
			wrong = append(wrong, in+" may not import "+local)
		case !isOurs && strings.Contains(first, ".") && !atHome(name, path, theirs):
			wrong = append(wrong, in+" may not import "+path+": each technology has one home")
		}
	}
	return wrong
}

// atHome reports whether the package is a home of what path belongs to.
func atHome(name, path string, lists []map[string][]string) bool {
	for _, list := range lists {
		for prefix, where := range list {
			if (path == prefix || strings.HasPrefix(path, prefix+"/")) && slices.Contains(where, name) {
				return true
			}
		}
	}
	return false
}

// What the documents link to or name in a table is there.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	named := regexp.MustCompile("\\]\\(([a-z][^)#:]*)\\)|`((?:cmd|bastion|session|recorder|shadow|certs|deploy)/[a-z_/.]*\\.[a-z]+)`")
	for _, name := range []string{"README.md", "ARCHITECTURE.md", "recorder/FORMAT.md"} {
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			path := filepath.Join("../..", m[2])
			if m[2] == "" {
				path = filepath.Join("../..", filepath.Dir(name), m[1])
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestArrowsAreHeld(t *testing.T) {
	for _, c := range []struct {
		name, path string
		test       bool
		allowed    bool
	}{
		{"session", "fmt", false, true},
		{"session", "github.com/oklog/ulid/v2", false, false},
		{"session", module + "/recorder", false, false},
		{"session", module + "/session", true, true},
		{"bastion", module + "/recorder", false, false},
		{"bastion", "github.com/gliderlabs/ssh", false, true},
		{"shadow", "github.com/gliderlabs/ssh", false, false},
		{"recorder", module + "/recorder/store/storetest", false, false},
		{"recorder", module + "/recorder/store/storetest", true, true},
		{"recorder", "github.com/oklog/ulid/v2x", false, false},
		{"cmd/twokey", "example.com/new", true, false},
	} {
		if wrong := misled(c.name, []string{c.path}, c.test); (len(wrong) == 0) != c.allowed {
			t.Errorf("%s imports %s: %q", c.name, c.path, wrong)
		}
	}
}
