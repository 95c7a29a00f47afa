package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/sealcast/sealcast/pipeline"
)

// The last segments are checked while the packagers end: one decoder has done
// the first and the middle row by then, and one the last row of each output. The
// decoders were started before the encode ends. No segment is checked again: the
// packager's second init segments only know more of times.
func TestLastSegmentsAreCheckedWhilePackagersEnd(t *testing.T) {
	dir := t.TempDir()
	checked, decoders, loaded := filepath.Join(dir, "checked"), filepath.Join(dir, "decoders"), filepath.Join(dir, "loaded")
	l := newLab(t, func(cfg *pipeline.Config) {
		// The encoder ends when the decoders run, or after half a minute.
		scripted(t, cfg, "ffmpeg", `case "$*" in
			*framecrc*) echo one >>`+decoders+`; exec "$REAL" "$@";;
			*-progress*) "$REAL" "$@"; rc=$?
				for i in $(seq 300); do [ "$(wc -l <`+decoders+`)" = 3 ] && { touch `+loaded+`; break; }; sleep 0.1; done
				exit $rc;;
		esac; exec "$REAL" "$@"`)
		scripted(t, cfg, "packager", `"$REAL" "$@"; rc=$?; until [ -e `+checked+` ]; do sleep 0.1; done; exit $rc`)
		cfg.Log = slog.New(&afterDecoders{n: 4, then: func() { // the encoder, and three of the gate's
			if err := os.WriteFile(checked, nil, 0o600); err != nil {
				t.Error(err)
			}
		}})
	})
	p := l.run(l.request(clip(t, "15")))
	if _, err := os.Stat(loaded); err != nil {
		t.Errorf("the decoders were not there when the encode ended: %v", err)
	}
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
	if before != 3 || behind != 0 || packagers != 2 {
		t.Errorf("%d decoders before the packagers ended, %d behind them, %d packagers", before, behind, packagers)
	}
}

// A source that ends a little before its promise may not reach the last row that
// was planned. The decoders that wait for it end with the attempt, and the row
// that is the last one in truth is checked.
func TestDecodersOfALastRowThatDoesNotCome(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	l := newLab(t, func(cfg *pipeline.Config) {
		scripted(t, cfg, "ffmpeg", `case "$*" in
			*framecrc*) echo $$ >>`+pids+`;;
			*-progress*) p=; for a; do shift; [ "$p" = -t ] && a=12; p=$a; set -- "$@" "$a"; done;
		esac; exec "$REAL" "$@"`)
	})
	p := l.run(l.request(clip(t, "12.3")))
	if slices.ContainsFunc(p.Objects, func(o pipeline.Object) bool { return path.Base(o.Name) == "3.m4s" || path.Base(o.Name) == "3.ts" }) {
		t.Fatal("the third row came after all: this shows nothing")
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, child := range p.Children {
		if child.Name == "ffmpeg" && child.Stage == pipeline.StageVerify {
			checked++
		}
	}
	decoders := strings.Fields(string(text))
	if len(decoders) != checked+2 {
		t.Errorf("%d decoders, %d of them decoded: want two that waited in vain, one for each output", len(decoders), checked)
	}
	for _, pid := range decoders {
		if n, err := strconv.Atoi(pid); err != nil || !errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			t.Errorf("decoder %s is still there", pid)
		}
	}
}

// afterDecoders is a log that acts when ffmpeg has ended n times.
type afterDecoders struct {
	ended atomic.Int32
	n     int32
	then  func()
}

func (*afterDecoders) Enabled(context.Context, slog.Level) bool { return true }

func (h *afterDecoders) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *afterDecoders) WithGroup(string) slog.Handler      { return h }

func (h *afterDecoders) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if r.Message == "child ended" && a.Key == "child" && a.Value.String() == "ffmpeg" && h.ended.Add(1) == h.n {
			h.then()
		}
		return true
	})
	return nil
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
			i.Moov.Mvex.Trex.DefaultSampleDuration = 5
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

// Segments that nobody asked for, of another output or of another track, are
// refused: they neither end the worker nor stand for a segment of the last row.
func TestStrangeSegmentsAreRefused(t *testing.T) {
	for _, name := range []string{"foo/bar/3.ts", "ts/x-9/3.ts", "cmaf/x-9/3.m4s"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, func(cfg *pipeline.Config) {
				ffmpeg, err := exec.LookPath("ffmpeg")
				if err != nil {
					t.Fatal(err)
				}
				scripted(t, cfg, "packager", `for a; do case "$a" in
					http*/manifest.mpd) `+ffmpeg+` -v error -f lavfi -i sine=d=0.1 -f mpegts -method PUT "${a%/manifest.mpd}/`+name+`";;
					esac; done; exec "$REAL" "$@"`)
			})
			req := l.request(clip(t, "15"))
			_, err := l.runner.Run(t.Context(), req)
			wantCode(t, err, pipeline.CodeVerifyFailed, false)
			l.nothingPlayable(req)
		})
	}
}
