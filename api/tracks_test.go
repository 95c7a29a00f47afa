package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/internal/texttrack"
)

// fakeTracks remembers what it was asked for.
type fakeTracks struct {
	put     texttrack.Track
	text    string
	deleted string
	err     error
}

func (f *fakeTracks) PutTrack(_ context.Context, hash string, track texttrack.Track, document string, _ Caller) (Job, error) {
	f.put, f.text = track, document
	return Job{ID: "t-1", Type: "video:text", Hash: hash, Source: "x", State: "queued", PartKind: "text", PartName: track.ID()}, f.err
}

func (f *fakeTracks) DeleteTrack(_ context.Context, _, id string, _ Caller) error {
	if f.deleted = id; id != "en" && f.err == nil {
		return ErrNotFound
	}
	return f.err
}

const besidePart = "9899aabbccddeeff-1" // the prefix of a track beside the source

// subtitled gives the asset a source with two tracks, one of which was replaced.
func (r *rig) subtitled(hash string) {
	e := r.pubs.entries[hash]
	e.Parts = []Part{
		{Kind: "cover", Prefix: "7899aabbccddeeff-1", Facts: json.RawMessage(`{"poster":"poster.jpg"}`)},
		{Kind: "text", Prefix: testPart, Facts: json.RawMessage(`{"left_out":[],"tracks":[
			{"id":"en","language":"en","name":"English","kind":"subtitles","forced":false,"default":true,"format":"srt","cues":7,"dropped":1,"dir":"text/en"},
			{"id":"de","language":"de","name":"Deutsch","kind":"subtitles","forced":false,"default":false,"format":"srt","cues":7,"dropped":0,"dir":"text/de"}]}`)},
		{Kind: "text", Name: "en", Prefix: besidePart, Facts: json.RawMessage(`{"tracks":[
			{"id":"en","language":"en","name":"Better","kind":"subtitles","forced":false,"default":false,"format":"webvtt","cues":9,"dropped":0,"dir":"text/en"}]}`)},
	}
	r.pubs.entries[hash] = e
}

// Entry documents name the tracks: those beside the source in the place of those
// of the source, each document the one that its clock needs. The entity tag
// changes with them.
func TestTracksInEntryDocuments(t *testing.T) {
	plain, rig := newRig(t), newRig(t)
	rig.subtitled(hashC)
	for name, c := range map[string]struct{ before, after []string }{
		"master.m3u8": {
			[]string{
				`#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="Better",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="9899aabbccddeeff-1/text/en/fmp4/index.m3u8"`,
				`#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="Deutsch",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="8899aabbccddeeff-2/text/de/fmp4/index.m3u8"`,
			}, []string{`BANDWIDTH=1,AUDIO="a",SUBTITLES="subs"`},
		},
		"ts/master.m3u8": {
			[]string{`URI="../9899aabbccddeeff-1/text/en/ts/index.m3u8"`, `URI="../8899aabbccddeeff-2/text/de/ts/index.m3u8"`}, []string{`BANDWIDTH=1,SUBTITLES="subs"`},
		},
	} {
		was, is := plain.do("GET", "/stream/"+hashC+"/"+name, ""), rig.do("GET", "/stream/"+hashC+"/"+name, "")
		for _, line := range append(c.before, c.after...) {
			if !strings.Contains(string(is.body), line) {
				t.Errorf("%s has no %s:\n%s", name, line, is.body)
			}
		}
		if strings.Contains(string(was.body), "subs") || was.Header.Get("ETag") == is.Header.Get("ETag") {
			t.Errorf("%s: tags %s and %s, before:\n%s", name, was.Header.Get("ETag"), is.Header.Get("ETag"), was.body)
		}
	}
}

func TestTracksInManifest(t *testing.T) {
	e := Entry{Prefix: testPrefix}
	rig := newRig(t)
	rig.subtitled(hashC)
	e.Parts = rig.pubs.entries[hashC].Parts
	doc, err := e.addTracks([]byte("<MPD><BaseURL>x/</BaseURL>\n<Period>\n</Period>\n</MPD>\n"), "manifest.mpd", "", "/v1/p/x/")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`<AdaptationSet contentType="text" mimeType="text/vtt" lang="en">`,
		"<BaseURL>/v1/p/x/9899aabbccddeeff-1/text/en/whole.vtt</BaseURL>", "<BaseURL>/v1/p/x/8899aabbccddeeff-2/text/de/whole.vtt</BaseURL>",
	} {
		if !strings.Contains(string(doc), line) {
			t.Errorf("no %s in\n%s", line, doc)
		}
	}
	e.Parts[1].Facts = json.RawMessage(`{"tracks":[{"id":"x","dir":"../.."}]}`)
	if _, err := e.addTracks([]byte("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx\n"), "master.m3u8", "", "/v1/p/x/"); err == nil {
		t.Error("facts that lead out of the part are taken")
	}
}

func TestListTracks(t *testing.T) {
	rig := newRig(t)
	rig.subtitled(hashC)
	key := "X-API-Key: " + testAPIKey
	a := rig.do("GET", "/api/media/"+hashC+"/tracks", "", key)
	want := `{"tracks":[` +
		`{"id":"en","language":"en","name":"Better","kind":"subtitles","forced":false,"default":false,"embedded":false,"cues":9,"dropped":0,"url":"BASE/stream/` + hashC + `/9899aabbccddeeff-1/text/en/whole.vtt"},` +
		`{"id":"de","language":"de","name":"Deutsch","kind":"subtitles","forced":false,"default":false,"embedded":true,"cues":7,"dropped":0,"url":"BASE/stream/` + hashC + `/8899aabbccddeeff-2/text/de/whole.vtt"}]}` + "\n"
	if diff := cmp.Diff(strings.ReplaceAll(want, "BASE", testBase), string(a.body)); diff != "" || a.StatusCode != 200 {
		t.Error(a.StatusCode, diff)
	}
	if a := rig.do("GET", "/api/media/"+hashA+"/tracks", "", key); a.StatusCode != 200 || string(a.body) != `{"tracks":[]}`+"\n" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	wantProblem(t, rig.do("GET", "/api/media/"+strings.Repeat("0", 64)+"/tracks", "", key), 404, "not_published")
	wantProblem(t, rig.do("GET", "/api/media/"+hashC+"/tracks", ""), 401, "api_key_required")
}

func TestPutTrack(t *testing.T) {
	rig := newRig(t)
	key := "X-API-Key: " + testAPIKey
	url := "/api/media/" + hashC + "/tracks/"
	const srt = "1\n00:00:01,000 --> 00:00:02,000\n\xc4\n"
	a := rig.do("PUT", url+"DEU?kind=captions&default=true", srt, key, "Content-Type: application/x-subrip")
	if a.StatusCode != http.StatusAccepted || a.Header.Get("Location") != testBase+"/api/jobs/t-1" {
		t.Errorf("%d %v %s", a.StatusCode, a.Header, a.body)
	}
	if want := (texttrack.Track{Language: "de", Name: "Deutsch CC", Kind: texttrack.Captions, Default: true}); rig.tracks.put != want {
		t.Errorf("asked for %+v", rig.tracks.put)
	}
	if want := "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nÄ\n"; rig.tracks.text != want {
		t.Errorf("the text is %q", rig.tracks.text)
	}
	for _, c := range []struct {
		name, path, body, kind string
		status                 int
		code                   string
	}{
		{"no language", "x!", srt, "text/plain", 400, "track_invalid"},
		{"unknown kind", "en?kind=x", srt, "text/plain", 400, "track_invalid"},
		{"unknown parameter", "en?language=x", srt, "text/plain", 400, "track_invalid"},
		{"perhaps forced", "en?forced=perhaps", srt, "text/plain", 400, "track_invalid"},
		{"prose", "en", "hello", "text/plain", 422, texttrack.CodeUnreadable},
		{"nothing to show", "en", "WEBVTT\n", "text/vtt", 422, texttrack.CodeEmpty},
		{"large", "en", strings.Repeat("x", maxTrackBody+1), "text/plain", 413, "body_too_large"},
		{"JSON of something else", "en", `{"text":"x"}`, "application/json", 400, "payload_invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantProblem(t, rig.do("PUT", url+c.path, c.body, key, "Content-Type: "+c.kind), c.status, c.code)
		})
	}
	wantProblem(t, rig.do("PUT", "/api/media/"+strings.Repeat("0", 64)+"/tracks/en", srt, key, "Content-Type: text/plain"), 404, "not_published")
	wantProblem(t, rig.do("PUT", url+"en", srt, "Content-Type: text/plain"), 401, "api_key_required")

	a = rig.do("PUT", url+"en?name=English", `{"source":"texts/en.vtt"}`, key, "Content-Type: application/json; charset=utf-8")
	if got := rig.jobs.requests[len(rig.jobs.requests)-1]; a.StatusCode != 202 || got.Type != "video:text" ||
		string(got.Payload) != `{"hash":"`+hashC+`","options":{"language":"en","name":"English","kind":"subtitles","forced":false,"default":false},"source":"texts/en.vtt"}` {
		t.Errorf("%d, submitted %+v", a.StatusCode, got)
	}
}

func TestDeleteTrack(t *testing.T) {
	rig := newRig(t)
	rig.subtitled(hashC)
	key := "X-API-Key: " + testAPIKey
	if a := rig.do("DELETE", "/api/media/"+hashC+"/tracks/ENG", "", key); a.StatusCode != 204 || rig.tracks.deleted != "en" {
		t.Errorf("%d, deleted %q", a.StatusCode, rig.tracks.deleted)
	}
	wantProblem(t, rig.do("DELETE", "/api/media/"+hashC+"/tracks/de", "", key), 409, "track_embedded")
	wantProblem(t, rig.do("DELETE", "/api/media/"+hashC+"/tracks/fr", "", key), 404, "track_not_found")
	wantProblem(t, rig.do("DELETE", "/api/media/"+hashC+"/tracks/x!", "", key), 404, "track_not_found")
	rig.tracks.err = errors.New("down")
	wantProblem(t, rig.do("DELETE", "/api/media/"+hashC+"/tracks/en", "", key), 503, "unavailable")
}

const testBase = "https://video.example.com"

func wantProblem(t *testing.T, a answer, status int, code string) {
	t.Helper()
	if a.StatusCode != status || a.code() != code {
		t.Errorf("%d %s, want %d %s", a.StatusCode, a.body, status, code)
	}
}
