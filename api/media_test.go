package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/token"
)

const segmentPath = testPrefix + "/video/720p/1.m4s"

func TestEntryDocumentsAreRebased(t *testing.T) {
	rig := newRig(t)
	tests := []struct{ path, kind, want string }{
		{"master.m3u8", "application/vnd.apple.mpegurl", "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",URI=\"" + testPrefix + "/audio/1.m3u8\"\n" +
			"#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"\n" + testPrefix + "/video/720p.m3u8\n"},
		{"ts/master.m3u8", "application/vnd.apple.mpegurl", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n../" + testPrefix + "/ts/720p/index.m3u8\n"},
		{"manifest.mpd", "application/dash+xml", `<?xml version="1.0"?>` + "\n" +
			`<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>` + testPrefix + `/</BaseURL><Period/></MPD>` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			rig.t = t
			a := rig.do("GET", "/stream/"+hashA+"/"+tt.path, "", "Origin: "+testOrigin)
			if a.StatusCode != http.StatusOK || string(a.body) != tt.want {
				t.Fatalf("%d:\n%s", a.StatusCode, a.body)
			}
			if got := a.Header.Get("Content-Type"); got != tt.kind {
				t.Errorf("type %q", got)
			}
			if got := a.Header.Get("Cache-Control"); got != "public, max-age=2" {
				t.Errorf("cache control %q", got)
			}
			tag := a.Header.Get("ETag")
			opened, _ := rig.store.counts()
			for _, condition := range []string{tag, "W/" + tag, "*", `"x", ` + tag} {
				if b := rig.do("GET", "/stream/"+hashA+"/"+tt.path, "", "If-None-Match: "+condition); b.StatusCode != http.StatusNotModified || len(b.body) != 0 || b.Header.Get("ETag") != tag {
					t.Errorf("If-None-Match %s: %d", condition, b.StatusCode)
				}
			}
			if now, _ := rig.store.counts(); now != opened {
				t.Error("304 touched the object store")
			}
			head := rig.do("HEAD", "/stream/"+hashA+"/"+tt.path, "")
			if head.StatusCode != http.StatusOK || head.ContentLength != int64(len(tt.want)) || head.Header.Get("ETag") != tag {
				t.Errorf("HEAD: %d, length %d", head.StatusCode, head.ContentLength)
			}
			part := rig.do("GET", "/stream/"+hashA+"/"+tt.path, "", "Range: bytes=1-6")
			if part.StatusCode != http.StatusPartialContent || string(part.body) != tt.want[1:7] {
				t.Errorf("range: %d %q", part.StatusCode, part.body)
			}
		})
	}
}

func TestNextGenerationHasAnotherTag(t *testing.T) {
	rig := newRig(t)
	first := rig.do("GET", "/stream/"+hashA+"/master.m3u8", "").Header.Get("ETag")
	next := "0011223344556677-2"
	rig.pubs.mu.Lock()
	rig.pubs.entries[hashA] = Entry{Prefix: next, Generation: 2, Encrypted: true}
	rig.pubs.objects[objectKey(hashA, next, "master.m3u8")] = rig.pubs.objects[objectKey(hashA, testPrefix, "master.m3u8")]
	rig.pubs.mu.Unlock()
	rig.store.mu.Lock()
	rig.store.data[objectKey(hashA, next, "master.m3u8")] = []byte(masterPlaylist)
	rig.store.mu.Unlock()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		a := rig.do("GET", "/stream/"+hashA+"/master.m3u8", "")
		if a.Header.Get("ETag") != first && strings.Contains(string(a.body), next+"/audio") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the new generation does not show")
		}
	}
}

// TestRanges holds single ranges against RFC 9110, 14.
func TestRanges(t *testing.T) {
	rig := newRig(t)
	tag := rig.do("HEAD", "/stream/"+hashA+"/"+segmentPath, "").Header.Get("ETag")
	whole := segment // 36 bytes
	tests := []struct {
		name, ranges, ifRange string
		status                int
		body, contentRange    string
	}{
		{"none", "", "", 200, whole, ""},
		{"start and end", "bytes=0-4", "", 206, "01234", "bytes 0-4/36"},
		{"one byte", "bytes=35-35", "", 206, "z", "bytes 35-35/36"},
		{"open end", "bytes=30-", "", 206, "uvwxyz", "bytes 30-35/36"},
		{"all", "bytes=0-", "", 206, whole, "bytes 0-35/36"},
		{"end behind", "bytes=30-99", "", 206, "uvwxyz", "bytes 30-35/36"},
		{"end beyond 64 bits", "bytes=30-99999999999999999999", "", 206, "uvwxyz", "bytes 30-35/36"},
		{"suffix", "bytes=-3", "", 206, "xyz", "bytes 33-35/36"},
		{"suffix longer than all", "bytes=-99999999999999999999", "", 206, whole, "bytes 0-35/36"},
		{"unit in another case", "BYTES=0-0", "", 206, "0", "bytes 0-0/36"},
		{"start behind", "bytes=36-", "", 416, "", "bytes */36"},
		{"start beyond 64 bits", "bytes=99999999999999999999-", "", 416, "", "bytes */36"},
		{"empty suffix", "bytes=-0", "", 416, "", "bytes */36"},
		{"end before start", "bytes=4-3", "", 200, whole, ""},
		{"several", "bytes=0-1,4-5", "", 200, whole, ""},
		{"other unit", "seconds=0-1", "", 200, whole, ""},
		{"no digits", "bytes=a-b", "", 200, whole, ""},
		{"negative", "bytes=--1", "", 200, whole, ""},
		{"plus", "bytes=+1-2", "", 200, whole, ""},
		{"hyphen alone", "bytes=-", "", 200, whole, ""},
		{"nothing", "bytes=", "", 200, whole, ""},
		{"If-Range matches", "bytes=0-0", tag, 206, "0", "bytes 0-0/36"},
		{"If-Range of another version", "bytes=0-0", `"x"`, 200, whole, ""},
		{"If-Range weak", "bytes=0-0", "W/" + tag, 200, whole, ""},
		{"If-Range date", "bytes=0-0", "Wed, 21 Oct 2026 07:28:00 GMT", 200, whole, ""},
		{"If-Range of another version, outside", "bytes=99-", `"x"`, 200, whole, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig.t = t
			var headers []string
			if tt.ranges != "" {
				headers = append(headers, "Range: "+tt.ranges)
			}
			if tt.ifRange != "" {
				headers = append(headers, "If-Range: "+tt.ifRange)
			}
			a := rig.do("GET", "/stream/"+hashA+"/"+segmentPath, "", headers...)
			if a.StatusCode != tt.status || (tt.status != 416 && string(a.body) != tt.body) || a.Header.Get("Content-Range") != tt.contentRange {
				t.Errorf("%d %q %q", a.StatusCode, a.body, a.Header.Get("Content-Range"))
			}
			head := rig.do("HEAD", "/stream/"+hashA+"/"+segmentPath, "", headers...)
			if head.StatusCode != http.StatusOK || head.ContentLength != 36 {
				t.Errorf("HEAD: %d, length %d", head.StatusCode, head.ContentLength)
			}
		})
	}
	if opened, closed := rig.store.counts(); opened != closed {
		t.Errorf("%d opened, %d closed", opened, closed)
	}
}

func TestObjectsAreImmutable(t *testing.T) {
	rig := newRig(t)
	for path, kind := range map[string]string{
		segmentPath: "video/iso.segment", testPrefix + "/video/720p.m3u8": "application/vnd.apple.mpegurl",
		testPrefix + "/ts/720p/1.ts": "video/mp2t", testPrefix + "/master.m3u8": "application/vnd.apple.mpegurl",
		testPrefix + "/video/720p/init.mp4": "video/mp4",
	} {
		a := rig.do("GET", "/stream/"+hashA+"/"+path, "", "Origin: "+testOrigin)
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != kind || a.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" ||
			a.Header.Get("Access-Control-Allow-Origin") != testOrigin {
			t.Errorf("%s: %d %v", path, a.StatusCode, a.Header)
		}
		opened, _ := rig.store.counts()
		b := rig.do("GET", "/stream/"+hashA+"/"+path, "", "If-None-Match: "+a.Header.Get("ETag"), "Range: bytes=0-1")
		if now, _ := rig.store.counts(); b.StatusCode != http.StatusNotModified || now != opened {
			t.Errorf("%s again: %d", path, b.StatusCode)
		}
		if b := rig.do("GET", "/stream/"+hashA+"/"+path, "", `If-Match: "x"`); b.StatusCode != http.StatusPreconditionFailed {
			t.Errorf("%s of another version: %d", path, b.StatusCode)
		}
	}
}

func TestMediaNotThere(t *testing.T) {
	rig := newRig(t)
	for path, code := range map[string]string{
		hashB + "/master.m3u8": "not_published", hashB + "/ts/master.m3u8": "not_published", hashB + "/manifest.mpd": "not_published",
		hashB + "/poster.jpg": "not_published", hashB + "/" + segmentPath: "not_found",
		hashA + "/" + testPrefix + "/video/720p/2.m4s":             "not_found",
		hashA + "/0011223344556677-9/video/720p/1.m4s":             "not_found",
		hashA + "/" + testPrefix:                                   "not_found",
		hashA + "/" + testPrefix + "/":                             "not_found",
		hashA + "/video/720p/1.m4s":                                "not_found",
		hashA + "/ts/720p/1.ts":                                    "not_found",
		hashA + "/":                                                "not_found",
		hashA:                                                      "not_found",
		hashA + "/" + testPrefix + "%2fvideo%2f720p%2f1.m4s":       "not_found",
		hashA + "/" + testPrefix + "/video/%2e%2e/master.m3u8":     "not_found",
		hashA + "/" + testPrefix + "/../" + segmentPath:            "not_found",
		hashA + "/" + testPrefix + "/./master.m3u8":                "not_found",
		hashA + "/" + testPrefix + "//master.m3u8":                 "not_found",
		hashA + "/" + testPrefix + "/..%5cmaster.m3u8":             "not_found",
		hashA + "/" + testPrefix + "/video/%252e%252e/master.m3u8": "not_found",
		hashA + "/" + testPrefix + "/master.m3u8;x":                "not_found",
		hashA + "/" + testPrefix + "/.hidden":                      "not_found",
		hashA + "/" + testPrefix + "/%00":                          "not_found",
		strings.ToUpper(hashA) + "/master.m3u8":                    "not_found",
		hashA[:63] + "/master.m3u8":                                "not_found",
		hashA + "/" + testPrefix + "/" + strings.Repeat("a", 600):  "not_found",
	} {
		a := rig.do("GET", "/stream/"+path, "")
		if a.StatusCode != http.StatusNotFound || a.code() != code || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	if opened, _ := rig.store.counts(); opened != 0 {
		t.Errorf("%d objects opened", opened)
	}
}

func TestPoster(t *testing.T) {
	rig := newRig(t)
	good, other := "Authorization: Bearer "+rig.token(hashA), "Authorization: Bearer "+rig.token(hashB)
	expired := "Authorization: Bearer " + rig.mint(token.Claims{Hash: hashA, ExpiresAt: time.Now().Add(-time.Minute)})
	tests := []struct {
		name, hash string
		headers    []string
		query      string
		status     int
		code       string
	}{
		{"encrypted, with a token", hashA, []string{good}, "", 200, ""},
		{"encrypted, without", hashA, nil, "", 401, "token_required"},
		{"encrypted, API key", hashA, []string{"X-API-Key: " + testAPIKey}, "", 401, "token_required"},
		{"encrypted, token in the query", hashA, nil, "?token=" + rig.token(hashA), 401, "token_required"},
		{"encrypted, both", hashA, []string{good}, "?token=" + rig.token(hashA), 400, "ambiguous_credentials"},
		{"encrypted, expired", hashA, []string{expired}, "", 403, "token_expired"},
		{"encrypted, another title's", hashA, []string{other}, "", 403, "token_mismatch"},
		{"encrypted, known tag without a token", hashA, []string{"If-None-Match: *"}, "", 401, "token_required"},
		{"clear", hashC, nil, "", 200, ""},
	}
	for _, tt := range tests {
		for _, path := range []string{"/poster.jpg", "/" + testPrefix + "/poster.jpg"} {
			t.Run(tt.name+path, func(t *testing.T) {
				rig.t = t
				a := rig.do("GET", "/stream/"+tt.hash+path+tt.query, "", tt.headers...)
				if a.StatusCode != tt.status || a.code() != tt.code {
					t.Fatalf("%d %s", a.StatusCode, a.body)
				}
				if tt.hash == hashA && (a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("ETag") != "") {
					t.Errorf("a cache may keep it: %v", a.Header)
				}
				if tt.status == 200 && string(a.body) != poster {
					t.Errorf("%q", a.body)
				}
			})
		}
	}
}

func TestStoreAway(t *testing.T) {
	rig := newRig(t)
	for name, spoil := range map[string]func(){
		"cannot open": func() { rig.store.err = errors.New("s3.internal:9000 refused") },
		"breaks at once": func() {
			rig.store.err, rig.store.reader = nil, func(context.Context) io.ReadCloser { return io.NopCloser(brokenReader{}) }
		},
		"ends at once": func() {
			rig.store.reader = func(context.Context) io.ReadCloser { return io.NopCloser(bytes.NewReader(nil)) }
		},
		"Postgres is away": func() { rig.store.reader, rig.pubs.err = nil, errors.New("pg.internal:5432 refused") },
	} {
		t.Run(name, func(t *testing.T) {
			rig.t = t
			rig.store.err, rig.store.reader, rig.pubs.err = nil, nil, nil
			spoil()
			for _, path := range []string{"master.m3u8", segmentPath} {
				a := rig.do("GET", "/stream/"+hashC+"/"+path, "", "Origin: "+testOrigin)
				if a.StatusCode != http.StatusServiceUnavailable || a.code() != "unavailable" || a.Header.Get("Retry-After") == "" ||
					a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("ETag") != "" || strings.Contains(string(a.body), "internal") {
					t.Errorf("%s: %d %s %v", path, a.StatusCode, a.body, a.Header)
				}
			}
		})
	}
}

// TestBrokenTransferIsCut: a body that ends early never looks whole.
func TestBrokenTransferIsCut(t *testing.T) {
	rig := newRig(t)
	rig.pubs.add(rig.store, hashA, "big.mp4", "video/mp4", make([]byte, 1<<20), true)
	rig.store.short = 1 << 19
	res, err := http.Get(rig.url + "/stream/" + hashA + "/" + testPrefix + "/big.mp4")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK || !errors.Is(err, io.ErrUnexpectedEOF) || len(got) > 1<<19 {
		t.Errorf("%d, %d bytes, %v", res.StatusCode, len(got), err)
	}
	rig.server.Close()
	if !strings.Contains(rig.log.String(), `"aborted":true`) || !strings.Contains(rig.log.String(), "s3.internal") {
		t.Errorf("the log does not tell:\n%s", rig.log.String())
	}
	if opened, closed := rig.store.counts(); opened != closed {
		t.Errorf("%d opened, %d closed", opened, closed)
	}
}

func TestChangedEntryDocumentIsNotServed(t *testing.T) {
	rig := newRig(t)
	rig.store.data[objectKey(hashA, testPrefix, "master.m3u8")] = []byte(strings.Replace(masterPlaylist, "720p", "999p", 1))
	if a := rig.do("GET", "/stream/"+hashA+"/master.m3u8", ""); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	rig.pubs.add(rig.store, hashA, "manifest.mpd", "application/dash+xml", []byte("<MPD><BaseURL>http://evil/</BaseURL></MPD>"), true)
	if a := rig.do("GET", "/stream/"+hashA+"/manifest.mpd", ""); a.StatusCode != http.StatusInternalServerError || a.code() != "internal" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// TestClientGoneEndsTheRead: who hangs up does not leave a read behind.
func TestClientGoneEndsTheRead(t *testing.T) {
	rig := newRig(t)
	ended := make(chan error, 1)
	rig.store.reader = func(ctx context.Context) io.ReadCloser { return &endlessReader{ctx: ctx, ended: ended} }
	rig.pubs.objects[objectKey(hashA, testPrefix, "big.mp4")] = Object{Name: "big.mp4", ContentType: "video/mp4", Size: 1 << 40}
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rig.url+"/stream/"+hashA+"/"+testPrefix+"/big.mp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	cancel()
	_ = res.Body.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the read ended by itself")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the read goes on")
	}
}

type endlessReader struct {
	ctx   context.Context
	ended chan error
}

func (e *endlessReader) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (e *endlessReader) Close() error { e.ended <- e.ctx.Err(); return nil }

func TestVaryForEverybody(t *testing.T) {
	rig := newRig(t)
	for _, path := range []string{"master.m3u8", segmentPath, "poster.jpg", "nothing"} {
		if a := rig.do("GET", "/stream/"+hashA+"/"+path, ""); !slices.Contains(a.Header.Values("Vary"), "Origin") {
			t.Errorf("%s: Vary %q", path, a.Header.Values("Vary"))
		}
	}
}
