package psql

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// This file is the canary: before anybody gets a psql, one tries to break out.

// canaryTime is how long one may take: a second, but on a machine that is busy
// with everything else that starts.
const canaryTime = 45 * time.Second

// Probe runs a psql in the cage that tries what an engineer might: programs,
// files, the network. The error names what succeeded, or says that psql does
// not run at all. It needs no database: it plays one.
func (c *Cage) Probe(ctx context.Context) error {
	if c.off {
		return nil
	}
	return c.probe(ctx)
}

func (c *Cage) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, canaryTime)
	defer cancel()
	uid, release, err := c.Reserve()
	if err != nil {
		return err
	}
	defer release()
	w, err := newYard(uid)
	if err != nil {
		return fmt.Errorf("the cage could not be tried: %w", err)
	}
	defer w.close()
	var all string
	for _, way := range []string{
		fmt.Sprintf(`\c "host=127.0.0.1 port=%d connect_timeout=2"`, w.listeners[1].Addr().(*net.TCPAddr).Port),
		fmt.Sprintf(`\c "host=@%s port=5432"`, filepath.Base(w.dir)),
	} {
		out, err := c.canary(ctx, w, uid, way) // a script ends at a connection that fails: one each
		if err != nil {
			return err
		}
		all += out
	}
	return w.judge(all)
}

// yard is what lies around the canary's cage: all of it within reach of its
// user, none of it to be touched.
type yard struct {
	dir       string
	listeners []net.Listener // the played database first
	called    atomic.Int64
}

func newYard(uid int) (w *yard, err error) {
	w = &yard{}
	if w.dir, err = os.MkdirTemp("", "twokey-canary-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if err = os.WriteFile(filepath.Join(w.dir, "secret"), []byte("\\echo READ\n"), 0o644); err != nil {
		return nil, err
	}
	for _, at := range [][2]string{
		{"unix", filepath.Join(w.dir, ".s.PGSQL.5432")}, {"tcp", "127.0.0.1:0"},
		{"unix", fmt.Sprintf("@%s/.s.PGSQL.5432", filepath.Base(w.dir))},
	} {
		l, err := net.Listen(at[0], at[1])
		if err != nil {
			return nil, err
		}
		w.listeners = append(w.listeners, l)
	}
	for _, path := range []string{w.dir, filepath.Join(w.dir, ".s.PGSQL.5432")} {
		if err = os.Chown(path, uid, -1); err != nil {
			return nil, err
		}
	}
	go accept(w.listeners[0], playDatabase) // these end when close closes the listeners
	for _, l := range w.listeners[1:] {
		go accept(l, func(net.Conn) { w.called.Add(1) })
	}
	return w, nil
}

func (w *yard) close() {
	for _, l := range w.listeners {
		l.Close()
	}
	os.RemoveAll(w.dir)
}

func accept(l net.Listener, serve func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		serve(conn)
		conn.Close()
	}
}

// playDatabase lets a client in and answers every query with an error that repeats it (PostgreSQL protocol, 55.2.1).
func playDatabase(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(canaryTime))
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	if n := binary.BigEndian.Uint32(length[:]); n < 8 || n > 10_000 {
		return
	} else if _, err := io.CopyN(io.Discard, conn, int64(n)-4); err != nil {
		return
	}
	io.WriteString(conn, "R\x00\x00\x00\x08\x00\x00\x00\x00"+"K\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x00\x00\x01"+ready)
	var head [5]byte
	for {
		if _, err := io.ReadFull(conn, head[:]); err != nil || head[0] != 'Q' {
			return
		}
		query := make([]byte, min(binary.BigEndian.Uint32(head[1:]), 1<<16)-4)
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		answer := "SERROR\x00C42601\x00M" + string(query) + "\x00"
		conn.Write(binary.BigEndian.AppendUint32([]byte("E"), uint32(len(answer)+4)))
		io.WriteString(conn, answer+ready)
	}
}

const ready = "Z\x00\x00\x00\x05I"

// canary runs a psql, looks at what is in force around it, lets it try, and
// returns what it printed.
func (c *Cage) canary(ctx context.Context, w *yard, uid int, last string) (string, error) {
	s, err := c.Start(Options{Socket: w.dir, Database: "canary", User: "canary", UID: uid})
	if err != nil {
		return "", err
	}
	defer s.Kill()
	defer context.AfterFunc(ctx, s.Kill)()
	var errs bytes.Buffer
	done := make(chan struct{})
	go func() { defer close(done); io.Copy(&errs, s.Errors()) }()
	if !sings(s) {
		s.Kill()
		<-done
		if ctx.Err() != nil {
			return "", late(ctx)
		}
		return "", fmt.Errorf("psql does not run in the cage (status %d): %s", s.Wait(), strings.TrimSpace(errs.String()))
	}
	if err := c.inForce(s, uid, w.dir); err != nil && !c.off {
		return "", err
	}
	script := fmt.Sprintf(strings.Join([]string{
		`\! echo R""AN`, `\! id > %[1]s/shell`, `\o |tee %[1]s/pipe`, `\qecho x`, `\o`, `\o %[1]s/file`, `\qecho x`, `\o`,
		`\i %[1]s/secret`, "\\set zz `echo R\"\"AN`", `\echo :zz`, `\i /etc/passwd`, ";", `\echo ` + tried, last, "",
	}, "\n"), w.dir)
	if n, err := s.Write([]byte(script)); err != nil || n < len(script) {
		return "", errors.New("psql takes no input in the cage")
	}
	s.CloseInput()
	out, _ := io.ReadAll(s)
	<-done
	switch {
	case ctx.Err() != nil:
		return "", late(ctx)
	case !strings.Contains(string(out), tried+"\n"):
		return "", fmt.Errorf("psql ended before it had tried to break out of its cage (status %d): %s", s.Wait(), strings.TrimSpace(errs.String()))
	}
	return string(out) + errs.String(), nil
}

// tried is what psql says when it has tried all but the last: one that dies
// before has shown nothing.
const tried = "TRIED"

// late is for a canary that was ended by the clock: it has not shown either that
// the cage holds.
func late(ctx context.Context) error {
	return fmt.Errorf("psql did not answer in its cage in time, perhaps because this machine is too busy; try again: %w", ctx.Err())
}

// sings reports whether psql has started and answers.
func sings(s *Shell) bool {
	const song = "ALIVE"
	s.Write([]byte("\\echo " + song + "\n"))
	heard := make([]byte, len(song)+1)
	_, err := io.ReadFull(s, heard)
	return err == nil && string(heard) == song+"\n"
}

// judge looks for anything that got out.
func (w *yard) judge(out string) error {
	var escaped []string
	for what, text := range map[string]string{"it ran a program": "RAN", "it read a file": "\nREAD", "it read /etc/passwd": "root:x"} {
		if strings.Contains(out, text) {
			escaped = append(escaped, what)
		}
	}
	for _, name := range []string{"shell", "pipe", "file"} {
		if _, err := os.Stat(filepath.Join(w.dir, name)); err == nil {
			escaped = append(escaped, "it wrote a file ("+name+")")
		}
	}
	if w.called.Load() > 0 {
		escaped = append(escaped, "it reached a socket")
	}
	if escaped != nil {
		return fmt.Errorf("psql broke out of its cage: %s", strings.Join(escaped, "; "))
	}
	return nil
}
