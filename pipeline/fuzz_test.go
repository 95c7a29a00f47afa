package pipeline_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
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

// Property: of whatever a child writes as progress, frame numbers come out that
// are not negative, no more than there are lines, and all of it is read.
func FuzzReadProgress(f *testing.F) {
	f.Add([]byte("frame=1\nfps=0.0\nprogress=continue\nframe=2\nprogress=end\n"))
	f.Add([]byte("frame=\x00\r\nframe=3"))
	f.Add(bytes.Repeat([]byte("frame=9"), 20000))
	f.Fuzz(func(t *testing.T, lines []byte) {
		r := bytes.NewReader(lines)
		frames := pipeline.ReadFrames(r)
		if r.Len() != 0 {
			t.Fatalf("%d bytes are left in the pipe", r.Len())
		}
		if len(frames) > bytes.Count(lines, []byte("\n"))+1 || slices.ContainsFunc(frames, func(n int64) bool { return n < 0 }) {
			t.Fatalf("frames %v", frames)
		}
	})
}

// Property: ffprobe's list of packets means the same in whatever pieces it
// comes; streams end at a time that is neither negative nor absurd, no more
// packets are counted than there are lines, and little is held back.
func FuzzPackets(f *testing.F) {
	f.Add([]byte("stream_index=0|pts_time=0.080000|dts_time=0.0|duration_time=0.04\nstream_index=1|pts_time=N/A|dts_time=1\n"), 7)
	f.Add([]byte("stream_index=0|pts_time=1e300|duration_time=-5\nstream_index=-1\nstream_index=0|pts_time=nan\n"), 1)
	f.Fuzz(func(t *testing.T, list []byte, size int) {
		if len(list) > 4000 {
			return // a line without end is dropped where it is cut
		}
		packets, end, held := pipeline.ReadPackets(list, size)
		whole, wholeEnd, _ := pipeline.ReadPackets(list, len(list))
		if !maps.Equal(packets, whole) || !maps.Equal(end, wholeEnd) {
			t.Fatalf("in pieces of %d: %v %v, in one: %v %v", size, packets, end, whole, wholeEnd)
		}
		total := int64(0)
		for i, n := range packets {
			total += n
			if i < 0 || end[i] < 0 || end[i] > 2e9 {
				t.Fatalf("stream %d ends at %g", i, end[i])
			}
		}
		if total > int64(bytes.Count(list, []byte("\n"))) || held > 4096 {
			t.Fatalf("%d packets, %d bytes held back", total, held)
		}
	})
}

// Property: a source's first bytes name a demuxer of the whitelist, or none;
// and more bytes do not change what was named.
func FuzzSniff(f *testing.F) {
	for _, s := range []string{"\x00\x00\x00\x18ftypisom", "\x1a\x45\xdf\xa3", "RIFF\x00\x00\x00\x00AVI ", "#EXTM3U\n", "G", "OggS", "FLV\x01", "\x00\x00\x01\xba"} {
		f.Add([]byte(s), []byte("#EXTM3U"))
	}
	known := words("mov matroska avi flv ogg asf mxf mpeg mpegts")
	f.Fuzz(func(t *testing.T, head, more []byte) {
		demuxer := pipeline.Sniff(head)
		if demuxer == "" {
			return
		}
		if !slices.Contains(known, demuxer) {
			t.Fatalf("demuxer %q", demuxer)
		}
		if again := pipeline.Sniff(slices.Concat(head, more)); again != demuxer {
			t.Fatalf("%q became %q", demuxer, again)
		}
	})
}

// Property: boxes are found the same in whatever pieces the stream comes, and
// no box is longer than the stream.
func FuzzBoxes(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x09moov!\x00\x00\x00\x08free\x00\x00\x00\x0amdatxx"), 3)
	f.Add([]byte("\x00\x00\x00\x01moof\x00\x00\x00\x00\x00\x00\x00\x12ab"), 1)
	f.Add([]byte("\xff\xff\xff\xffmdat"), 2)
	f.Fuzz(func(t *testing.T, stream []byte, size int) {
		boxes, err := pipeline.ScanBoxes(stream, size)
		whole, wholeErr := pipeline.ScanBoxes(stream, len(stream))
		if !slices.EqualFunc(boxes, whole, bytes.Equal) || (err == nil) != (wholeErr == nil) {
			t.Fatalf("in pieces of %d: %d boxes, %v; in one: %d, %v", size, len(boxes), err, len(whole), wholeErr)
		}
		for _, b := range boxes {
			if len(b) > len(stream) {
				t.Fatalf("a box of %d bytes in a stream of %d", len(b), len(stream))
			}
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
