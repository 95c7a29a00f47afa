package pipeline_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// What a viewer decrypts equals, frame by frame, what the encoder made: the
// same encoder arguments are run once more into plain files.
func TestDecryptedOutputEqualsTheEncode(t *testing.T) {
	l := newLab(t)
	file := makeSource(t, "clip.mp4", join(moving("640x480", "30", "9"), tone("9"), words("-c:v libx264 -preset ultrafast -c:a aac"))...)
	req := l.request(file)
	p := l.run(req)

	bare := encodeToFiles(t, l, req, file)
	for _, output := range pipeline.Outputs {
		for name, clearFile := range bare {
			kind := name[:1]
			want := frameHashes(t, clearFile, kind)
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
	if len(bare) != (len(p.Video)+len(p.Audio))/2 {
		t.Errorf("%d renditions compared", len(bare))
	}
}

// encodeToFiles runs the encoder's own arguments with files in place of pipes.
func encodeToFiles(t *testing.T, l *lab, req pipeline.Request, file string) map[string]string {
	t.Helper()
	src, err := l.runner.ProbeFile(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pipeline.NewPlan(src, req.Options)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(file))))
	defer server.Close()
	dir := t.TempDir()
	args := pipeline.EncodeArgs(src, plan, server.URL+"/"+filepath.Base(file), 1, 3)
	out := map[string]string{}
	for i, r := range pipeline.Renditions(plan) {
		out[r.Name] = filepath.Join(dir, r.Name+".mp4")
		at := slices.Index(args, "pipe:"+strconv.Itoa(3+i))
		args[at] = out[r.Name]
	}
	if msg, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg %s: %v\n%s", strings.Join(args, " "), err, msg)
	}
	return out
}

// Same source, same options, same bytes out of the encoder: a retry makes what
// the first attempt made.
func TestEncodeIsRepeatable(t *testing.T) {
	l := newLab(t)
	file := makeSource(t, "clip.mp4", join(moving("1280x720", "30", "5"), words("-c:v libx264 -preset ultrafast"))...)
	req := l.request(file, func(o *pipeline.Options) { o.Encrypt = false })
	one, two := encodeToFiles(t, l, req, file), encodeToFiles(t, l, req, file)
	for name := range one {
		a, errA := os.ReadFile(one[name])
		b, errB := os.ReadFile(two[name])
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("%s: two encodes differ (%v, %v)", name, errA, errB)
		}
	}
}
