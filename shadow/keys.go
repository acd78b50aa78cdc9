package shadow

// This file reads keys. Whatever comes in an escape sequence, be it an arrow
// key, a paste or a terminal's answer to a question, is one key or none: no
// byte within it can be a command.

// Key is a key that means something here: a rune, or one of the names below.
type Key rune

const (
	keyNone     Key = 0
	keyEnter    Key = '\r'
	keyEsc      Key = 0x1b
	keyBack     Key = 0x7f
	keyKill     Key = 0x0b // Ctrl-K
	keyHold     Key = 0x0f // Ctrl-O
	keySay      Key = 0x14 // Ctrl-T
	keyLeave    Key = 0x18 // Ctrl-X
	keyPageUp   Key = -1
	keyPageDown Key = -2
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
}

// pendingEsc reports whether an ESC waits for what follows. When nothing does,
// it was the key.
func (k *keyReader) pendingEsc() bool { return k.state == keyEscape }

// flushEsc makes a waiting ESC the key.
func (k *keyReader) flushEsc() Key {
	k.state = keyGround
	return keyEsc
}

// take takes one byte and returns the key it ends, or keyNone.
func (k *keyReader) take(b byte) Key {
	switch k.state {
	case keyGround:
		return k.ground(b)
	case keyEscape:
		return k.escape(b)
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
	}
	return keyNone
}

func (k *keyReader) ground(b byte) Key {
	switch b {
	case 0x1b:
		k.state = keyEscape
		return keyNone
	case '\n':
		return keyEnter
	case '\b':
		return keyBack
	}
	return Key(b)
}

func (k *keyReader) escape(b byte) Key {
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
	return keyNone
}

func (k *keyReader) control(b byte) Key {
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
	case b == '~' && seq == "5":
		return keyPageUp
	case b == '~' && seq == "6":
		return keyPageDown
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
