package webhook

import "net/netip"

// The addresses that are not the public internet: the special-purpose
// registries of IANA (RFC 6890 and its successors), and what clouds put into
// public space.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23",     // Teredo, benchmarks, ORCHID and other protocol assignments
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4 carries an IPv4 address
	"3fff::/20",     // documentation
)

// never are addresses that no allow-list opens: what is not one host, and the
// endpoints where clouds hand out credentials.
var never = prefixes(
	"0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "ff00::/8",
	"169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", // AWS, Azure, Google and most others; ECS; EKS
	"fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128",
	"100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32", // Alibaba, Oracle, Azure
)

var (
	global6 = netip.MustParsePrefix("2000::/3") // all that IPv6 has given out as global unicast
	nat64   = netip.MustParsePrefix("64:ff9b::/96")
)

// plain gives the address that is meant: an IPv4 address may come mapped into
// IPv6, or as the well-known prefix of NAT64 spells it (RFC 6052).
func plain(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if nat64.Contains(a) {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}

// public reports whether a plain address is a host on the public internet.
func public(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && (a.Is4() || global6.Contains(a)) && !within(special, a) && !within(never, a)
}

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}
