package pipeline_test

import (
	"testing"
)

func TestRun(t *testing.T) {
	l := newLab(t)
	src := makeSource(t, "clip.mp4", "-f", "lavfi", "-i", "testsrc2=s=1920x1080:r=30:d=20", "-f", "lavfi", "-i", "sine=440:r=48000:d=20",
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest")
	req := l.request(src)
	p := l.run(req)
	t.Log("\n" + describe(p))
	t.Logf("%s", l.object(req, "master.m3u8"))
	t.Logf("%s", l.object(req, "manifest.mpd"))
	t.Logf("%s", l.object(req, "cmaf/v-360p/index.m3u8"))
	t.Logf("%s", l.object(req, "ts/master.m3u8"))
	t.Logf("%s", l.object(req, "ts/a-0/index.m3u8"))
	for _, o := range p.Objects {
		t.Log(o.Name, o.Size)
	}
}
