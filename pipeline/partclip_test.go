package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/texttrack"
	"github.com/sealcast/sealcast/pipeline"
)

// The parts of a clip show it and nothing else, and their times are its times;
// where a part does not say which clip, that of the request counts.
func TestPartsFollowTheClip(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	file := makeSource(t, "a.mp4", join(moving("320x180", "25", "8"), words("-c:v libx264 -preset ultrafast -g 25"))...)
	clip := &pipeline.Clip{Start: 3, End: 6}

	cover := l.part(file, pipeline.Cover{Time: number(1)})
	cover.Clip = clip
	if made := l.makePart(cover); made.Facts["time"] != 1.0 {
		t.Errorf("cover: %v", made.Facts)
	}
	if d := difference(look(t, l.partFile(cover, "poster.jpg"), "0"), look(t, file, "4")); d > 3 {
		t.Errorf("the cover at 1 s of the clip differs by %.1f from 4 s of the source", d)
	}
	cover.Part, cover.Prefix = pipeline.Cover{Time: number(3.5)}, "fedcba9876543210-2"
	wantPermanent(t, l, cover, pipeline.CodeOptionsInvalid)

	preview := l.part(file, pipeline.Preview{Start: number(2), Length: 5, Width: 160, FPS: 5, Format: "gif", Clip: clip})
	preview.Prefix, preview.Clip = "fedcba9876543210-3", &pipeline.Clip{Start: 7}
	if made := l.makePart(preview); made.Facts["start"] != 2.0 || made.Facts["frames"] != 5 {
		t.Errorf("preview: %v", made.Facts)
	}
	if d := difference(look(t, l.partFile(preview, "preview.gif"), "0.2"), look(t, file, "5.2")); d > 12 {
		t.Errorf("the preview differs by %.1f", d)
	}

	board := l.part(file, pipeline.Storyboard{Width: 80}.InClip(clip))
	board.Prefix = "fedcba9876543210-4"
	if made := l.makePart(board); made.Facts["pictures"] != 3 {
		t.Errorf("storyboard: %v", made.Facts)
	}
	vtt := string(l.object(pipeline.Request{Hash: board.Hash, Prefix: board.Prefix}, "storyboard.vtt"))
	if !strings.Contains(vtt, "00:00:00.000 --> 00:00:01.000\n") || !strings.HasSuffix(vtt, "00:00:02.000 --> 00:00:03.000\nstoryboard-1.jpg#xywh=160,0,80,46\n") {
		t.Errorf("storyboard:\n%s", vtt)
	}
	sheet := l.partFile(board, "storyboard-1.jpg")
	for at, want := range map[string]string{"0:0": "3", "160:0": "5"} {
		cut := makeSource(t, "tile.png", "-i", sheet, "-vf", "crop=80:46:"+at, "-frames:v", "1")
		if d := difference(look(t, cut, "0"), look(t, file, want)); d > 10 {
			t.Errorf("the picture at %s differs by %.1f from that of %s s", at, d, want)
		}
	}

	text := pipeline.PartRequest{
		Hash: board.Hash, Prefix: "fedcba9876543210-5", SourceKey: "nothing/is/there", Film: pipeline.Film{From: 3 * time.Second, Length: 3 * time.Second, Clip: clip},
		Part: pipeline.Text{
			Track:    texttrack.Track{Language: "en", Kind: texttrack.Subtitles},
			Document: "WEBVTT\n\n00:01.000 --> 00:02.500\nbefore\n\n00:02.000 --> 00:03.500\ninto it\n\n00:04.000 --> 00:05.000\nwithin\n\n00:05.500 --> 00:09.000\nout of it\n\n00:07.000 --> 00:08.000\nbehind\n",
		},
	}
	l.makePart(text)
	whole := string(l.object(pipeline.Request{Hash: text.Hash, Prefix: text.Prefix}, "text/en/"+texttrack.WholeName))
	for _, cue := range []string{"00:00:00.000 --> 00:00:00.500\ninto it", "00:00:01.000 --> 00:00:02.000\nwithin", "00:00:02.500 --> 00:00:03.000\nout of it"} {
		if !strings.Contains(whole, cue) {
			t.Errorf("%q is not in\n%s", cue, whole)
		}
	}
	if strings.Contains(whole, "before") || strings.Contains(whole, "behind") {
		t.Errorf("cues of what is cut away:\n%s", whole)
	}
}
