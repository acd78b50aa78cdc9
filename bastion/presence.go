package bastion

import (
	"io"
	"sync"
	"time"

	"github.com/twokey/twokey/session"
)

// This file tells a seat whether its shadow is there: the client answers, and
// it takes what it is shown, and the terminal behind it answers too. Somebody
// whose laptop sleeps, or whose terminal is stopped, watches nothing.

// silentMisses is how many questions in a row a shadow may leave unanswered
// before the seat does not count.
const silentMisses = 2

// presence is what is known of one seated shadow.
type presence struct {
	seat  *session.Seat
	limit time.Duration // how long one write may take

	mu       sync.Mutex
	silent   bool        // the client does not answer
	stuck    bool        // the client does not take what it is sent
	frozen   bool        // the terminal behind it does not answer
	answers  bool        // the terminal has answered once: it is one that does
	question *time.Timer // an unanswered one
	writes   int         // begun and ended; tells the write that is under way from others
}

// missed is told how many questions in a row are unanswered.
func (p *presence) missed(misses int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if silent := misses >= silentMisses; silent != p.silent {
		p.silent = silent
		p.tell()
	}
}

// tell passes on what is known. The caller holds mu.
func (p *presence) tell() { p.seat.Answering(!p.silent && !p.stuck && !p.frozen) }

// asked is told that the terminal was asked whether it is there. One that has
// never answered is not held to it.
func (p *presence) asked() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.question == nil && p.answers {
		p.question = time.AfterFunc(p.limit, p.unanswered)
	}
}

func (p *presence) unanswered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.question != nil && !p.frozen {
		p.frozen = true
		p.tell()
	}
}

// answered is told of the terminal's answer.
func (p *presence) answered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = true
	if p.question != nil {
		p.question.Stop()
		p.question = nil
	}
	if p.frozen {
		p.frozen = false
		p.tell()
	}
}

// gone ends the question that may be open: nobody sits there any more.
func (p *presence) gone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.question != nil {
		p.question.Stop()
	}
	p.question = nil
}

// watched returns a writer that notices when a write does not end.
func (p *presence) watched(w io.Writer) io.Writer { return watchedWriter{w, p} }

type watchedWriter struct {
	io.Writer
	p *presence
}

func (w watchedWriter) Write(b []byte) (int, error) {
	defer w.p.writing()()
	return w.Writer.Write(b)
}

// writing marks the beginning of a write, and what it returns its end.
func (p *presence) writing() (end func()) {
	p.mu.Lock()
	p.writes++
	this := p.writes
	p.mu.Unlock()
	late := time.AfterFunc(p.limit, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.writes == this && !p.stuck {
			p.stuck = true
			p.tell()
		}
	})
	return func() {
		late.Stop()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.writes++
		if p.stuck {
			p.stuck = false
			p.tell()
		}
	}
}
