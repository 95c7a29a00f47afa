package pipeline_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// A 5.1 track and a stereo one: stereo of both, 5.1 of the first, in groups
// with the same tracks, and a variant without pictures.
func TestSurround(t *testing.T) {
	file := makeSource(t, "a.mkv", join(moving("160x90", "25", "5"),
		words("-f lavfi -i aevalsrc=0.3*sin(880*t)|0.3*sin(1320*t)|0.2*sin(1760*t)|0.1*sin(300*t)|0.1*sin(2200*t)|0.1*sin(2640*t):c=5.1:s=48000:d=5"),
		tone("5"), words("-map 0 -map 1 -map 2 -c:v mpeg4 -c:a flac -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu"))...)
	for _, c := range []struct{ codec, rfc6381 string }{{"aac", "mp4a.40.2"}, {"eac3", "ec-3"}} {
		t.Run(c.codec, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			req := l.request(file, func(o *pipeline.Options) {
				o.SegmentSeconds, o.Audio = 2, &pipeline.AudioOptions{Surround: c.codec, AudioOnly: true}
			})
			p := l.run(req)
			var tracks []string
			for _, a := range p.Audio {
				tracks = append(tracks, fmt.Sprintf("%s %s %s %d", a.Output, a.Name, a.Codec, a.Channels))
			}
			var want []string
			for _, output := range req.Options.Outputs {
				want = append(want, output+" en mp4a.40.2 2", output+" de mp4a.40.2 2", output+" en "+c.rfc6381+" 6")
			}
			if !slices.Equal(tracks, want) {
				t.Errorf("tracks %q, want %q", tracks, want)
			}
			l.playable(req, p)
			master := string(l.object(req, "master.m3u8"))
			for _, pattern := range []string{
				`GROUP-ID="audio",NAME="en",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="cmaf/a-0/`,
				`GROUP-ID="surround",NAME="en",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="6",URI="cmaf/a-2/`,
				`GROUP-ID="surround",NAME="de",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2",URI="cmaf/a-1/`,
				`CODECS="avc1\.[0-9a-f]{6},[^"]*` + c.rfc6381 + `[^"]*",RESOLUTION=160x90,.*AUDIO="surround"`,
				`#EXT-X-STREAM-INF:BANDWIDTH=[0-9]+,AVERAGE-BANDWIDTH=[0-9]+,CODECS="mp4a.40.2",AUDIO="audio"\ncmaf/a-0/index.m3u8`,
			} {
				if !regexp.MustCompile(pattern).MatchString(master) {
					t.Errorf("no %s in\n%s", pattern, master)
				}
			}
			if n := strings.Count(master, "#EXT-X-STREAM-INF"); n != 3 {
				t.Errorf("%d variants, want 3", n)
			}
		})
	}
}
