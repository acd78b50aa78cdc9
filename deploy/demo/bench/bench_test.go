package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	list := []float64{5, 1, 4, 2, 3}
	for p, want := range map[int]float64{0: 1, 50: 3, 99: 5, 100: 5} {
		if got := percentile(list, p); got != want {
			t.Errorf("p%d is %v, want %v", p, got, want)
		}
	}
	if list[0] != 5 {
		t.Error("the list was sorted in place")
	}
}

func TestLine(t *testing.T) {
	l, err := dial(exec.Command("sh", "-c", "stty -echo; echo ready; read x; echo got $x; yes | head -c 100000; echo; echo end; sleep 60"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.hangUp()
	if err := l.await(t.Context(), 10*time.Second, "ready"); err != nil {
		t.Fatal(err)
	}
	if err := l.say(t.Context(), "it\r", "end\r\n"); err != nil {
		t.Fatal(err)
	}
	if n := l.bytes(); n < 100000 {
		t.Errorf("counted %d bytes", n)
	}
	if len(l.text()) > tailSize || strings.Contains(l.text(), "ready") {
		t.Errorf("kept %d bytes", len(l.text()))
	}
	if err := l.await(t.Context(), 10*time.Millisecond, "never"); err == nil || !strings.Contains(err.Error(), "did not come") {
		t.Errorf("what never comes: %v", err)
	}
}

func TestMemoryOfThisProcess(t *testing.T) {
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	if mb, err := memoryOf(os.Getpid(), strings.TrimSpace(string(name))); err != nil || mb < 1 || mb > 1000 {
		t.Errorf("%v MB: %v", mb, err)
	}
	if mb, err := memoryOf(os.Getpid(), "other"); mb != 0 || err != nil {
		t.Errorf("another program: %v MB: %v", mb, err)
	}
}
