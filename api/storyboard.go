package api

import (
	"image"
	"regexp"
	"strconv"
	"strings"
)

// A storyboard is a WebVTT file whose cues name a sprite and where in it the
// picture of that time is, by a media fragment (Media Fragments URI 1.0, 4.2.2).
var (
	cueTimes   = regexp.MustCompile(`^((?:\d{2,4}:)?\d{2}:\d{2}\.\d{3}) --> ((?:\d{2,4}:)?\d{2}:\d{2}\.\d{3})`)
	cueSprite  = regexp.MustCompile(`^([A-Za-z0-9_-][A-Za-z0-9._-]*)#xywh=(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})$`)
	spriteName = regexp.MustCompile(`^storyboard-`)
)

// tileAt finds the picture for a time, in seconds: of the cue that it lies in,
// or of the last one before it.
func tileAt(vtt []byte, at float64) (sprite string, crop image.Rectangle, ok bool) {
	start := -1.0
	for line := range strings.Lines(string(vtt)) {
		line = strings.TrimRight(line, "\r\n")
		if m := cueTimes.FindStringSubmatch(line); m != nil {
			if start = cueSeconds(m[1]); start > at && ok {
				return sprite, crop, true
			}
			continue
		}
		m := cueSprite.FindStringSubmatch(line)
		if m == nil || start < 0 || !spriteName.MatchString(m[1]) {
			continue
		}
		var n [4]int
		for i := range n {
			n[i], _ = strconv.Atoi(m[2+i])
		}
		sprite, crop, ok = m[1], image.Rect(n[0], n[1], n[0]+n[2], n[1]+n[3]), true
	}
	return sprite, crop, ok
}

// cueSeconds reads [HH:]MM:SS.mmm.
func cueSeconds(text string) float64 {
	seconds := 0.0
	for _, part := range strings.Split(text, ":") {
		v, _ := strconv.ParseFloat(part, 64)
		seconds = seconds*60 + v
	}
	return seconds
}
