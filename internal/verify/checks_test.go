package verify_test

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/verify"
)

// breach is a presentation that one check alone refuses.
type breach struct {
	check     string
	name      string // of the case, where a check has several
	entry     string
	packaging string
	damage    func(t testing.TB, s *site)
	change    func(*verify.Config)
}

const (
	hls  = "master.m3u8"
	ts   = "ts/master.m3u8"
	dash = "manifest.mpd"
)

func breaches() []breach {
	return []breach{
		{check: "fetch", entry: hls, damage: func(_ testing.TB, s *site) { delete(s.title.files, "cmaf/v-240p/2.m4s") }},
		{check: "content-type", entry: hls, damage: func(_ testing.TB, s *site) { s.title.types["cmaf/v-240p/2.m4s"] = "text/plain" }},
		{check: "cors", entry: hls, damage: func(_ testing.TB, s *site) { s.origin = "https://other.example" }, change: askOrigin},
		{check: "cors", name: "preflight", entry: hls, packaging: encrypted, change: askOrigin, damage: func(_ testing.TB, s *site) {
			s.origin = pageOrigin
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodOptions {
					w.WriteHeader(http.StatusForbidden)
				}
				return r.Method == http.MethodOptions
			}
		}},
		{check: "cache-media", entry: hls, damage: func(_ testing.TB, s *site) { s.title.cache["cmaf/v-240p/2.m4s"] = "no-store" }},
		{check: "cache-media", name: "entry document", entry: hls, damage: func(_ testing.TB, s *site) { s.title.cache["master.m3u8"] = "max-age=86400" }},
		{check: "key", entry: hls, packaging: encrypted, damage: func(_ testing.TB, s *site) {
			s.key = func(w http.ResponseWriter, r *http.Request) bool { return s.good(r) && write(w, make([]byte, 15)) }
		}},
		{check: "key-cache", entry: hls, packaging: encrypted, damage: func(_ testing.TB, s *site) {
			s.key = func(w http.ResponseWriter, r *http.Request) bool {
				if s.good(r) {
					w.Header().Set("Cache-Control", "private, max-age=60")
				}
				return false
			}
		}},
		{check: "key-refused", entry: hls, packaging: encrypted, damage: func(_ testing.TB, s *site) {
			s.key = func(w http.ResponseWriter, r *http.Request) bool {
				return r.Header.Get("Authorization") == "" && write(w, s.title.keys[s.title.first])
			}
		}},
		{check: "key-refused", name: "16 bytes in a refusal", entry: hls, packaging: encrypted, damage: func(_ testing.TB, s *site) {
			s.key = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Header.Get("Authorization") != "" {
					return false
				}
				w.WriteHeader(http.StatusUnauthorized)
				return write(w, s.title.keys[s.title.first])
			}
		}},
		{check: "key-refused", name: "licence without a token", entry: dash, packaging: encrypted, damage: func(_ testing.TB, s *site) {
			s.before = func(_ http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, "/api/license/") && r.Header.Get("Authorization") == "" {
					r.Header.Set("Authorization", "Bearer "+testToken)
				}
				return false
			}
		}},
		{check: "clear", entry: ts, packaging: encrypted, damage: func(t testing.TB, s *site) { s.title.clearTS(t, titleOf(t, inClear), "ts/v-240p/2.ts") }},
		{check: "decrypt", entry: ts, packaging: encrypted, damage: func(t testing.TB, s *site) {
			s.title.edit(t, "ts/v-240p/2.ts", func(b []byte) []byte { return b[:len(b)-1] })
		}},
		{check: "scheme", entry: hls, packaging: encrypted, damage: func(t testing.TB, s *site) {
			s.title.sub(t, "cmaf/v-240p/index.m3u8", "METHOD=SAMPLE-AES,", "METHOD=SAMPLE-AES-CTR,")
		}},
		{check: "iv", entry: ts, packaging: encrypted, damage: func(t testing.TB, s *site) { s.title.repeatIV(t, "ts/v-240p") }},
		{check: "session-key", entry: hls, packaging: encrypted, damage: func(t testing.TB, s *site) {
			s.title.replace(t, "master.m3u8", "#EXT-X-STREAM-INF", `#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI="`+placeholder+`/api/key/none",KEYFORMAT="identity"`+"\n#EXT-X-STREAM-INF")
		}},
		{check: "syntax", entry: hls, damage: func(t testing.TB, s *site) {
			s.title.sub(t, "cmaf/v-240p/index.m3u8", `(#EXT-X-VERSION:\d+\n)`, "$1$1")
		}},
		{check: "syntax", name: "quoted string without an end", entry: hls, damage: func(t testing.TB, s *site) {
			s.title.sub(t, "master.m3u8", `CLOSED-CAPTIONS=NONE`, `X-NOTE="open`)
		}},
		{check: "version", entry: hls, damage: func(t testing.TB, s *site) {
			s.title.sub(t, "cmaf/v-240p/index.m3u8", `#EXT-X-VERSION:\d+`, "#EXT-X-VERSION:5")
		}},
		{check: "target-duration", entry: hls, damage: func(t testing.TB, s *site) {
			s.title.sub(t, "cmaf/a-0/index.m3u8", `#EXT-X-TARGETDURATION:\d+\n`, "")
		}},
		{check: "same-target", entry: hls, damage: func(t testing.TB, s *site) {
			s.title.sub(t, "cmaf/a-0/index.m3u8", `#EXT-X-TARGETDURATION:\d+`, "#EXT-X-TARGETDURATION:9")
		}},
		{check: "finished", entry: hls, damage: func(t testing.TB, s *site) { s.title.replace(t, "cmaf/a-0/index.m3u8", "#EXT-X-ENDLIST\n", "") }},
		{check: "variant-attributes", entry: hls, damage: func(t testing.TB, s *site) { s.title.sub(t, "master.m3u8", `CODECS="[^"]*",`, "") }},
		{check: "media-groups", entry: hls, damage: func(t testing.TB, s *site) { s.title.replace(t, "master.m3u8", "AUTOSELECT=YES", "AUTOSELECT=NO") }},
		{check: "mpd-attributes", entry: dash, damage: func(t testing.TB, s *site) { s.title.sub(t, dash, ` minBufferTime="[^"]*"`, "") }},
		{check: "mpd-duration", entry: dash, damage: func(t testing.TB, s *site) {
			s.title.sub(t, dash, ` mediaPresentationDuration="[^"]*"`, ` mediaPresentationDuration="PT9S"`)
		}},
		{check: "mpd-protection", entry: dash, packaging: encrypted, damage: func(t testing.TB, s *site) {
			s.title.edit(t, dash, func(b []byte) []byte {
				return bytes.ReplaceAll(b, []byte("mp4protection:2011"), []byte("mp4protection:2012"))
			})
		}},
		{check: "mpd-bandwidth", entry: dash, damage: func(t testing.TB, s *site) { s.title.sub(t, dash, ` bandwidth="\d+"`, ` bandwidth="1000"`) }},
		{check: "duration", entry: hls, damage: func(t testing.TB, s *site) {
			s.title.sub(t, "cmaf/v-240p/index.m3u8", `#EXTINF:2(\.\d+)?,`, "#EXTINF:2.200,")
		}},
		{check: "gaps", entry: hls, damage: func(t testing.TB, s *site) { s.title.shift(t, "cmaf/*/3.m4s", 1) }},
		{check: "alignment", entry: hls, damage: func(t testing.TB, s *site) { s.title.shift(t, "cmaf/v-240p/[0-9].m4s", 0.09) }},
		{check: "start", entry: hls, damage: func(t testing.TB, s *site) { s.title.shift(t, "cmaf/a-0/[0-9].m4s", 0.5) }},
		{check: "length", entry: hls, damage: func(t testing.TB, s *site) { s.title.dropLast(t, "cmaf/a-0/index.m3u8", 2) }},
		{check: "time-line", entry: dash, damage: func(t testing.TB, s *site) { s.title.shift(t, "cmaf/*/[0-9].m4s", 0.5) }},
		{check: "bandwidth", entry: hls, damage: func(t testing.TB, s *site) {
			s.title.sub(t, "master.m3u8", `BANDWIDTH=\d+,AVERAGE-BANDWIDTH=\d+`, "BANDWIDTH=1000")
		}},
		{check: "bandwidth-close", entry: hls, damage: func(t testing.TB, s *site) {
			s.title.sub(t, "master.m3u8", `BANDWIDTH=\d+,`, "BANDWIDTH=90000000,")
		}},
		{check: "average-bandwidth", entry: hls, damage: func(t testing.TB, s *site) {
			s.title.sub(t, "master.m3u8", `AVERAGE-BANDWIDTH=\d+,`, "AVERAGE-BANDWIDTH=1000,")
		}},
		{check: "frame-rate", entry: hls, damage: func(t testing.TB, s *site) { s.title.sub(t, "master.m3u8", `FRAME-RATE=[\d.]+`, "FRAME-RATE=24.000") }},
		{check: "container", entry: hls, damage: func(t testing.TB, s *site) { s.title.replace(t, "cmaf/v-240p/2.m4s", "tfdt", "free") }},
		{check: "container", name: "MPEG-TS", entry: ts, damage: func(t testing.TB, s *site) {
			s.title.edit(t, "ts/v-240p/2.ts", func(b []byte) []byte { b[188] = 0; return b })
		}},
		{check: "codecs", entry: hls, damage: func(t testing.TB, s *site) { s.title.replace(t, "master.m3u8", "avc1.640015", "avc1.64001f") }},
		{check: "resolution", entry: hls, damage: func(t testing.TB, s *site) { s.title.replace(t, "master.m3u8", "426x240", "428x240") }},
		{check: "resolution", name: "MPEG-TS", entry: ts, damage: func(t testing.TB, s *site) { s.title.replace(t, ts, "426x240", "428x240") }},
		{check: "independent", entry: hls, damage: func(t testing.TB, s *site) {
			s.title.edit(t, "cmaf/v-240p/2.m4s", func(b []byte) []byte { return notKey(t, b) })
			// Its I-frame playlist names the same segment.
			s.title.edit(t, "master.m3u8", func(b []byte) []byte {
				return regexp.MustCompile("#EXT-X-I-FRAME-STREAM-INF:.*\n").ReplaceAll(b, nil)
			})
		}},
		{check: "iframes", entry: hls, damage: func(t testing.TB, s *site) {
			s.title.addIFrames(t, func(b []byte) []byte { return notKey(t, b) })
		}},
		{check: "decodes", entry: hls, damage: func(t testing.TB, s *site) {
			s.title.edit(t, "cmaf/v-240p/2.m4s", func(b []byte) []byte {
				at := bytes.Index(b, []byte("mdat")) + 400
				copy(b[at:], bytes.Repeat([]byte{0xff}, 300))
				return b
			})
		}},
		{check: "pictures", entry: ts, damage: func(t testing.TB, s *site) {
			s.title.edit(t, "ts/v-240p/2.ts", func(b []byte) []byte { return dropTime(t, b) })
		}},
		{check: "webvtt", entry: hls, damage: func(t testing.TB, s *site) { s.title.addText(t, "00:00.000 --> 00:01.000\nHello\n") }},
		{check: "webvtt", name: "cue times", entry: hls, damage: func(t testing.TB, s *site) {
			s.title.addText(t, "WEBVTT\n\n00:02.000 --> 00:01.000\nHello\n")
		}},
		{check: "undecoded", entry: hls, packaging: encrypted, damage: func(t testing.TB, s *site) {
			s.title.replace(t, "cmaf/a-0/index.m3u8", `KEYFORMAT="identity"`, `KEYFORMAT="com.widevine"`)
		}},
	}
}

const pageOrigin = "https://www.example.org"

func askOrigin(c *verify.Config) { c.Origin = pageOrigin }

// good reports whether a request may have the title's bare key.
func (s *site) good(r *http.Request) bool {
	return r.Header.Get("Authorization") == "Bearer "+testToken && r.URL.RawQuery == "" && strings.HasSuffix(r.URL.Path, s.title.hash)
}

func write(w http.ResponseWriter, b []byte) bool {
	_, _ = w.Write(b)
	return true
}

// Each check refuses the presentation that has just its damage, and no other
// check says anything about it.
func TestEachCheckCatchesItsBreach(t *testing.T) {
	tried := map[string]bool{}
	for _, b := range breaches() {
		tried[b.check] = true
		t.Run(strings.TrimSuffix(b.check+"/"+b.name, "/"), func(t *testing.T) {
			s := &site{title: titleOf(t, b.packaging).copy()}
			b.damage(t, s)
			change := b.change
			if change == nil {
				change = func(*verify.Config) {}
			}
			r := s.verify(t, b.entry, change)
			var got []string
			for _, f := range r.Findings {
				if !slices.Contains(got, f.Check) {
					got = append(got, f.Check)
				}
			}
			if !slices.Equal(got, []string{b.check}) {
				t.Fatalf("found by %q\n%s", got, text(r))
			}
		})
	}
	for _, c := range verify.Checks() {
		if !tried[c.ID] {
			t.Errorf("no broken presentation for the check %s", c.ID)
		}
	}
}

// What the damages add, without the damage, is accepted.
func TestAcceptsTextAndIFrames(t *testing.T) {
	s := &site{title: titleOf(t, inClear).copy(), origin: pageOrigin}
	s.title.addText(t, "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n\n00:00.000 --> 01:00:01.000 line:0\nHello\n")
	s.title.addIFrames(t, func(b []byte) []byte { return b })
	if r := s.verify(t, hls, askOrigin); len(r.Findings) > 0 || len(r.Renditions) != 7 {
		t.Error(text(r))
	}
}
