package api

import (
	"net/netip"
	"strings"
	"testing"
)

var proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func TestClientAddr(t *testing.T) {
	tests := []struct {
		name, remote string
		forwarded    []string
		want         string
	}{
		{"no proxy", "192.0.2.1:5", nil, "192.0.2.1"},
		{"spoof without a proxy", "192.0.2.1:5", []string{"198.51.100.1"}, "192.0.2.1"},
		{"one proxy", "10.0.0.1:5", []string{"192.0.2.1"}, "192.0.2.1"},
		{"spoof through a proxy", "10.0.0.1:5", []string{"198.51.100.1, 192.0.2.1"}, "192.0.2.1"},
		{"spoof in a header of its own", "10.0.0.1:5", []string{"198.51.100.1", "192.0.2.1"}, "192.0.2.1"},
		{"spoof of a proxy", "10.0.0.1:5", []string{"10.9.9.9, 192.0.2.1"}, "192.0.2.1"},
		{"two proxies", "10.0.0.1:5", []string{"192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		{"two proxies, two headers", "10.0.0.1:5", []string{"192.0.2.1", "10.0.0.2"}, "192.0.2.1"},
		{"proxies alone", "10.0.0.1:5", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"no header", "10.0.0.1:5", nil, "10.0.0.1"},
		{"empty header", "10.0.0.1:5", []string{""}, "10.0.0.1"},
		{"garbage", "10.0.0.1:5", []string{"192.0.2.1, garbage"}, "10.0.0.1"},
		{"garbage behind a proxy", "10.0.0.1:5", []string{"192.0.2.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"garbage on the left", "10.0.0.1:5", []string{"garbage,,\x00, 192.0.2.1"}, "192.0.2.1"},
		{"port", "10.0.0.1:5", []string{"192.0.2.1:1234"}, "192.0.2.1"},
		{"v6", "[fd00::1]:5", []string{"2001:db8::1"}, "2001:db8::1"},
		{"v6 in brackets", "[fd00::1]:5", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"v6 with a port", "[fd00::1]:5", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"v6 with a zone", "[fd00::1]:5", []string{"fe80::1%eth0"}, "fe80::1"},
		{"half a bracket", "10.0.0.1:5", []string{"192.0.2.1]"}, "10.0.0.1"},
		{"v4-mapped peer", "[::ffff:10.0.0.1]:5", []string{"192.0.2.1"}, "192.0.2.1"},
		{"v4-mapped entry", "10.0.0.1:5", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"v4-mapped proxy", "10.0.0.1:5", []string{"192.0.2.1, ::ffff:10.0.0.2"}, "192.0.2.1"},
		{"too many hops", "10.0.0.1:5", []string{"192.0.2.1" + strings.Repeat(",10.0.0.2", 40)}, "10.0.0.2"},
		{"Unix socket", "@", []string{"192.0.2.1"}, "invalid IP"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := clientAddr(peerAddr(tt.remote), tt.forwarded, proxies); got.String() != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestLimitKey(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "2001:db8:1:2:ffff::4": "2001:db8:1:2::/64",
	} {
		if got := limitKey(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
	if got := limitKey(netip.Addr{}); got != "unknown" {
		t.Error(got)
	}
}

// FuzzClientAddr: what a client writes into X-Forwarded-For, left of what our
// proxy adds, never changes who he is; without a proxy nothing does.
func FuzzClientAddr(f *testing.F) {
	for _, seed := range []string{"", "192.0.2.1", "10.0.0.1, x", "[::1]:1,", ",,,", "::ffff:10.0.0.1", "fe80::1%a,b"} {
		f.Add(seed, "10.0.0.7")
	}
	f.Fuzz(func(t *testing.T, forged, second string) {
		proxy, client := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("192.0.2.9")
		if got := clientAddr(client, []string{forged, second}, proxies); got != client {
			t.Fatalf("without a proxy: %s", got)
		}
		for _, header := range [][]string{{forged + ", 192.0.2.9"}, {second, forged + ",192.0.2.9"}, {forged, second, "192.0.2.9"}} {
			if got := clientAddr(proxy, header, proxies); got != client {
				t.Fatalf("%q: %s", header, got)
			}
		}
		if got := clientAddr(proxy, []string{forged, second}, proxies); !got.IsValid() || got.Is4In6() || got.Zone() != "" {
			t.Fatalf("not a plain address: %s", got)
		}
	})
}
