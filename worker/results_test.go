package worker

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/pipeline"
)

var update = flag.Bool("update", false, "rewrite golden files")

func somePresentation() *pipeline.Presentation {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("x", 3600))
	return &pipeline.Presentation{
		Duration: 20500 * time.Millisecond, SourceBytes: 1000, SourceETag: "etag", Bytes: 777,
		Outputs: []pipeline.Output{
			{Name: "cmaf", Container: "fmp4", Scheme: cenc.SchemeCBCS, MasterPlaylist: "master.m3u8", Manifest: "manifest.mpd"},
			{Name: "ts", Container: "mpegts", Scheme: cenc.SchemeAES128, MasterPlaylist: "ts/master.m3u8"},
		},
		Video: []pipeline.VideoTrack{{
			Output: "cmaf", Rung: "720p", Codec: "avc1.64001f", Width: 1280, Height: 720,
			FrameRate: 29.97, Bandwidth: 3000000, AverageBandwidth: 2000000, Frames: 600, Bytes: 500, Duration: 20 * time.Second,
		}},
		Audio: []pipeline.AudioTrack{{
			Output: "cmaf", Name: "English", Language: "en", Codec: "mp4a.40.2", Default: true,
			Channels: 2, SampleRate: 48000, Bandwidth: 130000, AverageBandwidth: 128000, Bytes: 100, Duration: 20 * time.Second,
		}},
		Objects: []pipeline.Object{
			{Name: "master.m3u8", Size: 7, SHA256: [32]byte{1}, ContentType: "application/vnd.apple.mpegurl"},
			{Name: "v/1.m4s", Size: 770, SHA256: [32]byte{2}, ContentType: "video/iso.segment"},
		},
		Stages: []pipeline.StageTime{{Stage: pipeline.StageProbe, Start: start, Duration: 1500 * time.Millisecond, In: 100, Out: 200}},
		Children: []pipeline.ChildUsage{
			{Name: "ffprobe", Stage: pipeline.StageProbe, CPU: 250 * time.Millisecond}, {Name: "ffmpeg", Stage: pipeline.StageEncode, CPU: 2 * time.Second},
		},
	}
}

func TestResults(t *testing.T) {
	key := func(n byte, scheme cenc.Scheme, uri string) keystore.Key {
		content, _ := cenc.ContentKeyFrom([]byte("0123456789abcdef"))
		return keystore.Key{KID: cenc.KID{n}, Scheme: scheme, KEKVersion: 3, KeyURI: uri, Content: content}
	}
	clear := somePresentation()
	clear.Audio = nil
	clear.Outputs = []pipeline.Output{{Name: "ts", Container: "mpegts", MasterPlaylist: "ts/master.m3u8"}}
	for name, c := range map[string]struct {
		p    *pipeline.Presentation
		keys map[string]keystore.Key
	}{
		"encrypted": {somePresentation(), map[string]keystore.Key{
			"ts":   key(2, cenc.SchemeAES128, "https://v.example/api/key/h?kid=02"),
			"cmaf": key(1, cenc.SchemeCBCS, "https://v.example/api/key/h"),
		}},
		"clear": {clear, nil},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := buildResults("https://v.example", testHash, c.p, c.keys)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, raw, "", "  "); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			golden := "testdata/results-" + name + ".json"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
