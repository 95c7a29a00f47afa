package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/Eyevinn/hls-m3u8/m3u8"

	"github.com/sealcast/sealcast/internal/player"
	"github.com/sealcast/sealcast/internal/player/browsertest"
)

// holdSegments puts a door before the object store of a rig: it takes media
// segments above a number only when the door is open.
func (r *rig) holdSegments(above int) (open func()) {
	r.t.Helper()
	target, err := url.Parse(r.env["S3_ENDPOINT"])
	if err != nil {
		r.t.Fatal(err)
	}
	door := make(chan struct{})
	proxy := httputil.NewSingleHostReverseProxy(target) // the Host stays, for it is signed
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		name := path.Base(req.URL.Path)
		n, err := strconv.Atoi(strings.TrimSuffix(name, path.Ext(name)))
		if req.Method == http.MethodPut && err == nil && n > above {
			select {
			case <-door:
			case <-req.Context().Done():
				return
			}
		}
		proxy.ServeHTTP(w, req)
	}))
	open = sync.OnceFunc(func() { close(door) })
	r.t.Cleanup(func() { open(); srv.CloseClientConnections(); srv.Close() })
	r.env["S3_ENDPOINT"] = srv.URL
	return open
}

// early is a media playlist as a player gets it.
type early struct {
	url, text string
	list      *m3u8.MediaPlaylist
}

// earlyLists reads the media playlists of a multivariant playlist; none while
// that is not there.
func (r *rig) earlyLists(ctx context.Context, v *viewer, entry string) ([]early, error) {
	_, renditions, err := v.renditions(ctx, entry)
	if err != nil {
		return nil, err
	}
	var out []early
	for _, rend := range renditions {
		body, err := v.get(ctx, rend.url, false)
		if err != nil {
			return out, err
		}
		list, _, err := m3u8.DecodeFrom(bytes.NewReader(body), true)
		if err != nil {
			return out, fmt.Errorf("%s: %w\n%s", rend.url, err, body)
		}
		mp, ok := list.(*m3u8.MediaPlaylist)
		if !ok {
			return out, fmt.Errorf("%s is no media playlist", rend.url)
		}
		out = append(out, early{rend.url, string(body), mp})
	}
	return out, nil
}

// awaitEarly waits until an entry document is there and all its media playlists
// have so many segments.
func (r *rig) awaitEarly(id, entry string, segments int) (lists []early) {
	r.t.Helper()
	v := newViewer(r.token(strings.Split(entry, "/")[4], time.Minute))
	r.await(id, entry, func(j fullJob) bool {
		if j.State == "succeeded" || j.State == "cancelled" {
			r.t.Fatalf("the job is %s and %s was not there early", j.State, entry)
		}
		var err error
		lists, err = r.earlyLists(r.t.Context(), v, entry)
		if err != nil {
			return false
		}
		for _, l := range lists {
			if int(l.list.Count()) != segments {
				return false
			}
		}
		return len(lists) > 0
	})
	return lists
}

// poller asks for everything that is listed as often as it can, until all media
// playlists have come to their end, and tells what was not as promised.
type poller struct {
	stop    context.CancelFunc
	done    chan struct{}
	faults  []error
	fetched int
	ended   int // media playlists that came to an end
}

// linesOf are a media playlist's lines from its first segment's on, without its end.
func linesOf(text string) string {
	_, lines, _ := strings.Cut(text, "#EXTINF")
	lines, _, _ = strings.Cut(lines, "#EXT-X-ENDLIST")
	return lines
}

func (r *rig) poll(entries ...string) *poller {
	ctx, stop := context.WithCancel(r.t.Context())
	p := &poller{stop: stop, done: make(chan struct{})}
	v := newViewer(r.token(strings.Split(entries[0], "/")[4], 10*time.Minute))
	go func() {
		defer close(p.done)
		seen, texts, over := map[string]bool{}, map[string]string{}, map[string]bool{}
		for p.ended = 0; ctx.Err() == nil && (p.ended == 0 || p.ended < len(over)); {
			for _, entry := range entries {
				lists, err := r.earlyLists(ctx, v, entry)
				if ctx.Err() != nil {
					return
				}
				if err != nil && (len(lists) > 0 || texts[entry] != "") {
					p.faults = append(p.faults, err)
				}
				for _, l := range lists {
					texts[entry] = "there"
					if !strings.HasPrefix(linesOf(l.text), linesOf(texts[l.url])) {
						p.faults = append(p.faults, fmt.Errorf("%s was\n%s\nand is\n%s", l.url, texts[l.url], l.text))
					}
					texts[l.url], over[l.url] = l.text, l.list.Closed
					for _, seg := range l.list.Segments[:l.list.Count()] {
						if u, _ := resolve(l.url, seg.URI); !seen[u] {
							if _, err := v.get(ctx, u, false); err != nil && ctx.Err() == nil {
								p.faults = append(p.faults, err)
							}
							seen[u] = true
						}
					}
				}
			}
			p.fetched, p.ended = len(seen), 0
			for _, closed := range over {
				if closed {
					p.ended++
				}
			}
		}
	}()
	return p
}

// While the job runs, a player that has the token plays what is durable: every
// rendition of every output opens with the keys that the API gives, hls.js
// begins before the job has ended and plays on to the film's end, and nothing
// that is listed is ever not there.
func TestE2EEarlyPlay(t *testing.T) {
	if !player.Available() {
		t.Fatal("the player libraries are not built in: run make deps")
	}
	t.Parallel()
	r := newRig(t)
	open := r.holdSegments(2)
	r.serve()
	page := httptest.NewServer(player.Handler(r.env["BASE_URL"]))
	defer page.Close()
	hash, source := r.upload(clip(t, "640x360", 6))
	base := r.env["BASE_URL"] + "/stream/" + hash + "/"
	if a := r.do("GET", base+"ts/master.m3u8", ""); a.status != http.StatusNotFound {
		t.Fatalf("before the job: %d", a.status)
	}
	masters := []string{base + "master.m3u8", base + "cmaf-aes128/master.m3u8", base + "ts/master.m3u8"}
	polls := r.poll(masters...)
	id := r.accepted(r.submit("video:transcode", hash, source,
		`{"outputs":["cmaf","cmaf-aes128","ts"],"segment_seconds":2,"passthrough":"off","early_publish":true}`))
	for _, entry := range masters {
		r.playsEarly(r.awaitEarly(id, entry, 2))
	}
	for _, name := range []string{"manifest.mpd", "poster.jpg"} {
		if a := r.do("GET", base+name, ""); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", name, a.status)
		}
	}
	if a := r.do("GET", base+"eme.m3u8", ""); a.status != http.StatusOK || a.header.Get("Cache-Control") != "public, max-age=2" {
		t.Errorf("eme.m3u8: %d %v", a.status, a.header)
	}
	key := "/api/key/" + hash
	if a, b := r.do("GET", key, ""), r.do("GET", key, "", "Authorization: Bearer "+r.token(strings.Repeat("0", 64), time.Minute)); a.status != 401 || b.status != 403 {
		t.Errorf("key without a token: %d, with another title's: %d", a.status, b.status)
	}

	dir := t.TempDir()
	var atStart fullJob
	opened := make(chan error, 1)
	go func() {
		defer open()
		for range 1200 {
			if _, err := os.Stat(filepath.Join(dir, "started.png")); err == nil {
				opened <- nil
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		opened <- errors.New("the browser did not begin within a minute")
	}()
	fragment := url.Values{"api": {r.env["BASE_URL"]}, "hash": {hash}, "output": {"ts"}, "token": {r.token(hash, 5*time.Minute)}}
	const video = `document.querySelector('video')`
	atStart = r.job(id)
	seen := browsertest.Walk(t, dir, 2*time.Minute, []browsertest.Step{
		{
			Name: "started", Goto: page.URL + "/#" + fragment.Encode(),
			Until: `window.sealcast?.ready && (` + video + `.muted = true, ` + video + `.play().catch(() => {}), sealcast.currentTime > 1)`,
			Value: `[sealcast.currentTime, ` + video + `.duration]`, Shot: true,
		},
		{Name: "ended", Until: `(` + video + `.playbackRate = 3, ` + video + `.ended || sealcast.error !== null)`, Value: `[sealcast.currentTime, sealcast.error?.text ?? '']`},
	})
	if err := <-opened; err != nil || atStart.State != "running" {
		t.Errorf("when the browser began: %v, the job is %s", err, atStart.State)
	}
	t.Logf("hls.js began at %s, ended at %s", seen.Values["started"], seen.Values["ended"])
	if !strings.HasPrefix(string(seen.Values["ended"]), "[6") || !strings.HasSuffix(string(seen.Values["ended"]), `,""]`) {
		t.Errorf("hls.js: %s, console %v", seen.Values["ended"], seen.Console)
	}

	job := r.succeeded(id)
	segments := 0
	for _, entry := range masters {
		lists, err := r.earlyLists(t.Context(), newViewer(""), entry)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lists {
			segments += int(l.list.Count())
		}
	}
	select {
	case <-polls.done:
	case <-time.After(time.Minute):
		polls.stop()
		<-polls.done
	}
	for _, err := range polls.faults[:min(5, len(polls.faults))] {
		t.Errorf("while polling: %v", err)
	}
	if polls.fetched != segments || polls.ended != 9 {
		t.Errorf("%d of %d segments were fetched, %d playlists have ended", polls.fetched, segments, polls.ended)
	}
	r.play(job)
	for _, entry := range append(masters, base+"eme.m3u8", base+"manifest.mpd") {
		if code, report, out := runVerify(t, r, entry, r.token(hash, time.Minute), "-strict"); code != exitOK || !report.OK {
			t.Errorf("verify %s: exit code %d\n%s", entry, code, out)
		}
	}
}

// playsEarly decodes what media playlists list, with the keys that the API gives.
func (r *rig) playsEarly(lists []early) {
	r.t.Helper()
	for _, l := range lists {
		v := newViewer(r.token(strings.Split(l.url, "/")[4], time.Minute))
		format, want := "mpegts", int64(100)
		if l.list.Map != nil {
			format = "mp4"
		}
		got, err := decode(r.t.Context(), format, func(w io.Writer) error { return v.stream(r.t.Context(), l.url, l.list, w) })
		if err != nil || strings.Contains(l.url, "/v-") && got.frames != want || got.duration < 3800*time.Millisecond {
			r.t.Errorf("%s: %d frames, %s, %v\n%s", l.url, got.frames, got.duration, err, l.text)
		}
		a := r.do("GET", l.url, "")
		if a.header.Get("Cache-Control") != "public, max-age=1" || l.list.Closed || !strings.Contains(l.text, "#EXT-X-PLAYLIST-TYPE:EVENT\n") {
			r.t.Errorf("%s: %v\n%s", l.url, a.header, l.text)
		}
		first, _ := resolve(l.url, l.list.Segments[0].URI)
		if a := r.do("GET", first, "", "Range: bytes=0-3"); a.status != http.StatusPartialContent || len(a.body) != 4 || a.header.Get("Cache-Control") != "public, max-age=60" {
			r.t.Errorf("%s: %d %v", first, a.status, a.header)
		}
	}
}

// withdrawn wants 404 for everything that an attempt has shown.
func (r *rig) withdrawn(lists []early, keys ...string) {
	r.t.Helper()
	token := "Authorization: Bearer " + r.token(strings.Split(lists[0].url, "/")[4], time.Minute)
	for _, l := range lists {
		all := []string{l.url}
		for _, seg := range l.list.Segments[:l.list.Count()] {
			u, _ := resolve(l.url, seg.URI)
			all = append(all, u)
		}
		for _, u := range all {
			if a := r.do("GET", u, "", "Origin: http://127.0.0.1:1"); a.status != http.StatusNotFound {
				r.t.Errorf("%s: %d", u, a.status)
			}
		}
	}
	for _, u := range keys {
		if a := r.do("GET", u, "", token); a.status != http.StatusNotFound || a.code() != "no_key" {
			r.t.Errorf("key %s: %d %s", u, a.status, a.body)
		}
	}
}

// A job that is cancelled, and one whose worker is killed, takes back what it
// has shown, key and all; the next attempt shows its own.
func TestE2EEarlyPlayIsWithdrawn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	open := r.holdSegments(1)
	api := r.start([]string{"api"})
	r.ready(api)
	worker := func() *process {
		r.env["METRICS_ADDR"] = freeAddr(t)
		return r.start([]string{"worker"})
	}
	first := worker()
	hash, source := r.upload(clip(t, "320x180", 6))
	entry := r.env["BASE_URL"] + "/stream/" + hash + "/ts/master.m3u8"
	id := r.accepted(r.submit("video:transcode", hash, source, `{"outputs":["ts"],"segment_seconds":2,"early_publish":true}`))
	keyOf := func(lists []early) string { return lists[0].list.Segments[0].Keys[0].URI }
	shown := func(attempt int) []early {
		t.Helper()
		lists := r.awaitEarly(id, entry, 1)
		if !strings.Contains(lists[0].url, fmt.Sprintf("-%d/ts/", attempt)) {
			t.Fatalf("attempt %d is to be seen as %s", attempt, lists[0].url)
		}
		if a := r.do("GET", keyOf(lists), "", "Authorization: Bearer "+r.token(hash, time.Minute)); a.status != http.StatusOK || len(a.body) != 16 {
			t.Fatalf("key of attempt %d: %d", attempt, a.status)
		}
		return lists
	}

	one := shown(1)
	if a := r.do("POST", "/api/jobs/"+id+"/cancel", "", "X-API-Key: "+r.env["API_KEY"]); a.status != http.StatusAccepted {
		t.Fatalf("cancel: %d %s", a.status, a.body)
	}
	r.withdrawn(one, keyOf(one))
	if a := r.do("GET", entry, ""); a.status != http.StatusNotFound {
		t.Errorf("entry of a cancelled job: %d", a.status)
	}
	if a := r.do("POST", "/api/jobs/"+id+"/retry", "", "X-API-Key: "+r.env["API_KEY"]); a.status != http.StatusAccepted {
		t.Fatalf("retry: %d %s", a.status, a.body)
	}

	two := shown(2)
	if err := first.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.done
	worker() // ends the dead one's lease
	r.await(id, "a third attempt", func(j fullJob) bool { return j.Attempt == 3 })
	r.withdrawn(append(one, two...), "/api/key/"+hash+"?kid="+r.kid(id, 1), "/api/key/"+hash+"?kid="+r.kid(id, 2))

	three := shown(3)
	open()
	r.play(r.succeeded(id))
	if a := r.do("GET", three[0].url, ""); a.status != http.StatusOK || !strings.Contains(string(a.body), "#EXT-X-ENDLIST") {
		t.Errorf("the playlist that was shown early: %d\n%s", a.status, a.body)
	}
	r.withdrawn(append(one, two...))
}

// kid is the key id of an attempt with one output.
func (r *rig) kid(id string, attempt int) (kid string) {
	r.t.Helper()
	err := r.db.QueryRow(r.t.Context(), `SELECT encode(kid, 'hex') FROM content_keys WHERE job_id = $1 AND attempt = $2`, id, attempt).Scan(&kid)
	if err != nil {
		r.t.Fatal(err)
	}
	return kid
}
