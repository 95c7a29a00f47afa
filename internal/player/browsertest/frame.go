package browsertest

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"os/exec"
	"testing"
	"time"
)

// Frame decodes the luma of a media file's picture at a time, with ffmpeg: the
// reference for a Shot. It takes the luma as coded, because ffmpeg and Chromium
// guess different matrices for the colours of an untagged source.
func Frame(t testing.TB, path string, at time.Duration) image.Image {
	t.Helper()
	img, err := frame(t.Context(), path, at)
	if err != nil {
		t.Fatalf("frame of %s at %s: %v", path, at, err)
	}
	return img
}

func frame(ctx context.Context, path string, at time.Duration) (image.Image, error) {
	// Half a millisecond of slack: the frame shown at a time is the last one
	// that starts at or before it, and -ss takes the first one after.
	filter := fmt.Sprintf("select='lte(t,%[1]f)*gte(t+0.2,%[1]f)',format=gray", at.Seconds()+0.0005)
	cmd := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-nostdin",
		"-t", fmt.Sprintf("%f", at.Seconds()+1), "-i", path, "-map", "0:v:0",
		"-vf", filter, "-fps_mode", "passthrough", "-f", "image2pipe", "-c:v", "png", "-")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("ffmpeg: %w: %s", err, stderr.Bytes())
	}
	// The pictures of the last 0.2 s stand one behind the other; the last counts.
	var img image.Image
	for stdout.Len() > 0 {
		next, err := png.Decode(&stdout)
		if err != nil {
			return nil, fmt.Errorf("decode png: %w", err)
		}
		img = next
	}
	if img == nil {
		return nil, fmt.Errorf("no picture at %s", at)
	}
	return img, nil
}

// Frames decodes the luma of all of a media file's pictures, each as small as
// Similar compares it.
func Frames(t testing.TB, path string) (film []image.Image) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-nostdin", "-i", path, "-map", "0:v:0",
		"-vf", fmt.Sprintf("scale=%d:%d:flags=area,format=gray", thumbW, thumbH), "-fps_mode", "passthrough", "-f", "rawvideo", "-")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("frames of %s: %v: %s", path, err, stderr.Bytes())
	}
	for ; len(out) >= thumbW*thumbH; out = out[thumbW*thumbH:] {
		film = append(film, &image.Gray{Pix: out[:thumbW*thumbH], Stride: thumbW, Rect: image.Rect(0, 0, thumbW, thumbH)})
	}
	if len(film) == 0 {
		t.Fatalf("no pictures in %s", path)
	}
	return film
}
