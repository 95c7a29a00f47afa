package player_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The sample: 10 s, two rungs, packaged twice under stream/<hash> as the
// product lays it out. The picture is a ramp that moves by the frame, so that
// every second looks different.

const (
	sampleSeconds = 10
	rungs         = 2
	kidHex        = "000102030405060708090a0b0c0d0e0f"
)

var (
	titleHash = strings.Repeat("5e", 32)
	tsKey     = []byte("ts key 16 bytes!")
	cmafKey   = []byte("cmafkey 16 bytes")
	heights   = [rungs]int{360, 180}
)

// run runs a tool; a missing one fails the test.
func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// makeSample returns the folder to serve and the encoded top rung, the
// reference for pictures.
func makeSample(t *testing.T, keyURI string) (dir, reference string) {
	t.Helper()
	work, dir := t.TempDir(), t.TempDir()
	title := filepath.Join(dir, titleHash)
	for _, d := range []string{"ts", "v0", "v1", "a"} {
		if err := os.MkdirAll(filepath.Join(title, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{
		"-v", "error", "-nostdin",
		"-f", "lavfi", "-i", fmt.Sprintf("color=s=640x360:r=25:d=%d,format=yuv420p,geq=lum='16+mod(X/3+T*40\\,220)':cb=128:cr=128", sampleSeconds),
		"-f", "lavfi", "-i", fmt.Sprintf("sine=440:d=%d", sampleSeconds),
		"-filter_complex", "[0:v]split[v0][s1];[s1]scale=-2:180[v1]",
	}
	for i, h := range heights {
		args = append(args, "-map", fmt.Sprintf("[v%d]", i), "-c:v", "libx264", "-preset", "ultrafast", "-crf", "20",
			"-profile:v", "high", "-g", "50", "-keyint_min", "50", "-sc_threshold", "0", fmt.Sprintf("v%d-%d.mp4", i, h))
	}
	args = append(args, "-map", "1:a", "-c:a", "aac", "-b:a", "96k", "-ac", "2", "-ar", "48000", "a.mp4")
	run(t, work, "ffmpeg", args...)
	packageCMAF(t, work, title, keyURI)
	packageTS(t, work, filepath.Join(title, "ts"), keyURI+"?kid=ts")
	return dir, filepath.Join(work, fmt.Sprintf("v0-%d.mp4", heights[0]))
}

func packageCMAF(t *testing.T, work, title, keyURI string) {
	t.Helper()
	stream := func(in, kind, name string) string {
		return fmt.Sprintf("in=%s,stream=%s,init_segment=%[3]s/init.mp4,segment_template=%[3]s/$Number$.m4s,playlist_name=%[3]s/media.m3u8",
			filepath.Join(work, in), kind, name)
	}
	run(t, title, "packager", stream("v0-360.mp4", "video", "v0"), stream("v1-180.mp4", "video", "v1"), stream("a.mp4", "audio", "a"),
		"--segment_duration", "2", "--generate_static_live_mpd", "--hls_playlist_type", "VOD",
		"--hls_master_playlist_output", "master.m3u8", "--mpd_output", "manifest.mpd",
		"--enable_raw_key_encryption", "--protection_scheme", "cbcs", "--clear_lead", "0", "--hls_key_uri", keyURI,
		"--keys", fmt.Sprintf("label=:key_id=%s:key=%x", kidHex, cmafKey))
}

// packageTS writes TS HLS and encrypts each segment whole: AES-128-CBC, PKCS#7,
// an IV of its own (RFC 8216, 4.3.2.4).
func packageTS(t *testing.T, work, dir, keyURI string) {
	t.Helper()
	stream := func(in, kind, name string) string {
		return fmt.Sprintf("in=%s,stream=%s,segment_template=%[3]s-$Number$.ts,playlist_name=%[3]s.m3u8", filepath.Join(work, in), kind, name)
	}
	run(t, dir, "packager", stream("v0-360.mp4", "video", "v0"), stream("v1-180.mp4", "video", "v1"), stream("a.mp4", "audio", "a"),
		"--segment_duration", "2", "--hls_playlist_type", "VOD", "--hls_master_playlist_output", "master.m3u8")
	for _, name := range []string{"v0", "v1", "a"} {
		encryptSegments(t, filepath.Join(dir, name+".m3u8"), keyURI)
	}
}

func encryptSegments(t *testing.T, playlist, keyURI string) {
	t.Helper()
	text, err := os.ReadFile(playlist)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(tsKey)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	n := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#EXTINF") {
			fmt.Fprintf(&out, "#EXT-X-KEY:METHOD=AES-128,URI=%q,IV=0x%032x\n", keyURI, n+1000)
		}
		out.WriteString(line)
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		path := filepath.Join(filepath.Dir(playlist), strings.TrimSpace(line))
		segment, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pad := aes.BlockSize - len(segment)%aes.BlockSize
		segment = append(segment, bytes.Repeat([]byte{byte(pad)}, pad)...)
		iv := make([]byte, aes.BlockSize)
		iv[14], iv[15] = byte((n+1000)>>8), byte(n+1000)
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(segment, segment)
		if err := os.WriteFile(path, segment, 0o644); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if err := os.WriteFile(playlist, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
