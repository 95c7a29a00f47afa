package texttrack

import (
	"bytes"
	"fmt"
	"math"
	"time"
)

// ContentType is the media type of WebVTT (W3C WebVTT, 9.1).
const ContentType = "text/vtt; charset=utf-8"

// Whole writes cues as one WebVTT file: what an MPD names.
func Whole(cues []Cue) []byte { return write("WEBVTT\n", cues) }

// Bytes writes a segment for HLS (RFC 8216bis, 3.1.4). The zero of the cues'
// clock is ticks, 90,000 of which are a second, on the clock of the media
// segments' time stamps.
func (s Segment) Bytes(ticks int64) []byte {
	return write(fmt.Sprintf("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:%d,LOCAL:00:00:00.000\n", ticks), s.Cues)
}

func write(header string, cues []Cue) []byte {
	var out bytes.Buffer
	out.WriteString(header)
	for _, c := range cues {
		fmt.Fprintf(&out, "\n%s --> %s", clock(c.Start), clock(c.End))
		if c.Settings != "" {
			out.WriteString(" " + c.Settings)
		}
		out.WriteString("\n" + c.Text + "\n")
	}
	return out.Bytes()
}

// clock writes a time as hours:minutes:seconds.milliseconds, the hours with two
// digits or more.
func clock(d time.Duration) string {
	ms := d.Milliseconds()
	return fmt.Sprintf("%02d:%02d:%02d.%03d", ms/3_600_000, ms/60_000%60, ms/1000%60, ms%1000)
}

// SegmentName is the name of the n-th segment, counted from 0.
func SegmentName(n int) string { return fmt.Sprintf("%d.vtt", n+1) }

// MediaPlaylist writes the media playlist of a track's segments
// (RFC 8216bis, 4.4.3).
func MediaPlaylist(segments []Segment) []byte {
	longest := 0.0
	for _, s := range segments {
		longest = math.Max(longest, (s.End - s.Start).Seconds())
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:%d\n#EXT-X-PLAYLIST-TYPE:VOD\n", max(1, int(math.Round(longest))))
	for i, s := range segments {
		fmt.Fprintf(&out, "#EXTINF:%.3f,\n%s\n", (s.End - s.Start).Seconds(), SegmentName(i))
	}
	out.WriteString("#EXT-X-ENDLIST\n")
	return out.Bytes()
}

// Files are the objects of a track: the whole document for DASH and downloads,
// and a playlist with its segments for each of the two clocks that outputs have.
// tsTicks is where the clock of MPEG-TS stands at the film's beginning; that of
// fMP4 stands at zero.
func Files(cues []Cue, length time.Duration, tsTicks int64) (map[string][]byte, error) {
	segments, err := Split(cues, length)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{WholeName: Whole(cues)}
	for dir, ticks := range map[string]int64{"fmp4": 0, "ts": tsTicks} {
		files[dir+"/index.m3u8"] = MediaPlaylist(segments)
		for i, s := range segments {
			files[dir+"/"+SegmentName(i)] = s.Bytes(ticks)
		}
	}
	return files, nil
}

// The names in Files that entry documents refer to.
const (
	WholeName = "whole.vtt"
	FMP4Name  = "fmp4/index.m3u8"
	TSName    = "ts/index.m3u8"
)
