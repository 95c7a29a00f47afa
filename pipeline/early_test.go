package pipeline_test

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealcast/sealcast/pipeline"
)

// heldStore takes segments above a number only once it is released.
type heldStore struct {
	pipeline.ObjectStore
	above   int
	release chan struct{}

	mu      sync.Mutex
	durable map[string]bool // by key, those whose Put has ended
	waiting int             // that are held
}

func (s *heldStore) Put(ctx context.Context, key string, body []byte, contentType, cacheControl string) (pipeline.ObjectInfo, error) {
	if n, err := strconv.Atoi(strings.TrimSuffix(path.Base(key), path.Ext(key))); err == nil && n > s.above {
		s.mu.Lock()
		s.waiting++
		s.mu.Unlock()
		select {
		case <-s.release:
		case <-ctx.Done():
			return pipeline.ObjectInfo{}, ctx.Err()
		}
	}
	info, err := s.ObjectStore.Put(ctx, key, body, contentType, cacheControl)
	if err == nil {
		s.mu.Lock()
		s.durable[key] = true
		s.mu.Unlock()
	}
	return info, err
}

func (s *heldStore) has(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable[key]
}

// screen is what a viewer would see of an attempt.
type screen struct {
	t       *testing.T
	store   *heldStore
	prefix  string
	masters []string // of all outputs
	mu      sync.Mutex
	docs    map[string][]byte
	lines   map[string][]string // by folder
}

// show wants every segment in the store, in order, before anything names it,
// and the multivariant playlists of all outputs at once.
func (s *screen) show(objects []pipeline.EarlyObject) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range objects {
		folder := path.Dir(o.Name)
		switch {
		case o.Number == 0 && (s.docs[o.Name] != nil || len(o.Body) == 0):
			s.t.Errorf("%s is shown twice, or empty", o.Name)
		case o.Number == 0:
			s.docs[o.Name] = o.Body
		case !s.store.has(s.prefix + o.Name):
			s.t.Errorf("%s is shown and not in the store", o.Name)
		case o.Number != len(s.lines[folder])+1 || o.Body != nil:
			s.t.Errorf("%s is shown after %d segments", o.Name, len(s.lines[folder]))
		default:
			s.lines[folder] = append(s.lines[folder], string(o.Lines))
		}
	}
	there := 0
	for _, name := range s.masters {
		if s.docs[name] != nil {
			there++
		}
	}
	if there != 0 && there != len(s.masters) {
		s.t.Errorf("%d of %d multivariant playlists are shown", there, len(s.masters))
	}
}

func (s *screen) playlist(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.docs[name]) + strings.Join(s.lines[path.Dir(name)], "")
}

// shows reports whether every rendition shows so many segments and every
// output its multivariant playlist.
func (s *screen) shows(folders, segments int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.masters {
		if s.docs[name] == nil {
			return false
		}
	}
	for _, lines := range s.lines {
		if len(lines) != segments {
			return false
		}
	}
	return len(s.lines) == folders
}

// While the encode runs, what is durable is shown: playlists that grow, with
// keys, init segments and multivariant playlists; nothing is named before it is
// in the store. What is published has the same playlists with an end.
func TestEarlyPlay(t *testing.T) {
	t.Parallel()
	var held *heldStore
	l := newLab(t, func(c *pipeline.Config) {
		held = &heldStore{ObjectStore: c.Media, above: 2, release: make(chan struct{}), durable: map[string]bool{}}
		c.Media = held
	})
	file := makeSource(t, "early.mp4", "-f", "lavfi", "-i", "testsrc=s=640x360:r=25:d=6", "-f", "lavfi", "-i", "sine=440:d=6",
		"-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-shortest")
	req := l.request(file, func(o *pipeline.Options) {
		o.Outputs, o.SegmentSeconds, o.Passthrough = []string{"cmaf", "cmaf-aes128", "ts"}, 2, pipeline.PassthroughOff
		o.KeyPeriodSeconds = 4
	})
	seen := &screen{
		t: t, store: held, prefix: pipeline.KeyPrefix(req.Hash, req.Prefix), docs: map[string][]byte{}, lines: map[string][]string{},
		masters: []string{"master.m3u8", "eme.m3u8", "cmaf-aes128/master.m3u8", "ts/master.m3u8"},
	}
	req.Show = seen.show
	ended := make(chan error, 1)
	go func() { _, err := l.runner.Run(t.Context(), req); ended <- err }()

	for start := time.Now(); !seen.shows(9, 2); time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-ended:
			t.Fatalf("the attempt ended: %v", err)
		default:
		}
		if time.Since(start) > 2*time.Minute {
			t.Fatalf("shown are %v and %v", seen.docs, seen.lines)
		}
	}
	if master := string(seen.docs["ts/master.m3u8"]); !strings.Contains(master, "BANDWIDTH=") || strings.Contains(master, "AVERAGE-BANDWIDTH") ||
		strings.Count(master, "#EXT-X-STREAM-INF:") != 2 || strings.Count(master, "#EXT-X-MEDIA:") != 1 {
		t.Errorf("ts/master.m3u8:\n%s", master)
	}
	if bytes.Count(seen.docs["master.m3u8"], []byte("#EXT-X-SESSION-KEY:")) != 1 {
		t.Errorf("master.m3u8:\n%s", seen.docs["master.m3u8"])
	}
	early := map[string]string{}
	for name, doc := range seen.docs {
		if strings.HasSuffix(name, ".m3u8") && strings.Contains(string(doc), "#EXT-X-TARGETDURATION") {
			early[name] = seen.playlist(name)
		}
	}
	if len(early) != 12 { // nine renditions, three of them for EME players too
		t.Errorf("%d media playlists", len(early))
	}
	for name, doc := range early {
		if !strings.Contains(doc, "#EXT-X-PLAYLIST-TYPE:EVENT\n") || !strings.Contains(doc, "#EXT-X-TARGETDURATION:3\n") ||
			!strings.Contains(doc, "#EXT-X-START:TIME-OFFSET=0\n") || strings.Contains(doc, "ENDLIST") || strings.Count(doc, "#EXTINF:") != 2 {
			t.Errorf("%s while the encode runs:\n%s", name, doc)
		}
	}
	close(held.release)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for name, doc := range early {
		all := seen.playlist(name)
		if !strings.HasPrefix(all, doc) {
			t.Errorf("%s has changed:\n%s\nbefore:\n%s", name, all, doc)
		}
		want := strings.Replace(strings.Replace(all, ":EVENT\n", ":VOD\n", 1), "#EXT-X-START:TIME-OFFSET=0\n", "", 1) + "#EXT-X-ENDLIST\n"
		if got := string(l.object(req, name)); got != want {
			t.Errorf("published is %s:\n%s\nshown was:\n%s", name, got, want)
		}
		if _, ok := seen.docs[path.Dir(name)+"/init.mp4"]; ok == strings.HasPrefix(name, "ts/") {
			t.Errorf("%s with an init segment: %v", name, ok)
		}
	}
	if key := `#EXT-X-KEY:METHOD=AES-128,URI="` + baseURL + "/api/key/" + req.Hash + "?kid="; strings.Count(early["ts/v-360p/index.m3u8"], key) != 2 {
		t.Errorf("ts/v-360p/index.m3u8:\n%s", early["ts/v-360p/index.m3u8"])
	}
	if !strings.Contains(early["cmaf/v-360p/index.m3u8"], fmt.Sprintf(`#EXT-X-KEY:METHOD=SAMPLE-AES,URI="%s"`, req.Keys["cmaf"].URI)) {
		t.Errorf("cmaf/v-360p/index.m3u8:\n%s", early["cmaf/v-360p/index.m3u8"])
	}
}
