package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"
)

// How long the end may take: for the database to confirm that the backends are
// gone, and for the engineer's terminal to take the last words.
const (
	killPatience    = 5 * time.Second
	lastWordsBudget = 2 * time.Second
)

// Run lives as long as the session: it waits for the quorum, opens the parts
// behind the gate, moves bytes, and ends everything. It returns the exit
// status for ssh and the one cause, after the tape is sealed. ctx is the
// engineer's connection.
func (s *Session) Run(ctx context.Context, t Terminal) (status int, cause Cause) {
	s.out = t
	unhook := context.AfterFunc(ctx, func() { s.end(causeOf(ctx)) })
	defer unhook()

	// The reader of the engineer's terminal has no waiter: it returns when the
	// bastion closes the channel, which it does after Run, and a session that
	// has ended drops whatever it still brings.
	go s.readInput(t.In)

	var others, pumps sync.WaitGroup
	others.Go(func() { s.readResizes(t.Resize) })
	others.Go(s.mind)
	others.Go(s.speak)
	status = s.open(&pumps)
	cause = causeOf(s.ctx)
	s.finish(cause, &pumps)
	others.Wait()
	if cause.Code != Quit && cause.Code != ShellCrashed {
		status = cause.ExitStatus()
	}
	return status, cause
}

// causeOf reads the cause of an ended context; a bare cancellation is the
// engineer's connection going away.
func causeOf(ctx context.Context) (c Cause) {
	if errors.As(context.Cause(ctx), &c) {
		return c
	}
	return Cause{Code: Disconnected, Text: "the engineer's connection went away"}
}

// open waits for the first quorum, starts what is behind the gate, and returns
// psql's status once the session has ended, for whatever cause.
func (s *Session) open(pumps *sync.WaitGroup) (status int) {
	defer s.caught()
	s.change(func() { s.announceWait("") }) // the command has just been shown
	if err := s.whenOpen(s.ctx, func() error { return s.put(Event{Type: Opened}) }); err != nil {
		return 0
	}
	want := s.want
	want.Size = s.size.now()
	gateway, shell, err := s.opener.Open(s.ctx, s, want)
	if err != nil {
		s.end(asCause(err))
		return 0
	}
	s.behind.Store(&behind{gateway, shell})
	if shell == nil {
		close(s.ready)
		<-s.ctx.Done()
		return 0
	}
	s.size.opened(want.Size, shell)
	close(s.ready)
	pumps.Go(func() { s.pump(shell, Output, s.out.Out) })
	if e := shell.Errors(); e != nil {
		pumps.Go(func() { s.pump(e, Errors, s.out.Err) })
	}
	gone := make(chan int, 1)
	// Waited for through gone or, at any other end, by stop: it kills psql,
	// after which the pumps and Wait return.
	go func() {
		pumps.Wait()
		gone <- shell.Wait()
	}()
	select {
	case status = <-gone:
		s.end(quit(status))
		return status
	case <-s.ctx.Done():
		return 0
	}
}

// quit judges how psql ended: by itself, or by a signal nobody sent it.
func quit(status int) Cause {
	if status > 128 {
		return Cause{Code: ShellCrashed, Text: fmt.Sprintf("psql was ended by signal %d", status-128)}
	}
	return Cause{Code: Quit}
}

func asCause(err error) (c Cause) {
	if errors.As(err, &c) {
		return c
	}
	return Cause{Code: NoShell, Text: err.Error()}
}

// killed ends what is behind the gate: the statement, the backend, psql. What
// comes back at last is what could not be confirmed, or nil.
func (s *Session) killed() <-chan error {
	alarm := make(chan error, 1)
	b := s.behind.Load()
	if b == nil {
		alarm <- nil
		return alarm
	}
	// finish waits for it, and killPatience bounds it.
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), killPatience)
		defer cancel()
		alarm <- b.gateway.Kill(ctx)
	}()
	if b.shell != nil {
		b.shell.Kill()
	}
	return alarm
}

// finish ends everything behind the gate, says the last words, puts the end on
// the tape and seals it.
func (s *Session) finish(cause Cause, pumps *sync.WaitGroup) {
	s.clients.each(func(c Client) { c.End(cause) })
	alarm := s.killed()
	if cause.Code == Killed {
		s.mu.Lock()
		s.put(Event{Type: Kill, Who: cause.By, Text: cause.Text})
		s.mu.Unlock()
	}
	s.farewell(cause, pumps)
	s.seal(cause, <-alarm)
}

func (s *Session) seal(cause Cause, alarm error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(s.done)
	if alarm != nil {
		s.alarm = true
		s.put(Event{Type: Alarm, Text: alarm.Error()})
		s.log.Error("backend not confirmed gone", "error", alarm)
	}
	s.recordDropped()
	s.cause, s.finished = &cause, time.Now()
	s.put(Event{Type: End, Cause: &cause})
	s.sealed = true
	for _, f := range s.feeds {
		f.finish(io.EOF)
	}
	for _, x := range s.seats {
		x.gone = true
		close(x.left)
	}
	s.seats = nil
	if err := s.tape.Seal(s.summary()); err != nil {
		s.log.Error("tape not sealed", "error", err)
	}
	s.log.Info("session ended", "cause", cause.Code, "by", cause.By, "text", cause.Text, "statements", s.statements)
}

// farewell tells the engineer why it is over, without letting a terminal that
// takes nothing delay the end: it is hung up on.
func (s *Session) farewell(cause Cause, pumps *sync.WaitGroup) {
	said := make(chan struct{})
	go func() {
		pumps.Wait()
		s.lastWords(cause)
		close(said)
	}()
	select {
	case <-said:
		return
	case <-time.After(lastWordsBudget):
	}
	if s.out.Hangup != nil {
		s.out.Hangup()
	}
	<-said
}

func (s *Session) lastWords(cause Cause) {
	if cause.Code == Quit && !s.terminal() {
		return
	}
	line := "the session has ended: " + cause.Sentence()
	if cause.Code == Quit {
		line = "the session has ended; it is recorded as " + s.want.ID
	}
	s.show(line, true)
}

// pump moves what psql prints: onto the tape, to the watchers, to the
// engineer. It stands still while the gate is shut, so that nothing is shown
// that nobody watches.
func (s *Session) pump(r io.Reader, t EventType, w io.Writer) {
	defer s.caught()
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 && s.printed(Event{Type: t, Bytes: buf[:n]}, w) != nil {
			io.Copy(io.Discard, r) // psql must not block on its way out
			return
		}
		if err != nil {
			return
		}
	}
}

// printed shows one piece of output at a moment when the gate is open.
func (s *Session) printed(e Event, w io.Writer) error {
	for {
		feeds, changed, err := s.print(e, w)
		if err != nil {
			return err
		}
		if changed == nil {
			s.pace(feeds)
			return nil
		}
		if err := s.wait(s.ctx, changed); err != nil {
			return err
		}
	}
}

func (s *Session) print(e Event, w io.Writer) (feeds []*Feed, changed <-chan struct{}, err error) {
	s.screen.Lock()
	defer s.screen.Unlock()
	changed, err = s.ifOpen(func() error {
		feeds = append(feeds, s.feeds...)
		return s.put(e)
	})
	if changed == nil && err == nil {
		_, err = w.Write(e.Bytes)
	}
	return feeds, changed, err
}

// pace waits for the watchers: nobody outruns them.
func (s *Session) pace(feeds []*Feed) {
	for _, f := range feeds {
		if !f.wait(s.ctx) {
			s.unfollow(f)
		}
	}
}

// readInput brings what the engineer types, or the script she pipes in. A
// script is not read before psql runs.
func (s *Session) readInput(r io.Reader) {
	defer s.caught()
	take := s.typed
	switch {
	case s.want.NoShell:
		take = s.stops
	case !s.terminal():
		take = s.piped
		select {
		case <-s.ready:
		case <-s.ctx.Done():
			return
		}
	}
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 && take(buf[:n]) != nil {
			return
		}
		if err != nil {
			s.inputEnded()
			return
		}
	}
}

func (s *Session) inputEnded() {
	switch {
	case s.terminal():
		s.end(Cause{Code: Disconnected, Text: "the engineer's terminal went away"})
		return
	case s.want.NoShell:
		return // ssh -n; the channel's end is another matter
	}
	s.mu.Lock() // not while something is being written to it
	defer s.mu.Unlock()
	s.psql().CloseInput()
}

func (s *Session) readResizes(sizes <-chan Size) {
	defer s.caught()
	for {
		select {
		case size, more := <-sizes:
			if !more {
				return
			}
			s.resize(size.Clamp())
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *Session) resize(size Size) {
	s.mu.Lock()
	err := s.put(Event{Type: Resize, Size: size})
	s.mu.Unlock()
	if err == nil {
		s.size.change(size, s.psql)
	}
}

// window is the size of the engineer's terminal by now, and psql's once it is
// there. It has a lock of its own, so that neither waits for the tape.
type window struct {
	mu   sync.Mutex
	size Size
}

func (w *window) now() Size {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size
}

func (w *window) change(size Size, psql func() Shell) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.size = size
	if p := psql(); p != nil {
		p.Resize(size)
	}
}

// opened makes up for a change while psql was started with an older size.
func (w *window) opened(with Size, psql Shell) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.size != with {
		psql.Resize(w.size)
	}
}

// caught turns a panic in a goroutine that handles a peer's bytes into the end
// of this session alone.
func (s *Session) caught() {
	if p := recover(); p != nil {
		s.log.Error("panic", "value", fmt.Sprint(p), "stack", string(debug.Stack()))
		s.end(Cause{Code: Broken, Text: "a mistake in twokey; the log of the bastion says more"})
	}
}
