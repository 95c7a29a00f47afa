package access

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/sealcast/sealcast/token"
)

// matchIP holds the client's address against a list; an empty list is any.
func matchIP(list []netip.Prefix, client netip.Addr) error {
	if len(list) == 0 {
		return nil
	}
	client = client.Unmap().WithZone("")
	for _, p := range list {
		if p.Contains(client) {
			return nil
		}
	}
	return token.Error{Code: token.CodeIP}
}

// page is the host of the page that asks: of Origin, else of Referer. named is
// false when neither says anything; a value that names no host is named and
// matches nothing.
func page(origin, referer string) (host string, named bool) {
	if origin != "" {
		return hostOf(origin), true
	}
	if referer != "" {
		return hostOf(referer), true
	}
	return "", false
}

// hostOf is the host of an http or https URL, in lower case and without its
// port; empty for anything else, "null" above all.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
}

// matchReferer holds the page against a list; an empty list is any page.
func matchReferer(list []string, origin, referer string, allowNone bool) error {
	if len(list) == 0 {
		return nil
	}
	host, named := page(origin, referer)
	if !named && allowNone {
		return nil
	}
	for _, want := range list {
		if matchHost(want, host) {
			return nil
		}
	}
	return token.Error{Code: token.CodeReferer}
}

// matchHost compares exactly, or any depth below what follows "*.".
func matchHost(want, host string) bool {
	if below, ok := strings.CutPrefix(want, "*."); ok {
		return len(host) > len(below)+1 && strings.HasSuffix(host, "."+below)
	}
	return host != "" && host == want
}
