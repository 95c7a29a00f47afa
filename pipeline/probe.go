package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/sealcast/sealcast/internal/proc"
)

// Container is how a source is opened.
type Container struct {
	Demuxer   string // ffmpeg's name of it, from our own sniff
	Unindexed bool   // its index leads nowhere, and is not read
}

// Source holds the facts about a source that decide the plan.
type Source struct {
	Damaged bool   // the probe met with errors
	Size    int64  // bytes
	ETag    string // pins every range read
	Container
	Start    time.Duration // of the container's clock
	Zero     time.Duration // of that clock: what ffmpeg takes for the beginning
	Duration time.Duration // of the longest stream that is used, of its clip
	From     time.Duration // where the clip begins
	Cut      bool          // it is a clip
	ToEnd    bool          // which ends where the source does
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
	Probed        int64         // packets that the probe met with in the first two seconds
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
	maxStreams = 64
)

// inputArgs are the arguments before `-i` that every child which reads the
// source gets; movieOptions are the same for the one that has no such input.
func inputArgs(c Container) []string {
	formats := formatWhitelist
	if slices.Contains(soundDemuxers, c.Demuxer) {
		formats = c.Demuxer
	}
	args := []string{
		"-protocol_whitelist", "http,tcp", "-format_whitelist", formats,
		"-max_streams", strconv.Itoa(maxStreams), "-max_pixels", strconv.Itoa(maxPixels), "-probesize", strconv.Itoa(probeBytes), "-f", c.Demuxer,
	}
	if c.Unindexed { // a demuxer that cannot seek does not look for it
		args = append(args, "-seekable", "0")
	}
	return args
}

// probedSeconds is how much of a source the probe reads.
const probedSeconds = 2

// probeArgs returns ffprobe's arguments. It counts packets of the first two
// seconds, for a stream may be announced and be empty.
func probeArgs(url string, c Container) []string {
	args := []string{
		"-hide_banner", "-loglevel", "error", "-print_format", "json", "-show_format", "-show_streams",
		"-count_packets", "-read_intervals", fmt.Sprintf("%%+%d", probedSeconds),
	}
	return append(append(args, inputArgs(c)...), "-i", url)
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

	src, err := a.ask(ctx, Container{Demuxer: demuxer})
	if err != nil {
		return nil, err
	}
	if src.misled() {
		again, err := a.ask(ctx, Container{Demuxer: demuxer, Unindexed: true})
		var final *Error
		switch {
		case err == nil && again.Video.Probed > src.Video.Probed:
			src = again
		case err != nil && (!errors.As(err, &final) || !final.Permanent):
			return nil, err
		}
	}
	src.Size, src.ETag = info.Size, info.ETag
	if err := a.complete(ctx, src); err != nil {
		return nil, err
	}
	return src, src.checkDuration()
}

// misled reports whether the index of an AVI seems to lead nowhere: the probe met
// with less than half of the pictures that it should have.
func (s *Source) misled() bool {
	promised := min(s.Duration.Seconds(), probedSeconds) * s.Video.AvgRate.Float()
	return s.Demuxer == "avi" && float64(s.Video.Probed) < promised/2
}

// ask asks ffprobe for what it says of a source.
func (a *attempt) ask(ctx context.Context, c Container) (*Source, error) {
	var out bytes.Buffer
	res, err := a.child(ctx, proc.Spec{
		Name: "ffprobe", Path: a.cfg.FFprobe, Args: probeArgs(a.sourceURL(), c), Stdout: &limitedBuffer{Buffer: &out, left: 4 << 20},
	})
	if err := a.probeVerdict(err); err != nil {
		return nil, err
	}
	a.log.Debug("source probed", "unindexed", c.Unindexed, "stderr", res.Stderr)
	var src *Source
	if a.req.Options.SoundOnly() {
		src, err = parseSound(out.Bytes(), c.Demuxer)
	} else {
		src, err = parseProbe(out.Bytes())
	}
	if err != nil {
		return nil, err
	}
	src.Damaged, src.Container = res.Stderr != "", c
	return src, nil
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
