package worker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/internal/texttrack"
	"github.com/sealcast/sealcast/pipeline"
)

// Tracks beside the source are parts of their own, named by language and kind;
// the request means the same however it is spelled.
func TestTextTracksOfARequest(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	parse := func(options string) (Submission, error) {
		return ParseSubmission(TypeFull, fmt.Appendf(nil, `{"hash":%q,"source":"in/a.mp4","options":%s}`, hash, options))
	}
	sub, err := parse(`{"cover":false,"preview":false,"storyboard":false,"text_tracks":[{"language":"ger","source":"a.srt"},{"language":"DE","kind":"captions","name":"Deutsch CC","default":true,"source":"b.vtt"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range sub.Parts {
		child := sub.child(p)
		got = append(got, fmt.Sprintf("%s %q %s %s %T", p.Kind, p.Name, child.Queue, child.Source, p.Part))
	}
	want := []string{
		`text "" parts in/a.mp4 pipeline.EmbeddedText`, `text "de" parts a.srt pipeline.Text`, `text "de_captions" parts b.vtt pipeline.Text`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	same, err := parse(`{"text":true,"text_tracks":[{"source":"a.srt","language":"de","name":"Deutsch","forced":false},{"kind":"captions","language":"de","default":true,"source":"b.vtt"}],"cover":false,"preview":false,"storyboard":false}`)
	if err != nil || same.Digest != sub.Digest {
		t.Errorf("the same is another request: %v", err)
	}
	again, err := ParseSubmission(TypeFull, sub.Payload())
	if err != nil || again.Digest != sub.Digest {
		t.Errorf("the canonical payload %s: %v", sub.Payload(), err)
	}
	for options, says := range map[string]string{
		`{"text_tracks":{}}`:                  "a list",
		`{"text_tracks":[3]}`:                 "text_tracks[0]",
		`{"text_tracks":[{}]}`:                "a language and a source",
		`{"text_tracks":[{"language":"en"}]}`: "source",
		`{"text_tracks":[{"source":"a"}]}`:    "language",
		`{"text_tracks":[{"language":"en","source":"a","kind":"karaoke"}]}`:                "kind",
		`{"text_tracks":[{"language":"en","source":"a","document":"WEBVTT"}]}`:             "source",
		`{"text_tracks":[{"language":"en","source":"a"},{"language":"eng","source":"b"}]}`: "second track",
		`{"text":{"language":"en"}}`: "text_tracks",
		`{"text_tracks":[` + strings.Repeat(`{"language":"en","source":"a"},`, 100) + `{"language":"x"}]}`: "at most 100",
	} {
		_, err := parse(options)
		var bad *RequestError
		if !errors.As(err, &bad) || !strings.Contains(bad.Message, says) {
			t.Errorf("%s: %v, want %q", options, err, says)
		}
	}
	// Alone, the text is the job's source.
	alone, err := ParseSubmission(TypeText, fmt.Appendf(nil, `{"hash":%q,"source":"a.srt","options":{"language":"en"}}`, hash))
	if err != nil || alone.Part.Name != "en" || alone.Queue != QueueParts || alone.Part.Part.(pipeline.Text).Source != "a.srt" {
		t.Errorf("%+v, %v", alone.Part, err)
	}
	if again, err := ParseSubmission(TypeText, alone.Payload()); err != nil || again.Digest != alone.Digest {
		t.Errorf("the canonical payload %s: %v", alone.Payload(), err)
	}
}

// A text track is made when its film is published, and cut to it; one that is
// put later takes its place, and goes again.
func TestTextTracksFollowTheFilm(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	films, parts := newScript(), newPartScript()
	h.worker(films, func(c *Config) { c.Store, c.Wake, c.Parts = h.store, d.Wake, parts })
	sub, err := ParseSubmission(TypeFull, fmt.Appendf(nil, `{"hash":"%064x","source":"in/1.mp4","options":{"cover":false,"preview":false,"storyboard":false,"text":false,"text_tracks":[{"language":"en","source":"en.srt"}]}}`, 1))
	if err != nil {
		t.Fatal(err)
	}
	job := h.submit(sub)
	if _, _, err := h.store.Film(t.Context(), job.Hash); !errors.Is(err, ErrPublicationNotFound) {
		t.Errorf("a film that is not published: %v", err)
	}
	d.Wake()
	films.next(t).succeed()
	h.await(job.ID, StateSucceeded)
	film, source, err := h.store.Film(t.Context(), job.Hash)
	if err != nil || film.Length <= 0 || source != "in/1.mp4" {
		t.Fatalf("film %+v of %s, %v", film, source, err)
	}
	d.Wake()
	c := parts.next(t)
	if text, ok := c.req.Part.(pipeline.Text); !ok || text.Source != "en.srt" || text.Name != "English" || c.req.Film != film || c.req.SourceKey != "en.srt" {
		t.Errorf("request %+v", c.req)
	}
	c.succeedText()
	first := h.await(shownParts(t, h.get(job.ID))[0].JobID, StateSucceeded)

	put, err := TextSubmission(job.Hash, source, texttrack.Track{Language: "en"}, "WEBVTT\n\n00:01.000 --> 00:02.000\nx\n")
	if err != nil {
		t.Fatal(err)
	}
	second := h.submit(put)
	d.Wake()
	c = parts.next(t)
	if text, ok := c.req.Part.(pipeline.Text); !ok || text.Document == "" || c.req.Film != film {
		t.Errorf("request %+v", c.req)
	}
	c.succeedText()
	h.await(second.ID, StateSucceeded)
	entry, err := h.store.Entry(t.Context(), job.Hash)
	if err != nil || len(entry.Parts) != 1 || entry.Parts[0].JobID != second.ID || entry.Parts[0].Name != "en" || first.ID == second.ID {
		t.Fatalf("parts %+v, %v", entry.Parts, err)
	}
	if gone, err := h.store.RemoveTrack(t.Context(), job.Hash, "en", tester); err != nil || !gone {
		t.Errorf("removed: %v, %v", gone, err)
	}
	// What was taken off can be put again.
	third := h.submit(put)
	if third.ID == second.ID {
		t.Error("the job whose track was taken off stands for a new request")
	}
	d.Wake()
	parts.next(t).succeedText()
	h.await(third.ID, StateSucceeded)
	h.invariants()
}

func (c *partCall) succeedText() {
	c.end <- func() (*pipeline.MadePart, error) {
		return &pipeline.MadePart{
			Facts: pipeline.Facts{"tracks": []pipeline.TextFact{{ID: "en", Dir: "text/en"}}}, Duration: time.Second,
			Bytes: 5, Objects: []pipeline.Object{{Name: "text/en/whole.vtt", Size: 5, SHA256: [32]byte{7}, ContentType: "text/vtt"}},
		}, nil
	}
}
