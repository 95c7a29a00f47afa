package api

import (
	"bytes"
	"image"
	_ "image/png"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	_ "golang.org/x/image/webp"
)

func TestThumbnails(t *testing.T) {
	rig, gate := newDeliveryRig(t)
	bearer := "Authorization: Bearer " + gate.good(t, pkPrivate)
	for query, want := range map[string]struct {
		kind string
		w, h int
	}{
		"thumbnail.jpg":                    {"jpeg", 320, 180},
		"thumbnail.png?width=64":           {"png", 64, 36},
		"thumbnail.webp?width=32&time=7":   {"webp", 32, 18},
		"thumbnail.jpg?time=7.5":           {"jpeg", 160, 90},
		"thumbnail.jpg?time=99999":         {"jpeg", 160, 90},
		"thumbnail.jpg?width=1920&time=0":  {"jpeg", 160, 90},
		"thumbnail.webp?width=16&time=1e3": {"webp", 16, 9},
	} {
		a := rig.do("GET", "/v1/p/"+pkPrivate+"/"+query, "", bearer)
		img, kind, err := image.DecodeConfig(bytes.NewReader(a.body))
		if a.StatusCode != 200 || err != nil || kind != want.kind || img.Width != want.w || img.Height != want.h {
			t.Errorf("%s: %d %s %dx%d %v", query, a.StatusCode, kind, img.Width, img.Height, err)
			continue
		}
		before, _ := rig.store.counts()
		if b := rig.do("GET", "/v1/p/"+pkPrivate+"/"+query, "", bearer, "If-None-Match: "+a.Header.Get("ETag")); b.StatusCode != 304 {
			t.Errorf("%s again: %d", query, b.StatusCode)
		}
		if after, _ := rig.store.counts(); !strings.Contains(query, "time") && after != before {
			t.Errorf("%s again: made again", query)
		}
	}
	for _, query := range []string{"width=15", "width=1921", "width=x", "width=1&width=2", "time=-1", "time=x", "time=NaN", "time=Inf", "x=1", "%zz"} {
		if a := rig.do("GET", "/v1/p/"+pkPrivate+"/thumbnail.jpg?"+query, "", bearer); a.StatusCode != 400 {
			t.Errorf("%s: %d", query, a.StatusCode)
		}
	}
	// Without a storyboard it is the poster, without both nothing.
	delete(rig.pubs.objects, objectKey(hashA, testPart, "storyboard.vtt"))
	if a := rig.do("GET", "/v1/p/"+pkPrivate+"/thumbnail.png?time=7", "", bearer); a.StatusCode != 200 {
		t.Errorf("no storyboard: %d", a.StatusCode)
	}
	delete(rig.pubs.objects, objectKey(hashA, testPart, "poster.jpg"))
	delete(rig.pubs.objects, objectKey(hashA, testPrefix, "poster.jpg"))
	if a := rig.do("GET", "/v1/p/"+pkPrivate+"/thumbnail.png", "", bearer); a.StatusCode != 404 {
		t.Errorf("no picture: %d", a.StatusCode)
	}
}

func TestTileAt(t *testing.T) {
	for at, x := range map[float64]int{0: 0, 4.999: 0, 5: 160, 9: 160, 100: 160} {
		name, crop, ok := tileAt([]byte(storyboardVTT), at)
		if !ok || name != "storyboard-0.jpg" || crop != image.Rect(x, 0, x+160, 90) {
			t.Errorf("%v: %s %v %v", at, name, crop, ok)
		}
	}
	for _, bad := range []string{"", "WEBVTT", "00:00.000 --> 00:01.000\n../x.jpg#xywh=0,0,1,1\n", "00:00.000 --> 00:01.000\nmaster.m3u8#xywh=0,0,1,1\n", "storyboard-0.jpg#xywh=0,0,1,1\n"} {
		if name, _, ok := tileAt([]byte(bad), 0); ok {
			t.Errorf("%q gives %s", bad, name)
		}
	}
	if got := cueSeconds("01:02:03.500"); got != 3723.5 {
		t.Error(got)
	}
}

// Pictures do not use up the limit of keys, keys under a playback key count as
// key requests, and what leads nowhere needs no session.
func TestThumbnailsLeaveTheKeys(t *testing.T) {
	rig, gate := newDeliveryRig(t, func(cfg *Config) { cfg.KeysPerToken, cfg.KeysPerClient = 3, 3 })
	bearer := "Authorization: Bearer " + gate.good(t, pkPrivate)
	base := "/v1/p/" + pkPrivate + "/"
	limited := 0
	for range 6 {
		if a := rig.do("GET", base+"thumbnail.jpg", "", bearer); a.StatusCode == http.StatusTooManyRequests {
			limited++
		}
	}
	if a := rig.do("GET", base+"key", "", bearer); a.StatusCode != 200 || limited == 0 {
		t.Errorf("%d pictures were refused, then a key: %d", limited, a.StatusCode)
	}
	if err := testutil.GatherAndCompare(rig.reg, strings.NewReader(`
# HELP sealcast_key_requests_total Content key requests by status.
# TYPE sealcast_key_requests_total counter
sealcast_key_requests_total{status="200"} 1
`), "sealcast_key_requests_total"); err != nil {
		t.Error(err)
	}
}
