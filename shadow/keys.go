package shadow

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// This file reads keys. Whatever comes in an escape sequence, be it an arrow
// key, a paste or a terminal's answer to a question, is one key or none: no
// byte within it can be a command. A sequence that stops in the middle is given up
// after a while, so that no stray ESC can take the keys away from anyone.

// key is a key that means something here: a rune, or one of the names below.
type key rune

const (
	keyNone     key = 0
	keyStop     key = 0x03 // Ctrl-C
	keyEnd      key = 0x04 // Ctrl-D
	keyBack     key = 0x7f
	keyEnter    key = '\r'
	keyEsc      key = 0x1b
	keyTab      key = '\t'
	keyAll      key = 0x01 // Ctrl-A
	keyKill     key = 0x0b // Ctrl-K
	keyNo       key = 0x0e // Ctrl-N
	keyHold     key = 0x0f // Ctrl-O
	keySay      key = 0x14 // Ctrl-T
	keyLeave    key = 0x18 // Ctrl-X
	keyYes      key = 0x19 // Ctrl-Y
	keyPageUp   key = -1
	keyPageDown key = -2
	keyAnswer   key = -3 // the terminal's answer to askTerminal
	keyUp       key = -4
	keyDown     key = -5
	keyHome     key = -6
	keyLast     key = -7 // the key End
	keyLocated  key = -8 // the terminal's answer to locate; keyReader.at has it
	keyLeft     key = -9
	keyRight    key = -10
	keyFarLeft  key = -11 // with Shift, Alt or Ctrl
	keyFarRight key = -12
)

// How long a sequence may stand still before it is given up: an ESC alone is
// the key, a paste may come over a slow network.
const (
	escPatience      = 100 * time.Millisecond
	sequencePatience = time.Second
	pastePatience    = 10 * time.Second
)

type keyState int

const (
	keyGround  keyState = iota
	keyEscape           // after ESC
	keyControl          // in CSI
	keySingle           // after SS3: one more byte
	keyString           // in OSC, DCS, APC, PM, SOS
	keyStrEsc           // after ESC in one of them
	keyPaste            // in a bracketed paste
)

const maxKeySequence = 64

// keyReader turns bytes into keys.
type keyReader struct {
	state keyState
	seq   []byte
	tail  []byte // of a paste, to find its end
	at    spot   // where the cursor was, as the terminal said last
	rune  []byte
}

// patience is how long the next byte may take before giveUp is to be called; 0
// when nothing is under way.
func (k *keyReader) patience() time.Duration {
	switch k.state {
	case keyGround:
		return 0
	case keyEscape:
		return escPatience
	case keyPaste:
		return pastePatience
	}
	return sequencePatience
}

// giveUp ends what is under way. An ESC alone was the key.
func (k *keyReader) giveUp() key {
	was := k.state
	k.state = keyGround
	if was == keyEscape {
		return keyEsc
	}
	return keyNone
}

// take takes one byte and returns the key it ends, or keyNone.
func (k *keyReader) take(b byte) key {
	switch k.state {
	case keyGround:
		return k.ground(b)
	case keyEscape:
		k.escape(b)
	case keyControl:
		return k.control(b)
	case keyString:
		if b == 0x07 {
			k.state = keyGround
		} else if b == 0x1b {
			k.state = keyStrEsc
		}
	case keyStrEsc:
		k.state = keyString
		if b == '\\' {
			k.state = keyGround
		}
	case keyPaste:
		k.paste(b)
	default:
		k.state = keyGround
		return cursorKey(b)
	}
	return keyNone
}

func (k *keyReader) ground(b byte) key {
	if b >= 0x80 {
		return k.runeByte(b)
	}
	k.rune = k.rune[:0]
	switch b {
	case 0x1b:
		k.state = keyEscape
		return keyNone
	case '\n':
		return keyEnter
	case '\b':
		return keyBack
	}
	return key(b)
}

func (k *keyReader) runeByte(b byte) key {
	k.rune = append(k.rune, b)
	if !utf8.FullRune(k.rune) {
		return keyNone
	}
	r, _ := utf8.DecodeRune(k.rune)
	k.rune = k.rune[:0]
	if r == utf8.RuneError {
		return keyNone
	}
	return key(r)
}

func (k *keyReader) escape(b byte) {
	k.seq = k.seq[:0]
	switch b {
	case '[':
		k.state = keyControl
	case 'O':
		k.state = keySingle
	case ']', 'P', '_', '^', 'X':
		k.state = keyString
	case 0x1b: // twice: stay
	default: // Alt and a key
		k.state = keyGround
	}
}

func (k *keyReader) control(b byte) key {
	if b == 0x1b {
		k.state = keyEscape
		return keyNone
	}
	if b < 0x40 || b > 0x7e || b == '[' && len(k.seq) == 0 {
		if len(k.seq) < maxKeySequence {
			k.seq = append(k.seq, b)
		}
		return keyNone
	}
	k.state = keyGround
	switch seq := string(k.seq); {
	case b == '~' && seq == "200":
		k.state, k.tail = keyPaste, k.tail[:0]
	case b == '~':
		return tildeKeys[seq]
	case seq == "":
		return cursorKey(b)
	case b == 'n' && seq == "0":
		return keyAnswer
	case b == 'R':
		return k.located(seq)
	case modified[seq]:
		return farKeys[cursorKey(b)]
	}
	return keyNone
}

// modified are the parameters of a cursor key with Shift, Alt or Ctrl (xterm);
// farKeys is what such a key is.
var (
	modified = map[string]bool{"1;2": true, "1;3": true, "1;5": true}
	farKeys  = map[key]key{keyLeft: keyFarLeft, keyRight: keyFarRight}
)

// located reads where the cursor is. F3 with Shift looks like row 1.
func (k *keyReader) located(seq string) key {
	row, col, _ := strings.Cut(seq, ";")
	y, err1 := strconv.Atoi(row)
	x, err2 := strconv.Atoi(col)
	if err1 != nil || err2 != nil || y < 2 {
		return keyNone
	}
	k.at = spot{y, x}
	return keyLocated
}

// tildeKeys are the keys whose sequence is CSI, a number and ~.
var tildeKeys = map[string]key{
	"1": keyHome, "4": keyLast, "5": keyPageUp, "6": keyPageDown, "7": keyHome, "8": keyLast,
}

// cursorKey is a key whose sequence is CSI or SS3 and one byte.
func cursorKey(b byte) key {
	switch b {
	case 'A':
		return keyUp
	case 'B':
		return keyDown
	case 'C':
		return keyRight
	case 'D':
		return keyLeft
	case 'H':
		return keyHome
	case 'F':
		return keyLast
	}
	return keyNone
}

// paste swallows what was pasted: nothing in it is a command.
func (k *keyReader) paste(b byte) {
	const end = "\x1b[201~"
	k.tail = append(k.tail, b)
	if len(k.tail) > len(end) {
		k.tail = k.tail[1:]
	}
	if string(k.tail) == end {
		k.state = keyGround
	}
}
