package browsertest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// fastRate is above what any rendition needs, in bytes a second; slow is a share
// of what the best one needs. VLC measures nothing that comes in no time.
const fastRate, slow = 8_000_000 / 8, 0.4

// throttle stands before an origin. Whenever some segments of a title's best
// rendition were asked for it is slow until the least one is: a player that
// measures what it gets goes up and down.
type throttle struct {
	ends Ends
	mu   sync.Mutex // guards what follows
	seen int        // segments of the best rendition while it was fast
	slow bool
}

// Ends are a title's best and least rendition.
type Ends struct {
	Best, Least int // heights, in pixels
	Bits        int // of the best one with its sound, a second
	Segments    int // of the best one that come fast
}

// NewThrottle returns the server and what makes an address of the title one behind
// it. The caller closes it.
func NewThrottle(address string, ends Ends) (*httptest.Server, func(string) string, error) {
	origin, err := url.Parse(address)
	if err != nil {
		return nil, nil, err
	}
	origin.Path, origin.RawQuery = "", ""
	t := &throttle{ends: ends}
	proxy := httputil.NewSingleHostReverseProxy(origin)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.see(r.URL.Path)
		proxy.ServeHTTP(slowly{w, t}, r)
	}))
	return server, func(address string) string { return strings.Replace(address, origin.String(), server.URL, 1) }, nil
}

// isOf reports whether an address is of the rendition of a height, in whichever
// codec.
func isOf(path string, height int) bool {
	folder := regexp.MustCompile(fmt.Sprintf(`/v-([a-z0-9]+-)?%dp/`, height))
	return folder.MatchString(path)
}

func (t *throttle) see(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case isOf(path, t.ends.Best) && !strings.HasSuffix(path, ".m3u8"):
		t.seen++
		t.slow = t.seen > t.ends.Segments
	case isOf(path, t.ends.Least):
		t.slow, t.seen = false, 0
	}
}

// rate is in bytes a second.
func (t *throttle) rate() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slow {
		return max(1, int(slow*float64(t.ends.Bits)/8))
	}
	return fastRate
}

// slowly writes an answer in pieces, with pauses while the throttle is slow.
type slowly struct {
	http.ResponseWriter
	throttle *throttle
}

func (s slowly) Write(data []byte) (n int, err error) {
	const piece = 4096
	for len(data) > 0 && err == nil {
		var k int
		k, err = s.ResponseWriter.Write(data[:min(piece, len(data))])
		data, n = data[k:], n+k
		time.Sleep(time.Duration(k) * time.Second / time.Duration(s.throttle.rate()))
	}
	return n, err
}

// Unwrap lets http.ResponseController reach the writer.
func (s slowly) Unwrap() http.ResponseWriter { return s.ResponseWriter }
