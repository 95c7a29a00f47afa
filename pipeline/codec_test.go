package pipeline_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// Every codec in one master, on one grid; what a viewer decrypts is what the
// encoders made. MPEG-TS has H.264 only. A copied top rung leads the others.
func TestCodecs(t *testing.T) {
	for _, c := range []struct {
		name   string
		codecs []string
		source []string
		copied bool
	}{
		{"all, of a source that is encoded", pipeline.Codecs, join(moving("320x180", "25", "5"), tone("5"), words("-c:v mpeg4 -c:a aac")), false},
		{"all, beside the source's own pictures", pipeline.Codecs, join(flashing, x264, words("-g 30")), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			kept := l.keepEncodes()
			req := l.request(makeSource(t, "a.mp4", c.source...), func(o *pipeline.Options) { o.Codecs, o.SegmentSeconds = c.codecs, 2 })
			p := l.run(req)
			var made []string
			for _, v := range p.Video {
				made = append(made, fmt.Sprintf("%s %.4s %v", v.Output, v.Codec, v.Copied))
			}
			want := []string{fmt.Sprintf("cmaf avc1 %v", c.copied), "cmaf hvc1 false", "cmaf av01 false", fmt.Sprintf("ts avc1 %v", c.copied)}
			if !slices.Equal(made, want) {
				t.Fatalf("made %q, want %q", made, want)
			}
			grid := extinfs(l.object(req, "cmaf/v-240p/index.m3u8"))
			for _, track := range []string{"v-240p", "v-hevc-240p", "v-av1-240p"} {
				if err := kept[track].Close(); err != nil {
					t.Fatal(err)
				}
				got, enc := frameHashes(t, l.clear(req, "cmaf", track), "v"), frameHashes(t, kept[track].Name(), "v")
				if int64(len(got)) != p.Video[0].Frames || !slices.Equal(got, enc) {
					t.Errorf("%s: %d pictures differ from the encoder's %d", track, len(got), len(enc))
				}
				if own := extinfs(l.object(req, "cmaf/"+track+"/index.m3u8")); len(own) < 3 || !slices.Equal(own, grid) {
					t.Errorf("%s: segments of %v, the others' are %v", track, own, grid)
				}
			}
			var codecs []string
			for _, m := range regexp.MustCompile(`(?m)^#EXT-X-STREAM-INF:.*CODECS="([^"]*)".*VIDEO-RANGE=SDR`).FindAllStringSubmatch(string(l.object(req, "master.m3u8")), -1) {
				codecs = append(codecs, m[1])
			}
			const full = `^avc1\.[0-9a-f]{6},mp4a\.40\.2 hvc1\.1\.6\.L[0-9]+\.[0-9A-F.]+,mp4a\.40\.2 av01\.0\.[0-9]{2}[MH]\.08(\.[0-9.]+)?,mp4a\.40\.2$`
			if s := strings.Join(codecs, " "); !regexp.MustCompile(full).MatchString(s) {
				t.Errorf("CODECS are %s", s)
			}
		})
	}
}

// A ladder of costly codecs that is affordable.
func TestLadderOfCodecs(t *testing.T) {
	for _, c := range []struct {
		name          string
		width, height int
		codecs        []string
		want          string
	}{
		{"h264", 1280, 720, nil, "v-720p 2800, v-480p 1400, v-360p 800, v-240p 400"},
		{"and av1", 1280, 720, []string{"h264", "av1"}, "v-720p 2800, v-480p 1400, v-360p 800, v-240p 400, v-av1-720p 1680, v-av1-480p 840, v-av1-360p 480"},
		{"hevc alone, of UHD", 3840, 2160, []string{"hevc"}, "v-hevc-1080p 3500, v-hevc-720p 1959, v-hevc-480p 979"},
		{"too small for av1", 64, 48, []string{"h264", "av1"}, "v-240p 400"},
		{"nothing left", 64, 48, []string{"av1"}, "source_unsupported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			opt := pipeline.DefaultOptions()
			opt.Codecs = c.codecs
			plan, err := pipeline.NewPlan(source(c.width, c.height, pipeline.Rational{Num: 25, Den: 1}), opt)
			got := fmt.Sprint(err)
			if err == nil {
				var all []string
				for _, r := range pipeline.Renditions(plan) {
					all = append(all, fmt.Sprintf("%s %d", r.Name, r.Video.Rung.MaxRate))
				}
				got = strings.Join(all, ", ")
			}
			if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
