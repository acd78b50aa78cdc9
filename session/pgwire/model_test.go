package pgwire_test

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twokey/twokey/session/pgwire"
)

// This file holds the relay between a client that keeps to the protocol, while
// sending ahead as much as it may, and a model of the server that keeps to it as
// well, while failing at random. The relay must never take either for a
// liar, never wait for what will not come, and have a result for every statement.

// model is a server.
type model struct {
	net.Conn
	random         *rand.Rand
	copying, batch bool // in COPY data; of an Execute
	skipping       bool
	text           string
}

func (m *model) run() {
	head := make([]byte, 5)
	for {
		if _, err := io.ReadFull(m, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(m, body); err != nil {
			return
		}
		var answer strings.Builder
		for _, kind := range m.answer(head[0], string(body)) {
			answer.Write(raw(byte(kind), servers[byte(kind)]))
		}
		if _, err := m.Write([]byte(answer.String())); err != nil {
			return
		}
	}
}

func (m *model) fails() bool { return m.random.IntN(8) == 0 }

// answer is what the server says to a message, one letter for each of its own.
func (m *model) answer(kind byte, body string) string {
	switch {
	case m.copying:
		return m.copy(kind)
	case kind == 'd' || kind == 'c' || kind == 'f':
		return ""
	case kind == 'S':
		m.skipping = false
		return "Z"
	case m.skipping || kind == 'H':
		return ""
	case kind == 'Q' && strings.Contains(body, "copy"):
		return m.begin(false)
	case kind == 'Q':
		return []string{"CZ", "TDDCTDCZ", "NTDEZ", "IZ", "HddcCZ", "SCAZ", "EZ"}[m.random.IntN(7)]
	case m.fails():
		m.skipping = true
		return "E"
	case kind == 'P':
		m.text = body
		return "1"
	case kind == 'B':
		return "2"
	case kind == 'C':
		return "3"
	case kind == 'D':
		return []string{"n", "T", "tn", "tT"}[m.random.IntN(4)]
	case kind == 'E' && strings.Contains(m.text, "copy"):
		return m.begin(true)
	}
	return []string{"C", "DDDC", "DDs", "I", "NDC", "HdcC"}[m.random.IntN(6)]
}

func (m *model) begin(batch bool) string {
	m.copying, m.batch = true, batch
	return "G"
}

func (m *model) copy(kind byte) string {
	switch {
	case kind == 'S' || kind == 'H':
		return ""
	case kind == 'd' && !m.fails():
		return ""
	}
	m.copying = false
	answer := "E"
	if kind == 'c' {
		answer = "C"
	}
	m.skipping = m.batch && answer == "E"
	if !m.batch {
		answer += "Z"
	}
	return answer
}

// conversation is what a client sends, and how many ReadyForQuery it awaits.
func conversation(random *rand.Rand) (sent []byte) {
	say := func(kinds string) {
		for i := range len(kinds) {
			sent = append(sent, message(kinds[i], clients, nil)...)
		}
	}
	copies := func() { say(strings.Repeat("d", random.IntN(4)) + []string{"c", "f"}[random.IntN(2)]) }
	for range random.IntN(30) {
		switch random.IntN(6) {
		case 0, 1:
			say("Q")
		case 2:
			sent = append(sent, raw('Q', "copy t from stdin\x00")...)
			copies()
		case 3:
			sent = append(sent, raw('P', "\x00copy t from stdin\x00\x00\x00")...)
			say("BDES")
			copies()
			say("S")
		default:
			say("PBE")
			for range random.IntN(12) {
				say("PBEECDH"[random.IntN(7):][:1])
			}
			say("S")
		}
	}
	say("X")
	return sent
}

func TestModelServer(t *testing.T) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 7))
		sent := conversation(random)
		client, near := net.Pipe()
		far, server := net.Pipe()
		d := newDoor()
		ended := make(chan error, 1)
		go func() { ended <- pgwire.Relay(near, far, d); near.Close(); far.Close() }()
		m := &model{Conn: server, random: random}
		go m.run()
		go io.Copy(io.Discard, client)
		go client.Write(sent)
		select {
		case err := <-ended:
			// Between a COPY that the server never began, because its batch had
			// failed, and its data, the two may disagree on nothing else.
			if err.Error() != "the client has left" {
				t.Fatalf("seed %d: %v\n%s", seed, err, d.tape())
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("seed %d does not end\n%s", seed, d.tape())
		}
		server.Close()
		client.Close()
		complete(t, seed, d)
	}
}

// complete checks that every statement but those still running has one result.
func complete(t *testing.T, seed uint64, d *door) {
	t.Helper()
	left := map[int]int{}
	for _, e := range d.events {
		switch {
		case e.Statement != nil && e.Statement.Protocol != "parse":
			left[e.Statement.N]++
		case e.Result != nil:
			left[e.Result.N]--
		}
	}
	for n, count := range left {
		if count > 0 || count < -1 {
			t.Fatalf("seed %d: statement %d has %d results\n%s", seed, n, 1-count, d.tape())
		}
	}
}
