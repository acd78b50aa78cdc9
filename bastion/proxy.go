package bastion

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pires/go-proxyproto"
)

// This file is for a bastion behind a load balancer, which hides where clients
// come from: from the addresses that the configuration names, and from no
// other, a connection begins with the client's address (PROXY protocol, version
// 2). Without it such a connection is refused, as all limits and certificates
// would count for the balancer; and from anywhere else it is no header but a
// client that does not speak SSH.

// headerPatience is how long a proxy may take to say whom it brings.
const headerPatience = 5 * time.Second

// proxied reports whether a connection comes from one of our proxies.
func (s *Server) proxied(nc net.Conn) bool {
	from, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	return err == nil && slices.ContainsFunc(s.Proxies, func(p netip.Prefix) bool { return p.Contains(from.Addr().Unmap()) })
}

// admitBehind lets a connection in under the address that its proxy tells. A
// slow proxy keeps nobody else waiting.
func (s *Server) admitBehind(nc net.Conn) {
	if err := s.roll.expect(); err != nil {
		s.refuseConnection(nc, nc.RemoteAddr().String(), err)
		return
	}
	go func() { // Shutdown waits for it: roll.expect counted it in
		defer s.roll.expected()
		said := proxyproto.NewConn(nc, proxyproto.WithPolicy(proxyproto.REQUIRE),
			proxyproto.SetReadHeaderTimeout(headerPatience), proxyproto.ValidateHeader(tells))
		if said.ProxyHeader() == nil {
			s.refuseConnection(nc, nc.RemoteAddr().String(), errors.New("the proxy did not say whom it brings (PROXY protocol, version 2)"))
			return
		}
		s.admit(said)
	}()
}

// tells takes a client's address, or LOCAL, by which the proxy speaks for itself.
// For anything between, the limits would count for the proxy.
func tells(h *proxyproto.Header) error {
	switch source, tcp := h.SourceAddr.(*net.TCPAddr); {
	case h.Version != 2:
		return errors.New("version 2 it must be")
	case h.Command.IsLocal():
		return nil
	case !tcp || source.IP.IsUnspecified():
		return errors.New("the client's address is missing")
	}
	return nil
}
