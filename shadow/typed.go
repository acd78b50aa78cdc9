package shadow

import "time"

// Typed reads keys for screens that are no seats: the lobby. It is the reader of
// the seat: nothing that comes in an escape sequence, such as a paste or a
// terminal's answer to a question, is a key. The zero Typed is ready.
type Typed struct{ keys keyReader }

// Take takes one byte and returns the key it ends, or "": a character, or
// enter, backspace, esc, up, down, pgup, pgdown, home, end, or ctrl+ a letter.
func (t *Typed) Take(b byte) string { return t.keys.take(b).name() }

// Patience is how long the next byte may take before GiveUp is to be called; 0
// when nothing is under way.
func (t *Typed) Patience() time.Duration { return t.keys.patience() }

// GiveUp ends what is under way: an ESC alone was the key.
func (t *Typed) GiveUp() string { return t.keys.giveUp().name() }

func (k key) name() string {
	switch k {
	case keyEnter:
		return "enter"
	case keyBack:
		return "backspace"
	case keyEsc:
		return "esc"
	case keyUp:
		return "up"
	case keyDown:
		return "down"
	case keyPageUp:
		return "pgup"
	case keyPageDown:
		return "pgdown"
	case keyHome:
		return "home"
	case keyLast:
		return "end"
	}
	switch {
	case k <= 0 || k > 0x7f && len(appendRune(nil, rune(k))) == 0:
		return ""
	case k <= 26:
		return "ctrl+" + string('a'+rune(k)-1)
	case k < ' ':
		return ""
	}
	return string(rune(k))
}
