package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// This file says who on this machine has connected: whoever can read a link in
// the arguments of another user's programs could sign in with it as themselves.

// ownerOf is the user at the other end of a connection from this machine, as the kernel
// lists it; known is false where it does not. from is their address, to is ours.
func ownerOf(from, to netip.AddrPort) (uid int, known bool) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if uid, known = ownerIn(table, from, to); known {
			return uid, true
		}
	}
	return 0, false
}

// established is TCP_ESTABLISHED. Of a socket that nobody holds any more the kernel
// says that it is root's.
const established = "01"

// ownerIn looks in a table of proc_net(5): local and remote address, state, and, as
// the eighth and the tenth column, user and inode.
func ownerIn(table string, from, to netip.AddrPort) (uid int, known bool) {
	f, err := os.Open(table)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	theirs, ours := inTable(from, table), inTable(to, table)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		col := strings.Fields(lines.Text())
		if len(col) < 10 || col[1] != theirs || col[2] != ours {
			continue
		}
		uid, err := strconv.Atoi(col[7])
		return uid, err == nil && col[3] == established && col[9] != "0"
	}
	return 0, false
}

// inTable is an address as the tables write it: words of 32 bits, as this machine
// counts, and the port. IPv6's have IPv4's as ::ffff:127.0.0.1.
func inTable(a netip.AddrPort, table string) string {
	ip := a.Addr().Unmap().AsSlice()
	if strings.HasSuffix(table, "6") {
		wide := a.Addr().As16()
		ip = wide[:]
	}
	var words strings.Builder
	for ; len(ip) >= 4; ip = ip[4:] {
		fmt.Fprintf(&words, "%08X", binary.NativeEndian.Uint32(ip))
	}
	return fmt.Sprintf("%s:%04X", &words, a.Port())
}
