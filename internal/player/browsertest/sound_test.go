package browsertest

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestReadSound(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		codec string
		hertz float64
	}{{"pcm_s16le", 440}, {"pcm_f32le", 660}, {"pcm_s32le", 880}} {
		file := filepath.Join(t.TempDir(), "sound.wav")
		args := []string{"-v", "error", "-f", "lavfi", "-i", fmt.Sprintf("sine=%f:r=48000:d=2", tt.hertz), "-ac", "2", "-c:a", tt.codec, file}
		if out, err := exec.CommandContext(t.Context(), "ffmpeg", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got, err := ReadSound(file)
		if err != nil || got.Length != 2*time.Second || math.Abs(got.Hertz-tt.hertz) > 2 {
			t.Errorf("%s: %+v, %v, want 2 s of %.0f Hz", tt.codec, got, err, tt.hertz)
		}
	}
	file := filepath.Join(t.TempDir(), "none.wav")
	if err := os.WriteFile(file, []byte("RIFF\x04\x00\x00\x00WAVE"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadSound(file); err == nil {
		t.Errorf("a file without sound: %+v", got)
	}
}
