package pipeline_test

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// What ffmpeg says of harmless things does not end a copy.
func TestPictureFault(t *testing.T) {
	for said, want := range map[string]string{
		"": "",
		"[h264 @ 0x5581] [error] error while decoding MB 3 4, bytestream -7\n":                          "error while decoding MB 3 4, bytestream -7",
		"x\n[h264 @ 0x5581] [fatal] no frame!\n":                                                        "no frame!",
		"[h264 @ 0x5581] [warning] Late SEI is not implemented.\n":                                      "",
		"[h264 @ 0x5581] [error] SEI type 5 size 1000 truncated at 8\n":                                 "",
		"[aac @ 0x5581] [error] Number of bands (12) exceeds limit (9).\n":                              "",
		"[libx264 @ 0x5581] [error] x\n[mp4 @ 0x1] [warning] Non-monotonous DTS in output stream\n":     "",
		strings.Repeat("[aac @ 0x5581] [error] Input buffer exhausted before END element found\n", 400): "more errors than are kept",
	} {
		if got := pipeline.PictureFault(said); got != want {
			t.Errorf("%.80q: %q, want %q", said, got, want)
		}
	}
}

// damaged makes a copy of a film in which the slice of one picture is noise;
// its container and its headers are as before.
func damaged(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=pos,size", "-of", "csv=p=0", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Split(strings.Split(string(out), "\n")[30], ",") // no key frame
	size, err1 := strconv.Atoi(fields[0])
	pos, err2 := strconv.Atoi(strings.TrimSpace(fields[1]))
	body, err3 := os.ReadFile(file)
	if err1 != nil || err2 != nil || err3 != nil || size < 100 {
		t.Fatalf("packet %v: %v %v %v", fields, err1, err2, err3)
	}
	copy(body[pos+size/3:pos+size], bytes.Repeat([]byte{0x10}, size))
	bad := file + ".bad.mp4"
	if err := os.WriteFile(bad, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return bad
}

// A source whose pictures cannot all be decoded is not copied: the attempt
// fails, and the next one encodes everything and says why. With and without a
// rung that is encoded beside the copy.
func TestDamagedPicturesAreNotCopied(t *testing.T) {
	for name, size := range map[string]string{"a rung beside it": "640x360", "the only rung": "320x180"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			file := makeSource(t, "a.mp4", "-f", "lavfi", "-i", "testsrc2=s="+size+":r=25:d=4",
				"-c:v", "libx264", "-preset", "ultrafast", "-crf", "36", "-pix_fmt", "yuv420p", "-g", "50", "-sc_threshold", "0")
			req := l.request(damaged(t, file), clear)
			_, err := l.runner.Run(t.Context(), req)
			wantCode(t, err, pipeline.CodeEncodeFailed, false)
			if !strings.Contains(err.Error(), "cannot be copied") {
				t.Error(err)
			}
			req.Prefix, req.NotCopied = "0123456789abcdef-2", "an attempt failed"
			if p := l.run(req); p.NotCopied != "an attempt failed" || p.Video[0].Copied {
				t.Errorf("copied %v, because %q", p.Video[0].Copied, p.NotCopied)
			}
			// The same film without the damage is copied.
			if p := l.run(l.request(file, clear)); !p.Video[0].Copied {
				t.Errorf("not copied, because %q", p.NotCopied)
			}
		})
	}
}
