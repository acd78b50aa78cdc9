// Mutate breaks the promises one by one, as .ci/mutations says, and expects a
// test to notice each time. It changes no file: the compiler is given an overlay.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// mutation is one paragraph: "# what breaks", the file, lines to take out
// behind "-" and to put in behind "+"; behind "? " the tests (go test -run) one of
// which must notice, where not any will do, and before them the package (./path) of
// the tests, where it is not the file's.
type mutation struct {
	what, file string
	from, to   string
	of, tests  string
}

func main() {
	text, err := os.ReadFile(".ci/mutations")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	only := strings.Join(os.Args[1:], " ")
	var list []mutation
	for p := range strings.SplitSeq(string(text), "\n\n") {
		if m := parse(p); m.file != "" && strings.Contains(m.what, only) {
			list = append(list, m)
		}
	}
	said := make([]string, len(list))
	var wg sync.WaitGroup
	turn := make(chan struct{}, 2)
	for i, m := range list {
		wg.Go(func() {
			turn <- struct{}{}
			said[i] = m.try()
			<-turn
			fmt.Printf("%-9s %s: %s\n", said[i], m.file, m.what)
		})
	}
	wg.Wait()
	caught := 0
	for _, s := range said {
		if s == "caught" {
			caught++
		}
	}
	fmt.Printf("%d of %d caught\n", caught, len(list))
	if caught < len(list) || caught == 0 {
		os.Exit(1)
	}
}

func parse(paragraph string) (m mutation) {
	for line := range strings.Lines(paragraph) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "# "):
			m.what = line[2:]
		case strings.HasPrefix(line, "? "):
			m.tests = line[2:]
			if of, tests, found := strings.Cut(m.tests, " "); found {
				m.of, m.tests = of, tests
			}
		case strings.HasPrefix(line, "-"):
			m.from += line[1:] + "\n"
		case strings.HasPrefix(line, "+"):
			m.to += line[1:] + "\n"
		case line != "":
			m.file = line
		}
	}
	return m
}

// try applies the mutation and runs tests. Caught is only what a test says no
// to that says yes without the mutation: neither what does not compile, nor what
// never ends.
func (m mutation) try() string {
	source, err := os.ReadFile(m.file)
	if err != nil || strings.Count(string(source), m.from) != 1 {
		return "NOT FOUND"
	}
	tmp, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err.Error()
	}
	defer os.RemoveAll(tmp)
	broken, overlay := filepath.Join(tmp, "broken.go"), filepath.Join(tmp, "overlay.json")
	from, _ := filepath.Abs(m.file)
	list, _ := json.Marshal(map[string]map[string]string{"Replace": {from: broken}})
	os.WriteFile(broken, []byte(strings.Replace(string(source), m.from, m.to, 1)), 0o600)
	os.WriteFile(overlay, list, 0o600)
	if out, err := exec.Command("go", "test", "-c", "-o", os.DevNull, "-overlay", overlay, m.tested()).CombinedOutput(); err != nil {
		return "BROKEN " + string(out)
	}
	if out, err := m.test(); err != nil {
		return "NOT GREEN, without the mutation either: " + string(out)
	}
	return verdict(m.test("-overlay", overlay, "-count=1", "-failfast"))
}

// tested is the package whose tests are run: where there are none, the one that
// it is a part of.
func (m mutation) tested() string {
	if m.of != "" {
		return m.of
	}
	dir := filepath.Dir(m.file)
	for tests, _ := filepath.Glob(filepath.Join(dir, "*_test.go")); tests == nil && dir != "."; tests, _ = filepath.Glob(filepath.Join(dir, "*_test.go")) {
		dir = filepath.Dir(dir)
	}
	return "./" + dir
}

// test runs the tests; without flags, those that go remembers to have passed are
// not run again.
func (m mutation) test(flags ...string) ([]byte, error) {
	args := append([]string{"test", "-vet=off", "-timeout=5m", "-run", m.tests}, flags...)
	return exec.Command("go", append(args, m.tested())...).CombinedOutput()
}

// verdict is what tests say of a mutation.
func verdict(out []byte, err error) string {
	said := string(out)
	switch {
	case err == nil:
		return "SURVIVED"
	case strings.Contains(said, "panic: test timed out"):
		return "NEVER ENDS " + said[:min(len(said), 2000)]
	case strings.Contains(said, "--- FAIL: "), strings.Contains(said, "panic: "), strings.Contains(said, "fatal error: "):
		return "caught"
	}
	return "BROKEN " + said
}
