package pipeline

import (
	"context"
	"math"
	"slices"
)

// DryRun is what an attempt would do: the facts about the source and the plan.
// The JSON names are the wire contract.
type DryRun struct {
	Source             SourceFacts    `json:"source"`
	FrameRate          float64        `json:"frame_rate"` // of the full-rate rungs
	SegmentSeconds     float64        `json:"segment_seconds"`
	Rungs              []RungForecast `json:"rungs"` // every rung of the ladder, largest first, in one codec after the other
	Audio              []AudioFacts   `json:"audio"`
	Outputs            []string       `json:"outputs"`
	Encrypted          bool           `json:"encrypted"`
	PassthroughRefused string         `json:"passthrough_refused,omitempty"`

	// Seconds is how long the film will be.
	Seconds float64 `json:"-"`
	// Sound is how many seconds of sound are encoded, in all renditions.
	Sound float64 `json:"-"`
	// Work is how much is encoded, in millions of pixels; Kept is Work with
	// what is copied.
	Work, Kept float64       `json:"-"`
	Stages     []StageTime   `json:"-"`
	Children   []ChildUsage  `json:"-"`
	Bounds     ForecastBytes `json:"-"`
}

// ForecastBytes bounds what an output may have, by the caps of its renditions.
type ForecastBytes struct{ Video, Audio float64 }

// SourceFacts is what the probe found.
type SourceFacts struct {
	Bytes           int64        `json:"bytes"`
	Container       string       `json:"container"` // ffmpeg's name of the demuxer
	DurationSeconds float64      `json:"duration_seconds"`
	Codec           string       `json:"codec"`
	Width           int          `json:"width"` // as shown, in square pixels
	Height          int          `json:"height"`
	FrameRate       float64      `json:"frame_rate"`
	Rotation        int          `json:"rotation"`
	Interlaced      bool         `json:"interlaced"`
	HDR             bool         `json:"hdr"`
	Audio           []AudioFacts `json:"audio"`
}

// AudioFacts is an audio stream of the source, or one that is made of it.
type AudioFacts struct {
	Name       string `json:"name,omitempty"`
	Language   string `json:"language"`
	Codec      string `json:"codec"`
	Channels   int    `json:"channels"`
	SampleRate int    `json:"sample_rate"`
	Default    bool   `json:"default"`
	BitRate    int    `json:"bit_rate,omitempty"` // bit/s that it is encoded at
}

// Why a rung is made or left out.
const (
	RungMade       = "made"
	RungSourceSize = "made_at_source_size" // the source lies below the rung
	RungNotAsked   = "not_asked"           // options.ladder does not name it
	RungOnRequest  = "on_request"          // made only when options.ladder names it
	RungTooLarge   = "larger_than_source"
	RungTooNear    = "too_near"    // within a tenth of the rung above it
	RungCodecLimit = "codec_limit" // the codec gets fewer rungs, of other sizes: docs/encoding.md
)

// RungForecast says what becomes of a rung.
type RungForecast struct {
	Rung      string  `json:"rung"`
	Codec     string  `json:"codec"`
	Made      bool    `json:"made"`
	Reason    string  `json:"reason"`
	Width     int     `json:"width,omitempty"`
	Height    int     `json:"height,omitempty"`
	FrameRate float64 `json:"frame_rate,omitempty"`
	MaxRate   int     `json:"max_bit_rate,omitempty"` // bit/s
	Copied    bool    `json:"copied,omitempty"`
}

// DryRun probes a source and plans, and makes nothing. Its errors are those of
// Run. Keys are not needed.
func (r *Runner) DryRun(ctx context.Context, req Request) (*DryRun, error) {
	if err := req.Options.Validate(); err != nil {
		return nil, err
	}
	return attempted(ctx, r, req, (*attempt).dryRun)
}

func (a *attempt) dryRun(ctx context.Context, abort context.CancelCauseFunc) (*DryRun, error) {
	whole, src, plan, err := a.prepare(ctx, abort)
	if err != nil {
		return nil, err
	}
	d := forecast(whole, src, plan, a.req.Options)
	d.Stages, d.Children = a.track.finish(), a.usage()
	return &d, nil
}

// forecast turns a plan into what is told of it: the facts are those of the
// whole source, the work is that of the part which is wanted.
func forecast(whole, src *Source, p Plan, opt Options) DryRun {
	width, height := whole.Video.displaySize()
	seconds := src.Duration.Seconds()
	d := DryRun{
		Source: SourceFacts{
			Bytes: whole.Size, Container: whole.Demuxer, DurationSeconds: whole.Duration.Seconds(), Codec: whole.Video.Codec,
			Width: width, Height: height, FrameRate: src.Video.AvgRate.Float(), Rotation: src.Video.Rotation,
			Interlaced: src.Video.Interlaced, HDR: src.Video.HDR(), Audio: []AudioFacts{},
		},
		FrameRate: p.Rate.Float(), SegmentSeconds: p.SegmentSeconds, Rungs: []RungForecast{}, Seconds: seconds,
		Audio: []AudioFacts{}, Outputs: opt.Outputs, Encrypted: opt.Encrypt, PassthroughRefused: p.NotCopied,
	}
	if whole.pictureless() {
		d.FrameRate = 0
	} else {
		d.Rungs = forecastRungs(p, opt, width, height)
	}
	for _, s := range whole.Audio {
		d.Source.Audio = append(d.Source.Audio, AudioFacts{Language: s.Language, Codec: s.Codec, Channels: s.Channels, SampleRate: s.SampleRate, Default: s.Default})
	}
	for _, t := range p.Audio {
		d.Audio = append(d.Audio, AudioFacts{Name: t.Name, Language: t.Language, Codec: t.Codec, Channels: t.Channels, SampleRate: 48000, Default: t.Default, BitRate: 1000 * t.rate()})
		d.Bounds.Audio += float64(t.rate()) * 1000 / 8 * seconds
		d.Sound += seconds
	}
	for _, v := range p.Video {
		work := float64(v.Width*v.Height) / 1e6 * seconds * v.Rate.Float()
		d.Kept += work
		if !v.Copied {
			d.Work += work
		}
		d.Bounds.Video += float64(v.Rung.MaxRate) * 1000 / 8 * seconds
	}
	return d
}

// forecastRungs tells of every rung of the ladder in each codec that is made.
func forecastRungs(p Plan, opt Options, width, height int) []RungForecast {
	deserved := map[string]bool{}
	for _, v := range p.rungs(width, height, opt.Ladder) {
		deserved[v.Rung.Name] = true
	}
	var out []RungForecast
	for _, codec := range Codecs {
		if len(opt.Codecs) == 0 && codec != CodecH264 || len(opt.Codecs) > 0 && !slices.Contains(opt.Codecs, codec) {
			continue
		}
		for _, r := range ladder {
			f := RungForecast{Rung: r.Name, Codec: codec}
			at := slices.IndexFunc(p.Video, func(v VideoPlan) bool { return v.Rung.Name == r.Name && v.Codec == codec })
			switch {
			case at >= 0:
				v := p.Video[at]
				f.Made, f.Reason = true, RungMade
				if v.Rung.ShortEdge < r.ShortEdge {
					f.Reason = RungSourceSize
				}
				f.Width, f.Height, f.FrameRate, f.MaxRate, f.Copied = v.Width, v.Height, math.Round(v.Rate.Float()*1000)/1000, v.Rung.MaxRate*1000, v.Copied
			case len(opt.Ladder) > 0 && !slices.Contains(opt.Ladder, r.Name):
				f.Reason = RungNotAsked
			case len(opt.Ladder) == 0 && r.OnRequest:
				f.Reason = RungOnRequest
			case deserved[r.Name]:
				f.Reason = RungCodecLimit
			case r.ShortEdge > min(width, height):
				f.Reason = RungTooLarge
			default:
				f.Reason = RungTooNear
			}
			out = append(out, f)
		}
	}
	return out
}
