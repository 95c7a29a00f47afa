package browsertest

import (
	"testing"
	"time"
)

func TestCuesOfTools(t *testing.T) {
	for name, tt := range map[string]struct {
		got  []string
		want time.Duration
	}{
		"ffmpeg":    {webvttCue.FindStringSubmatch("WEBVTT\n\n00:00.521 --> 00:02.021\nfirst words\n\n"), 521 * time.Millisecond},
		"mpv":       {mpvCue.FindStringSubmatch("\ncue 0.521000 2.021000 first words\n"), 521 * time.Millisecond},
		"GStreamer": {gstCue.FindStringSubmatch(`last-message = chain   ******* (identity0:sink) (11 bytes, dts: none, pts: 0:01:00.500000000, duration: 0:00:01.500000000, offset: -1`), 0},
	} {
		if len(tt.got) != 4 && name != "GStreamer" || len(tt.got) == 0 {
			t.Errorf("%s: %q", name, tt.got)
			continue
		}
		if at := clock(tt.got[1]); tt.want != 0 && (at != tt.want || tt.got[3] != "first words") {
			t.Errorf("%s: %s, %q", name, at, tt.got)
		}
		if name == "GStreamer" && (tt.got[1] != "11" || clock(tt.got[2]) != 60500*time.Millisecond || clock(tt.got[3]) != 1500*time.Millisecond) {
			t.Errorf("GStreamer: %q", tt.got)
		}
	}
}
