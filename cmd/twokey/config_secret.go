//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// This file keeps passwords and keys out of the configuration's plain values:
// a Secret is where one is to be found, and it is read only when it is used.

// secretLimit bounds a secret, in bytes; the largest honest one is a key file.
const secretLimit = 64 << 10

// Secret is a password or a key: in a file, in the environment or, warned
// about, in the configuration itself. Printing it prints where it is.
type Secret struct {
	File    string // absolute path
	Env     string // name of a variable
	literal string
}

// Given reports whether the configuration has this secret.
func (s Secret) Given() bool { return s != Secret{} }

// String says where the secret is, never what.
func (s Secret) String() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Env != "":
		return "environment variable " + s.Env
	case s.literal != "":
		return "(written in the configuration)"
	}
	return "(none)"
}

// GoString keeps %#v from printing the secret.
func (s Secret) GoString() string { return "Secret(" + s.String() + ")" }

// Value reads the secret now, without one newline at its end. It refuses a
// file that everyone on the machine can read, and an empty secret; the error
// says what to do.
func (s Secret) Value() (string, error) {
	value, err := s.read()
	if err != nil {
		return "", err
	}
	value = strings.TrimSuffix(strings.TrimSuffix(value, "\n"), "\r")
	if value == "" {
		return "", fmt.Errorf("the secret in the %s is empty", s)
	}
	return value, nil
}

func (s Secret) read() (string, error) {
	switch {
	case s.File != "":
		return readSecretFile(s.File)
	case s.Env != "":
		value, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set", s.Env)
		}
		return value, nil
	case s.literal != "":
		return s.literal, nil
	}
	return "", fmt.Errorf("the secret is not configured")
}

func readSecretFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading the secret: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("reading the secret: %w", err)
	}
	if info.IsDir() {
		return "", fmt.Errorf("the secret file %s is a folder", path)
	}
	if info.Mode().Perm()&0o006 != 0 {
		return "", fmt.Errorf("the secret file %s is open to everyone on this machine; run: chmod o-rwx %s", path, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, secretLimit+1))
	if err != nil {
		return "", fmt.Errorf("reading the secret: %w", err)
	}
	if len(data) > secretLimit {
		return "", fmt.Errorf("the secret file %s is larger than %d KiB", path, secretLimit>>10)
	}
	return string(data), nil
}
