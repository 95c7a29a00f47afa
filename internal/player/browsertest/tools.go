package browsertest

import (
	"context"
	"fmt"
	"os"
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

// webvttCue, mpvCue and gstCue are how ffmpeg, mpv and GStreamer tell of a cue;
// GStreamer tells the length of the text and how long it stands.
var (
	webvttCue = regexp.MustCompile(`(?m)^(\d\d:\d\d\.\d{3}) --> (\d\d:\d\d\.\d{3})\n(.*)$`)
	mpvCue    = regexp.MustCompile(`(?m)^cue (\S+) (\S+) (.*)$`)
	gstCue    = regexp.MustCompile(`\((\d+) bytes, .*?pts: 0:(\d\d:\d\d\.\d{3})\d*, duration: 0:(\d\d:\d\d\.\d{3})`)
)

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

// ffmpegCues writes the first text track as WebVTT and reads that.
func ffmpegCues(ctx context.Context, m Media, dir string) (cues []TimedCue, err error) {
	out, err := command(ctx, dir, "ffmpeg", append(ffmpegInput(m), "-i", m.URL, "-map", "0:s:0", "-f", "webvtt", "-")...)
	for _, c := range webvttCue.FindAllStringSubmatch(out, -1) {
		cues = append(cues, TimedCue{clock(c[1]), clock(c[2]), c[3]})
	}
	return cues, err
}

// mpvCues plays all of it and lets a script tell of the text that is shown.
func mpvCues(ctx context.Context, m Media, dir string) (cues []TimedCue, err error) {
	script := filepath.Join(dir, "cues.lua")
	lines := `mp.observe_property("sub-text", "string", function(_, text)
	if text and text ~= "" then io.stderr:write(string.format("\ncue %s %s %s\n", mp.get_property("sub-start"), mp.get_property("sub-end"), text)) end
end)
`
	if err := os.WriteFile(script, []byte(lines), 0o600); err != nil {
		return nil, err
	}
	out, err := command(ctx, dir, "mpv", append(mpvArgs(m, dir), "--vo=null", "--ao=null", "--sid=1", "--script="+script, m.URL)...)
	for _, c := range mpvCue.FindAllStringSubmatch(out, -1) {
		cues = append(cues, TimedCue{clock(c[1]), clock(c[2]), c[3]})
	}
	return cues, err
}

// gstCues gives the text to a file and lets an element before it tell the times,
// which in HLS begin at a minute.
func gstCues(ctx context.Context, m Media, dir string) (cues []TimedCue, err error) {
	file := filepath.Join(dir, "text")
	out, err := command(ctx, dir, "timeout", "60", "gst-launch-1.0", "-v", "playbin3", "uri="+m.URL, "video-sink=fakesink sync=false", "audio-sink=fakesink sync=false",
		"text-sink=identity silent=false ! filesink location="+file)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	for _, c := range gstCue.FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(c[1])
		n = min(n, len(text))
		at := clock(c[2]) % time.Minute
		cues = append(cues, TimedCue{at, at + clock(c[3]), string(text[:n])})
		text = text[n:]
	}
	return cues, err
}

func ffmpegPicture(ctx context.Context, m Media, dir string, at time.Duration) error {
	args := append(ffmpegInput(m), "-i", m.URL, "-ss", fmt.Sprintf("%.3f", at.Seconds()), "-map", "0:v:0", "-frames:v", "1", filepath.Join(dir, "1.png"))
	_, err := command(ctx, dir, "ffmpeg", args...)
	return err
}

func mpvArgs(m Media, dir string) []string {
	args := []string{
		"--no-config", "--msg-level=all=error", "--no-terminal", "--vo=image", "--vo-image-format=png", "--vo-image-outdir=" + dir,
		"--hwdec=no", "--sid=no", "--hls-bitrate=max", "--untimed",
	}
	if m.Header != "" {
		args = append(args, "--http-header-fields="+m.Header)
	}
	if m.Key != "" {
		args = append(args, "--demuxer-lavf-o=cenc_decryption_key="+m.Key)
	}
	return args
}

func mpvPlay(ctx context.Context, m Media, dir string) (string, error) {
	args := append(mpvArgs(m, dir), "--vf=fps=1:start_time=0:round=up", "--end="+playSeconds, "--ao=pcm", "--ao-pcm-file="+filepath.Join(dir, "sound.wav"), m.URL)
	if said, err := command(ctx, dir, "mpv", args...); err != nil {
		return said, err
	}
	args = append(mpvArgs(m, dir), "--vid=no", "--aid=2", "--end="+playSeconds, "--ao=pcm", "--ao-pcm-file="+filepath.Join(dir, "second.wav"), m.URL)
	return command(ctx, dir, "mpv", args...)
}

// mpvPicture lets the demuxer go well before the time: that of HLS stops at the
// first key picture after what it is asked for (mpv issue 2269).
func mpvPicture(ctx context.Context, m Media, dir string, at time.Duration) error {
	args := append(mpvArgs(m, dir), "--no-audio", "--hr-seek=yes", "--hr-seek-demuxer-offset=10", fmt.Sprintf("--start=%.3f", at.Seconds()), "--frames=1", m.URL)
	_, err := command(ctx, dir, "mpv", args...)
	return err
}

func gstPlay(ctx context.Context, m Media, dir string) (string, error) {
	return command(ctx, dir, "timeout", "60", "gst-launch-1.0", "-q", "playbin3", "uri="+m.URL,
		"video-sink=videoconvert ! videorate skip-to-first=true ! video/x-raw,framerate=1/1 ! pngenc ! multifilesink location="+filepath.Join(dir, "%05d.png"),
		"audio-sink=audioconvert ! wavenc ! filesink location="+filepath.Join(dir, "sound.wav"))
}

// gstPicture plays from a time to the end.
func gstPicture(ctx context.Context, m Media, dir string, at time.Duration) error {
	args := []string{
		"60", "gst-play-1.0", "--no-interactive", "-q", "--use-playbin3", fmt.Sprintf("--start-position=%.3f", at.Seconds()),
		"--videosink=videoconvert ! pngenc ! multifilesink location=" + filepath.Join(dir, "%05d.png"), "--audiosink=fakesink sync=true", m.URL,
	}
	_, err := command(ctx, dir, "timeout", args...)
	return err
}
