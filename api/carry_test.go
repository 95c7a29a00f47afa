package api

import (
	"encoding/xml"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a packaged title looks like, small.
var carried = map[string]string{
	"master.m3u8": "#EXTM3U\n#EXT-X-VERSION:6\n" +
		`#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI="https://video.example.com/api/key/HASH",KEYFORMAT="identity"` + "\n" +
		`#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",LANGUAGE="en",URI="cmaf/audio-0/media.m3u8"` + "\n" +
		`#EXT-X-STREAM-INF:BANDWIDTH=1200000,AUDIO="a"` + "\ncmaf/720p/media.m3u8\n" +
		`#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=90000,URI="cmaf/720p/iframe.m3u8"` + "\n",
	"ts/master.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1200000\n720p/media.m3u8\n",
	"ts/720p/media.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:6\n" +
		`#EXT-X-KEY:METHOD=AES-128,URI="https://video.example.com/api/key/HASH?kid=a2a2",IV=0x01` + "\n#EXTINF:6,\n1.ts\n" +
		`#EXT-X-KEY:METHOD=AES-128,URI="https://video.example.com/api/key/HASH?kid=a3a3",IV=0x02` + "\n#EXTINF:6,\n2.ts\n#EXT-X-ENDLIST\n",
	"cmaf/720p/media.m3u8": "#EXTM3U\n" + `#EXT-X-MAP:URI="init.mp4"` + "\n" +
		`#EXT-X-KEY:METHOD=SAMPLE-AES,URI="https://video.example.com/api/key/HASH",KEYFORMAT="identity"` + "\n" +
		`#EXT-X-KEY:METHOD=SAMPLE-AES,URI="data:text/plain;base64,AAAA",KEYFORMAT="urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"` + "\n" +
		"#EXTINF:6,\n1.m4s\n#EXT-X-ENDLIST\n",
	"manifest.mpd": `<?xml version="1.0"?>` + "\n" +
		`<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:dashif="https://dashif.org/CPS"><Period><AdaptationSet>` +
		`<ContentProtection schemeIdUri="urn:uuid:e2719d58-a985-b3c9-781a-b030af78d30e"><dashif:Laurl licenseType="EME-1.0">https://video.example.com/api/license/clearkey/HASH</dashif:Laurl></ContentProtection>` +
		`<SegmentTemplate media="cmaf/720p/$Number$.m4s"/></AdaptationSet></Period></MPD>` + "\n",
}

// TestCarrierGoldens: what leaves for each of the carriers. UPDATE=1 writes them.
func TestCarrierGoldens(t *testing.T) {
	for mode, c := range map[string]carrier{
		"header": {gate: "/v1/p/pk_one/"}, // and cookie, and public: nothing to carry
		"path":   {gate: "/v1/p/pk_one/t/st_session/"},
		"query":  {gate: "/v1/p/pk_one/t/st_session/", child: "t/st_session/"},
		"legacy": {gate: "/v1/p/pk_one/t/st_session/", child: "../p/pk_one/t/st_session/"},
	} {
		for name, doc := range carried {
			_, entry := entryDocuments[name]
			for _, entry := range []bool{entry, false} {
				if !entry && mode == "legacy" {
					continue // only its entry document is there
				}
				c.hash, c.prefix, c.name, c.entry, c.depth = hashA, testPrefix, name, entry, strings.Count(name, "/")
				if !entry {
					c.depth++
				}
				rewrite, kind := c.playlist, "object"
				if strings.HasSuffix(name, ".mpd") {
					rewrite = c.manifest
				}
				if entry {
					kind = "entry"
				}
				got, err := rewrite([]byte(strings.ReplaceAll(doc, "HASH", hashA)))
				if err != nil {
					t.Errorf("%s %s: %v", mode, name, err)
					continue
				}
				golden(t, mode+"-"+kind+"-"+strings.ReplaceAll(name, "/", "_"), strings.ReplaceAll(string(got), hashA, "HASH"))
			}
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "carry", name)
	if os.Getenv("UPDATE") == "1" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (UPDATE=1 writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// TestCarriedChildrenAreReached resolves every URI as a player does (RFC 3986,
// 5): whatever the carrier and wherever the document was read, the children lie
// under the playback key, with the token where one is to be carried.
func TestCarriedChildrenAreReached(t *testing.T) {
	const origin = "https://video.example.com"
	for _, tt := range []struct{ name, folder, child, want string }{
		{"header", "/v1/p/pk_one/", "", "/v1/p/pk_one/"},
		{"path", "/v1/p/pk_one/t/a.b.c/", "", "/v1/p/pk_one/t/a.b.c/"},
		{"query", "/v1/p/pk_one/", "t/st_s/", "/v1/p/pk_one/t/st_s/"},
		{"legacy", "/v1/pk_one/", "../p/pk_one/t/st_s/", "/v1/p/pk_one/t/st_s/"},
	} {
		for name, doc := range carried {
			_, isEntry := entryDocuments[name]
			for _, entry := range []bool{isEntry, false} {
				c := carrier{hash: hashA, prefix: testPrefix, name: name, entry: entry, child: tt.child, gate: tt.want, depth: strings.Count(name, "/")}
				address := tt.folder + name
				if !entry {
					if tt.name == "legacy" {
						continue // only its entry document is there
					}
					address = tt.folder + testPrefix + "/" + name
					c.depth++
				}
				rewrite := c.playlist
				if strings.HasSuffix(name, ".mpd") {
					rewrite = c.manifest
				}
				out, err := rewrite([]byte(strings.ReplaceAll(doc, "HASH", hashA)))
				if err != nil {
					t.Fatal(err)
				}
				base, _ := url.Parse(origin + address)
				seen := 0
				for _, uri := range carriedURIs(t, string(out)) {
					if strings.HasPrefix(uri, "data:") {
						continue
					}
					ref, err := url.Parse(uri)
					if err != nil {
						t.Fatal(err)
					}
					got := base.ResolveReference(ref).String()
					if !strings.HasPrefix(got, origin+tt.want) || strings.Contains(got, "/api/") {
						t.Errorf("%s %s: %s leads to %s", tt.name, address, uri, got)
					}
					seen++
				}
				if seen == 0 {
					t.Errorf("%s %s: no URI", tt.name, address)
				}
			}
		}
	}
}

// carriedURIs lists the URIs of a playlist or a manifest by other means than ours.
func carriedURIs(t *testing.T, doc string) (out []string) {
	t.Helper()
	if strings.HasPrefix(doc, "#EXTM3U") {
		for line := range strings.Lines(doc) {
			line = strings.TrimSpace(line)
			if _, rest, ok := strings.Cut(line, `URI="`); ok {
				uri, _, _ := strings.Cut(rest, `"`)
				out = append(out, uri)
			} else if line != "" && line[0] != '#' {
				out = append(out, line)
			}
		}
		return out
	}
	var mpd struct {
		BaseURL string
		Laurl   []string `xml:"Period>AdaptationSet>ContentProtection>Laurl"`
		Media   []struct {
			Name string `xml:"media,attr"`
		} `xml:"Period>AdaptationSet>SegmentTemplate"`
	}
	if err := xml.Unmarshal([]byte(doc), &mpd); err != nil {
		t.Fatal(err)
	}
	for _, m := range mpd.Media {
		out = append(out, mpd.BaseURL+m.Name)
	}
	return append(out, mpd.Laurl...)
}

func TestOtherKeysAreLeftAlone(t *testing.T) {
	c := carrier{hash: hashA, gate: "/v1/p/pk/"}
	for _, uri := range []string{
		"https://video.example.com/api/key/" + hashB, "https://video.example.com/api/key/" + hashA + "/x", "skd://x", "data:text/plain,x",
		"https://video.example.com/stream/" + hashA + "/master.m3u8", "%zz",
	} {
		if got := c.gated(uri); got != uri {
			t.Errorf("%s becomes %s", uri, got)
		}
	}
	for _, doc := range []string{"", "#EXTM3U", "<MPD>", "<MPD></MPD><x", "<!DOCTYPE x><MPD></MPD>"} {
		c.entry = true
		if got, err := c.manifest([]byte(doc)); err == nil {
			t.Errorf("%q gives %q", doc, got)
		}
	}
}
