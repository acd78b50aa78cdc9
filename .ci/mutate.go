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
// which must notice, where not any of the package will do.
type mutation struct {
	what, file string
	from, to   string
	tests      string
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

// try applies the mutation and runs the tests of its package.
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
	dir, tested := filepath.Dir(m.file), filepath.Dir(m.file)
	for tests, _ := filepath.Glob(filepath.Join(tested, "*_test.go")); tests == nil && tested != "."; tests, _ = filepath.Glob(filepath.Join(tested, "*_test.go")) {
		tested = filepath.Dir(tested) // a part of another package, whose tests are its own
	}
	if out, err := exec.Command("go", "vet", "-overlay", overlay, "./"+dir).CombinedOutput(); err != nil && !strings.Contains(string(out), "unreachable") {
		return "BROKEN " + string(out)
	}
	out, err := exec.Command("go", "test", "-overlay", overlay, "-count=1", "-failfast", "-timeout=2m", "-run", m.tests, "./"+tested).CombinedOutput()
	switch {
	case err == nil:
		return "SURVIVED"
	case strings.Contains(string(out), "[build failed]"):
		return "BROKEN " + string(out)
	}
	return "caught"
}
