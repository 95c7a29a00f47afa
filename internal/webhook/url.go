package webhook

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// maxURL is the length of the longest URL that is taken, in bytes.
const maxURL = 2048

// ParseURL checks the form of a target: an absolute http or https URL with a
// host and no credentials. Its error is a *Refusal.
func ParseURL(raw string) (*url.URL, error) {
	const want = "must be an absolute http or https URL"
	if len(raw) > maxURL {
		return nil, refuse("is longer than %d bytes", maxURL)
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return nil, refuse("has a character that must be percent-encoded")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.Opaque != "":
		return nil, refuse(want)
	case u.User != nil:
		return nil, refuse("must not carry a user or a password")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, refuse("must not have a fragment")
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port != strconv.FormatUint(n, 10) {
			return nil, refuse("has no port from 1 to 65535")
		}
	}
	if _, err := hostAddr(u.Hostname()); err != nil {
		return nil, err
	}
	return u, nil
}

// hostAddr gives the address that a host spells, invalid for a name. A host
// that ends in a number and is no plain address (0x7f.1, 2130706433) is
// refused, because resolvers differ in what they make of it.
func hostAddr(host string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" {
			return netip.Addr{}, refuse("has an address with a zone")
		}
		return a, nil
	}
	if !isName(host) {
		return netip.Addr{}, refuse("has a host that is neither a name nor an address")
	}
	return netip.Addr{}, nil
}

// isName reports whether a host is a DNS name that does not end in a number.
func isName(host string) bool {
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 {
		return false
	}
	labels := strings.Split(strings.ToLower(host), ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' ||
			strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	last := labels[len(labels)-1]
	hex, isHex := strings.CutPrefix(last, "0x")
	return strings.Trim(last, "0123456789") != "" && (!isHex || strings.Trim(hex, "0123456789abcdef") != "")
}

func isLocalName(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
