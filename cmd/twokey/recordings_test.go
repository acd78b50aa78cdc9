package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/klauspost/compress/zstd"
	"github.com/oklog/ulid/v2"

	"github.com/twokey/twokey/session"
)

// unsigned puts a recording without a manifest into a folder, of the kind that
// whoever can write there can make, and returns its ID.
func unsigned(t *testing.T, dir, tape string) string {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	id := ulid.Make()
	place := filepath.Join(dir, "sessions", ulid.Time(id.Time()).UTC().Format("2006/01/02"), id.String())
	if err := errors.Join(os.MkdirAll(place, 0o700), os.WriteFile(filepath.Join(place, "00000001.cast.zst"), z.EncodeAll([]byte(tape), nil), 0o600)); err != nil {
		t.Fatal(err)
	}
	return id.String()
}

// recordings runs twokey recordings with its standard output in a file.
func recordings(out *os.File, args ...string) error {
	root := rootCommand()
	root.SetOut(out)
	root.SetArgs(append([]string{"recordings"}, args...))
	return root.Execute()
}

// A store is somebody else's machine, and what it says of an error goes to a terminal.
func TestErrorsOfAStoreDriveNoTerminal(t *testing.T) {
	const evil = "no\x1b]0;driven\a \u009b2J\u202e\x7fway"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "<Error><Code>AccessDenied</Code><Message>no&#x9b;2J&#x202e;&#x7f;way</Message></Error>")
	}))
	defer server.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	err := recordings(os.Stdout, "export", ulid.Make().String(), "--store", "s3://bucket", "--endpoint", server.URL)
	if err == nil || !strings.Contains(err.Error(), "\u009b") {
		t.Fatalf("nothing to clean: %v", err)
	}
	for _, err := range []error{err, errors.New(evil)} {
		if text := told(err); strings.ContainsAny(text, "\x1b\a\u009b\u202e\x7f") || !strings.HasSuffix(text, "way") {
			t.Errorf("told is %q", text)
		}
	}
	if text := told(errors.Join(errors.New("one"), errors.New("\ttwo"))); text != "one\n\ttwo" {
		t.Errorf("two lines became %q", text)
	}
}

// An export is raw: it goes to files and players, and no terminal is driven by
// what somebody left in the store.
func TestExportGoesToNoTerminal(t *testing.T) {
	dir := t.TempDir()
	const driven = "\x1b]0;driven\a"
	id := unsigned(t, dir, driven+"\n")
	screen, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	defer tty.Close()
	err = recordings(tty, "export", id, "--store", dir)
	if err == nil || !strings.Contains(err.Error(), "> session.cast") || !strings.Contains(err.Error(), "recordings play") {
		t.Errorf("export to a terminal: %v", err)
	}
	if _, err := io.WriteString(tty, "end"); err != nil {
		t.Fatal(err)
	}
	screen.SetReadDeadline(time.Now().Add(20 * time.Second))
	shown := make([]byte, 100)
	if n, err := screen.Read(shown); err != nil || string(shown[:n]) != "end" {
		t.Errorf("the terminal got %q, %v", shown[:n], err)
	}

	file, err := os.Create(filepath.Join(t.TempDir(), "x.cast"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := recordings(file, "export", id, "--store", dir); err != nil {
		t.Errorf("export to a file: %v", err)
	}
	if text, err := os.ReadFile(file.Name()); err != nil || !bytes.Equal(text, []byte(driven+"\n")) {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if err := recordings(file, "export", ulid.Make().String(), "--store", dir); !errors.Is(err, session.ErrNoRecording) {
		t.Errorf("a recording that is not there: %v", err)
	}
}
