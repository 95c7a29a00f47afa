package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/internal/sandbox"
	"github.com/sealcast/sealcast/pipeline"
)

// spyStore stands before the real store and can look, wait or change.
type spyStore struct {
	pipeline.ObjectStore
	beforePut func(ctx context.Context, key string) error
	afterPut  func(key string)
	beforeGet func(key string, off int64)
}

func (s *spyStore) Put(ctx context.Context, key string, body []byte, contentType, cacheControl string) (pipeline.ObjectInfo, error) {
	if s.beforePut != nil {
		if err := s.beforePut(ctx, key); err != nil {
			return pipeline.ObjectInfo{}, err
		}
	}
	info, err := s.ObjectStore.Put(ctx, key, body, contentType, cacheControl)
	if err == nil && s.afterPut != nil {
		s.afterPut(key)
	}
	return info, err
}

func (s *spyStore) Get(ctx context.Context, key, etag string, off, n int64) (io.ReadCloser, error) {
	if s.beforeGet != nil {
		s.beforeGet(key, off)
	}
	return s.ObjectStore.Get(ctx, key, etag, off, n)
}

func clip(t *testing.T, seconds string) string {
	return makeSource(t, "clip.mp4", join(moving("640x360", "25", seconds), tone(seconds), words("-c:v libx264 -preset ultrafast -c:a aac"))...)
}

// wantCode fails unless err is a pipeline error with the code.
func wantCode(t *testing.T, err error, code string, permanent bool) {
	t.Helper()
	var perr *pipeline.Error
	if !errors.As(err, &perr) || perr.Code != code || perr.Permanent != permanent {
		t.Fatalf("got %v, want %s (permanent %t)", err, code, permanent)
	}
}

// A playlist is never ahead of its segments: init segments and segments, then
// media playlists, then multivariant playlists and MPD.
func TestPlaylistsComeAfterTheirSegments(t *testing.T) {
	var mu sync.Mutex
	var order []string
	l := newLab(t, func(c *pipeline.Config) {
		c.Media = &spyStore{ObjectStore: c.Media, afterPut: func(key string) { mu.Lock(); order = append(order, key); mu.Unlock() }}
	})
	p := l.run(l.request(clip(t, "15")))
	class := func(key string) int {
		switch {
		case strings.HasSuffix(key, "master.m3u8"), strings.HasSuffix(key, ".mpd"),
			strings.HasSuffix(key, "/eme.m3u8") && !strings.Contains(key, "/cmaf/"):
			return 3
		case strings.HasSuffix(key, ".m3u8"):
			return 2
		}
		return 1 // segments and init segments
	}
	last := 1
	for _, key := range order {
		if class(key) < last {
			t.Errorf("%s was written after something that refers to it", key)
		}
		last = max(last, class(key))
	}
	if len(order) != len(p.Objects) || last != 3 {
		t.Errorf("%d objects written, %d in the inventory", len(order), len(p.Objects))
	}
}

// wrapTool writes a script that runs the real tool and then does something.
func wrapTool(t *testing.T, tool, script string) string {
	t.Helper()
	real, err := exec.LookPath(tool)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), tool)
	if err := os.WriteFile(path, []byte("#!/bin/sh\nREAL="+real+"\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// The death of either child fails the attempt and ends the other; nothing
// playable is left.
func TestDeathOfAChild(t *testing.T) {
	file := clip(t, "60")
	for _, c := range []struct {
		name, tool, script string
		codes              []string
	}{
		{"packager killed", "packager", `"$REAL" "$@" & p=$!; sleep 1; kill -9 $p; wait $p`, []string{pipeline.CodePackFailed}},
		{"ffmpeg killed", "ffmpeg", `case "$*" in *-progress*) "$REAL" "$@" & p=$!; sleep 1; kill -9 $p; wait $p;; *) exec "$REAL" "$@";; esac`, []string{pipeline.CodeEncodeFailed}},
		{"packager fails at once", "packager", `exit 1`, []string{pipeline.CodePackFailed}},
		{"packager exits well without reading", "packager", `exit 0`, []string{pipeline.CodePackFailed}},
		{"ffmpeg exits well with nothing", "ffmpeg", `exit 0`, []string{pipeline.CodePackFailed, pipeline.CodeSourceTruncated, pipeline.CodeVerifyFailed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, func(cfg *pipeline.Config) {
				cfg.Sandbox = sandbox.Disable // a script starts processes
				path := wrapTool(t, c.tool, c.script)
				if c.tool == "packager" {
					cfg.Packager = path
				} else {
					cfg.FFmpeg = path
				}
			})
			req := l.request(file)
			_, err := l.runner.Run(t.Context(), req)
			var perr *pipeline.Error
			if !errors.As(err, &perr) {
				t.Fatalf("got %v", err)
			}
			if !slices.Contains(c.codes, perr.Code) {
				t.Errorf("got %v, want %s", err, c.codes)
			}
			l.nothingPlayable(req)
		})
	}
}

// ffmpeg that ends early with exit status 0 publishes nothing.
func TestHalfAnEncodeIsNotPublished(t *testing.T) {
	l := newLab(t, func(cfg *pipeline.Config) {
		cfg.Sandbox = sandbox.Disable // a script starts processes
		// -t before the other arguments limits the input.
		cfg.FFmpeg = wrapTool(t, "ffmpeg", `case "$*" in *-progress*) exec "$REAL" -t 7 "$@";; *) exec "$REAL" "$@";; esac`)
	})
	req := l.request(clip(t, "20"))
	_, err := l.runner.Run(t.Context(), req)
	wantCode(t, err, pipeline.CodeSourceTruncated, true)
	l.nothingPlayable(req)
}

// A stored key that does not open what was made fails the attempt.
func TestWrongStoredKeyIsNoticed(t *testing.T) {
	for _, output := range pipeline.Outputs {
		t.Run(output, func(t *testing.T) {
			l := newLab(t)
			req := l.request(clip(t, "4"), func(o *pipeline.Options) { o.Outputs = []string{output} })
			req.StoredKey = func(context.Context, cenc.KID) (cenc.ContentKey, error) { return cenc.NewContentKey(), nil }
			_, err := l.runner.Run(t.Context(), req)
			wantCode(t, err, pipeline.CodeVerifyFailed, false)
			l.nothingPlayable(req)
		})
	}
}

// A segment that is not in the store as it was made fails the attempt, whether
// it is checked while the encode runs or behind it.
func TestDamagedUploadIsNoticed(t *testing.T) {
	file := clip(t, "15") // three segments
	for _, name := range []string{"ts/v-360p/1.ts", "ts/v-360p/3.ts", "cmaf/a-0/3.m4s"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var hit atomic.Bool
			l := newLab(t, func(c *pipeline.Config) {
				spy := &spyStore{ObjectStore: c.Media}
				spy.afterPut = func(key string) {
					if strings.HasSuffix(key, name) && !hit.Swap(true) {
						if _, err := spy.ObjectStore.Put(context.Background(), key, []byte("damaged"), "video/mp2t", ""); err != nil {
							t.Error(err)
						}
					}
				}
				c.Media = spy
			})
			req := l.request(file)
			_, err := l.runner.Run(t.Context(), req)
			wantCode(t, err, pipeline.CodeVerifyFailed, false)
			l.nothingPlayable(req)
		})
	}
}

// A source that changes under the reader fails as such, for good.
func TestSourceThatChanges(t *testing.T) {
	var once sync.Once
	var l *lab
	l = newLab(t, func(c *pipeline.Config) {
		c.Sources = &spyStore{ObjectStore: c.Sources, beforeGet: func(key string, off int64) {
			if off > 0 {
				once.Do(func() {
					if _, err := l.source.Put(context.Background(), key, []byte("another film"), "", ""); err != nil {
						t.Error(err)
					}
				})
			}
		}}
	})
	req := l.request(clip(t, "20"))
	_, err := l.runner.Run(t.Context(), req)
	wantCode(t, err, pipeline.CodeSourceChanged, true)
	l.nothingPlayable(req)
}

// A store that stands still makes the encoder wait; the memory stays bounded
// and nothing is lost when it goes on.
func TestSlowStoreSlowsTheEncode(t *testing.T) {
	gate := make(chan struct{})
	const limit = 256 << 10
	l := newLab(t, func(c *pipeline.Config) {
		c.SinkBytes = limit
		c.Media = &spyStore{ObjectStore: c.Media, beforePut: func(ctx context.Context, _ string) error {
			select {
			case <-gate:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
	})
	req := l.request(makeSource(t, "noise.mp4", join(moving("1280x720", "25", "60"), words("-vf noise=alls=40:allf=t -c:v libx264 -preset ultrafast -b:v 8M"))...),
		func(o *pipeline.Options) { o.SegmentSeconds, o.Ladder = 2, []string{"720p"} })
	var percent atomic.Value
	percent.Store(0.0)
	req.Progress = func(p pipeline.Progress) { percent.Store(p.Percent) }
	done := make(chan error, 1)
	go func() { _, err := l.runner.Run(t.Context(), req); done <- err }()

	// The encoder stops when pipes and memory are full: its progress stands still.
	still, last := 0, -1.0
	for still < 8 {
		select {
		case err := <-done:
			t.Fatalf("ended while the store stood still: %v", err)
		case <-time.After(250 * time.Millisecond):
		}
		if now := percent.Load().(float64); now != last || now < 2 {
			still, last = 0, now
		} else {
			still++
		}
	}
	if last > 90 {
		t.Errorf("the encoder ran on to %.0f %% against a store that stood still", last)
	}
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// The bound: the limit, and one segment per rendition and output in flight.
	peak, largest := pipeline.SinkPeak(l.runner), int64(0)
	infos, err := l.media.List(t.Context(), "stream/")
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		largest = max(largest, info.Size)
	}
	if bound := limit + 2*largest; peak > bound {
		t.Errorf("%d bytes in memory, the bound is %d", peak, bound)
	}
}

// When the attempt is cancelled its children end and the cause comes back.
func TestCancel(t *testing.T) {
	l := newLab(t)
	req := l.request(clip(t, "60"))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := fmt.Errorf("no longer wanted")
	req.Progress = func(p pipeline.Progress) {
		if p.Stage == pipeline.StageEncode {
			cancel(why)
		}
	}
	if _, err := l.runner.Run(ctx, req); !errors.Is(err, why) {
		t.Fatalf("got %v", err)
	}
	l.nothingPlayable(req)
}
