package browsertest

import (
	"context"
	"errors"
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

// ffmpegWatch cuts from the first rendition to the second and back, at segments'
// ends: ffmpeg shows nothing, it takes the renditions that it is told to. With a
// fresh token it is begun anew. The title has 25 pictures a second.
func ffmpegWatch(ctx context.Context, m Media, renew Renew, dir string) (views []View, err error) {
	const part, step, rate = 100, 20, 25 // pictures
	cut := func(i, rendition int) []string {
		return []string{
			"-map", fmt.Sprintf("0:v:%d", rendition), "-vf", fmt.Sprintf("trim=start_frame=%d:end_frame=%d,select='not(mod(n,%d))'", i*part, (i+1)*part, step),
			"-fps_mode", "passthrough", filepath.Join(dir, fmt.Sprintf("%d-%%d.png", i)),
		}
	}
	read := func(i int, fresh bool) error {
		for n := range part / step {
			img, err := ReadImage(filepath.Join(dir, fmt.Sprintf("%d-%d.png", i, n+1)))
			if err != nil {
				return err
			}
			views = append(views, View{At: time.Duration(i*part+n*step) * time.Second / rate, Image: img, Fresh: fresh})
		}
		return nil
	}
	args := append(ffmpegInput(m), "-i", m.URL)
	for i, rendition := range []int{0, 1, 0} {
		args = append(args, cut(i, rendition)...)
	}
	if _, err := command(ctx, dir, "ffmpeg", args...); err != nil {
		return nil, err
	}
	if err := errors.Join(read(0, false), read(1, false), read(2, false)); err != nil || renew == nil {
		return views, err
	}
	next, err := renew(ctx)
	if err != nil {
		return views, err
	}
	if _, err := command(ctx, dir, "ffmpeg", append(append(ffmpegInput(next), "-i", next.URL), cut(3, 0)...)...); err != nil {
		return views, err
	}
	return views, read(3, true)
}
