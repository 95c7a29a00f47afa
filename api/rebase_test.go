package api

import (
	"encoding/xml"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

func TestRebasePlaylist(t *testing.T) {
	const p = testPrefix
	tests := []struct{ name, file, line, want string }{
		{"URI line", "master.m3u8", "a.m3u8", p + "/a.m3u8"},
		{"in a folder", "master.m3u8", "video/a.m3u8", p + "/video/a.m3u8"},
		{"query and fragment", "master.m3u8", "a.m3u8?x=../y#z", p + "/a.m3u8?x=../y#z"},
		{"dot segments inside", "master.m3u8", "./video/../a.m3u8", p + "/a.m3u8"},
		{"carriage return", "master.m3u8", "a.m3u8\r", p + "/a.m3u8\r"},
		{"from ts", "ts/master.m3u8", "720p/i.m3u8", "../" + p + "/ts/720p/i.m3u8"},
		{"from ts to its parent", "ts/master.m3u8", "../audio/i.m3u8", "../" + p + "/audio/i.m3u8"},
		{"absolute URI", "master.m3u8", "https://cdn.example/a.m3u8", "https://cdn.example/a.m3u8"},
		{"scheme of another kind", "master.m3u8", "data:text/plain,x", "data:text/plain,x"},
		{"absolute path", "master.m3u8", "/stream/x.m3u8", "/stream/x.m3u8"},
		{"other host", "master.m3u8", "//cdn.example/a", "//cdn.example/a"},
		{"comment", "master.m3u8", "# a.m3u8 URI=\"b\"", "# a.m3u8 URI=\"b\""},
		{"blank line", "master.m3u8", "", ""},
		{"tag without URIs", "master.m3u8", "#EXTINF:6,URI=\"x\"", "#EXTINF:6,URI=\"x\""},
		{"media", "master.m3u8", `#EXT-X-MEDIA:TYPE=AUDIO,URI="a/1.m3u8",NAME="x"`, `#EXT-X-MEDIA:TYPE=AUDIO,URI="` + p + `/a/1.m3u8",NAME="x"`},
		{"media without URI", "master.m3u8", `#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,NAME="x"`, `#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,NAME="x"`},
		{"URI in a name", "master.m3u8", `#EXT-X-MEDIA:NAME="a,URI=b",URI="c"`, `#EXT-X-MEDIA:NAME="a,URI=b",URI="` + p + `/c"`},
		{"I-frames", "ts/master.m3u8", `#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="i.m3u8"`, `#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="../` + p + `/ts/i.m3u8"`},
		{"session key", "master.m3u8", `#EXT-X-SESSION-KEY:METHOD=AES-128,URI="https://v.example/api/key/x"`, `#EXT-X-SESSION-KEY:METHOD=AES-128,URI="https://v.example/api/key/x"`},
		{"map", "master.m3u8", `#EXT-X-MAP:URI="init.mp4",BYTERANGE="1@0"`, `#EXT-X-MAP:URI="` + p + `/init.mp4",BYTERANGE="1@0"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := rebasePlaylist([]byte("#EXTM3U\n"+tt.line+"\n"), tt.file, p)
			if want := "#EXTM3U\n" + tt.want + "\n"; err != nil || string(got) != want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	for name, line := range map[string]string{
		"out of the generation": "../a.m3u8", "far out": "a/../../../a", "the folder itself": ".", "a folder by its parent": "a/b/..", "empty segment": "a//b", "nameless attribute": `#EXT-X-MEDIA:,URI="x"`, "encoded dots": "%2e%2e/a", "encoded separator": "a%2fb",
		"backslash": `..\a`, "a folder": "a/", "query alone": "?x", "space": "a b.m3u8", "variable": "{$x}/a", "hidden": ".a",
		"out by attribute": `#EXT-X-MEDIA:URI="../../x"`, "open quote": `#EXT-X-MEDIA:URI="x`, "unquoted": `#EXT-X-MEDIA:URI=x`,
		"no value": `#EXT-X-MEDIA:URI`, "empty": `#EXT-X-MEDIA:URI=""`, "no comma": `#EXT-X-MEDIA:NAME="a"URI="x"`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := rebasePlaylist([]byte("#EXTM3U\n"+line+"\n"), "master.m3u8", p); err == nil {
				t.Errorf("gives %q", got)
			}
		})
	}
	if _, err := rebasePlaylist([]byte("<html>"), "master.m3u8", p); err == nil {
		t.Error("not a playlist, accepted")
	}
}

func TestRebaseManifest(t *testing.T) {
	tests := []struct{ name, doc, want string }{
		{"plain", `<MPD><Period/></MPD>`, `<MPD><BaseURL>P/</BaseURL><Period/></MPD>`},
		{
			"as the packager writes it", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!--Generated <MPD>-->\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" a='>'\n  b=\"/\">\n  <Period/>\n</MPD>\n",
			"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!--Generated <MPD>-->\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" a='>'\n  b=\"/\"><BaseURL>P/</BaseURL>\n  <Period/>\n</MPD>\n",
		},
		{"BaseURL deeper down is relative to ours", `<MPD><Period><BaseURL>v/</BaseURL></Period></MPD>`, `<MPD><BaseURL>P/</BaseURL><Period><BaseURL>v/</BaseURL></Period></MPD>`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := rebaseManifest([]byte(tt.doc), "manifest.mpd", "P")
			if err != nil || string(got) != tt.want {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
	if got, err := rebaseManifest([]byte("<MPD></MPD>"), "a/manifest.mpd", "P"); err != nil || string(got) != "<MPD><BaseURL>../P/a/</BaseURL></MPD>" {
		t.Errorf("%s, %v", got, err)
	}
	for name, doc := range map[string]string{
		"empty": "", "text": "hello", "no content": "<MPD/>", "no content, spaced": "<MPD />", "another root": "<HTML></HTML>", "not closed": "<MPD>",
		"two roots": "<MPD></MPD><MPD></MPD>", "own BaseURL": "<MPD><BaseURL>x</BaseURL></MPD>", "prefix": `<m:MPD xmlns:m="x"></m:MPD>`,
		"document type": `<!DOCTYPE x><MPD></MPD>`, "other charset": `<?xml version="1.0" encoding="UTF-16"?><MPD></MPD>`, "behind": "<MPD></MPD><x/>",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := rebaseManifest([]byte(doc), "manifest.mpd", "P"); err == nil {
				t.Errorf("gives %s", got)
			}
		})
	}
}

var uriAttribute = regexp.MustCompile(`(?:^|,)URI="([^"]*)"`)

// FuzzRebasePlaylist: rebasing keeps the number of lines and every line that
// has no URI, and each relative URI resolves to what it named in the store.
func FuzzRebasePlaylist(f *testing.F) {
	for _, seed := range []string{masterPlaylist, tsPlaylist, "#EXTM3U\r\na\r\n\r\n", "#EXTM3U\n#EXT-X-MAP:URI=\"a?b#c\",X=y\n./a/../b"} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, doc string, ts bool) {
		name := "master.m3u8"
		if ts {
			name = "ts/master.m3u8"
		}
		got, err := rebasePlaylist([]byte(doc), name, testPrefix)
		if err != nil {
			return
		}
		before, after := strings.Split(doc, "\n"), strings.Split(string(got), "\n")
		if len(before) != len(after) {
			t.Fatalf("%d lines became %d", len(before), len(after))
		}
		root := "https://v.example/stream/" + hashA + "/"
		for i := range before {
			uris, rebased := urisOf(before[i]), urisOf(after[i])
			if len(uris) != len(rebased) || (len(uris) == 0 && before[i] != after[i]) {
				t.Fatalf("%q became %q", before[i], after[i])
			}
			for k, uri := range uris {
				if schemePattern.MatchString(uri) || strings.HasPrefix(uri, "/") {
					if rebased[k] != uri {
						t.Fatalf("%q became %q", uri, rebased[k])
					}
					continue
				}
				want, err1 := resolve(root+testPrefix+"/"+name, uri)
				is, err2 := resolve(root+name, rebased[k])
				if err1 != nil || err2 != nil {
					continue // a query that net/url does not like
				}
				if want != is || !strings.HasPrefix(is, root+testPrefix+"/") {
					t.Fatalf("%q resolves to %q, its rebased form %q to %q", uri, want, rebased[k], is)
				}
			}
		}
	})
}

func urisOf(line string) []string {
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return nil
	}
	if line[0] != '#' {
		return []string{line}
	}
	for _, tag := range uriTags {
		if list, ok := strings.CutPrefix(line, tag); ok {
			var uris []string
			for _, m := range uriAttribute.FindAllStringSubmatch(list, -1) {
				uris = append(uris, m[1])
			}
			return uris
		}
	}
	return nil
}

func resolve(base, ref string) (string, error) {
	b, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	u, err := b.Parse(ref)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// FuzzRebaseManifest: a rebased MPD is the same document with one BaseURL, and
// cannot be rebased again.
func FuzzRebaseManifest(f *testing.F) {
	for _, seed := range []string{manifest, "<MPD></MPD>", "<MPD/>", "<!--x--><MPD a='/'>x</MPD>", "<MPD><![CDATA[<BaseURL>]]></MPD>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		got, err := rebaseManifest([]byte(doc), "manifest.mpd", testPrefix)
		if err != nil {
			return
		}
		const base = "<BaseURL>" + testPrefix + "/</BaseURL>"
		i := strings.Index(string(got), base)
		if i < 0 || strings.Count(doc, "\n") != strings.Count(string(got), "\n") {
			t.Fatalf("%q", got)
		}
		var mpd struct{ BaseURL []string }
		if err := xml.Unmarshal(got, &mpd); err != nil || len(mpd.BaseURL) != 1 || mpd.BaseURL[0] != testPrefix+"/" {
			t.Fatalf("%q: %v, %v", got, mpd, err)
		}
		if _, err := rebaseManifest(got, "manifest.mpd", testPrefix); err == nil {
			t.Fatalf("%q can be rebased", got)
		}
	})
}
