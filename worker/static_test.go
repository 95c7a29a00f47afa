package worker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/webhook"
	"github.com/sealcast/sealcast/pipeline"
)

// A download is made when its film is published, of that publication and with
// its keys; it can be asked for later and alone, without a source.
func TestStaticIsMadeOfTheFilm(t *testing.T) {
	h := newHouse(t)
	h.store = h.store.WithCallbacks(&webhook.Targets{})
	d, _ := h.dispatcher(nil)
	films, parts := newScript(), newPartScript()
	h.worker(films, func(c *Config) { c.Store, c.Wake, c.Parts = h.store, d.Wake, parts })
	job := h.submit(full(1, `,"options":{"cover":false,"preview":false,"storyboard":false,"text":false,"static_mp4":["480p","720p"]}`))
	d.Wake()
	got := shownParts(t, h.get(job.ID))
	if len(got) != 2 || got[0].Kind != "static" || got[0].Name != "720p" || got[0].State != "pending" || got[0].JobID != "" || got[1].Name != "480p" {
		t.Fatalf("parts %+v", got)
	}
	films.next(t).succeed()
	done := h.await(job.ID, StateSucceeded)
	entry, err := h.store.Entry(t.Context(), job.Hash)
	if err != nil {
		t.Fatal(err)
	}
	for i, rung := range []string{"720p", "480p"} {
		c := parts.next(t)
		if s, ok := c.req.Part.(pipeline.Static); !ok || s.Rung != rung || c.req.Film.Prefix != entry.Prefix || c.req.Film.Length <= 0 || !c.req.Film.Encrypted {
			t.Errorf("request %+v", c.req)
		}
		if key, err := c.req.ServedKey(t.Context(), nil); err != nil || key.IsZero() {
			t.Errorf("the film's key: %v", err)
		}
		c.end <- func() (*pipeline.MadePart, error) {
			return &pipeline.MadePart{
				Facts: pipeline.Facts{"static": "static/" + rung + ".mp4"}, Bytes: 5,
				Objects: []pipeline.Object{{Name: "static/" + rung + ".mp4", Size: 5, ContentType: "video/mp4"}},
			}, nil
		}
		id := shownParts(t, h.get(job.ID))[i].JobID
		// Under /stream nothing leads to a download of an encrypted title.
		if part := h.await(id, StateSucceeded); strings.Contains(string(part.Results), "/stream/") || !strings.Contains(string(part.Results), `"static/`+rung) {
			t.Errorf("results %s", part.Results)
		}
	}
	if p := shownParts(t, h.get(done.ID)); p[0].State != "ready" || p[1].State != "ready" {
		t.Errorf("parts %+v", p)
	}
	later, err := ParseSubmission(TypeStatic, fmt.Appendf(nil, `{"hash":%q,"source":"gone","options":{"rung":"360p"}}`, job.Hash))
	if err != nil || later.NeedsSource() || later.Part.Name != "360p" {
		t.Fatalf("%+v, %v", later, err)
	}
	h.submit(later)
	d.Wake()
	if c := parts.next(t); c.req.Film.Prefix != entry.Prefix {
		t.Errorf("request %+v", c.req)
	} else {
		c.fail(errPermanent)
	}
	h.eventually("it fails", func() bool {
		_, err := h.store.RetryPart(t.Context(), job.Hash, "static", "360p", tester)
		return err == nil
	})
	d.Wake()
	parts.next(t).succeed()
	h.invariants()
}

func TestParseStatic(t *testing.T) {
	parse := func(options string) (Submission, error) {
		return ParseSubmission(TypeFull, fmt.Appendf(nil, `{"hash":"%064x","source":"x","options":%s}`, 1, options))
	}
	a, err := parse(`{"static_mp4":["720p","480p"]}`)
	if err != nil {
		t.Fatal(err)
	}
	b, err := parse(`{"static_mp4":["480p","720p"],"cover":true}`)
	if err != nil || a.Digest != b.Digest {
		t.Errorf("another order is another request: %v", err)
	}
	if back, err := ParseSubmission(TypeFull, a.Payload()); err != nil || back.Digest != a.Digest || len(back.Parts) != len(a.Parts) {
		t.Errorf("payload %s: %v", a.Payload(), err)
	}
	if plain, err := parse(`{}`); err != nil || plain.Digest == a.Digest {
		t.Errorf("none is the same request: %v", err)
	}
	if none, err := parse(`{"static_mp4":[]}`); err != nil || strings.Contains(string(none.Payload()), "static") {
		t.Errorf("none: %s %v", none.Payload(), err)
	}
	for bad, says := range map[string]string{
		`{"static_mp4":"720p"}`:                                                     `"options.static_mp4" must be a list`,
		`{"static_mp4":true}`:                                                       `"options.static_mp4" must be a list`,
		`{"static_mp4":["99p"]}`:                                                    `options.static_mp4 has "99p"`,
		`{"static_mp4":["720p","720p"]}`:                                            `options.static_mp4 names "720p" twice`,
		`{"static_mp4":["720p"],"transcode":{"ladder":["480p"]}}`:                   `not in the ladder`,
		`{"static_mp4":["720p"],"transcode":{"outputs":["ts"]}}`:                    `needs the output cmaf`,
		`{"static_mp4":["720p"],"transcode":{"codecs":["av1"],"outputs":["cmaf"]}}`: `with the codec h264`,
	} {
		if _, err := parse(bad); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := ParseSubmission(TypeStatic, fmt.Appendf(nil, `{"hash":"%064x","source":"x"}`, 1)); err == nil {
		t.Error("a download of no rung")
	}
}
