package pipeline_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/sealcast/sealcast/pipeline"
)

// An AVI whose index leads nowhere, from its beginning or from the first second
// on, is read without it: all of it, and a clip from its middle.
func TestAVIWhoseIndexLeadsNowhere(t *testing.T) {
	whole := makeSource(t, "a.avi", join(moving("320x180", "25", "6"), words("-c:v mpeg4 -q:v 3 -c:a mp3"))...)
	body, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		from int // entries that lead somewhere
		clip *pipeline.Clip
	}{
		{"from the beginning", 0, nil},
		{"from the first second on", 15, nil},
		{"clip", 0, &pipeline.Clip{Start: 2, End: 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			broken := bytes.Clone(body)
			index := bytes.LastIndex(broken, []byte("idx1"))
			entries := broken[index+8:][:binary.LittleEndian.Uint32(broken[index+4:])]
			for at := 16 * c.from; at+16 <= len(entries); at += 16 {
				binary.LittleEndian.PutUint32(entries[at+8:], 0x00ffff7f)
			}
			req := l.requestOf("a.avi", broken, func(o *pipeline.Options) {
				o.Encrypt, o.Outputs, o.Clip = false, []string{pipeline.OutputCMAF}, c.clip
			})
			p := l.run(req)
			source, length := whole, 6*time.Second
			if c.clip != nil {
				source, length = makeSource(t, "clip.mkv", "-ss", "2", "-i", whole, "-t", "3", "-c:v", "ffv1"), 3*time.Second
			}
			if (p.Duration - length).Abs() > 100*time.Millisecond {
				t.Errorf("it lasts %s, want %s", p.Duration, length)
			}
			l.sameLook(req, p, source, 4, "0.5", "1.5", "2.5")
		})
	}
}
