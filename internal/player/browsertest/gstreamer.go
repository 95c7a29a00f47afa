package browsertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

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

// gstCue is how GStreamer tells of a cue: the length of the text and how long it
// stands.
var gstCue = regexp.MustCompile(`\((\d+) bytes, .*?pts: 0:(\d\d:\d\d\.\d{3})\d*, duration: 0:(\d\d:\d\d\.\d{3})`)

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
