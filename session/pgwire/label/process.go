package label

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"
)

// This file is the process that parses, and what talks to it. A question is a
// length (4 bytes, big endian) and so many bytes of SQL; an answer is a line of
// JSON, a list or null.

// processName is how the process knows what it was started for.
const processName = "twokey-label"

const (
	patience = 20 * time.Millisecond // that a statement waits for its labels
	stuck    = 5 * time.Second       // without an answer, the process is killed
	respite  = 10 * time.Second      // before it is started again
)

// Main answers questions and does not return, when this process was started for that.
func Main() bool {
	if len(os.Args) != 1 || os.Args[0] != processName {
		return false
	}
	syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19) // labels are worth nobody's waiting
	if err := answer(os.Stdin, os.Stdout); !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "twokey: labels:", err)
		os.Exit(1)
	}
	os.Exit(0)
	return true
}

// answer answers until the questions end, with io.EOF.
func answer(questions io.Reader, answers io.Writer) error {
	Of("")
	debug.FreeOSMemory() // of compiling the parser: 200 MB
	in := bufio.NewReader(questions)
	for {
		var size uint32
		if err := binary.Read(in, binary.BigEndian, &size); err != nil {
			return err
		}
		if size > maxText {
			return fmt.Errorf("a question of %d bytes", size)
		}
		sql := make([]byte, size)
		if _, err := io.ReadFull(in, sql); err != nil {
			return err
		}
		labels, _ := Of(string(sql))
		if err := json.NewEncoder(answers).Encode(labels); err != nil {
			return err
		}
	}
}

// Parser is a process that parses. Its methods may be called from any goroutine.
type Parser struct {
	log   *slog.Logger
	jobs  chan job
	ready atomic.Bool
	done  chan struct{}
}

type job struct {
	sql    string
	labels chan []string // takes one
}

// Start starts a process, which lives until ctx ends. Done is closed then.
func Start(ctx context.Context, log *slog.Logger) *Parser {
	p := &Parser{log: log, jobs: make(chan job), done: make(chan struct{})}
	go p.run(ctx)
	return p
}

// Done is closed when the process is gone for good.
func (p *Parser) Done() <-chan struct{} { return p.done }

// Labels says what a text touches, as Of does; nil when that is not known within 20 ms.
func (p *Parser) Labels(sql string) []string {
	if !p.ready.Load() || len(sql) > maxText {
		return nil
	}
	j := job{sql: sql, labels: make(chan []string, 1)}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case p.jobs <- j:
	case <-late.C:
		return nil
	}
	select {
	case labels := <-j.labels:
		return labels
	case <-late.C:
		return nil
	}
}

func (p *Parser) run(ctx context.Context) {
	defer close(p.done)
	for {
		err := p.serve(ctx)
		p.ready.Store(false)
		if ctx.Err() != nil {
			return
		}
		p.log.Warn("statements get no labels for now", "error", err, "again_in", respite.String())
		select {
		case <-time.After(respite):
		case <-ctx.Done():
			return
		}
	}
}

// serve runs one process until it dies, or gets stuck.
func (p *Parser) serve(ctx context.Context) error {
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{processName}
	cmd.Env = []string{"GOMAXPROCS=1", "GOMEMLIMIT=128MiB"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		return fmt.Errorf("pipes: %v, %v", err1, err2)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { kill(); cmd.Wait() }()
	answers := bufio.NewReaderSize(out, maxLabels*maxLength*8)
	ask := func(sql string, patience time.Duration) ([]string, error) {
		watchdog := time.AfterFunc(patience, kill)
		defer watchdog.Stop()
		if _, err := in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(sql))), sql...)); err != nil {
			return nil, err
		}
		line, err := answers.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		var labels []string
		return labels, json.Unmarshal(line, &labels)
	}
	if _, err := ask("", time.Minute); err != nil { // it compiles the parser now: seconds
		return err
	}
	p.ready.Store(true)
	p.log.Info("statements are labelled from now on")
	for {
		select {
		case j := <-p.jobs:
			labels, err := ask(j.sql, stuck)
			if err != nil {
				return err
			}
			j.labels <- labels
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
