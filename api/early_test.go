package api

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"
)

// showEarly makes a title one that is not published and that a running attempt
// shows: its playlists are in no object.
func (r *rig) showEarly(hash string) {
	r.pubs.mu.Lock()
	defer r.pubs.mu.Unlock()
	r.pubs.entries[hash] = Entry{Prefix: testPrefix, Encrypted: true}
	for name, body := range map[string]string{
		"ts/master.m3u8":     tsPlaylist,
		"ts/720p/index.m3u8": "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"https://media.example.com/api/key/" + hash + "\"\n#EXTINF:2.000,\n1.ts\n",
		"ts/720p/1.ts":       "",
	} {
		key := objectKey(hash, testPrefix, name)
		o := Object{Name: name, ContentType: kindHLS, Size: int64(len(body)), SHA256: sha256.Sum256([]byte(body)), Encrypted: true, Early: true, Body: []byte(body)}
		if body == "" {
			o.ContentType, o.Size, o.SHA256, o.Body = "video/mp2t", int64(len(segment)), sha256.Sum256([]byte(segment)), nil
			r.store.data[key] = []byte(segment)
		} else {
			delete(r.store.data, key)
		}
		r.pubs.objects[key] = o
	}
}

// What a running attempt shows is served like what is published, but caches
// keep it for a moment only, and nothing can be hung on it.
func TestEarlyMedia(t *testing.T) {
	rig, gate := newDeliveryRig(t)
	rig.showEarly(hashA)
	bearer := "Authorization: Bearer " + gate.good(t, pkPrivate)
	const list, first = testPrefix + "/ts/720p/index.m3u8", testPrefix + "/ts/720p/1.ts"
	for _, tt := range []struct{ path, header, control, want string }{
		{"/stream/" + hashA + "/ts/master.m3u8", "", entryControl, "../" + testPrefix + "/ts/720p/index.m3u8\n"},
		{"/stream/" + hashA + "/" + list, "", "public, max-age=1", "#EXTINF:2.000,\n1.ts\n"},
		{"/stream/" + hashA + "/" + first, "", "public, max-age=60", segment},
		{"/v1/p/" + pkPublic + "/master.m3u8", "", "public, max-age=1", testPrefix + "/ts/720p/index.m3u8\n"},
		{"/v1/p/" + pkPublic + "/" + list, "", "public, max-age=1", "#EXTINF:2.000,\n1.ts\n"},
		{"/v1/p/" + pkPublic + "/" + first, "", "public, max-age=60", segment},
		{"/v1/p/" + pkPrivate + "/" + list, bearer, privateShortControl, "#EXTINF:2.000,\n1.ts\n"},
		{"/v1/p/" + pkPrivate + "/" + first, bearer, privateShortControl, segment},
	} {
		var headers []string
		if tt.header != "" {
			headers = append(headers, tt.header)
		}
		a := rig.do("GET", tt.path, "", headers...)
		if a.StatusCode != http.StatusOK || !strings.HasSuffix(string(a.body), tt.want) || a.Header.Get("Cache-Control") != tt.control {
			t.Errorf("%s: %d %q\n%s", tt.path, a.StatusCode, a.Header.Get("Cache-Control"), a.body)
		}
	}
	if a := rig.do("GET", "/v1/p/"+pkPrivate+"/"+list, ""); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %d", a.StatusCode)
	}
	if a := rig.do("GET", "/stream/"+hashA+"/"+list, "", "Range: bytes=0-6"); a.StatusCode != http.StatusPartialContent || string(a.body) != "#EXTM3U" {
		t.Errorf("a range: %d %s", a.StatusCode, a.body)
	}
	a := rig.do("PUT", "/api/media/"+hashA+"/tracks/en", "WEBVTT\n", "X-API-Key: "+testAPIKey, "Content-Type: text/vtt")
	if a.StatusCode != http.StatusNotFound || a.code() != "not_published" {
		t.Errorf("a text track: %d %s", a.StatusCode, a.body)
	}

	rig.pubs.mu.Lock()
	for key, o := range rig.pubs.objects {
		o.Private = true
		rig.pubs.objects[key] = o
	}
	rig.pubs.mu.Unlock()
	if a := rig.do("GET", "/stream/"+hashA+"/"+list, ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("of a private title: %d", a.StatusCode)
	}
}

// The outputs of a running attempt come together: who asks while they come gets
// nothing yet, or what everybody gets from then on, never another output's.
func TestEarlyMasterIsOne(t *testing.T) {
	rig, _ := newDeliveryRig(t)
	show := func(names ...string) {
		for _, name := range names {
			rig.pubs.add(rig.store, hashA, name, kindHLS, []byte("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n"+name+"/index.m3u8\n"), true)
		}
	}
	rig.pubs.mu.Lock()
	for key := range rig.pubs.objects {
		delete(rig.pubs.objects, key)
	}
	rig.pubs.looked = func() { show("ts/master.m3u8", "master.m3u8", "cmaf-aes128/master.m3u8") }
	rig.pubs.mu.Unlock()
	for _, want := range []int{http.StatusNotFound, http.StatusOK} {
		a := rig.do("GET", "/v1/p/"+pkPublic+"/master.m3u8", "")
		if a.StatusCode != want || want == http.StatusOK && !strings.Contains(string(a.body), "/ts/") {
			t.Errorf("%d, want %d and the playlist of ts\n%s", a.StatusCode, want, a.body)
		}
	}
}
