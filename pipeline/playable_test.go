package pipeline_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/pipeline"
)

// playable decrypts every rendition whole, without the product's own code, and
// counts the frames that ffmpeg decodes.
func (l *lab) playable(req pipeline.Request, p *pipeline.Presentation) {
	l.t.Helper()
	for _, v := range p.Video {
		file := l.clear(req, v.Output, "v-"+v.Rung)
		if got := int64(len(frameHashes(l.t, file, "v"))); got != v.Frames {
			l.t.Errorf("%s %s: %d frames decode, want %d", v.Output, v.Rung, got, v.Frames)
		}
	}
	for i := range p.Audio {
		dir := fmt.Sprintf("a-%d", i%(len(p.Audio)/len(p.Outputs)))
		if file := l.clear(req, p.Audio[i].Output, dir); len(frameHashes(l.t, file, "a")) == 0 {
			l.t.Errorf("%s %s: no sound decodes", p.Audio[i].Output, dir)
		}
	}
}

// nothingPlayable wants no playlist and no manifest in the store.
func (l *lab) nothingPlayable(req pipeline.Request) {
	l.t.Helper()
	infos, err := l.media.List(l.t.Context(), "stream/"+req.Hash+"/")
	if err != nil {
		l.t.Fatal(err)
	}
	for _, info := range infos {
		if strings.HasSuffix(info.Key, ".m3u8") || strings.HasSuffix(info.Key, ".mpd") {
			l.t.Errorf("%s is in the store", info.Key)
		}
	}
}

var keyLine = regexp.MustCompile(`#EXT-X-KEY:METHOD=AES-128,URI="([^"]+)",IV=0x([0-9a-f]{32})`)

// stored writes a rendition into one file. AES-128 is undone.
func (l *lab) stored(req pipeline.Request, output, track string) string {
	l.t.Helper()
	dir := output + "/" + track + "/"
	var body bytes.Buffer
	if output != pipeline.OutputTS {
		body.Write(l.object(req, dir+"init.mp4"))
	}
	var iv, uri string
	for line := range strings.Lines(string(l.object(req, dir+"index.m3u8"))) {
		line = strings.TrimSpace(line)
		if m := keyLine.FindStringSubmatch(line); m != nil {
			if key, ok := req.Keys[output]; ok && m[1] != key.URI {
				l.t.Errorf("key URI is %s", m[1])
			}
			uri, iv = m[1], m[2]
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		seg := l.object(req, dir+line)
		if req.Options.Encrypt && output != pipeline.OutputCMAF {
			seg = undoAES128(l.t, l.contentKey(req, output, uri).Bytes(), iv, seg)
			iv = "" // each segment needs a line of its own
		}
		body.Write(seg)
	}
	ext := ".mp4"
	if output == pipeline.OutputTS {
		ext = ".ts"
	}
	file := filepath.Join(l.t.TempDir(), output+"-"+track+ext)
	if err := os.WriteFile(file, body.Bytes(), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return file
}

// clear is stored with cbcs undone too, by ffmpeg.
func (l *lab) clear(req pipeline.Request, output, track string) string {
	l.t.Helper()
	file := l.stored(req, output, track)
	key, encrypted := req.Keys[output]
	if !encrypted || output != pipeline.OutputCMAF {
		return file
	}
	in, err := os.Open(file)
	if err != nil {
		l.t.Fatal(err)
	}
	defer in.Close()
	opened := strings.TrimSuffix(file, ".mp4") + "-clear.mp4"
	// Through a pipe: ffmpeg 5.1 mixes up the keys of a third fragment when it can seek.
	cmd := exec.Command("ffmpeg", "-v", "error", "-decryption_key", hex.EncodeToString(key.Content.Bytes()),
		"-i", "pipe:0", "-c", "copy", "-copyts", opened)
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("decrypt %s: %v\n%s", file, err, out)
	}
	return opened
}

// contentKey finds the key behind a key URI.
func (l *lab) contentKey(req pipeline.Request, output, uri string) cenc.ContentKey {
	l.t.Helper()
	if key, ok := req.Keys[output]; ok {
		return key.Content
	}
	_, text, _ := strings.Cut(uri, "?kid=")
	kid, err := cenc.ParseKID(text)
	if err != nil {
		l.t.Fatalf("key URI %s: %v", uri, err)
	}
	key, err := req.StoredKey(l.t.Context(), kid)
	if err != nil || key.IsZero() {
		l.t.Fatalf("no key behind %s: %v", uri, err)
	}
	return key
}

func undoAES128(t *testing.T, key []byte, iv string, seg []byte) []byte {
	t.Helper()
	ivBytes, err := hex.DecodeString(iv)
	if err != nil || len(ivBytes) != 16 || len(seg)%16 != 0 {
		t.Fatalf("segment of %d bytes under IV %q", len(seg), iv)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	cipher.NewCBCDecrypter(block, ivBytes).CryptBlocks(seg, seg)
	return seg[:len(seg)-int(seg[len(seg)-1])]
}

// frameHashes returns the MD5 of every decoded frame of the first stream of a
// kind (v or a), in order.
func frameHashes(t *testing.T, file, kind string) []string {
	t.Helper()
	cmd := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-i", file, "-map", "0:"+kind+":0",
		"-vsync", "passthrough", "-f", "framemd5", "-")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("framemd5 of %s: %v\n%s", file, err, stderr.String())
	}
	var hashes []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Split(line, ","); len(f) >= 6 && !strings.HasPrefix(line, "#") {
			hashes = append(hashes, strings.TrimSpace(f[len(f)-1]))
		}
	}
	return hashes
}
