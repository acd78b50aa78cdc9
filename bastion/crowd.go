package bastion

import (
	"cmp"
	"net/netip"
)

// This file counts people by where they come from, so that when there are too many,
// those go who are many from one place.

// crowd counts by source, and by the area around it: whoever has one of IPv6's
// networks often has 65,536 of them. The zero prefix is all that is not TCP.
type crowd map[netip.Prefix]int

// sourceOf is what counts as one address, of host:port: an IPv4 address, or the /64
// that a single customer gets of IPv6.
func sourceOf(addr string) netip.Prefix {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return netip.Prefix{}
	}
	return around(ap.Addr().Unmap().WithZone(""), 32, 64)
}

// areaOf is the network of a provider's customer, who has many sources.
func areaOf(source netip.Prefix) netip.Prefix { return around(source.Addr(), 24, 48) }

func around(ip netip.Addr, v4, v6 int) netip.Prefix {
	bits := v4
	if ip.Is6() {
		bits = v6
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

func (c crowd) add(source netip.Prefix, n int) {
	c.count(source, n)
	if area := areaOf(source); area != source {
		c.count(area, n)
	}
}

func (c crowd) count(place netip.Prefix, n int) {
	if c[place] += n; c[place] <= 0 {
		delete(c, place)
	}
}

// compare is positive when more come from where a is.
func (c crowd) compare(a, b netip.Prefix) int {
	return cmp.Or(cmp.Compare(c[areaOf(a)], c[areaOf(b)]), cmp.Compare(c[a], c[b]))
}
