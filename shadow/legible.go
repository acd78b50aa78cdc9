package shadow

// This file keeps text from being hidden by its colour. Nobody knows here what a
// terminal's own two colours are, so that neither black nor white is left to stand
// on them, nor they on a colour.

// Colours that no theme changes.
const (
	black = indexed | 16
	white = indexed | 231
)

// legible is a style in which text is seen: not in the colour of its background,
// nor in nearly that. Being asked twice makes no difference.
func (s style) legible() style {
	switch {
	case s.fg == 0 && s.bg == 0:
	case s.fg == 0 && s.bg.light():
		s.fg = black
	case s.fg == 0:
		s.fg = white
	case s.bg == 0 && s.fg.extreme():
		s.fg = 0
	case s.bg != 0 && s.fg.near(s.bg):
		s.fg, s.bg = 0, 0
		s.attr |= reverse
	}
	return s
}

// basic are the first 16 colours as most terminals have them.
var basic = [16][3]int{
	{0, 0, 0}, {205, 0, 0}, {0, 205, 0}, {205, 205, 0}, {0, 0, 238}, {205, 0, 205}, {0, 205, 205}, {229, 229, 229},
	{127, 127, 127}, {255, 0, 0}, {0, 255, 0}, {255, 255, 0}, {92, 92, 255}, {255, 0, 255}, {0, 255, 255}, {255, 255, 255},
}

// rgb is what a colour is made of, 0 to 255 each.
func (c colour) rgb() [3]int {
	n := int(c & 0xff)
	switch {
	case c&direct != 0:
		return [3]int{int(c >> 16 & 0xff), int(c >> 8 & 0xff), n}
	case n < 16:
		return basic[n]
	case n >= 232:
		grey := 8 + 10*(n-232)
		return [3]int{grey, grey, grey}
	}
	level := [6]int{0, 95, 135, 175, 215, 255}
	return [3]int{level[(n-16)/36], level[(n-16)/6%6], level[(n-16)%6]}
}

func (c colour) light() bool {
	p := c.rgb()
	return 3*p[0]+6*p[1]+p[2] > 1150
}

// extreme is nearly black or nearly white.
func (c colour) extreme() bool {
	p := c.rgb()
	return max(p[0], p[1], p[2]) < 64 || min(p[0], p[1], p[2]) > 190
}

// near reports whether two colours can hardly be told apart.
func (c colour) near(d colour) bool {
	p, q := c.rgb(), d.rgb()
	for i := range p {
		if max(p[i]-q[i], q[i]-p[i]) >= 64 {
			return false
		}
	}
	return true
}
