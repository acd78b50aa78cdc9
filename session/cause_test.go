package session_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twokey/twokey/session"
)

// Every way a session can end: what brings it about, and the status that ssh
// returns.
var ends = map[session.Code]struct {
	status int
	how    func(*story)
	change func(*session.Request, *story)
}{
	session.Quit:         {0, func(st *story) { st.sit(bob); synctest.Wait(); st.db.psql.exit(0) }, nil},
	session.Disconnected: {1, func(st *story) { st.hangup(nil) }, nil},
	session.Abandoned:    {130, func(st *story) { st.types("\x03") }, nil},
	session.Killed:       {137, func(st *story) { st.sit(bob).Kill("wrong table") }, nil},
	session.NobodyCame:   {75, func(*story) { time.Sleep(16 * time.Minute) }, nil},
	session.ShadowGone:   {1, func(st *story) { st.sit(bob).Leave(""); time.Sleep(time.Minute) }, nil},
	session.TooLong: {1, func(st *story) { st.sit(bob); time.Sleep(2 * time.Hour) },
		func(r *session.Request, _ *story) { r.Mode.Limits.Duration = time.Hour }},
	session.Idle: {1, func(st *story) { st.sit(bob); time.Sleep(time.Hour) },
		func(r *session.Request, _ *story) { r.Mode.Limits.Idle = 10 * time.Minute }},
	session.TooManyRows: {1, func(st *story) { synctest.Wait(); st.takesRows(101) },
		func(r *session.Request, _ *story) { r.Mode.Shadows, r.Mode.Limits.Rows = nil, 100 }},
	session.Revoked: {77, func(st *story) {
		var r session.Registry
		r.Add(st.Session)
		r.Revoke(alice.SamePersonAs, session.Cause{Code: session.Revoked, By: "sam", Text: "lost laptop"})
	}, nil},
	session.Expired: {1, func(st *story) { st.sit(bob); time.Sleep(time.Hour) },
		func(r *session.Request, _ *story) {
			r.Engineer.Credential.Expires = time.Now().Add(10 * time.Minute)
		}},
	session.NoRecorder: {69, func(st *story) { st.tape.fault(func(t *tape) { t.failAppend = true }); st.Sit(bob, session.Size{}) }, nil},
	session.NoDatabase: {69, func(st *story) { st.sit(bob) },
		func(_ *session.Request, st *story) {
			st.db.refuse = session.Cause{Code: session.NoDatabase, Text: "no database answers"}
		}},
	session.NoShell: {69, func(st *story) { st.sit(bob) },
		func(_ *session.Request, st *story) { st.db.refuse = fmt.Errorf("no psql") }},
	session.ShellCrashed: {139, func(st *story) { st.sit(bob); synctest.Wait(); st.db.psql.exit(139) }, nil},
	session.Drained: {69, func(st *story) {
		var r session.Registry
		r.Add(st.Session)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r.Drain(ctx)
	}, nil},
	session.Broken: {70, func(st *story) { st.sit(bob) },
		func(_ *session.Request, st *story) { st.db.during = func() { panic("a mistake") } }},
	// Refused is before a session begins, Unclean is written by recovery.
	session.Refused: {77, func(st *story) { st.Finish(session.Cause{Code: session.Refused, Text: "not you"}) }, nil},
}

// takesRows asks for so many rows, as the gateway does.
func (st *story) takesRows(n int) (got int) {
	for got < n {
		more, err := st.Rows(st.t.Context())
		if err != nil {
			return got
		}
		got += more
	}
	return got
}

// A session ends with one cause, and everybody reads the same: the engineer,
// the tape, whoever lists sessions, and the log.
func TestEveryEndHasOneCause(t *testing.T) {
	for code, end := range ends {
		t.Run(string(code), func(t *testing.T) {
			tell(t, func(t *testing.T) {
				var log bytes.Buffer
				st := begin(t, pairs, func(r *session.Request, st *story) {
					st.log = slog.New(slog.NewTextHandler(&log, nil))
					if end.change != nil {
						end.change(r, st)
					}
				})
				synctest.Wait()
				end.how(st)
				<-st.over
				if st.cause.Code != code || st.status != end.status {
					t.Errorf("it ended with %v and status %d, want %s and %d", st.cause, st.status, code, end.status)
				}
				screen := st.screen.String()
				if code != session.Disconnected && !strings.Contains(screen, "the session has ended") {
					t.Errorf("the engineer reads %q", screen)
				}
				if code != session.Quit && !strings.Contains(screen, st.cause.Sentence()) {
					t.Errorf("the engineer reads %q, and nothing of %q", screen, st.cause.Sentence())
				}
				if s := st.tape.sealed; s == nil || *s.Cause != st.cause {
					t.Errorf("the recording is sealed with %+v", s)
				}
				last := st.tape.events[len(st.tape.events)-1]
				if code != session.NoRecorder && (last.Type != session.End || *last.Cause != st.cause) {
					t.Errorf("the tape ends with %+v", last)
				}
				if !strings.Contains(log.String(), "cause="+string(code)) {
					t.Errorf("the log says %s", log.String())
				}
			})
		})
	}
}
