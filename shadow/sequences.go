package shadow

import "bytes"

// This file is what the sequences that pass the filter do to a screen.

// params are the numbers of a control sequence.
type params []int

// or returns parameter i, or what stands for one that is left out or 0.
func (p params) or(i, otherwise int) int {
	if i < len(p) && p[i] > 0 {
		return p[i]
	}
	return otherwise
}

// sequence does the sequence at the beginning of p and returns its length.
func (s *screen) sequence(p []byte) int {
	if len(p) < 2 {
		return len(p)
	}
	switch p[1] {
	case '[':
		end := 2 + bytes.IndexFunc(p[2:], func(r rune) bool { return r >= 0x40 && r <= 0x7e })
		if end < 2 {
			return len(p)
		}
		s.control(p[2:end], p[end])
		return end + 1
	case '(':
		if len(p) > 2 {
			s.drawing = p[2] == '0'
		}
		return min(3, len(p))
	case ')':
		return min(3, len(p))
	}
	s.escape(p[1])
	return 2
}

func (s *screen) escape(b byte) {
	switch b {
	case '7':
		s.saved[s.on] = s.place
	case '8':
		s.place = s.saved[s.on]
	case 'D':
		s.lineEnd()
	case 'E':
		s.lineEnd()
		s.x = 0
	case 'M':
		s.reverseIndex()
	}
}

func (s *screen) control(text []byte, final byte) {
	private := bytes.HasPrefix(text, []byte("?"))
	if final == 'm' {
		s.pen = s.pen.with(text)
		return
	}
	p := numbersOf(bytes.TrimPrefix(text, []byte("?")))
	if final == 'h' || final == 'l' {
		for _, n := range p {
			s.mode(private, n, final == 'h')
		}
		return
	}
	switch {
	case final >= 'A' && final <= 'H' || bytes.IndexByte([]byte("IZ`adef"), final) >= 0:
		s.move(p, final)
	case final == 'J' || final == 'K' || final == 'X':
		s.eraseBy(p, final)
	default:
		s.shift(p, final)
	}
}

func numbersOf(text []byte) (p params) {
	n := 0
	for _, b := range text {
		switch {
		case b == ';':
			p, n = append(p, n), 0
		case b >= '0' && b <= '9':
			n = min(n*10+int(b-'0'), maxParam)
		}
	}
	return append(p, n)
}

// move does what moves the cursor.
func (s *screen) move(p params, final byte) {
	n := p.or(0, 1)
	x, y := s.x, s.y
	switch final {
	case 'A', 'F':
		y = s.up(n)
	case 'B', 'E':
		y = s.down(n)
	case 'C', 'a':
		x += n
	case 'D':
		x -= n
	case 'G', '`':
		x = n - 1
	case 'H', 'f':
		x, y = p.or(1, 1)-1, n-1
	case 'd':
		y = n - 1
	case 'e':
		y += n
	case 'I', 'Z':
		s.tab(n, final == 'Z')
		return
	}
	if final == 'E' || final == 'F' {
		x = 0
	}
	s.x, s.y, s.full = max(min(x, s.cols-1), 0), max(min(y, s.rows-1), 0), false
}

// up and down stop at the edge of the rows that scroll, when they begin within.
func (s *screen) up(n int) int {
	if s.y >= s.top {
		return max(s.y-n, s.top)
	}
	return s.y - n
}

func (s *screen) down(n int) int {
	if s.y < s.bottom {
		return min(s.y+n, s.bottom-1)
	}
	return s.y + n
}

func (s *screen) tab(n int, back bool) {
	n = min(n, s.cols)
	if back {
		s.x = max(((s.x+7)&^7)-8*n, 0)
		return
	}
	s.x = min(s.x&^7+8*n, s.cols-1)
}

func (s *screen) eraseBy(p params, final byte) {
	bg, g := s.pen.bg, s.grid()
	mode := p.or(0, 0)
	if final == 'J' && (mode == 2 || mode == 0 && s.x == 0 && s.y == 0) {
		s.cleared()
	}
	switch {
	case final == 'X':
		s.row().erase(s.x, min(s.x+p.or(0, 1), s.cols), s.cols, bg)
		s.full = false
	case mode == 0:
		s.row().erase(s.x, s.cols, s.cols, bg)
		s.full = false
	case mode == 1:
		s.row().erase(0, s.x+1, s.cols, bg)
	case mode == 2 && final == 'K':
		s.row().forget(bg)
	}
	if final != 'J' {
		return
	}
	from, to := s.y+1, s.rows
	switch mode {
	case 1:
		from, to = 0, s.y
	case 2:
		from = 0
	case 3: // what has scrolled away, which is none of ours
		from = to
	}
	for y := from; y < to; y++ {
		g[y].forget(bg)
	}
}

// shift does what inserts, deletes and scrolls.
func (s *screen) shift(p params, final byte) {
	n := p.or(0, 1)
	switch final {
	case '@':
		s.row().insert(s.x, n, s.cols, s.pen.bg)
		s.full = false
	case 'P':
		s.row().remove(s.x, n, s.cols, s.pen.bg)
		s.full = false
	case 'S':
		s.scrollUp(s.top, n)
	case 'T':
		s.scrollDown(s.top, n)
	case 'L', 'M':
		s.lines(n, final == 'L')
	case 'r':
		s.region(p)
	case 's':
		s.saved[s.on] = s.place
	case 'u':
		s.place = s.saved[s.on]
	}
}

// lines inserts or deletes rows at the cursor, if it is among those that scroll.
func (s *screen) lines(n int, insert bool) {
	if s.y < s.top || s.y >= s.bottom {
		return
	}
	if insert {
		s.scrollDown(s.y, n)
	} else {
		s.scrollUp(s.y, n)
	}
	s.x, s.full = 0, false
}

// region sets the rows that scroll (DECSTBM).
func (s *screen) region(p params) {
	top, bottom := p.or(0, 1)-1, min(p.or(1, s.rows), s.rows)
	if top+1 >= bottom {
		return
	}
	s.top, s.bottom = top, bottom
	s.x, s.y, s.full = 0, 0, false
}

func (s *screen) mode(private bool, n int, set bool) {
	switch {
	case !private && n == 4:
		s.insert = set
	case !private:
	case n == 7:
		s.nowrap = !set
	case n == 47:
		s.turnTo(set, false)
	case n == 1047:
		s.turnTo(set, true)
	case n == 1048 && set, n == 1049 && set:
		s.saved[s.on] = s.place
		if n == 1049 {
			s.turnTo(true, true)
		}
	case n == 1048:
		s.place = s.saved[s.on]
	case n == 1049:
		s.turnTo(false, true)
		s.place = s.saved[0]
	}
}

// turnTo shows the alternate screen or the main one. The cursor stays.
func (s *screen) turnTo(alternate, clean bool) {
	if alternate == (s.on == 1) {
		return
	}
	if s.grids[1] == nil {
		s.grids[1] = blankRows(s.rows)
	}
	if clean {
		for y := range s.grids[1] {
			s.grids[1][y].forget(s.pen.bg)
		}
	}
	s.on = 1 - s.on
	s.full = false
}

// with is the style after SGR. The filter has checked the numbers and turned
// colours into one form.
func (s style) with(text []byte) style {
	list := bytes.Split(text, []byte(";"))
	for i := 0; i < len(list); i++ {
		head, sub, _ := bytes.Cut(list[i], []byte(":"))
		n := numbersOf(head)[0]
		switch n {
		case 4:
			s.under = 1
			if len(sub) > 0 {
				s.under = uint8(min(numbersOf(sub)[0], 5))
			}
		case 38, 48, 58:
			c, used := colourOf(list[i+1:])
			i += used
			if n == 38 {
				s.fg = c
			} else if n == 48 {
				s.bg = c
			}
		default:
			s = s.withOne(n)
		}
	}
	return s
}

// colourOf reads 5;n or 2;r;g;b and how many parameters that took.
func colourOf(list [][]byte) (c colour, used int) {
	if len(list) < 2 {
		return 0, len(list)
	}
	if numbersOf(list[0])[0] == 5 {
		return indexed | colour(numbersOf(list[1])[0]&0xff), 2
	}
	if len(list) < 4 {
		return 0, len(list)
	}
	c = direct
	for i, shift := range []int{16, 8, 0} {
		c |= colour(numbersOf(list[1+i])[0]&0xff) << shift
	}
	return c, 4
}

func (s style) withOne(n int) style {
	switch {
	case n == 0:
		return style{}
	case n < 10:
		s.attr |= attributesOn[n]
	case n == 21:
		s.under = 2
	case n == 24:
		s.under = 0
	case n >= 22 && n < 30:
		s.attr &^= attributesOff[n-22]
	case n >= 30 && n <= 37:
		s.fg = indexed | colour(n-30)
	case n == 39:
		s.fg = 0
	case n >= 40 && n <= 47:
		s.bg = indexed | colour(n-40)
	case n == 49:
		s.bg = 0
	case n >= 90 && n <= 97:
		s.fg = indexed | colour(n-90+8)
	case n >= 100 && n <= 107:
		s.bg = indexed | colour(n-100+8)
	}
	return s
}

// What SGR 1 to 9 turn on and 22 to 29 turn off.
var (
	attributesOn  = [10]attributes{1: bold, 2: faint, 3: italic, 5: blink, 6: blink, 7: reverse, 9: strike}
	attributesOff = [8]attributes{0: bold | faint, 1: italic, 3: blink, 5: reverse, 7: strike}
)
