package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Refusal says why a URL is not sent to. Reason follows the name of the field
// in a sentence and is fit for strangers.
type Refusal struct{ Reason string }

// Error implements error.
func (r *Refusal) Error() string { return "the target " + r.Reason }

func refuse(format string, args ...any) *Refusal { return &Refusal{fmt.Sprintf(format, args...)} }

// Allow is one entry of an allow-list: addresses, or one name with its port.
type Allow struct {
	prefix netip.Prefix // invalid for a host
	host   string       // host:port
}

// String gives the entry back.
func (a Allow) String() string {
	if a.host != "" {
		return a.host
	}
	return a.prefix.String()
}

// ParseAllow reads an address, a CIDR or host:port.
func ParseAllow(entry string) (Allow, error) {
	if a, err := netip.ParseAddr(entry); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return Allow{prefix: netip.PrefixFrom(a, a.BitLen())}, nil
	}
	if p, err := netip.ParsePrefix(entry); err == nil {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return Allow{prefix: p.Masked()}, nil
	}
	host, port, err := net.SplitHostPort(entry)
	if err != nil {
		return Allow{}, errors.New("is no address, no CIDR and no host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port != strconv.FormatUint(n, 10) {
		return Allow{}, errors.New("has no port from 1 to 65535")
	}
	if _, err := hostAddr(host); err != nil {
		return Allow{}, errors.New("has no host name or address before its port")
	}
	return Allow{host: hostKey(host, port)}, nil
}

// Targets decides where webhooks may go: to https on the public internet, and
// to what is allowed beside that. The zero value allows nothing beside.
type Targets struct {
	prefixes []netip.Prefix
	hosts    map[string]bool
}

// NewTargets takes an allow-list.
func NewTargets(allow ...Allow) *Targets {
	t := &Targets{hosts: map[string]bool{}}
	for _, a := range allow {
		if a.host != "" {
			t.hosts[a.host] = true
		} else {
			t.prefixes = append(t.prefixes, a.prefix)
		}
	}
	return t
}

// CheckURL checks all of a URL that can be known before its name is looked
// up. Its error is a *Refusal.
func (t *Targets) CheckURL(raw string) error {
	u, err := ParseURL(raw)
	if err != nil {
		return err
	}
	host := u.Hostname()
	listed := t.hosts[hostKey(host, portOf(u))]
	addr, err := hostAddr(host)
	if err != nil {
		return err
	}
	if addr.IsValid() {
		if err := t.checkAddr(addr, listed); err != nil {
			return err
		}
		listed = listed || within(t.prefixes, plain(addr))
	} else if !listed && isLocalName(host) {
		return refuse("names this machine, which is not on the server's allow-list")
	}
	if u.Scheme != "https" && !listed {
		return refuse("must be an https URL")
	}
	return nil
}

// checkAddr says whether a connection to an address may be made; listed when
// the name and port that lead there are on the allow-list.
func (t *Targets) checkAddr(a netip.Addr, listed bool) error {
	a = plain(a)
	switch {
	case a.Zone() != "" || !a.IsValid() || within(never, a):
		return refuse("leads to an address that webhooks never go to")
	case listed, within(t.prefixes, a), public(a):
		return nil
	}
	return refuse("leads to an address that is neither public nor on the server's allow-list")
}

// checkConnect is asked about every connection once its name is resolved, so
// that a name which changes its mind between two look-ups gains nothing.
func (t *Targets) checkConnect(target, resolved string) error {
	to, err := netip.ParseAddrPort(resolved)
	if err != nil {
		return refuse("leads to no internet address")
	}
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return refuse("has no port")
	}
	return t.checkAddr(to.Addr(), t.hosts[hostKey(host, port)])
}

// hostKey is the spelling of host and port that allow-lists are compared in.
func hostKey(host, port string) string {
	return net.JoinHostPort(strings.TrimSuffix(strings.ToLower(host), "."), port)
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}
