package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"

	"github.com/sealcast/sealcast/internal/proc"
)

// loudnessArgs returns ffmpeg's arguments to measure a track as it will be
// played: integrated loudness and true peak (EBU R 128), told on stderr.
func loudnessArgs(src *Source, p Plan, t AudioPlan, url string) []string {
	args := append([]string{"-nostdin", "-hide_banner", "-loglevel", "info", "-nostats"}, inputArgs(src.Container)...)
	return append(args, "-i", url, "-map", fmt.Sprintf("0:%d", t.Stream),
		"-af", "aresample=async=1:first_pts=0"+clipSound(src, p)+","+t.layout()+",ebur128=peak=true:framelog=verbose", "-f", "null", "-")
}

// silent is what ebur128 says of silence, in LUFS.
const silent = -70

// gain returns the constant gain in dB that brings a track to the target, or as
// near as its peaks allow.
func (l Loudness) gain(lufs, peak float64) float64 {
	if lufs <= silent {
		return 0
	}
	return math.Round(100*min(l.LUFS-lufs, l.TruePeak-peak)) / 100
}

var (
	loudnessLine = regexp.MustCompile(`\bI:\s+(-?[0-9.]+|-?inf|-?nan) LUFS`)
	peakLine     = regexp.MustCompile(`\bPeak:\s+(-?[0-9.]+|-?inf|-?nan) dBFS`)
)

// parseLoudness reads the summary of ebur128.
func parseLoudness(text string) (lufs, peak float64, err error) {
	last := func(re *regexp.Regexp) (float64, error) {
		all := re.FindAllStringSubmatch(text, -1)
		if len(all) == 0 {
			return 0, errors.New("no summary of the loudness")
		}
		v, err := strconv.ParseFloat(all[len(all)-1][1], 64)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			v = silent
		}
		return v, err
	}
	lufs, err1 := last(loudnessLine)
	peak, err2 := last(peakLine)
	return lufs, peak, errors.Join(err1, err2)
}

// measureLoudness is the first of the two passes: it gives each track its gain.
func (a *attempt) measureLoudness(ctx context.Context, src *Source, p Plan) (Plan, error) {
	want := a.req.Options.Loudness
	if want == nil {
		return p, nil
	}
	p.Loudness, p.Audio = true, slices.Clone(p.Audio)
	for i, t := range p.Audio {
		res, err := a.child(ctx, proc.Spec{Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: loudnessArgs(src, p, t, a.sourceURL())})
		if fault := a.gateway.fault(); fault != nil {
			return p, fault
		}
		var lufs, peak float64
		if err == nil {
			lufs, peak, err = parseLoudness(res.Stderr)
		}
		if err != nil {
			return p, transient(CodeEncodeFailed, "the loudness could not be measured", err)
		}
		p.Audio[i].GainDB = want.gain(lufs, peak)
		a.log.Info("loudness measured", "stream", t.Stream, "lufs", lufs, "peak_dbtp", peak, "gain_db", p.Audio[i].GainDB)
	}
	return p, nil
}
