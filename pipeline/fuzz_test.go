package pipeline_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// Property: whatever ffprobe prints, a source is either refused for good with
// a code or gives a plan whose rungs are even, never larger than 4096 and on
// one grid, and whose names are fit for quoted strings and packager arguments.
func FuzzProbe(f *testing.F) {
	f.Add([]byte(`{"format":{"duration":"20.0"},"streams":[{"index":0,"codec_type":"video","codec_name":"h264","width":1920,"height":1080,"sample_aspect_ratio":"1:1","r_frame_rate":"30/1","avg_frame_rate":"30/1"},{"index":1,"codec_type":"audio","codec_name":"aac","channels":2,"sample_rate":"48000","tags":{"language":"eng","title":"a,b\"c"}}]}`))
	f.Add([]byte(`{"format":{"duration":"N/A"},"streams":[{"codec_type":"video","codec_name":"x","width":99999,"height":1,"r_frame_rate":"1/0","avg_frame_rate":"0/0","side_data_list":[{"rotation":-90}]}]}`))
	f.Add([]byte(`{"format":{"duration":"1e5"},"streams":[{"codec_type":"video","codec_name":"x","width":17,"height":8000,"sample_aspect_ratio":"3:1","r_frame_rate":"90000/1","avg_frame_rate":"1/100000"}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		src, err := pipeline.ParseProbe(doc)
		if err == nil {
			err = pipeline.CheckDuration(src)
		}
		if err == nil {
			var plan pipeline.Plan
			if plan, err = pipeline.NewPlan(src, pipeline.DefaultOptions()); err == nil {
				checkPlan(t, plan)
				return
			}
		}
		var perr *pipeline.Error
		if !errors.As(err, &perr) || !perr.Permanent || perr.Code == "" || perr.Message == "" {
			t.Fatalf("refused with %v", err)
		}
	})
}

func checkPlan(t *testing.T, p pipeline.Plan) {
	t.Helper()
	if len(p.Video) == 0 || p.SegmentSeconds <= 0 || p.Rate.Float() <= 0 || p.Rate.Float() > 60.1 {
		t.Fatalf("plan %+v", p)
	}
	for i, v := range p.Video[1:] {
		if above := p.Video[i]; v.Width*v.Height >= above.Width*above.Height {
			t.Fatalf("%s is not smaller than %s", v.Rung.Name, above.Rung.Name)
		}
	}
	names := map[string]bool{}
	for _, r := range pipeline.Renditions(p) {
		if names[r.Name] {
			t.Fatalf("two renditions are called %s", r.Name)
		}
		names[r.Name] = true
		if v := r.Video; v != nil && (v.Width%2 != 0 || v.Height%2 != 0 || v.Width < 2 || v.Height < 2 || max(v.Width, v.Height) > 4096 || v.GOP < 1) {
			t.Fatalf("rung %+v", *v)
		}
		if a := r.Audio; a != nil && (a.Name == "" || a.Language == "" || strings.ContainsAny(a.Name+a.Language, "\"\n\r,=;$")) {
			t.Fatalf("audio %+v", *a)
		}
	}
}

// Property: a progress line gives a frame number that is not negative, or nothing.
func FuzzProgress(f *testing.F) {
	for _, s := range []string{"frame=12", "frame= 7 ", "out_time_us=1", "frame=-1", "frame=99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if n, ok := pipeline.ParseProgress(line); ok && n < 0 {
			t.Fatalf("frame %d", n)
		}
	})
}

// Property: a range lies in the resource, or begins behind it and is refused.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-", "bytes=5-9", "bytes=-5", "bytes=9-5", "bytes=0-0,2-3", "bytes=9223372036854775807-9223372036854775807"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 1 {
			return
		}
		from, to, partial := pipeline.ParseRange(header, size)
		if from < 0 || to > size || from < size && from >= to {
			t.Fatalf("[%d, %d) of %d", from, to, size)
		}
		if !partial && (from != 0 || to != size) {
			t.Fatalf("[%d, %d) of %d is partial", from, to, size)
		}
	})
}

// Property: a media playlist that is taken has as many segments as URI lines,
// and keys are written before every one of them.
func FuzzPlaylist(f *testing.F) {
	f.Add("#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:7\n#EXTINF:6.000,\n1.ts\n#EXTINF:2.000,\n2.ts\n#EXT-X-ENDLIST\n")
	f.Add("#EXTM3U\n#EXTINF:1,\n#EXT-X-DISCONTINUITY\n1.ts\n")
	f.Fuzz(func(t *testing.T, doc string) {
		segments, keyed, err := pipeline.SealPlaylist(doc)
		if err != nil {
			return
		}
		if n := strings.Count(keyed, "#EXT-X-KEY:METHOD=AES-128,"); n != segments {
			t.Fatalf("%d segments, %d keys:\n%s", segments, n, keyed)
		}
	})
}
