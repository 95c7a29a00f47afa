package webhook

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func allow(t testing.TB, entries ...string) *Targets {
	t.Helper()
	var list []Allow
	for _, e := range entries {
		a, err := ParseAllow(e)
		if err != nil {
			t.Fatalf("%s: %v", e, err)
		}
		list = append(list, a)
	}
	return NewTargets(list...)
}

func TestCheckURL(t *testing.T) {
	open := allow(t, "127.0.0.0/8", "::1", "10.1.2.3", "receiver.lan:8080", "localhost:9000", "[fd00::7]:443", "169.254.0.0/16", "0.0.0.0/0")
	for _, c := range []struct {
		url    string
		shut   bool // refused with an empty allow-list
		opened bool // accepted with the one above
	}{
		{"https://example.com", false, true},
		{"https://example.com:8443/hook?x=1", false, true},
		{"https://example.com./hook", false, true},
		{"https://EXAMPLE.com/", false, true},
		{"https://xn--bcher-kva.example/", false, true},
		{"https://under_score.example/", false, true},
		{"https://8.8.8.8/", false, true},
		{"https://[2606:4700::1111]/", false, true},
		{"https://[::ffff:8.8.8.8]/", false, true},
		{"https://[64:ff9b::808:808]/", false, true},
		{"https://1.2.3.4.example/", false, true},

		// Opened by the allow-list alone.
		{"http://127.0.0.1:8099/hook", true, true},
		{"https://127.0.0.1/", true, true},
		{"https://127.8.9.10/", true, true},
		{"http://[::1]:8080/", true, true},
		{"http://[::ffff:127.0.0.1]/", true, true},
		{"https://10.1.2.3/", true, true},
		{"http://receiver.lan:8080/", true, true},
		{"http://RECEIVER.lan.:8080/", true, true},
		{"http://localhost:9000/", true, true},
		{"https://[fd00::7]/", true, true},
		{"https://192.168.1.1/", true, true},
		{"https://172.16.0.1/", true, true},
		{"https://100.64.0.1/", true, true},
		{"https://192.0.2.1/", true, true},
		{"https://198.51.100.1/", true, true},
		{"https://203.0.113.9/", true, true},
		{"https://198.18.0.1/", true, true},
		{"https://169.254.1.1/", true, true},
		{"https://[64:ff9b::7f00:1]/", true, true},
		{"http://8.8.8.8/", true, true}, // http to what is listed

		// Never: not by any list.
		{"http://example.com/", true, false},
		{"http://receiver.lan/", true, false},
		{"http://receiver.lan:8081/", true, false},
		{"https://localhost/", true, false},
		{"https://foo.LOCALHOST./", true, false},
		{"https://0.0.0.0/", true, false},
		{"https://0.1.2.3/", true, false},
		{"https://169.254.169.254/latest/meta-data/", true, false},
		{"https://[::ffff:169.254.169.254]/", true, false},
		{"https://[64:ff9b::a9fe:a9fe]/", true, false},
		{"https://169.254.170.2/", true, false},
		{"https://100.100.100.200/", true, false},
		{"https://168.63.129.16/", true, false},
		{"https://192.0.0.192/", true, false},
		{"https://224.0.0.1/", true, false},
		{"https://255.255.255.255/", true, false},
		{"https://[::]/", true, false},
		{"https://[fd00:ec2::254]/", true, false},
		{"https://[fe80::1]/", true, false},
		{"https://[fe80::1%25eth0]/", true, false},
		{"https://[fec0::1]/", true, false},
		{"https://[fc00::1]/", true, false},
		{"https://[fd00::8]/", true, false},
		{"https://[ff02::1]/", true, false},
		{"https://[2001:db8::1]/", true, false},
		{"https://[3fff::1]/", true, false},
		{"https://[2002:7f00:1::]/", true, false},
		{"https://[2001::1]/", true, false},
		{"https://[::7f00:1]/", true, false},
		{"https://[64:ff9b:1::7f00:1]/", true, false},
		{"https://[100::1]/", true, false},
		{"https://2130706433/", true, false},
		{"https://0x7f000001/", true, false},
		{"https://0x7f.1/", true, false},
		{"https://127.1/", true, false},
		{"https://0177.0.0.1/", true, false},
		{"https://127.0.0.1./", true, false},
		{"https://example.0x/", true, false},
		{"https://-a.example/", true, false},
		{"https://a..example/", true, false},
		{"https://a,b.example/", true, false},
		{"https://%31%32%37.0.0.1/", true, false},
		{"https://user@example.com/", true, false},
		{"https://user:pw@example.com/", true, false},
		{"https://@example.com/", true, false},
		{"https://example.com#@127.0.0.1/", true, false},
		{"https://example.com\\@127.0.0.1/", true, false},
		{"https://example.com:0/", true, false},
		{"https://example.com:65536/", true, false},
		{"https://example.com:/", true, false},
		{"https://example.com:0443/", true, false},
		{"https://exa mple.com/", true, false},
		{"https://ex\u0430mple.com/", true, false},
		{"https:///path", true, false},
		{"https:example.com", true, false},
		{"//example.com/", true, false},
		{"ftp://example.com/", true, false},
		{"file:///etc/passwd", true, false},
		{"gopher://127.0.0.1:6379/_x", true, false},
		{"unix:///run/x.sock", true, false},
		{"", true, false},
		{"https://example.com/" + strings.Repeat("a", 2048), true, false},
	} {
		for _, list := range []struct {
			name    string
			targets *Targets
			want    bool
		}{{"nothing allowed", &Targets{}, !c.shut}, {"some allowed", open, c.opened}} {
			err := list.targets.CheckURL(c.url)
			var refusal *Refusal
			if (err == nil) != list.want || (err != nil && !errors.As(err, &refusal)) {
				t.Errorf("%s, %s: %v, want accepted %v", c.url, list.name, err, list.want)
			}
		}
	}
}

// What a name resolves to is asked when the connection is made.
func TestCheckConnect(t *testing.T) {
	targets := allow(t, "10.1.0.0/16", "receiver.lan:8080")
	for _, c := range []struct {
		target, resolved string
		ok               bool
	}{
		{"example.com:443", "93.184.216.34:443", true},
		{"example.com:443", "[2606:2800::1]:443", true},
		{"example.com:443", "127.0.0.1:443", false},
		{"example.com:443", "[::1]:443", false},
		{"example.com:443", "[::ffff:127.0.0.1]:443", false},
		{"example.com:443", "[::ffff:10.0.0.1]:443", false},
		{"example.com:443", "10.1.2.3:443", true},
		{"example.com:443", "10.2.2.3:443", false},
		{"example.com:443", "169.254.169.254:443", false},
		{"example.com:443", "[fe80::1%eth0]:443", false},
		{"receiver.lan:8080", "192.168.7.7:8080", true},
		{"RECEIVER.LAN.:8080", "192.168.7.7:8080", true},
		{"receiver.lan:8081", "192.168.7.7:8081", false},
		{"receiver.lan:8080", "169.254.169.254:8080", false},
		{"receiver.lan:8080", "[fd00:ec2::254]:8080", false},
		{"example.com:443", "nonsense", false},
	} {
		if err := targets.checkConnect(c.target, c.resolved); (err == nil) != c.ok {
			t.Errorf("%s at %s: %v", c.target, c.resolved, err)
		}
	}
}

func TestParseAllow(t *testing.T) {
	for entry, want := range map[string]string{
		"127.0.0.1": "127.0.0.1/32", "10.9.8.7/8": "10.0.0.0/8", "::1": "::1/128", "::ffff:10.0.0.1": "10.0.0.1/32",
		"::ffff:10.0.0.0/104": "10.0.0.0/8", "Receiver.LAN:80": "receiver.lan:80", "[::1]:8080": "[::1]:8080",
		"": "", "receiver": "", "receiver:": "", "receiver:0": "", "receiver:99999": "", "receiver:080": "", ":80": "", "a b:80": "",
		"10.0.0.0/33": "", "fe80::1%eth0": "", "http://receiver:80": "", "127.1:80": "",
	} {
		a, err := ParseAllow(entry)
		if (err == nil) != (want != "") || (err == nil && a.String() != want) {
			t.Errorf("%q: %q, %v; want %q", entry, a, err, want)
		}
	}
}

// FuzzTarget states: with nothing allowed, an accepted URL is https without
// credentials and its host is a name or an address of the public internet; and
// no connection is made to an address that net/netip calls other than global,
// in whatever spelling.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{
		"https://example.com/x", "https://127.0.0.1/", "https://[::ffff:10.0.0.1]/", "https://[64:ff9b::7f00:1]/",
		"https://0x7f.1/", "https://a@b/", "http://8.8.8.8/", "https://[fe80::1%25a]/", "https://1.1.1.1:99/",
	} {
		f.Add(s, []byte{127, 0, 0, 1})
		f.Add(s, netip.MustParseAddr("::ffff:192.168.0.1").AsSlice())
		f.Add(s, netip.MustParseAddr("64:ff9b::a00:1").AsSlice())
	}
	targets := &Targets{}
	f.Fuzz(func(t *testing.T, raw string, ip []byte) {
		if targets.CheckURL(raw) == nil {
			u, err := url.Parse(raw)
			if err != nil || u.Scheme != "https" || u.User != nil || u.Hostname() == "" {
				t.Fatalf("%q is accepted", raw)
			}
			if a, err := netip.ParseAddr(u.Hostname()); err == nil && inward(a) {
				t.Errorf("%q is accepted", raw)
			}
		}
		a, ok := netip.AddrFromSlice(ip)
		if !ok || !inward(a) {
			return
		}
		resolved := netip.AddrPortFrom(a, 443).String()
		if targets.checkConnect("example.com:443", resolved) == nil {
			t.Errorf("a connection to %s is made", resolved)
		}
		if targets.CheckURL("https://"+resolved+"/") == nil {
			t.Errorf("https://%s/ is accepted", resolved)
		}
	})
}

// inward is the other opinion: what the standard library says of an address
// and of the IPv4 address at its end, where IPv6 may carry one.
func inward(a netip.Addr) bool {
	local := func(a netip.Addr) bool {
		return !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()
	}
	if a.Is4() {
		return local(a)
	}
	b := a.As16()
	tail := netip.AddrFrom4([4]byte(b[12:]))
	carries := a.Is4In6() || netip.MustParsePrefix("64:ff9b::/96").Contains(a)
	return (local(a) && !a.Is4In6()) || (carries && local(tail)) || netip.MustParsePrefix("2002::/16").Contains(a)
}
