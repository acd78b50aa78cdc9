package recorder_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// This file is a thief without the key who has all the time in the world: every
// kind of change, in many places of a recording as it is really made, and of the
// ledger. None may survive. verify_test.go has those that have a name in a court.

// mutation changes the bytes of an object at a place. other is the object of the
// same name of another session. The same bytes, or nil, say that it can not be done here.
type mutation struct {
	name string
	do   func(p, other []byte, at int, rng *rand.Rand) []byte
}

// stretch is what lies at a place, at most n bytes.
func stretch(p []byte, at, n int) []byte { return p[at:min(at+n, len(p))] }

// instead puts something in the place of n bytes.
func instead(p []byte, at, n int, by []byte) []byte {
	return slices.Concat(p[:at], by, p[min(at+n, len(p)):])
}

func mutations() (list []mutation) {
	add := func(name string, do func(p, other []byte, at int, rng *rand.Rand) []byte) {
		list = append(list, mutation{name, do})
	}
	for bit := range 8 {
		add(fmt.Sprint("bit ", bit, " flipped"), func(p, _ []byte, at int, _ *rand.Rand) []byte { return instead(p, at, 1, []byte{p[at] ^ 1<<bit}) })
	}
	for name, by := range map[string][]byte{"a zero": {0}, "ones": {0xff}, "a space": {' '}, "a line break": {'\n'}, "a quote": {'"'}, "a brace": {'}'}, "nothing": {}} {
		add(name+" instead of a byte", func(p, _ []byte, at int, _ *rand.Rand) []byte { return instead(p, at, 1, by) })
		if len(by) > 0 {
			add(name+" put in", func(p, _ []byte, at int, _ *rand.Rand) []byte { return instead(p, at, 0, by) })
		}
	}
	add("one more", func(p, _ []byte, at int, _ *rand.Rand) []byte { return instead(p, at, 1, []byte{p[at] + 1}) })
	add("one less", func(p, _ []byte, at int, _ *rand.Rand) []byte { return instead(p, at, 1, []byte{p[at] - 1}) })
	add("a byte twice", func(p, _ []byte, at int, _ *rand.Rand) []byte { return instead(p, at, 0, p[at:at+1]) })
	add("two bytes swapped", func(p, _ []byte, at int, _ *rand.Rand) []byte {
		s := slices.Clone(stretch(p, at, 2))
		slices.Reverse(s)
		return instead(p, at, 2, s)
	})
	add("sixteen bytes backwards", func(p, _ []byte, at int, _ *rand.Rand) []byte {
		s := slices.Clone(stretch(p, at, 16))
		slices.Reverse(s)
		return instead(p, at, 16, s)
	})
	add("sixteen bytes gone", func(p, _ []byte, at int, _ *rand.Rand) []byte { return instead(p, at, 16, nil) })
	add("sixteen bytes twice", func(p, _ []byte, at int, _ *rand.Rand) []byte { return instead(p, at, 0, stretch(p, at, 16)) })
	add("a block of zeros", func(p, _ []byte, at int, _ *rand.Rand) []byte {
		return instead(p, at, 64, make([]byte, len(stretch(p, at, 64))))
	})
	add("a block of noise", func(p, _ []byte, at int, rng *rand.Rand) []byte {
		noise := make([]byte, len(stretch(p, at, 64)))
		for i := range noise {
			noise[i] = byte(rng.Uint32())
		}
		return instead(p, at, 64, noise)
	})
	add("cut here", func(p, _ []byte, at int, _ *rand.Rand) []byte { return slices.Clone(p[:at]) })
	add("begins here", func(p, _ []byte, at int, _ *rand.Rand) []byte { return slices.Clone(p[at:]) })
	add("the rest twice", func(p, _ []byte, at int, _ *rand.Rand) []byte { return slices.Concat(p, p[at:]) })
	add("a digit counted up", func(p, _ []byte, at int, _ *rand.Rand) []byte {
		n := bytes.IndexAny(p[at:], "012345678")
		if n < 0 {
			return nil
		}
		return instead(p, at+n, 1, []byte{p[at+n] + 1})
	})
	add("a letter's case", func(p, _ []byte, at int, _ *rand.Rand) []byte {
		n := bytes.IndexFunc(p[at:], func(r rune) bool { return 'a' <= r && r <= 'z' })
		if n < 0 {
			return nil
		}
		return instead(p, at+n, 1, []byte{p[at+n] - 'a' + 'A'})
	})
	add("sixteen bytes of another session", func(p, other []byte, at int, _ *rand.Rand) []byte {
		if at >= len(other) {
			return nil
		}
		return instead(p, at, 16, stretch(other, at, 16))
	})
	add("the rest of another session", func(p, other []byte, at int, _ *rand.Rand) []byte {
		if at >= len(other) {
			return nil
		}
		return slices.Concat(p[:at], other[at:])
	})
	add("all of another session", func(_, other []byte, _ int, _ *rand.Rand) []byte { return other })
	return append(list, lineMutations()...)
}

// lineMutations take a segment apart, change what is on the tape, and pack it again.
func lineMutations() (list []mutation) {
	add := func(name string, do func(lines [][]byte, n int) [][]byte) {
		list = append(list, mutation{name, func(p, _ []byte, at int, _ *rand.Rand) []byte {
			d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
			check(err)
			defer d.Close()
			plain, err := d.DecodeAll(p, nil)
			if err != nil || len(plain) == 0 {
				return nil // no segment
			}
			lines := slices.Collect(bytes.Lines(plain))
			changed := bytes.Join(do(slices.Clone(lines), at%len(lines)), nil)
			if bytes.Equal(changed, plain) {
				return nil
			}
			e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
			check(err)
			defer e.Close()
			return e.EncodeAll(changed, nil)
		}})
	}
	add("a line gone", func(l [][]byte, n int) [][]byte { return slices.Delete(l, n, n+1) })
	add("a line twice", func(l [][]byte, n int) [][]byte { return slices.Insert(l, n, l[n]) })
	add("a line made up", func(l [][]byte, n int) [][]byte {
		return slices.Insert(l, n, []byte("[0.000000,\"o\",\"drop table\"]\n"))
	})
	add("lines swapped", func(l [][]byte, n int) [][]byte { m := (n + 1) % len(l); l[n], l[m] = l[m], l[n]; return l })
	add("a line's words", func(l [][]byte, n int) [][]byte {
		l[n] = bytes.Replace(l[n], []byte("paid"), []byte("open"), 1)
		return l
	})
	add("a line's time", func(l [][]byte, n int) [][]byte { l[n] = bytes.Replace(l[n], []byte("."), []byte(".0"), 1); return l })
	add("lines from here on gone", func(l [][]byte, n int) [][]byte { return l[:n] })
	return list
}

// realistic are two recordings as they come: many segments, output in reads of any
// size, statements, a shadow.
func realistic(t testing.TB) *loot {
	t.Helper()
	s := storetest.NewMemory(t)
	o := options(memoryDir(t), s)
	o.SegmentBytes = 16 << 10
	r := newRecorder(t, o)
	l := &loot{Memory: s}
	for range 2 {
		want := request()
		tape := begin(t, r, want)
		rng := rand.New(rand.NewPCG(uint64(len(l.ids)), 3))
		appendAll(t, tape, story()...)
		text, at := want.ID+table(1500), time.Second
		for n := 0; len(text) > 0; n++ {
			at += time.Millisecond
			read := min(1+rng.IntN(4096), len(text))
			appendAll(t, tape, out(at, text[:read]))
			if text = text[read:]; n%20 == 0 {
				appendAll(t, tape, session.Event{At: at, Type: session.Statement, Statement: &session.StatementInfo{N: 10 + n, Protocol: "simple", Text: fmt.Sprint("select ", n)}})
				eventually(t, "stored", func() bool { return tape.Health().Bytes == 0 })
			}
		}
		sealTape(t, tape, want.ID, at)
		place := fmt.Sprintf("sessions/%s/%s/", want.Started.UTC().Format("2006/01/02"), want.ID)
		eventually(t, "the manifest is there", func() bool { return s.Object(place+"manifest.json") != nil })
		l.ids, l.places = append(l.ids, want.ID), append(l.places, place)
	}
	closed(t, r)
	return l
}

// TestNoMutationSurvives changes what lies in the store, at 10 places for each kind, or
// 200 and more with TWOKEY_PROVE=20.
func TestNoMutationSurvives(t *testing.T) {
	original := realistic(t)
	proven(t, recorder.OpenArchive(original, trusted(), nil))
	kinds := mutations()
	if len(kinds) < 30 {
		t.Fatalf("only %d kinds", len(kinds))
	}
	var mine, ledger []string
	for _, name := range original.Names() {
		switch {
		case strings.HasPrefix(name, original.places[0]):
			mine = append(mine, name)
		case strings.HasPrefix(name, "ledger/"):
			ledger = append(ledger, name)
		}
	}
	for _, kind := range kinds {
		t.Run(strings.ReplaceAll(kind.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			h := fnv.New64()
			io.WriteString(h, kind.name)
			th := thief{copy: original.copy(), rng: rand.New(rand.NewPCG(h.Sum64(), 4)), kind: kind}
			for done, tried := 0, 0; done < 10*thoroughness(t); tried++ {
				names := mine
				if done%5 == 4 && tried%2 == 0 {
					names = ledger
				}
				if th.try(t, names[th.rng.IntN(len(names))]) {
					done++
				}
				if tried > 1000*thoroughness(t) {
					t.Fatalf("could be done at %d places only", done)
				}
			}
		})
	}
}

// thief tries one kind of mutation.
type thief struct {
	copy *loot
	rng  *rand.Rand
	kind mutation
}

// try does it somewhere in an object, and reports whether it could be done.
func (th thief) try(t *testing.T, name string) bool {
	l := th.copy
	whole := l.Object(name)
	at := th.rng.IntN(len(whole))
	changed := th.kind.do(whole, l.Object(strings.Replace(name, l.places[0], l.places[1], 1)), at, th.rng)
	if changed == nil || bytes.Equal(changed, whole) {
		return false
	}
	l.Tamper(name, changed)
	defer l.Tamper(name, whole)
	a := recorder.OpenArchive(l, trusted(), nil)
	if strings.HasPrefix(name, "ledger/") {
		var found session.Unproven
		if err := a.Verify(t.Context(), nil, io.Discard); !errors.As(err, &found) {
			t.Errorf("%s at %d: nobody noticed: %v", name, at, err)
		}
	} else if r, err := a.Check(t.Context(), l.ids[0]); err != nil || len(r.Findings) == 0 {
		t.Errorf("%s at %d: nobody noticed: %v", name, at, err)
	}
	return true
}
