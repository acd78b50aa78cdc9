package session

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// This file holds what looks after a running session: the limits, and what the
// engineer is told.

const (
	lookInterval = 200 * time.Millisecond // for what changes by the clock alone: lag, limits, certificates
	waitReminder = time.Minute
)

// mind looks again at the facts that change by the clock, and ends the session
// at its limits.
func (s *Session) mind() {
	defer s.caught()
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	reminder := time.NewTicker(waitReminder)
	defer reminder.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			s.mu.Lock()
			s.recordDropped()
			s.turn()
			s.warn(time.Now())
			cause := s.overdue(time.Now())
			s.mu.Unlock()
			if cause != nil {
				s.end(*cause)
			}
		case <-reminder.C:
			s.mu.Lock()
			if s.opened.IsZero() {
				s.announceWait(s.want.Join)
			}
			for _, a := range s.asks {
				s.say(s.watchers() + " still to say yes or no to: " + OneLine(a.Text, 100))
			}
			s.mu.Unlock()
		}
	}
}

// overdue returns the cause when a limit is reached. The caller holds mu.
func (s *Session) overdue(now time.Time) *Cause {
	l := s.want.Mode.Limits
	past := func(since time.Time, limit time.Duration) bool {
		return !since.IsZero() && limit > 0 && now.Sub(since) >= limit
	}
	expires := s.want.Engineer.Credential.Expires
	switch {
	case s.opened.IsZero() && now.Sub(s.want.Started) >= l.Wait:
		return &Cause{Code: NobodyCame, Text: "the gate did not open within " + Brief(l.Wait) + ": " + s.facts().Gate().Why}
	case !s.missing.IsZero() && now.Sub(s.missing) >= l.Grace:
		return &Cause{Code: ShadowGone, Text: "no shadow came back within " + Brief(l.Grace)}
	case past(s.opened, l.Duration):
		return &Cause{Code: TooLong, Text: "the session reached its limit of " + Brief(l.Duration)}
	case len(s.running)+len(s.asks) == 0 && past(s.active, l.Idle):
		return &Cause{Code: Idle, Text: "nothing happened for " + Brief(l.Idle)}
	case !expires.IsZero() && !now.Before(expires):
		return &Cause{Code: Expired, Text: "the engineer's certificate ended; log in again"}
	}
	return nil
}

// endWarning is how long before its certain end a session is warned of it.
const endWarning = 5 * time.Minute

// warn says once that the end is near: of the time that the mode allows, or of
// the engineer's certificate. The caller holds mu.
func (s *Session) warn(now time.Time) {
	ends, why := s.want.Engineer.Credential.Expires, "your certificate ends then"
	if l := s.want.Mode.Limits.Duration; l > 0 && !s.opened.IsZero() {
		if limit := s.opened.Add(l); ends.IsZero() || limit.Before(ends) {
			ends, why = limit, "that is the limit of "+Brief(l)
		}
	}
	if s.warned || s.opened.IsZero() || ends.IsZero() || ends.Sub(now) > endWarning {
		return
	}
	s.warned = true
	s.say("this session ends in " + Brief(ends.Sub(now)) + ": " + why + ". What is not committed by then is rolled back.")
}

// announceWait says what the session waits for, and, when it is not empty, the
// command that makes it come. The caller holds mu.
func (s *Session) announceWait(join string) {
	if line := s.waitLine(join); line != "" {
		s.say(line)
	}
}

// waitLine is what a session waits for, or "" when its gate is open. The caller
// holds mu.
func (s *Session) waitLine(join string) string {
	g := s.facts().Gate()
	if g.Open {
		return ""
	}
	line := "psql has not started: " + g.Why + "."
	switch {
	case !s.opened.IsZero():
		return "the gate is shut: " + g.Why + "."
	case s.want.NoShell:
		line = "nothing reaches the database yet: " + g.Why + "."
	}
	if join != "" && len(g.Missing) > 0 {
		line += " Send a colleague: " + join + " ."
	}
	left := s.want.Mode.Limits.Wait - time.Since(s.want.Started)
	return line + " Waiting " + Brief(left) + " more; Ctrl-C gives up."
}

// count is a number of things, in words.
func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// say queues a line for the engineer, and for her clients. It never waits: a
// terminal that takes nothing loses lines, not time. The caller holds mu.
func (s *Session) say(line string) {
	s.clients.each(func(c Client) { c.Tell(line) })
	select {
	case s.notices <- line:
	default:
	}
}

// speak shows what was said, for as long as the session lives.
func (s *Session) speak() {
	defer s.caught()
	for {
		select {
		case line := <-s.notices:
			s.show(line, false)
		case <-s.ctx.Done():
			return
		}
	}
}

// cancel (CAN, ECMA-48 8.3.6) ends an escape sequence or string that psql's output
// may have left open: it would swallow the words behind it.
const cancel = "\x18"

// notice makes twokey's own words recognisable on the engineer's screen. Between
// others they stand above what is being typed. The last ones are read on a
// terminal that is given back. The caller holds screen.
func (s *Session) notice(line string, last bool) []byte {
	line = OneLine(line, 2000)
	if !s.terminal() {
		return []byte("twokey: " + line + "\n")
	}
	before, after := "\r\n", ""
	switch {
	case last && s.out.Restore != nil:
		before = s.out.Restore() + before
	case !last && s.out.Aside != nil:
		before, after = s.out.Aside()
	}
	return []byte(cancel + before + "\x1b[1mtwokey:\x1b[0m " + line + "\r\n" + after)
}

// show puts twokey's own words on the tape and then on the engineer's screen.
// They do not ask the gate: they are how the engineer learns that it is shut.
func (s *Session) show(line string, last bool) {
	s.screen.Lock()
	defer s.screen.Unlock()
	e, w := Event{Type: Output, Bytes: s.notice(line, last)}, s.out.Out
	if !s.terminal() {
		e.Type, w = Errors, s.out.Err
	}
	s.mu.Lock()
	s.put(e) // when it fails the session ends, and these words are how the engineer reads why
	s.mu.Unlock()
	w.Write(e.Bytes)
}

// Brief is a time for people, such as 15m or 1m30s.
func Brief(d time.Duration) string {
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// OneLine makes text from anywhere fit for one line of a terminal: no control
// or bidi characters, no line breaks, at most so many characters.
func OneLine(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	text = strings.TrimSpace(text)
	if r := []rune(text); len(r) > most {
		text = string(r[:most-1]) + "…"
	}
	return text
}
