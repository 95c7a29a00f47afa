package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"

	"github.com/sealcast/sealcast/internal/proc"
)

// Source holds the facts about a source that decide the plan.
type Source struct {
	Damaged  bool          // the probe met with errors
	Size     int64         // bytes
	ETag     string        // pins every range read
	Demuxer  string        // ffmpeg's name of the container, from our own sniff
	Start    time.Duration // of the container's clock
	Duration time.Duration // of the longest stream that is used, of its clip
	From     time.Duration // where the clip begins
	Cut      bool          // it is a clip
	Video    VideoSource
	Audio    []AudioSource
	Text     []TextSource
}

// VideoSource is the video stream that is used.
type VideoSource struct {
	Index         int
	Codec         string
	Width, Height int      // as coded
	SAR           Rational // sample aspect ratio; 1/1 when unknown
	Rotation      int      // degrees, 0, 90, 180 or 270
	Transformed   bool     // a display matrix turns, mirrors or scales it
	BaseRate      Rational // r_frame_rate
	AvgRate       Rational // avg_frame_rate
	Interlaced    bool
	Progressive   bool   // the container or the stream says so; neither may
	Profile       string // as ffprobe names it
	Level         int
	PixFmt        string // ffmpeg's name
	FullRange     bool
	BitRate       int64         // bit/s; 0: the container does not say
	Transfer      string        // transfer characteristics, as ffmpeg names them
	Gap           time.Duration // from the start of the container to the first picture
	Duration      time.Duration // with the gap before it; 0: the container does not say
}

// HDR reports whether the transfer function is PQ or HLG (ITU-R BT.2100).
func (v VideoSource) HDR() bool { return v.Transfer == "smpte2084" || v.Transfer == "arib-std-b67" }

// displaySize returns the size in square pixels with the rotation applied.
func (v VideoSource) displaySize() (int, int) {
	w, h := float64(v.Width), float64(v.Height)
	if sar := v.SAR.Float(); sar > 1 {
		w *= sar
	} else if sar > 0 {
		h /= sar
	}
	if v.Rotation%180 != 0 {
		w, h = h, w
	}
	return int(math.Round(w)), int(math.Round(h))
}

// AudioSource is one audio stream.
type AudioSource struct {
	Index                int
	Codec                string
	Channels, SampleRate int
	Language, Title      string
	Default              bool
	Start                time.Duration // by the container's clock
	Duration             time.Duration // with the gap before it; 0: the container does not say
	Heard                bool          // it has packets in the first two seconds
}

// audioDuration returns the duration of an audio stream by its index, 0 when
// it is unknown.
func (s *Source) audioDuration(index int) time.Duration {
	for _, a := range s.Audio {
		if a.Index == index {
			return a.Duration
		}
	}
	return 0
}

// formatWhitelist names every demuxer that a source may need. Playlists,
// manifests and concat lists are not among them: they make ffmpeg open other
// files and URLs.
const formatWhitelist = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,avi,flv,mxf,ogg,asf,dv"

// What one picture may have, and what a demuxer may read to find its streams.
const (
	maxPixels  = 8192 * 8192
	probeBytes = 5_000_000
)

// inputArgs are the arguments before `-i` that every child which reads the
// source gets.
func inputArgs(demuxer string) []string {
	formats := formatWhitelist
	if slices.Contains(soundDemuxers, demuxer) {
		formats = demuxer
	}
	return []string{
		"-protocol_whitelist", "http,tcp", "-format_whitelist", formats,
		"-max_streams", "64", "-max_pixels", strconv.Itoa(maxPixels), "-probesize", strconv.Itoa(probeBytes), "-f", demuxer,
	}
}

// probeArgs returns ffprobe's arguments. It counts packets of the first two
// seconds, for a stream may be announced and be empty.
func probeArgs(url, demuxer string) []string {
	args := []string{
		"-hide_banner", "-loglevel", "error", "-print_format", "json", "-show_format", "-show_streams",
		"-count_packets", "-read_intervals", "%+2",
	}
	return append(append(args, inputArgs(demuxer)...), "-i", url)
}

// sniff names the demuxer by the first bytes of a source, or returns "".
func sniff(head []byte) string {
	at := func(off int, magic string) bool {
		return len(head) >= off+len(magic) && string(head[off:off+len(magic)]) == magic
	}
	switch {
	case at(4, "ftyp"), at(4, "moov"), at(4, "mdat"), at(4, "wide"), at(4, "free"), at(4, "skip"), at(4, "pnot"):
		return "mov"
	case at(0, "\x1a\x45\xdf\xa3"):
		return "matroska"
	case at(0, "RIFF") && at(8, "AVI "), at(0, "RIFF") && at(8, "AVIX"):
		return "avi"
	case at(0, "FLV\x01"):
		return "flv"
	case at(0, "OggS"):
		return "ogg"
	case at(0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"):
		return "asf"
	case at(0, "\x06\x0e\x2b\x34\x02\x05\x01\x01"):
		return "mxf"
	case at(0, "\x00\x00\x01\xba"):
		return "mpeg"
	case at(0, "\x1f\x07\x00") && len(head) > 3 && head[3]&0x7f == 0x3f: // IEC 61834-2: header DIF block of 525 or 625 lines
		return "dv"
	case at(0, "\x47") && at(188, "\x47") && at(376, "\x47"),
		at(4, "\x47") && at(196, "\x47") && at(388, "\x47"):
		return "mpegts"
	}
	return ""
}

// sniff names the demuxer of a source by its first bytes.
func (a *attempt) sniff(head []byte) (string, error) {
	sound := sniffSound(head)
	switch demuxer := sniff(head); {
	case a.req.Options.SoundOnly() && sound != "":
		return sound, nil
	case a.req.Options.SoundOnly():
		return "", permanent(CodeSourceUnreadable, "the source is not a container of sound that we know", nil)
	case demuxer != "":
		return demuxer, nil
	case sound != "":
		return "", permanent(CodeSourceUnreadable, "the source is not a video container: audio:transcode makes a presentation of sound alone", nil)
	}
	return "", permanent(CodeSourceUnreadable, "the source is not a video container that we know", nil)
}

// probe asks ffprobe for the facts about a source.
func (a *attempt) probe(ctx context.Context, abort func(error)) (*Source, error) {
	info, err := a.cfg.Sources.Stat(ctx, a.req.SourceKey)
	switch {
	case errors.Is(err, ErrObjectNotFound):
		return nil, permanent(CodeSourceNotFound, "the source is not in the source bucket", err)
	case err != nil:
		return nil, transient(CodeStoreUnavailable, "the object store did not answer", err)
	case info.Size == 0:
		return nil, permanent(CodeSourceEmpty, "the source has no bytes", nil)
	case a.req.MaxSourceBytes > 0 && info.Size > a.req.MaxSourceBytes:
		return nil, permanent(CodeSourceTooLarge,
			fmt.Sprintf("the source has %d bytes, the limit is %d", info.Size, a.req.MaxSourceBytes), nil)
	}
	a.gateway.pin(info)
	defer a.limitTime(probeBudget+time.Duration(info.Size/probeRate)*time.Second, abort)()
	head, err := a.gateway.head(ctx, 4096)
	if err != nil {
		return nil, err
	}
	demuxer, err := a.sniff(head)
	if err != nil {
		return nil, err
	}

	var out bytes.Buffer
	res, err := a.child(ctx, proc.Spec{
		Name: "ffprobe", Path: a.cfg.FFprobe, Args: probeArgs(a.sourceURL(), demuxer), Stdout: &limitedBuffer{Buffer: &out, left: 4 << 20},
	})
	if err := a.probeVerdict(err); err != nil {
		return nil, err
	}
	var src *Source
	if a.req.Options.SoundOnly() {
		src, err = parseSound(out.Bytes(), demuxer)
	} else {
		src, err = parseProbe(out.Bytes())
	}
	if err != nil {
		return nil, err
	}
	src.Damaged = res.Stderr != ""
	a.log.Debug("source probed", "stderr", res.Stderr)
	src.Size, src.ETag, src.Demuxer = info.Size, info.ETag, demuxer
	if err := a.complete(ctx, src); err != nil {
		return nil, err
	}
	return src, src.checkDuration()
}

// probeVerdict turns the end of ffprobe into an error.
func (a *attempt) probeVerdict(err error) error {
	if fault := a.gateway.fault(); fault != nil {
		return fault
	}
	var exit *proc.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && !fromOutside(exit): // also when it says ENOMEM: no good source needs its limit
		return permanent(CodeSourceUnreadable, "the source cannot be read as a video; it may be damaged or incomplete", err)
	}
	return transient(CodeEncodeFailed, "the source could not be probed", err)
}

// checkDuration refuses a source without an end, or with one too far away.
func (s *Source) checkDuration() error {
	switch {
	case s.Duration <= 0:
		return permanent(CodeSourceTruncated, "the source has no picture", nil)
	case s.Duration > 48*time.Hour:
		return permanent(CodeSourceUnsupported, "the source is longer than 48 hours", nil)
	}
	return nil
}

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
				Default: s.Disposition.Default == 1, Start: seconds(s.StartTime), Duration: s.end(p.Format), Heard: s.Packets != "" && s.Packets != "0" && s.Packets != "N/A",
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
	src.Video.Gap = max(0, seconds(video.StartTime)-src.begins(video, format))
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

// limitedBuffer keeps the first bytes of a child's output and drops the rest.
type limitedBuffer struct {
	*bytes.Buffer
	left    int
	dropped bool // there was a rest
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	b.dropped = b.dropped || n < len(p)
	b.Buffer.Write(p[:n])
	return len(p), nil
}
