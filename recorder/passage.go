package recorder

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/twokey/twokey/recorder/store"
	"github.com/twokey/twokey/session"
)

// This file reads the segments of a recording for the verifier. Each is judged by
// itself, so that many are read at once; what only shows between them, the tally
// sees, which gets what they say in order.

// beginning is how many lines of the tape every first segment has: whose session it is.
const beginning = 2

// passage is what one segment says.
type passage struct {
	findings []string // about its bytes
	unread   bool     // encrypted, and no identity was there
	plain    bool     // it could be read

	decoder
	first  time.Duration // of its first event
	events int
	totals Totals
	seats  []session.Event // who sat down and got up
	alarm  bool
	end    *session.Cause
	wrong  error // with the line that the decoder read last
}

func (p *passage) finding(format string, args ...any) {
	p.findings = append(p.findings, fmt.Sprintf(format, args...))
}

// Bounds of what a verification holds of segments, as stored and decompressed: so
// many bytes, or the largest that there is, and so many segments of a recording.
const (
	roomForSegments = 256 << 20
	segmentsAtOnce  = 32
	smallest        = 64 << 10 // what each counts for, at least
	keptBuffer      = 4 << 20  // what larger ones needed is not kept for others
)

// passages yields what the segments say, in order, each with an error when the store
// does not tell.
func (v *verifier) passages(segments []Segment) iter.Seq2[*passage, error] {
	type read struct {
		*passage
		err error
	}
	return func(yield func(*passage, error) bool) {
		for r := range inOrder(v.ctx, segments, segmentsAtOnce, func(ctx context.Context, s Segment) read {
			p, err := v.passage(ctx, s)
			return read{p, err}
		}) {
			if !yield(r.passage, r.err) {
				return
			}
		}
	}
}

// inOrder does something with each of a list, several at once, and yields what comes of
// it, in the order of the list.
func inOrder[T, R any](ctx context.Context, list []T, atOnce int, do func(context.Context, T) R) iter.Seq[R] {
	return func(yield func(R) bool) {
		ctx, stop := context.WithCancel(ctx)
		var busy sync.WaitGroup
		defer busy.Wait()
		defer stop()
		var under []chan R // way, the first first
		for len(list)+len(under) > 0 {
			for ; len(list) > 0 && len(under) < atOnce; list = list[1:] {
				item, result := list[0], make(chan R, 1)
				under = append(under, result)
				busy.Go(func() { result <- do(ctx, item) })
			}
			if !yield(<-under[0]) {
				return
			}
			under = under[1:]
		}
	}
}

// passage reads one segment.
func (v *verifier) passage(ctx context.Context, s Segment) (*passage, error) {
	plainSize := s.Plain
	if encrypted(s.Name()) && plainSize == 0 { // whoever sealed it could not read it
		plainSize = maxPlain
	}
	defer v.room.take(max(s.Size+plainSize, smallest))()
	var buffer []byte
	if plainSize == s.Plain {
		buffer = v.buffers.get(int(plainSize))
		defer v.buffers.put(buffer)
	}
	p := &passage{decoder: decoder{skim: true}}
	plain, err := p.stored(ctx, v, s, buffer)
	if err != nil || plain == nil {
		return p, err
	}
	p.plain = true
	if nth(s.Name()) > 1 {
		p.lines = beginning // those are in the first
	}
	p.read(plain)
	return p, nil
}

// buffers are used again and again.
type buffers struct{ pool sync.Pool }

// slack is what a decompressor may need behind what it makes, to be quick.
const slack = 64

func (b *buffers) get(size int) []byte {
	if p, ok := b.pool.Get().(*[]byte); ok && cap(*p) >= size+slack {
		return *p
	}
	return make([]byte, 0, (size+slack+smallest-1)/smallest*smallest)
}

func (b *buffers) put(p []byte) {
	if cap(p) <= keptBuffer {
		b.pool.Put(&p)
	}
}

// room is how many bytes may still be taken. One who wants more than there ever is
// waits until all is free.
type room struct {
	mu    sync.Mutex
	freed sync.Cond
	all   int64
	taken int64
}

func newRoom(all int64) *room {
	r := &room{all: all}
	r.freed.L = &r.mu
	return r
}

// take waits for room, and returns what gives it back.
func (r *room) take(n int64) (giveBack func()) {
	n = min(n, r.all)
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.taken+n > r.all {
		r.freed.Wait()
	}
	r.taken += n
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.taken -= n
		r.freed.Broadcast()
	}
}

// stored gets a segment, checks its bytes and returns them decompressed, or nil after a
// finding.
func (p *passage) stored(ctx context.Context, v *verifier, s Segment, buffer []byte) ([]byte, error) {
	stored, problem, err := v.get(ctx, s, "")
	if err != nil {
		return nil, err
	}
	if problem != "" {
		p.finding("segment %s %s", s.Name(), problem)
		if s.Version == "" {
			return nil, nil
		}
		if stored, problem, err = v.get(ctx, s, s.Version); err != nil || problem != "" {
			return nil, err
		}
		p.finding("segment %s: the version that was recorded, %s, is still in the store and intact", s.Name(), s.Version)
	}
	plain, err := unpack(s.Name(), stored, v.identities, buffer)
	switch {
	case errors.Is(err, ErrEncrypted):
		p.unread = true
		return nil, nil
	case err != nil:
		p.finding("segment %s can not be decompressed: %v", s.Name(), err)
		return nil, nil
	case encrypted(s.Name()) && s.Plain == 0: // sealed by somebody who could not know
	case int64(len(plain)) != s.Plain:
		p.finding("segment %s decompresses to something else than its manifest says", s.Name())
		return nil, nil
	}
	if plain == nil {
		plain = []byte{}
	}
	return plain, nil
}

// get returns the stored bytes of a version, or what is wrong with them.
func (v *verifier) get(ctx context.Context, s Segment, version string) (stored []byte, problem string, err error) {
	stored, _, err = v.store.Get(ctx, v.place+s.Name(), version, s.Size)
	switch {
	case errors.Is(err, store.ErrNotExist):
		return nil, "is missing", nil
	case errors.Is(err, store.ErrTooLarge):
		return nil, fmt.Sprintf("is longer than the %d bytes that were recorded", s.Size), nil
	case err != nil:
		return nil, "", err
	case int64(len(stored)) < s.Size:
		return nil, fmt.Sprintf("was cut short: it has %d of %d bytes", len(stored), s.Size), nil
	case sum(stored) != s.SHA256():
		return nil, "is not what was recorded: its hash differs", nil
	}
	return stored, "", nil
}

// read goes through the lines of a segment, to the first that is wrong.
func (p *passage) read(plain []byte) {
	p.wrong = eachLine(plain, func(line []byte) error {
		e, err := p.line(line)
		if err != nil {
			return err
		}
		if p.lines > 1 {
			if p.events == 0 {
				p.first = p.at
			}
			p.events++
		}
		if e != nil {
			p.count(*e)
		}
		return nil
	})
}

func (p *passage) count(e session.Event) {
	switch e.Type {
	case session.Statement:
		if e.Statement != nil && e.Statement.Protocol != "parse" {
			p.totals.Statements++
		}
	case session.Result:
		p.totals.Results++
		if e.Result != nil {
			p.totals.Rows += e.Result.Rows
			p.totals.Bytes += e.Result.Bytes
			if e.Result.SQLState != "" {
				p.totals.Failed++
			}
		}
	case session.Join, session.Leave:
		p.seats = append(p.seats, e)
	case session.Alarm:
		p.alarm = true
	case session.End:
		p.end = e.Cause
	}
}
