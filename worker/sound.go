package worker

import (
	"fmt"

	"github.com/sealcast/sealcast/pipeline"
)

// Sound alone: audio:transcode makes a presentation of it, audio:download a
// file of what is published.
const (
	TypeAudio    = "audio:transcode"
	TypeDownload = "audio:download"
)

// downloadField is the option of audio:transcode that names the download's format.
const downloadField = "download"

func parseDownload(r *reader) pipeline.Part {
	var d pipeline.Download
	r.only("format")
	r.text("format", &d.Format)
	return d
}

// parseSound reads the options of audio:transcode.
func parseSound(r *reader, s *Submission) *RequestError {
	o := pipeline.DefaultSoundOptions()
	r.only("encrypt", "outputs", "bit_rates", "segment_seconds", "clip", "loudness", "scheme", "pssh", "key_period_seconds", downloadField)
	r.flag("encrypt", &o.Encrypt)
	if !o.Encrypt {
		o.Outputs = []string{pipeline.OutputCMAF} // the other one is always encrypted
	}
	r.texts("outputs", &o.Outputs)
	r.wholes("bit_rates", &o.BitRates)
	r.whole("segment_seconds", &o.SegmentSeconds)
	o.Clip = clipOf(r)
	parseLoudness(r, &o)
	r.text("scheme", &o.Scheme)
	r.texts("pssh", &o.PSSH)
	r.whole("key_period_seconds", &o.KeyPeriodSeconds)
	var d pipeline.Download
	r.text(downloadField, &d.Format)
	switch {
	case r.err != nil:
		return r.err
	case len(o.BitRates) == 0:
		return &RequestError{CodeOptionsInvalid, join(r.path, "bit_rates") + " is empty: name one or two"}
	}
	if bad := optionsFault(o.Validate(), r.path); bad != nil {
		return bad
	}
	s.Options = o.Canonical()
	if _, asked := r.obj[downloadField]; !asked {
		return nil
	}
	if d.Validate() != nil {
		return &RequestError{CodeOptionsInvalid, fmt.Sprintf("%s is %q: use %s or %s", join(r.path, downloadField), d.Format, pipeline.FormatMP3, pipeline.FormatM4A)}
	}
	s.Parts = []PartSubmission{{Type: TypeDownload, Kind: pipeline.StaticKind, Name: d.Format, Part: d}}
	return nil
}

// soundWire is the canonical spelling of the options of audio:transcode.
type soundWire struct {
	Encrypt          bool               `json:"encrypt"`
	Outputs          []string           `json:"outputs"`
	BitRates         []int              `json:"bit_rates"`
	SegmentSeconds   int                `json:"segment_seconds"`
	Clip             *pipeline.Clip     `json:"clip,omitempty"`
	Loudness         *pipeline.Loudness `json:"loudness,omitempty"`
	Scheme           string             `json:"scheme,omitempty"`
	PSSH             []string           `json:"pssh,omitempty"`
	KeyPeriodSeconds int                `json:"key_period_seconds,omitempty"`
	Download         string             `json:"download,omitempty"`
}

func (s Submission) soundWire() soundWire {
	o := s.Options
	w := soundWire{
		Encrypt: o.Encrypt, Outputs: o.Outputs, BitRates: o.BitRates, SegmentSeconds: o.SegmentSeconds, Clip: o.Clip, Loudness: o.Loudness,
		Scheme: o.Scheme, PSSH: o.PSSH, KeyPeriodSeconds: o.KeyPeriodSeconds,
	}
	for _, p := range s.Parts {
		w.Download = p.Name
	}
	return w
}
