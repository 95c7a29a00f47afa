package worker

import (
	"encoding/json"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/pipeline"
)

// results is the results object of a succeeded job: the wire contract. The
// publish transaction adds "generation".
type results struct {
	Hash            string            `json:"hash"`
	DurationSeconds float64           `json:"duration_seconds"`
	SourceBytes     int64             `json:"source_bytes"`
	Bytes           int64             `json:"bytes"` // of all objects
	Objects         int               `json:"objects"`
	Streaming       streamingResult   `json:"streaming"`
	VideoTracks     []videoResult     `json:"video_tracks"`
	AudioTracks     []audioResult     `json:"audio_tracks"`
	Encryption      *encryptionResult `json:"encryption,omitempty"`
	// PassthroughRefused says why the source's own pictures are no rendition.
	PassthroughRefused string        `json:"passthrough_refused,omitempty"`
	Stages             []stageResult `json:"stages"`
	Actuals            actuals       `json:"actuals"`
}

// actuals is what the attempt that succeeded used, so that anybody can bill by
// it. CPU seconds are those of its children.
type actuals struct {
	MediaSeconds float64       `json:"media_seconds"`
	CPUSeconds   float64       `json:"cpu_seconds"`
	BytesIn      int64         `json:"bytes_in"`  // read of the source, what was read twice twice
	BytesOut     int64         `json:"bytes_out"` // written to the media bucket
	Stages       []stageActual `json:"stages"`
}

type stageActual struct {
	Stage      pipeline.Stage `json:"stage"`
	Seconds    float64        `json:"seconds"`
	CPUSeconds float64        `json:"cpu_seconds"`
	BytesIn    int64          `json:"bytes_in"`
	BytesOut   int64          `json:"bytes_out"`
}

func actualsOf(media time.Duration, stages []pipeline.StageTime, children []pipeline.ChildUsage) actuals {
	a := actuals{MediaSeconds: media.Seconds(), Stages: []stageActual{}}
	cpu := map[pipeline.Stage]time.Duration{}
	var all time.Duration
	for _, c := range children {
		cpu[c.Stage] += c.CPU
		all += c.CPU
	}
	a.CPUSeconds = all.Seconds()
	for _, s := range stages {
		a.BytesIn += s.In
		a.BytesOut += s.Out
		a.Stages = append(a.Stages, stageActual{s.Stage, s.Duration.Seconds(), cpu[s.Stage].Seconds(), s.In, s.Out})
	}
	return a
}

type streamingResult struct {
	Protocol       string         `json:"protocol"`  // of master_playlist
	Container      string         `json:"container"` // of the first output
	Encrypted      bool           `json:"encrypted"`
	MasterPlaylist string         `json:"master_playlist"`
	Manifest       string         `json:"manifest,omitempty"`
	Outputs        []outputResult `json:"outputs"`
}

type outputResult struct {
	Name           string      `json:"name"`
	MasterPlaylist string      `json:"master_playlist"`
	Manifest       string      `json:"manifest,omitempty"`     // MPEG-DASH
	EMEPlaylist    string      `json:"eme_playlist,omitempty"` // HLS for EME players
	Scheme         cenc.Scheme `json:"scheme,omitempty"`       // absent: clear
	Container      string      `json:"container"`
}

type videoResult struct {
	Output           string  `json:"output"`
	Rung             string  `json:"rung"`
	Codec            string  `json:"codec"` // RFC 6381
	Width            int     `json:"width"`
	Height           int     `json:"height"`
	FrameRate        float64 `json:"frame_rate"`
	Bandwidth        int64   `json:"bandwidth"`         // bit/s of the worst segment
	AverageBandwidth int64   `json:"average_bandwidth"` // bit/s
	Frames           int64   `json:"frames"`
	Copied           bool    `json:"copied,omitempty"` // the source's own pictures
	Bytes            int64   `json:"bytes"`
	DurationSeconds  float64 `json:"duration_seconds"`
}

type audioResult struct {
	Output           string  `json:"output"`
	Name             string  `json:"name"`
	Language         string  `json:"language,omitempty"`
	Default          bool    `json:"default"`
	Codec            string  `json:"codec"`
	Channels         int     `json:"channels"`
	SampleRate       int     `json:"sample_rate"`       // Hz
	GainDB           float64 `json:"gain_db,omitempty"` // of options.loudness
	Bandwidth        int64   `json:"bandwidth"`
	AverageBandwidth int64   `json:"average_bandwidth"`
	Bytes            int64   `json:"bytes"`
	DurationSeconds  float64 `json:"duration_seconds"`
}

// keyResult is the public part of a content key.
type keyResult struct {
	Scheme     cenc.Scheme `json:"scheme"`
	KID        string      `json:"kid"`
	KEKVersion int         `json:"kek_version"`
	KeyURI     string      `json:"key_uri"`
}

type encryptionResult struct {
	keyResult                   // of the first output
	Outputs   []outputKeyResult `json:"outputs"`
}

type outputKeyResult struct {
	Name string `json:"name"`
	keyResult
	Keys int `json:"keys,omitempty"` // with key periods: how many; the one above is the first
}

type stageResult struct {
	Stage     pipeline.Stage `json:"stage"`
	StartedAt time.Time      `json:"started_at"`
	Seconds   float64        `json:"seconds"`
}

// buildResults describes a presentation that will be published under baseURL.
// keys are by output name, nil for a clear asset.
func buildResults(baseURL, hash string, p *pipeline.Presentation, keys map[string]keystore.Key) (json.RawMessage, error) {
	root := baseURL + "/stream/" + hash + "/"
	r := results{
		Hash: hash, DurationSeconds: p.Duration.Seconds(), SourceBytes: p.SourceBytes,
		Bytes: p.Bytes, Objects: len(p.Objects), PassthroughRefused: p.NotCopied,
		Streaming:   streamingResult{Protocol: "hls", Encrypted: len(keys) > 0, Outputs: []outputResult{}},
		Actuals:     actualsOf(p.Duration, p.Stages, p.Children),
		VideoTracks: []videoResult{}, AudioTracks: []audioResult{}, Stages: []stageResult{},
	}
	url := func(base, name string) string {
		if name == "" {
			return ""
		}
		return base + name
	}
	for _, o := range p.Outputs {
		r.Streaming.Outputs = append(r.Streaming.Outputs, outputResult{
			Name: o.Name, MasterPlaylist: url(root, o.MasterPlaylist), Manifest: url(root, o.Manifest),
			EMEPlaylist: url(root, o.EMEPlaylist), Scheme: o.Scheme, Container: o.Container,
		})
		if key, ok := keys[o.Name]; ok {
			if r.Encryption == nil {
				r.Encryption = &encryptionResult{keyResult: publicPart(key)}
			}
			r.Encryption.Outputs = append(r.Encryption.Outputs, outputKeyResult{o.Name, publicPart(key), o.KeyPeriods})
		}
	}
	if len(r.Streaming.Outputs) > 0 {
		first := r.Streaming.Outputs[0]
		r.Streaming.Container = first.Container
		r.Streaming.MasterPlaylist, r.Streaming.Manifest = first.MasterPlaylist, first.Manifest
	}
	for _, v := range p.Video {
		r.VideoTracks = append(r.VideoTracks, videoResult{
			Output: v.Output, Rung: v.Rung, Codec: v.Codec, Width: v.Width, Height: v.Height,
			FrameRate: v.FrameRate, Bandwidth: v.Bandwidth, AverageBandwidth: v.AverageBandwidth,
			Frames: v.Frames, Copied: v.Copied, Bytes: v.Bytes, DurationSeconds: v.Duration.Seconds(),
		})
	}
	for _, a := range p.Audio {
		r.AudioTracks = append(r.AudioTracks, audioResult{
			Output: a.Output, Name: a.Name, Language: a.Language, Default: a.Default, Codec: a.Codec,
			GainDB: a.GainDB, Channels: a.Channels, SampleRate: a.SampleRate, Bandwidth: a.Bandwidth,
			AverageBandwidth: a.AverageBandwidth, Bytes: a.Bytes, DurationSeconds: a.Duration.Seconds(),
		})
	}
	for _, s := range p.Stages {
		r.Stages = append(r.Stages, stageResult{s.Stage, s.Start.UTC(), s.Duration.Seconds()})
	}
	return json.Marshal(r)
}

func publicPart(k keystore.Key) keyResult {
	return keyResult{Scheme: k.Scheme, KID: k.KID.String(), KEKVersion: k.KEKVersion, KeyURI: k.KeyURI}
}
