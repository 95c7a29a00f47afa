package api

import (
	"strings"
	"testing"
	"time"
)

// Parts are served by their names and below their prefix; those of an encrypted
// title are for its viewers, but for its text.
func TestParts(t *testing.T) {
	rig := newRig(t)
	for _, hash := range []string{hashA, hashC} {
		for name, o := range map[string]Object{
			"poster.jpg":      {ContentType: "image/jpeg", Kind: "cover"},
			"storyboard.vtt":  {ContentType: "text/vtt", Kind: "storyboard"},
			"static/720p.mp4": {ContentType: "video/mp4", Kind: "static"},
			"text/en/1.vtt":   {ContentType: "text/vtt", Kind: "text"},
		} {
			o.Name, o.Encrypted = name, hash == hashA
			rig.pubs.put(rig.store, hash, testPart, o, []byte("made of "+name))
		}
	}
	viewer := "Authorization: Bearer " + rig.token(hashA)
	for _, name := range []string{"poster.jpg", "storyboard.vtt", "static/720p.mp4", "text/en/1.vtt"} {
		for _, path := range []string{"/" + name, "/" + testPart + "/" + name} {
			fixed := !strings.HasPrefix(path, "/"+testPart)
			want := objectControl
			if fixed {
				want = entryControl
			}
			a := rig.do("GET", "/stream/"+hashC+path, "")
			if a.StatusCode != 200 || string(a.body) != "made of "+name || a.Header.Get("Cache-Control") != want {
				t.Errorf("clear %s: %d %q %v", path, a.StatusCode, a.body, a.Header)
			}
			refused := 401
			if name == "static/720p.mp4" { // downloads lie under playback keys
				refused = 404
			}
			a = rig.do("GET", "/stream/"+hashA+path, "")
			if public := strings.HasPrefix(name, "text/"); public != (a.StatusCode == 200) || !public && a.StatusCode != refused {
				t.Errorf("%s without a token: %d", path, a.StatusCode)
			}
			a = rig.do("GET", "/stream/"+hashA+path, "", viewer)
			if refused == 404 {
				if a.StatusCode != 404 {
					t.Errorf("%s: %d %q", path, a.StatusCode, a.body)
				}
			} else if a.StatusCode != 200 || string(a.body) != "made of "+name {
				t.Errorf("%s: %d %q", path, a.StatusCode, a.body)
			}
		}
	}
	// A generation of old has a poster of its own.
	old := newRig(t)
	if a := old.do("GET", "/stream/"+hashC+"/poster.jpg", ""); a.StatusCode != 200 || string(a.body) != poster {
		t.Errorf("%d %q", a.StatusCode, a.body)
	}
	for _, path := range []string{"nothing.jpg", "storyboard.vtt", "8899aabbccddeeff-3/poster.jpg"} {
		if a := old.do("GET", "/stream/"+hashC+"/"+path, ""); a.StatusCode != 404 {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
}

func TestListAndRetryParts(t *testing.T) {
	rig := newRig(t)
	key := "X-API-Key: " + testAPIKey
	if a := rig.do("GET", "/api/media/"+hashA+"/parts", "", key); a.StatusCode != 200 || !strings.Contains(string(a.body), `"kind":"cover"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := rig.do("GET", "/api/media/"+hashB+"/parts", "", key); string(a.body) != `{"parts":[]}`+"\n" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	at := time.Unix(1, 0).UTC()
	for id, state := range map[string]string{"cover": "failed", "texten": "succeeded"} {
		rig.jobs.put(Job{ID: id, Type: "video:cover", Hash: hashA, Source: "x", State: state, PartKind: "cover", CreatedAt: at})
	}
	for path, want := range map[string]struct {
		status int
		code   string
	}{
		hashA + "/parts/cover/retry":                  {202, ""},
		hashA + "/parts/text/retry?name=en":           {409, "job_not_retryable"},
		hashA + "/parts/preview/retry":                {404, "part_not_found"},
		hashA + "/parts/Cover/retry":                  {404, "part_not_found"},
		hashA + "/parts/text/retry?name=a%2Fb":        {404, "part_not_found"},
		strings.ToUpper(hashA) + "/parts/cover/retry": {404, "part_not_found"},
	} {
		if a := rig.do("POST", "/api/media/"+path, "", key); a.StatusCode != want.status || a.code() != want.code {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	for _, a := range []answer{rig.do("GET", "/api/media/"+hashA+"/parts", ""), rig.do("POST", "/api/media/"+hashA+"/parts/cover/retry", "")} {
		if a.StatusCode != 401 {
			t.Errorf("without an API key: %d", a.StatusCode)
		}
	}
}
