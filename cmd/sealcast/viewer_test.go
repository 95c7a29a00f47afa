package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// seal is METHOD=AES-128 as RFC 8216, 5.2 describes it.
func seal(t *testing.T, key, iv, clear []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	pad := aes.BlockSize - len(clear)%aes.BlockSize
	out := append(bytes.Clone(clear), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, out)
	return out
}

func TestViewerDecryptsSegments(t *testing.T) {
	key := []byte("0123456789abcdef")
	explicit := []byte("fedcba9876543210")
	clear := [][]byte{[]byte("first segment"), []byte("sixteen bytes ok"), {}}
	bodies := map[string][]byte{
		// The first two by the sequence numbers 7 and 8, the third by an explicit IV.
		"/0.ts": seal(t, key, append(make([]byte, 15), 7), clear[0]),
		"/1.ts": seal(t, key, append(make([]byte, 15), 8), clear[1]),
		"/2.ts": seal(t, key, explicit, clear[2]),
		"/k":    key,
		"/index.m3u8": fmt.Appendf(nil, `#EXTM3U
#EXT-X-VERSION:3
#EXT-X-TARGETDURATION:6
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-PLAYLIST-TYPE:VOD
#EXT-X-KEY:METHOD=AES-128,URI="/k"
#EXTINF:6.0,
0.ts
#EXTINF:6.0,
1.ts
#EXT-X-KEY:METHOD=AES-128,URI="/k",IV=0x%s
#EXTINF:2.0,
2.ts
#EXT-X-ENDLIST
`, hex.EncodeToString(explicit)),
	}
	tokens := map[string][]string{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens[r.URL.Path] = append(tokens[r.URL.Path], r.Header.Get("Authorization"))
		_, _ = w.Write(bodies[r.URL.Path])
	}))
	defer srv.Close()

	v := newViewer("a-token")
	mp, err := v.media(context.Background(), srv.URL+"/index.m3u8")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := v.stream(context.Background(), srv.URL+"/index.m3u8", mp, &got); err != nil {
		t.Fatal(err)
	}
	if want := bytes.Join(clear, nil); !bytes.Equal(want, got.Bytes()) {
		t.Errorf("got %q, want %q", got.Bytes(), want)
	}
	for path, sent := range tokens {
		want := ""
		if path == "/k" {
			want = "Bearer a-token"
		}
		if len(sent) != 1 || sent[0] != want {
			t.Errorf("%s was asked for with %q, want once with %q", path, sent, want)
		}
	}

	// Another key is noticed.
	bodies["/k"] = []byte("another key here")
	if err := newViewer("a-token").stream(context.Background(), srv.URL+"/index.m3u8", mp, io.Discard); err == nil {
		t.Error("a wrong key went unnoticed")
	}
	bodies["/k"] = key[:15]
	err = newViewer("a-token").stream(context.Background(), srv.URL+"/index.m3u8", mp, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "gave 15 bytes, want 16") {
		t.Errorf("a short key: %v", err)
	}
}

func TestViewerFollowsNoRedirect(t *testing.T) {
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	srv := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer srv.Close()
	if _, err := newViewer("a-token").get(context.Background(), srv.URL, true); err == nil || reached {
		t.Errorf("the token went on to another place (error %v)", err)
	}
}

func TestDecodeSeesWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name, format string
		feed         func(io.Writer) error
	}{
		{"nothing", "mpegts", func(io.Writer) error { return nil }},
		{"noise", "mp4", func(w io.Writer) error { _, err := w.Write(bytes.Repeat([]byte("noise"), 1000)); return err }},
		{"a fault of the source", "mpegts", func(io.Writer) error { return io.ErrUnexpectedEOF }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := decode(context.Background(), c.format, c.feed); err == nil {
				t.Errorf("decoded %+v without complaint", got)
			}
		})
	}
}
