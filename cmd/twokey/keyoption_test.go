package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOptionsOfPublicKeys(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPR5QRrDg6oKmXsJ2n0n9Xo9wXQY6gKZ5aXkq1cGq8Yv recording"
	for options, says := range map[string]string{
		"":                                "",
		`valid-before="20261201Z" `:       "",
		`valid-before="202612011530" `:    "",
		`valid-before="20261201153000Z" `: "",
		`valid-before="soon" `:            "is not known",
		`valid-before=20261201 `:          "is not known",
		`valid-after="20261201Z" `:        "is not known",
		`valid-before="20261201Z",valid-before="20991201Z" `: "is not known",
		`cert-authority `: "is not known",
	} {
		file := filepath.Join(t.TempDir(), "key.pub")
		if err := os.WriteFile(file, []byte(options+key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := recordingKeys("--key", []string{file})
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", options, err, says)
		}
	}
}
