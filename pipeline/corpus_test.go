package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/corpus"
	"github.com/sealcast/sealcast/internal/verify"
	"github.com/sealcast/sealcast/pipeline"
)

// codes is the closed set of what Run answers with, and whether it is final.
var codes = map[string]bool{
	pipeline.CodeOptionsInvalid: true, pipeline.CodeSourceNotFound: true, pipeline.CodeSourceEmpty: true, pipeline.CodeSourceTooLarge: true,
	pipeline.CodeSourceUnreadable: true, pipeline.CodeSourceUnsupported: true, pipeline.CodeSourceNoVideo: true,
	pipeline.CodeSourceTruncated: true, pipeline.CodeSourceChanged: true,
	pipeline.CodeEncodeFailed: false, pipeline.CodeStalled: false, pipeline.CodePackFailed: false, pipeline.CodeVerifyFailed: false,
	pipeline.CodeStoreUnavailable: false, pipeline.CodeKeyUnavailable: false,
}

// Every source of the corpus ends as its case says: with a presentation that
// passed the gate and that the strict client accepts, or with a code of the
// closed set and nothing playable in the store. Of a legal one HLS and DASH
// are accepted, of cmaf or of two outputs of one encode, and sound and picture
// are within 20 ms of each other in each. None of them makes anybody connect to the
// canary's address or open its file.
func TestCorpusMedia(t *testing.T) {
	bird := newCanary(t)
	clips, err := corpus.MakeClips(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	media, err := clips.Media(t.Context(), bird.Canary)
	if err != nil {
		t.Fatal(err)
	}
	shared := newLab(t)
	t.Run("cases", func(t *testing.T) {
		for i, m := range media {
			t.Run(m.Name, func(t *testing.T) {
				t.Parallel()
				l := &lab{t: t, runner: shared.runner, source: shared.source, media: shared.media}
				outputs := []string{pipeline.Outputs[i%len(pipeline.Outputs)]}
				if m.Legal && outputs[0] != pipeline.OutputCMAF {
					outputs = []string{pipeline.OutputCMAF, outputs[0]}
				}
				l.corpusCase(i, m, bird, func(o *pipeline.Options) { o.Outputs, o.Ladder = outputs, []string{"240p"} })
			})
		}
	})
	bird.silent(t)
}

func (l *lab) corpusCase(i int, m corpus.Medium, bird *canary, options func(*pipeline.Options)) {
	name := m.Key
	if name == "" {
		name = "bad.mp4"
	}
	req := l.requestOf(fmt.Sprintf("uploads/%d/%s", i, name), m.Body, options)
	req.Prefix = fmt.Sprintf("%016x-1", i) // two cases may have the same bytes
	req.Log = slog.New(slog.NewTextHandler(&l.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Minute)
	defer cancel()
	p, err := l.runner.Run(ctx, req)
	got := corpus.Pass
	if err != nil {
		got = l.codeOf(err)
		l.nothingPlayableBelow(req)
	} else {
		l.wantPresentation(req, p, m)
	}
	l.t.Logf("%s: %v", got, err)
	if m.Want != corpus.Any && !slices.Contains(strings.Split(m.Want, "|"), got) {
		l.t.Errorf("%s: got %s (%v), want %s", m.Name, got, err, m.Want)
	}
	if bytes.Contains(l.log.Bytes(), []byte(bird.secret)) {
		l.t.Error("the canary's content is in the log")
	}
	if l.t.Failed() {
		l.t.Logf("log:\n%s", l.log.String())
	}
}

// codeOf wants an error of the closed set.
func (l *lab) codeOf(err error) string {
	var perr *pipeline.Error
	if !errors.As(err, &perr) {
		l.t.Fatalf("ended with %v", err)
	}
	final, known := codes[perr.Code]
	if !known || perr.Permanent != final || perr.Message == "" {
		l.t.Errorf("error %+v is none of the closed set", perr)
	}
	return perr.Code
}

func (l *lab) wantPresentation(req pipeline.Request, p *pipeline.Presentation, m corpus.Medium) {
	tracks := len(p.Audio) / len(p.Outputs)
	last := p.Outputs[len(p.Outputs)-1]
	reports := []*verify.Report{l.judged(req, p, last.MasterPlaylist)}
	if m.Legal {
		reports = append(reports, l.judged(req, p, p.Outputs[0].Manifest))
	}
	for _, report := range reports {
		pictures, sound := int64(0), 0
		for _, r := range report.Renditions {
			pictures = max(pictures, r.Pictures)
			if r.Sounds > 0 && r.Pictures == 0 {
				sound++
			}
		}
		if pictures != p.Video[0].Frames || sound != tracks {
			l.t.Errorf("%s: the client decoded %d pictures of %d, and sound of %d tracks of %d", report.URL, pictures, p.Video[0].Frames, sound, tracks)
		}
	}
	if m.Legal {
		l.wantLegal(req, p, m)
	}
	if m.Frames == 0 {
		return
	}
	if p.Video[0].Frames != m.Frames && p.Video[0].Frames != m.Frames+1 {
		l.t.Errorf("%d frames, want %d", p.Video[0].Frames, m.Frames)
	}
	if m.Audio >= 0 && tracks != m.Audio {
		l.t.Errorf("%d audio renditions, want %d", tracks, m.Audio)
	}
}

// wantLegal wants what holds of legal sources only.
func (l *lab) wantLegal(req pipeline.Request, p *pipeline.Presentation, m corpus.Medium) {
	if top := p.Video[0]; m.Width != 0 && (top.Width != m.Width || top.Height != m.Height) {
		l.t.Errorf("the picture is %d×%d, want %d×%d", top.Width, top.Height, m.Width, m.Height)
	}
	if m.Flashes > 0 {
		for _, out := range p.Outputs {
			l.together(req, out.Name, p, m)
		}
	}
	if len(m.Look) > 0 {
		file := filepath.Join(l.t.TempDir(), "source"+path.Ext(req.SourceKey))
		if err := os.WriteFile(file, m.Body, 0o600); err != nil {
			l.t.Fatal(err)
		}
		l.sameLook(req, p, file, 6, m.Look...)
	}
}

// nothingPlayableBelow is nothingPlayable of one attempt.
func (l *lab) nothingPlayableBelow(req pipeline.Request) {
	infos, err := l.media.List(l.t.Context(), pipeline.KeyPrefix(req.Hash, req.Prefix))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, info := range infos {
		if strings.HasSuffix(info.Key, ".m3u8") || strings.HasSuffix(info.Key, ".mpd") {
			l.t.Errorf("%s is in the store", info.Key)
		}
	}
}

// canary notices whoever connects to its address or opens its file.
type canary struct {
	corpus.Canary
	secret string
	calls  atomic.Int64
	notify int // inotify
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	c := &canary{secret: "the-canary-sings-8d1f"}
	c.File = filepath.Join(t.TempDir(), "canary.txt")
	if err := os.WriteFile(c.File, []byte(c.secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Errorf("the canary was asked for %s", r.URL) }))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			c.calls.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	c.URL = srv.URL
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if _, err := syscall.InotifyAddWatch(fd, c.File, syscall.IN_OPEN|syscall.IN_ACCESS); err != nil {
		t.Fatal(err)
	}
	c.notify = fd
	return c
}

// silent wants that nobody came.
func (c *canary) silent(t *testing.T) {
	t.Helper()
	if n := c.calls.Load(); n != 0 {
		t.Errorf("%d connections to the canary", n)
	}
	if n, err := syscall.Read(c.notify, make([]byte, 4096)); n > 0 || !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("the canary's file was opened (%d, %v)", n, err)
	}
}

// The canary itself must notice.
func TestCanarySings(t *testing.T) {
	c := newCanary(t)
	c.silent(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte("x\r\n\r\n"))
	if _, err := io.ReadAll(conn); err != nil { // what is no request ends the connection
		t.Fatal(err)
	}
	_ = conn.Close()
	if _, err := os.ReadFile(c.File); err != nil {
		t.Fatal(err)
	}
	if n, err := syscall.Read(c.notify, make([]byte, 4096)); n <= 0 || err != nil {
		t.Errorf("an opened file is not noticed: %d, %v", n, err)
	}
	if c.calls.Load() == 0 {
		t.Error("a connection is not noticed")
	}
}
