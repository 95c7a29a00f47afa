package browsertest

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func ffmpegInput(m Media) (args []string) {
	args = []string{"-nostdin", "-v", "error", "-xerror"}
	if m.Header != "" {
		args = append(args, "-headers", m.Header+"\r\n")
	}
	if m.Key != "" {
		args = append(args, "-cenc_decryption_key", m.Key)
	}
	return args
}

func ffmpegPlay(ctx context.Context, m Media, dir string) (string, error) {
	args := append(ffmpegInput(m), "-i", m.URL, "-t", playSeconds, "-map", "0:v:0", "-vf", "fps=1:start_time=0:round=up", filepath.Join(dir, "%05d.png"),
		"-t", playSeconds, "-map", "0:a:0", filepath.Join(dir, "sound.wav"), "-t", playSeconds, "-map", "0:a:1", filepath.Join(dir, "second.wav"))
	return command(ctx, dir, "ffmpeg", args...)
}

func ffmpegPicture(ctx context.Context, m Media, dir string, at time.Duration) error {
	args := append(ffmpegInput(m), "-i", m.URL, "-ss", fmt.Sprintf("%.3f", at.Seconds()), "-map", "0:v:0", "-frames:v", "1", filepath.Join(dir, "1.png"))
	_, err := command(ctx, dir, "ffmpeg", args...)
	return err
}

// webvttCue is how ffmpeg tells of a cue.
var webvttCue = regexp.MustCompile(`(?m)^(\d\d:\d\d\.\d{3}) --> (\d\d:\d\d\.\d{3})\n(.*)$`)

// ffmpegCues writes the first text track as WebVTT and reads that.
func ffmpegCues(ctx context.Context, m Media, dir string) (cues []TimedCue, err error) {
	out, err := command(ctx, dir, "ffmpeg", append(ffmpegInput(m), "-i", m.URL, "-map", "0:s:0", "-f", "webvtt", "-")...)
	for _, c := range webvttCue.FindAllStringSubmatch(out, -1) {
		cues = append(cues, TimedCue{clock(c[1]), clock(c[2]), c[3]})
	}
	return cues, err
}

// clock reads minutes and seconds, or seconds alone.
func clock(s string) time.Duration {
	minutes, rest, ok := strings.Cut(s, ":")
	if !ok {
		minutes, rest = "0", s
	}
	m, _ := strconv.Atoi(minutes)
	sec, _ := strconv.ParseFloat(rest, 64)
	return time.Duration(m)*time.Minute + seconds(sec)
}

