package pipeline_test

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// What a viewer decrypts equals, frame by frame, what the encoder made: its
// streams are kept on their way to the packagers.
func TestDecryptedOutputEqualsTheEncode(t *testing.T) {
	for _, scheme := range []string{"cbcs", "cenc"} {
		t.Run(scheme, func(t *testing.T) {
			decryptedEqualsTheEncode(t, func(o *pipeline.Options) {
				o.Outputs, o.Scheme = pipeline.Outputs, scheme
			})
		})
	}
}

// keepEncodes keeps what the encoder makes of each rendition, on its way to the
// packagers. The files are open, and the map is whole, when the run has ended.
func (l *lab) keepEncodes() map[string]*os.File {
	dir := l.t.TempDir()
	var mu sync.Mutex
	kept := map[string]*os.File{}
	pipeline.Tap(l.runner, func(rendition string) io.Writer {
		f, err := os.Create(filepath.Join(dir, rendition+".mp4"))
		if err != nil {
			l.t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		kept[rendition] = f
		return f
	})
	return kept
}

func decryptedEqualsTheEncode(t *testing.T, options func(*pipeline.Options)) {
	l := newLab(t)
	kept := l.keepEncodes()
	file := makeSource(t, "clip.mp4", join(moving("320x180", "30", "5"), tone("5"), words("-c:v libx264 -preset ultrafast -c:a aac"))...)
	req := l.request(file, options)
	p := l.run(req)
	if len(kept) != (len(p.Video)+len(p.Audio))/len(p.Outputs) {
		t.Errorf("%d renditions kept", len(kept))
	}
	for name, f := range kept {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		for _, output := range pipeline.Outputs {
			kind := name[:1]
			want := frameHashes(t, f.Name(), kind)
			got := frameHashes(t, l.clear(req, output, name), kind)
			if kind == "a" {
				// MPEG-TS has no edit list that hides the encoder's priming.
				want = want[2 : len(want)-2]
				got = got[max(0, slices.Index(got, want[0])):]
				got = got[:min(len(got), len(want))]
			}
			if len(want) < 50 || !slices.Equal(got, want) {
				t.Errorf("%s/%s: %d frames differ from the encoder's %d", output, name, len(got), len(want))
			}
		}
	}
}
