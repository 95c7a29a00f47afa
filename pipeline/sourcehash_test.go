package pipeline_test

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// Whatever the order of the reads, what was read in order counts and the sum
// is right once the rest was fed.
func TestSourceHash(t *testing.T) {
	body := make([]byte, 1000)
	for i := range body {
		body[i] = byte(i * 7)
	}
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		sum := pipeline.NewSourceHash()
		for range random.IntN(20) {
			from := random.IntN(len(body))
			to := from + random.IntN(len(body)-from+1)
			sum.Feed(int64(from), body[from:to])
		}
		for at := sum.Reached(); at < int64(len(body)); at = sum.Reached() {
			sum.Feed(at, body[at:min(at+64, int64(len(body)))])
		}
		if want := sha256.Sum256(body); !bytes.Equal(sum.Sum(), want[:]) {
			t.Fatalf("seed %d: wrong sum", seed)
		}
	}
}

// A source with another hash than the job's fails it for good, and nothing is
// published; where the hash is only a name it does not matter.
func TestSourceHashMismatch(t *testing.T) {
	args := join(moving("320x240", "25", "4"), tone("4"), words("-c:v libx264 -preset ultrafast -c:a aac"))
	for name, more := range map[string]string{"start": "+faststart", "end": "-faststart"} {
		t.Run("moov at the "+name, func(t *testing.T) {
			t.Parallel()
			file := makeSource(t, "a.mp4", join(args, words("-movflags "+more))...)
			other := filepath.Join(t.TempDir(), "b.mp4")
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(other, append(body, 0, 0, 0, 8, 'f', 'r', 'e', 'e'), 0o600); err != nil {
				t.Fatal(err)
			}
			l := newLab(t)
			req := l.request(file)
			right := req.SourceKey
			req.SourceKey = l.request(other).SourceKey
			_, err = l.runner.Run(t.Context(), req)
			wantCode(t, err, pipeline.CodeSourceHashMismatch, true)
			l.nothingPlayable(req)
			if name == "start" && !strings.Contains(l.log.String(), "read_again_bytes=0") {
				t.Error("a source that is read in order was read twice")
			}
			trusting := newLab(t, func(c *pipeline.Config) { c.Sources, c.TrustHash = l.source, true })
			trusting.run(req)
			req.Prefix, req.SourceKey = "0123456789abcdef-2", right
			l.run(req)
		})
	}
}
