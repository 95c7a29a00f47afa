package pipeline_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// A child that dies for want of memory says so in the code: by the kernel's
// count, or in its own words. A KILL that the kernel did not count is another
// fault. (Several packagers run at once: each puts the count there in one
// step, for a count that is being written is read as none.)
func TestOutOfMemory(t *testing.T) {
	file := clip(t, "60")
	for _, c := range []struct {
		name, tool, script string
		code               string
	}{
		{"ffmpeg killed by the kernel", "ffmpeg", onlyEncode(`"$REAL" "$@" & p=$!; sleep 1; echo "oom_kill 8" >"$COUNT.$$"; mv "$COUNT.$$" "$COUNT"; kill -9 $p; wait $p`), pipeline.CodeOutOfMemory},
		{"packager killed by the kernel", "packager", `"$REAL" "$@" & p=$!; sleep 1; echo "oom_kill 8" >"$COUNT.$$"; mv "$COUNT.$$" "$COUNT"; kill -9 $p; wait $p`, pipeline.CodeOutOfMemory},
		{"ffmpeg killed by somebody", "ffmpeg", onlyEncode(`"$REAL" "$@" & p=$!; sleep 1; kill -9 $p; wait $p`), pipeline.CodeEncodeFailed},
		{"ffmpeg gets no memory", "ffmpeg", onlyEncode(`ulimit -v 320000; exec "$REAL" "$@"`), pipeline.CodeOutOfMemory},
		{"ffmpeg gets no thread", "ffmpeg", onlyEncode(`echo "Failed to inject frame into filter network: Resource temporarily unavailable" >&2; exit 1`), pipeline.CodeOutOfMemory},
		{"packager gets no memory", "packager", `echo "terminate called after throwing an instance of 'std::bad_alloc'" >&2; kill -ABRT $$`, pipeline.CodeOutOfMemory},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			count := filepath.Join(t.TempDir(), "memory.events")
			if err := os.WriteFile(count, []byte("low 0\noom 9\noom_kill 7\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			l := newLab(t, func(cfg *pipeline.Config) {
				scripted(t, cfg, c.tool, "COUNT="+count+"\n"+c.script)
			})
			pipeline.CountOOM(l.runner, count)
			req := l.request(file)
			_, err := l.runner.Run(t.Context(), req)
			wantCode(t, err, c.code, false)
			l.nothingPlayable(req)
		})
	}
}

// A source whose probe wants too much memory is a bad source, and stays one.
func TestProbeWithoutMemory(t *testing.T) {
	l := newLab(t, func(cfg *pipeline.Config) {
		scripted(t, cfg, "ffprobe", `echo "moov: Cannot allocate memory" >&2; exit 1`)
	})
	_, err := l.runner.Run(t.Context(), l.request(clip(t, "2")))
	wantCode(t, err, pipeline.CodeSourceUnreadable, true)
}

// A light attempt makes the same presentation with fewer threads.
func TestLight(t *testing.T) {
	said := filepath.Join(t.TempDir(), "args")
	l := newLab(t, func(cfg *pipeline.Config) {
		scripted(t, cfg, "ffmpeg", onlyEncode(`echo "$@" >`+said+`; exec "$REAL" "$@"`))
	})
	req := l.request(clip(t, "7"))
	req.Light = true
	p := l.run(req)
	if len(p.Video) == 0 || p.Video[0].Frames != 175 {
		t.Errorf("%+v", p.Video)
	}
	args, err := os.ReadFile(said)
	if err != nil || !strings.Contains(string(args), "-rc-lookahead 2") || strings.Contains(string(args), "-threads 2") {
		t.Errorf("%v: %s", err, args)
	}
}

func TestOOMCountersAreThere(t *testing.T) {
	for _, file := range pipeline.OOMCounters() {
		text, err := os.ReadFile(file)
		if errors.Is(err, syscall.ENOENT) || !strings.Contains(string(text), "oom_kill ") {
			t.Errorf("%s counts nothing: %v", file, err)
		}
	}
}
