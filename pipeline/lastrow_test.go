package pipeline_test

import (
	"bytes"
	"testing"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/sealcast/sealcast/pipeline"
)

// The last segments of each output are checked while its packager ends: one
// decoder has done the first and the middle row by then, and one the last row of
// each output. The packager seldom writes a second init segment that says more
// than the first; then the segment is checked again.
func TestLastSegmentsAreCheckedWhilePackagersEnd(t *testing.T) {
	l := newLab(t, func(cfg *pipeline.Config) {
		scripted(t, cfg, "packager", `"$REAL" "$@"; rc=$?; sleep 3; exit $rc`)
	})
	p := l.run(l.request(clip(t, "15")))
	before, behind, packagers := 0, 0, 0
	for _, child := range p.Children { // in the order in which they ended
		switch {
		case child.Name == "packager":
			packagers++
		case child.Stage == pipeline.StageVerify && packagers == 0:
			before++
		case child.Stage == pipeline.StageVerify:
			behind++
		}
	}
	if before != 3 || behind > 1 || packagers != 2 {
		t.Errorf("%d decoders before the packagers ended, %d behind them, %d packagers", before, behind, packagers)
	}
}

// Two init segments are the same when they differ in times alone.
func TestSameButTimes(t *testing.T) {
	build := func(change func(*mp4.InitSegment)) []byte {
		init := mp4.CreateEmptyInit()
		init.AddEmptyTrack(48000, "audio", "en")
		if err := init.Moov.Trak.SetAACDescriptor(2, 48000); err != nil {
			t.Fatal(err)
		}
		change(init)
		var out bytes.Buffer
		if err := init.Encode(&out); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	first := build(func(*mp4.InitSegment) {})
	for name, c := range map[string]struct {
		change func(*mp4.InitSegment)
		same   bool
	}{
		"as it was": {func(*mp4.InitSegment) {}, true},
		"durations": {func(i *mp4.InitSegment) {
			i.Moov.Mvhd.Duration, i.Moov.Trak.Tkhd.Duration, i.Moov.Trak.Mdia.Mdhd.Duration = 1, 2, 3
			i.Moov.Mvex.AddChild(&mp4.MehdBox{FragmentDuration: 4})
		}, true},
		"times of day": {func(i *mp4.InitSegment) {
			i.Moov.Mvhd.CreationTime, i.Moov.Trak.Tkhd.ModificationTime, i.Moov.Trak.Mdia.Mdhd.CreationTime = 1, 2, 3
		}, true},
		"time scale": {func(i *mp4.InitSegment) { i.Moov.Trak.Mdia.Mdhd.Timescale = 1 }, false},
		"track":      {func(i *mp4.InitSegment) { i.Moov.Trak.Tkhd.TrackID = 2 }, false},
		"codec": {func(i *mp4.InitSegment) {
			i.Moov.Trak.Mdia.Minf.Stbl.Stsd.Mp4a.SampleRate = 44100
		}, false},
	} {
		if same, err := pipeline.SameButTimes(first, build(c.change)); err != nil || same != c.same {
			t.Errorf("%s: %v, %v", name, same, err)
		}
	}
	if _, err := pipeline.SameButTimes(first, []byte("no boxes")); err == nil {
		t.Error("no error for what is no init segment")
	}
}
