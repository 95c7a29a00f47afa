package pipeline

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
)

// ffprobe's JSON, as far as it is used.
type probeJSON struct {
	Format  probeFormat   `json:"format"`
	Streams []probeStream `json:"streams"`
}

type probeFormat struct {
	Name      string `json:"format_name"`
	Duration  string `json:"duration"`
	StartTime string `json:"start_time"`
}

type probeStream struct {
	Index       int    `json:"index"`
	CodecName   string `json:"codec_name"`
	CodecType   string `json:"codec_type"`
	Width       int    `json:"width"`
	Height      int    `json:"height"`
	SAR         string `json:"sample_aspect_ratio"`
	FieldOrder  string `json:"field_order"`
	Transfer    string `json:"color_transfer"`
	Range       string `json:"color_range"`
	Profile     string `json:"profile"`
	Level       int    `json:"level"`
	PixFmt      string `json:"pix_fmt"`
	BitRate     string `json:"bit_rate"`
	BaseRate    string `json:"r_frame_rate"`
	AvgRate     string `json:"avg_frame_rate"`
	StartTime   string `json:"start_time"`
	Duration    string `json:"duration"`
	Channels    int    `json:"channels"`
	SampleRate  string `json:"sample_rate"`
	Packets     string `json:"nb_read_packets"`
	Frames      string `json:"nb_frames"`
	Disposition struct {
		Default         int `json:"default"`
		AttachedPic     int `json:"attached_pic"`
		Forced          int `json:"forced"`
		HearingImpaired int `json:"hearing_impaired"`
	} `json:"disposition"`
	Tags         map[string]string `json:"tags"`
	SideDataList []struct {
		Type     string  `json:"side_data_type"`
		Rotation float64 `json:"rotation"`
	} `json:"side_data_list"`
}

// packets are how many the probe, which reads two seconds, met with.
func (s *probeStream) packets() int64 {
	n, _ := strconv.ParseInt(s.Packets, 10, 64) // "N/A": none
	return n
}

// parseStreams reads what ffprobe found: sound, text, and the stream of pictures
// that is used, nil when there is none. A cover is no such stream.
func parseStreams(doc []byte) (src *Source, video *probeStream, format probeFormat, err error) {
	var p probeJSON
	if err := json.Unmarshal(doc, &p); err != nil {
		return nil, nil, format, permanent(CodeSourceUnreadable, "the source cannot be read as a video", err)
	}
	src = &Source{Start: seconds(p.Format.StartTime)}
	for i := range p.Streams {
		s := &p.Streams[i]
		switch {
		case s.CodecType == "video" && s.Disposition.AttachedPic == 0 && s.Width > 0 && s.Height > 0 && s.CodecName != "":
			if video == nil || video.Disposition.Default == 0 && s.Disposition.Default == 1 {
				video = s
			}
		case s.CodecType == "subtitle":
			src.Text = append(src.Text, textSource(s))
		case s.CodecType == "audio" && s.Channels > 0 && s.CodecName != "":
			rate, _ := strconv.Atoi(s.SampleRate)
			src.Audio = append(src.Audio, AudioSource{
				Index: s.Index, Codec: s.CodecName, Channels: s.Channels, SampleRate: rate,
				Language: languageTag(s.Tags["language"]), Title: cleanTag(s.Tags["title"]),
				Default: s.Disposition.Default == 1, Start: seconds(s.StartTime), Duration: s.end(p.Format), Heard: s.packets() > 0,
			})
		}
	}
	return src, video, p.Format, nil
}

// parseProbe turns ffprobe's JSON into a Source and refuses what cannot be
// processed.
func parseProbe(doc []byte) (*Source, error) {
	src, video, format, err := parseStreams(doc)
	if err != nil {
		return nil, err
	}
	switch {
	case video == nil && len(src.Audio) > 0:
		return nil, permanent(CodeSourceNoVideo, "the source has no video stream: audio:transcode makes a presentation of sound alone", nil)
	case video == nil:
		return nil, permanent(CodeSourceNoVideo, "the source has no video stream", nil)
	}
	if video.Width > 16384 || video.Height > 16384 || video.Width*video.Height > maxPixels {
		return nil, permanent(CodeSourceUnsupported,
			fmt.Sprintf("the picture is %d×%d pixels: the limit is 8192×8192", video.Width, video.Height), nil)
	}
	src.Video = videoFacts(video, format)
	src.Zero = src.begins(video, format)
	src.Video.Gap = max(0, seconds(video.StartTime)-src.Zero)
	src.Duration = src.usedDuration(seconds(format.Duration))
	return src, nil
}

// begins is the time that ffmpeg takes for zero: where the container begins, and of
// a container whose clock may jump, the first of the streams that are used
// (ffmpeg's correct_input_start_times).
func (s *Source) begins(video *probeStream, c probeFormat) time.Duration {
	if c.Name != "mpegts" && c.Name != "mpeg" && c.Name != "ogg" {
		return seconds(c.StartTime)
	}
	first := seconds(video.StartTime)
	for _, a := range s.Audio {
		if a.Heard {
			first = min(first, a.Start)
		}
	}
	return first
}

func videoFacts(s *probeStream, c probeFormat) VideoSource {
	v := VideoSource{
		Index: s.Index, Codec: s.CodecName, Width: s.Width, Height: s.Height,
		SAR: rational(s.SAR), BaseRate: rational(s.BaseRate), AvgRate: rational(s.AvgRate), Transfer: s.Transfer,
		Progressive: s.FieldOrder == "progressive", Profile: cleanTag(s.Profile), Level: s.Level,
		PixFmt: cleanTag(s.PixFmt), FullRange: s.Range == "pc",
	}
	v.Probed = s.packets()
	if n, err := strconv.ParseInt(s.BitRate, 10, 64); err == nil && n > 0 {
		v.BitRate = n
	}
	if f := v.SAR.Float(); f < 0.05 || f > 20 {
		v.SAR = Rational{1, 1}
	}
	switch s.FieldOrder {
	case "tt", "bb", "tb", "bt":
		v.Interlaced = true
	}
	rotation := 0.0
	for _, side := range s.SideDataList {
		v.Transformed = v.Transformed || side.Type == "Display Matrix"
		if side.Rotation != 0 {
			rotation = side.Rotation
		}
	}
	// ffmpeg rotates by right angles only when it applies a display matrix so.
	v.Rotation = ((int(math.Round(rotation/90))*90)%360 + 360) % 360
	v.Duration = s.end(c)
	// An AVI that was cut keeps the number of its frames; the duration is
	// reckoned from what is left.
	frames, err := strconv.ParseFloat(s.Frames, 64)
	if c.Name == "avi" && err == nil && v.AvgRate.Float() > 0 && frames < 1e8 {
		v.Duration = max(v.Duration, time.Duration(frames/v.AvgRate.Float()*float64(time.Second)))
	}
	return v
}

// end returns when a stream ends, from the start of the container; 0 when the
// container does not say. ASF gives every stream the whole's duration.
func (s *probeStream) end(c probeFormat) time.Duration {
	start := seconds(c.StartTime)
	if d, ok := s.taggedDuration(); ok && strings.HasPrefix(c.Name, "matroska") {
		// Counted from zero, or by some writers from the stream's first packet.
		return max(0, d-max(0, start))
	}
	if d := seconds(s.Duration); d > 0 && c.Name != "asf" {
		return d + max(0, seconds(s.StartTime)-start)
	}
	return 0
}

// taggedDuration reads Matroska's tag, hours:minutes:seconds.
func (s *probeStream) taggedDuration() (time.Duration, bool) {
	var hours, minutes int
	var sec float64
	n, err := fmt.Sscanf(s.Tags["DURATION"], "%d:%d:%f", &hours, &minutes, &sec)
	if n != 3 || err != nil || hours < 0 || hours >= 10000 || minutes < 0 || minutes >= 60 || sec < 0 || sec >= 60 {
		return 0, false
	}
	return time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute + time.Duration(sec*float64(time.Second)), true
}

// usedDuration returns how long the streams last that are used, 0 when nobody
// knows. The container's own duration may be that of a longer subtitle or data
// stream; it counts only when a used stream does not say.
func (s *Source) usedDuration(container time.Duration) time.Duration {
	longest, unsaid := s.Video.Duration, s.Video.Duration <= 0
	for _, a := range s.Audio {
		longest, unsaid = max(longest, a.Duration), unsaid || a.Duration <= 0
	}
	if unsaid {
		return max(0, container)
	}
	return longest
}

// seconds reads ffprobe's decimal seconds; 0 for anything odd.
func seconds(s string) time.Duration {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > 1e9 {
		return 0
	}
	return time.Duration(f * float64(time.Second))
}

// rational reads "num/den" or "num:den"; 0/1 for anything odd.
func rational(s string) Rational {
	num, den, ok := strings.Cut(strings.ReplaceAll(s, ":", "/"), "/")
	n, err1 := strconv.Atoi(num)
	d, err2 := strconv.Atoi(den)
	if !ok || err1 != nil || err2 != nil || n <= 0 || d <= 0 {
		return Rational{0, 1}
	}
	return Rational{n, d}
}

// languageTag returns a source's language as the shortest BCP 47 tag (RFC 5646),
// "eng" as "en"; "und" for anything that is none.
func languageTag(s string) string {
	tag, err := language.Parse(cleanTag(s))
	if err != nil {
		return "und"
	}
	return tag.String()
}

// cleanTag makes a tag of the source fit for quoted strings of playlists
// (RFC 8216, 4.2: no quotes, no line ends) and for packager arguments.
func cleanTag(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || strings.ContainsRune(`"',=\;$`, r) || r == '\uFFFD' {
			return -1
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if r := []rune(s); len(r) > 64 {
		s = string(r[:64])
	}
	return s
}
