package recorder_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twokey/twokey/recorder"
	"github.com/twokey/twokey/recorder/store/storetest"
	"github.com/twokey/twokey/session"
)

// hour is an hour at psql: sixty statements, typed at five keys a second, each with
// its table, and time to read that.
func hour(yield func(session.Event)) {
	at := time.Duration(0)
	say := func(typ session.EventType, text string) { yield(session.Event{At: at, Type: typ, Bytes: []byte(text)}) }
	for n := range 60 {
		text := fmt.Sprintf("select id, token, at, state, amount from orders where id > %d limit 30;", n*7919)
		for _, key := range text {
			at += 200 * time.Millisecond
			say(session.Input, string(key))
			at += time.Millisecond
			say(session.Output, string(key))
		}
		at += 200 * time.Millisecond
		say(session.Input, "\r")
		say(session.Output, "\r\n")
		yield(session.Event{At: at, Type: session.Statement, Statement: &session.StatementInfo{N: n + 1, Protocol: "simple", Text: text}})
		at += 3 * time.Millisecond
		rows := table(2000)
		rows = rows[len(rows)/61*n:]
		rows = rows[strings.Index(rows, "\n")+1:]
		yield(session.Event{At: at, Type: session.Result, Result: &session.ResultInfo{N: n + 1, Tag: "SELECT 30", Rows: 30, Bytes: 2000}})
		say(session.Output, strings.Join(strings.SplitAfterN(rows, "\n", 31)[:30], "")+"(30 rows)\r\n\r\norders=> ")
		at = time.Duration(n+1) * time.Minute
	}
}

// plainCast is what asciinema rec would have written of it: what was on screen.
func plainCast() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, `{"version": 2, "width": 100, "height": 30, "timestamp": 1795434000, "env": {"SHELL": "/bin/bash", "TERM": "xterm-256color"}}`)
	hour(func(e session.Event) {
		if e.Type == session.Output {
			text, err := json.Marshal(string(e.Bytes))
			check(err)
			fmt.Fprintf(&b, "[%.6f, \"o\", %s]\n", e.At.Seconds(), text)
		}
	})
	return b.Bytes()
}

// How much an hour takes in the store, by how often a segment is cut; in bubble time.
func TestAnHourInTheStore(t *testing.T) {
	for _, every := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
		t.Run(every.String(), func(t *testing.T) { anHour(t, every) })
	}
}

func anHour(t *testing.T, every time.Duration) {
	s := storetest.NewMemory(t)
	dir := memoryDir(t)
	synctest.Test(t, func(t *testing.T) {
		o := options(dir, s)
		o.SegmentEvery = every
		r := newRecorder(t, o)
		want := request()
		tape := begin(t, r, want)
		began := time.Now()
		hour(func(e session.Event) {
			time.Sleep(time.Until(began.Add(e.At)))
			if err := tape.Append(e); err != nil {
				t.Fatal(err)
			}
		})
		sealTape(t, tape, want.ID, time.Hour)
		closed(t, r)
		proven(t, recorder.OpenArchive(s, trusted(), nil), want.ID)
	})
	sizes, count := map[string]int{}, 0
	for _, name := range s.Names() {
		kind := "tape"
		switch {
		case strings.HasPrefix(name, "ledger/"):
			kind = "ledger"
		case strings.Contains(name, "manifest"):
			kind = "manifest"
		default:
			count++
		}
		sizes[kind] += len(s.Object(name))
	}
	plain := plainCast()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(plain)
	z.Close()
	t.Logf("an hour: %d segments, %d bytes of tape, %d of manifest, %d of ledger; plain asciicast %d (screen only), gzipped %d",
		count, sizes["tape"], sizes["manifest"], sizes["ledger"], len(plain), zipped.Len())
}
