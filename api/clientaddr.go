package api

import (
	"net/netip"
	"strings"
)

const maxHops = 32 // of X-Forwarded-For that are looked at

// peerAddr reads the address of a connection, v4-mapped folded. It is the zero
// Addr where there is none, as on a Unix socket.
func peerAddr(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// clientAddr finds the client behind trusted proxies: the right-most address
// of X-Forwarded-For that is not one of theirs. What stands left of it was
// written by the client. An entry that is no address ends the search at the
// last proxy, so that garbage gives nobody a limit of his own.
func clientAddr(peer netip.Addr, forwarded []string, trusted []netip.Prefix) netip.Addr {
	client := peer
	if !isTrusted(trusted, peer) {
		return client
	}
	hops := 0
	for i := len(forwarded) - 1; i >= 0; i-- {
		for rest, more := forwarded[i], true; more; {
			var entry string
			rest, entry, more = cutLast(rest)
			addr, ok := forwardedAddr(strings.Trim(entry, " \t"))
			if hops++; !ok || hops > maxHops {
				return client
			}
			client = addr
			if !isTrusted(trusted, addr) {
				return client
			}
		}
	}
	return client
}

// cutLast splits a list at its last comma; without one, all of it is the entry.
func cutLast(list string) (rest, entry string, more bool) {
	if i := strings.LastIndexByte(list, ','); i >= 0 {
		return list[:i], list[i+1:], true
	}
	return "", list, false
}

// forwardedAddr reads an address as proxies write it: bare, with a port, or a
// v6 address in brackets.
func forwardedAddr(s string) (netip.Addr, bool) {
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
		s = strings.TrimSuffix(inner, "]")
	}
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Unmap().WithZone(""), true
	}
	ap, err := netip.ParseAddrPort(s)
	return ap.Addr().Unmap().WithZone(""), err == nil
}

func isTrusted(trusted []netip.Prefix, addr netip.Addr) bool {
	for _, p := range trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// limitKey names a client for limits: a v4 address, or the /64 of a v6 one,
// which is what one customer gets.
func limitKey(addr netip.Addr) string {
	if !addr.IsValid() {
		return "unknown"
	}
	if addr.Is6() {
		p, _ := addr.Prefix(64)
		return p.String()
	}
	return addr.String()
}
