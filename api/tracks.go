package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/internal/texttrack"
)

const (
	tracksPath = "/api/media/{hash}/tracks"
	trackPath  = "/api/media/{hash}/tracks/{lang}"

	maxTrackBody = 1 << 20 // bytes; a larger text goes through the source bucket
	textKind     = "text"  // of parts
)

// Tracks changes the text tracks of published titles.
type Tracks interface {
	// PutTrack asks for a track of a text that was checked. ErrNotFound when the
	// title is not published.
	PutTrack(ctx context.Context, hash string, track texttrack.Track, document string, by Caller) (Job, error)
	// DeleteTrack takes one off; ErrNotFound when there is none beside the source.
	DeleteTrack(ctx context.Context, hash, id string, by Caller) error
}

// trackFacts are the facts of parts of the kind text.
type trackFacts struct {
	Tracks []trackFact `json:"tracks"`
}

type trackFact struct {
	ID string `json:"id"`
	texttrack.Track
	Cues    int    `json:"cues"`
	Dropped int    `json:"dropped"`
	Dir     string `json:"dir"` // below the part's prefix

	prefix   string
	embedded bool // the source has it
}

// tracks lists an entry's text tracks: those of the source first, and in their
// place those that were put beside it.
func (e Entry) tracks() ([]trackFact, error) {
	var list []trackFact
	at := map[string]int{}
	for _, embedded := range []bool{true, false} {
		for _, p := range e.Parts {
			if p.Kind != textKind || (p.Name == "") != embedded {
				continue
			}
			var facts trackFacts
			if err := json.Unmarshal(p.Facts, &facts); err != nil {
				return nil, fmt.Errorf("facts of the text part %q: %w", p.Name, err)
			}
			for _, t := range facts.Tracks {
				t.prefix, t.embedded = p.Prefix, embedded
				if i, ok := at[t.ID]; ok {
					list[i] = t
					continue
				}
				at[t.ID] = len(list)
				list = append(list, t)
			}
		}
	}
	return list, nil
}

// tracksTag stands for an entry's text tracks in the entity tags of its documents.
func (e Entry) tracksTag() string {
	tag := ""
	for _, p := range e.Parts {
		if p.Kind == textKind {
			tag += " " + p.Prefix
		}
	}
	return tag
}

// addTracks names an entry's text tracks in one of its entry documents, which
// was rebased. The folder has the prefixes in it: up leads there from a
// playlist, folder is its absolute path. A manifest gets that one: FFmpeg 5.1
// forgets the manifest's own BaseURL when a representation has one that is not
// absolute, and then plays nothing of the film.
func (e Entry) addTracks(doc []byte, name, up, folder string) ([]byte, error) {
	tracks, err := e.tracks()
	if err != nil || len(tracks) == 0 {
		return doc, err
	}
	file, add := texttrack.FMP4Name, texttrack.AddToMaster
	switch {
	case strings.HasSuffix(name, ".mpd"):
		up = folder
		file, add = texttrack.WholeName, texttrack.AddToManifest
	case strings.HasPrefix(name, "ts/"):
		file = texttrack.TSName
	}
	entries := make([]texttrack.Entry, len(tracks))
	for i, t := range tracks {
		uri, err := rebaseURI(t.Dir+"/"+file, "", t.prefix)
		if err != nil {
			return nil, err
		}
		entries[i] = texttrack.Entry{Track: t.Track, URI: up + uri}
	}
	return add(doc, entries)
}

// wireTrack is a track as the API shows it.
type wireTrack struct {
	ID string `json:"id"`
	texttrack.Track
	Embedded bool   `json:"embedded"`
	Cues     int    `json:"cues"`
	Dropped  int    `json:"dropped"`
	URL      string `json:"url"` // of the whole text, as WebVTT
}

// listTracks shows the text tracks of a published title.
func (s *server) listTracks(w http.ResponseWriter, r *http.Request) error {
	hash := r.PathValue("hash")
	if !cenc.IsHash(hash) {
		return notPublished()
	}
	entry, err := s.freshEntry(r, hash)
	if err != nil {
		return err
	}
	tracks, err := entry.tracks()
	if err != nil {
		return internalError(err)
	}
	list := []wireTrack{}
	for _, t := range tracks {
		list = append(list, wireTrack{
			ID: t.ID, Track: t.Track, Embedded: t.embedded, Cues: t.Cues, Dropped: t.Dropped,
			URL: s.BaseURL + "/stream/" + hash + "/" + t.prefix + "/" + t.Dir + "/" + texttrack.WholeName,
		})
	}
	return writeJSON(w, http.StatusOK, map[string]any{"tracks": list})
}

// freshEntry asks the database, so that a change shows at once.
func (s *server) freshEntry(r *http.Request, hash string) (Entry, error) {
	ctx, cancel := context.WithTimeout(r.Context(), lookupTimeout)
	defer cancel()
	entry, err := s.Publications.Entry(ctx, hash)
	if err == nil && entry.Generation == 0 {
		return Entry{}, notPublished()
	}
	return entry, s.lookupError(r, err, notPublished())
}

// putTrack takes a text as its body, WebVTT or SubRip, or a JSON object that
// names one in the source bucket. It is made by a worker: 202 and the job.
func (s *server) putTrack(w http.ResponseWriter, r *http.Request) error {
	hash := r.PathValue("hash")
	if !cenc.IsHash(hash) {
		return notPublished()
	}
	track, err := trackOf(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return err
		}
		return invalidRequest("the body did not arrive whole")
	}
	if _, err := s.freshEntry(r, hash); err != nil {
		return err
	}
	var job Job
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/json" {
		job, err = s.putTrackSource(r, hash, track, body)
	} else {
		job, err = s.putTrackText(r, hash, track, body)
	}
	if err != nil {
		return s.jobError(r, err)
	}
	w.Header().Set("Location", s.BaseURL+"/api/jobs/"+url.PathEscape(job.ID))
	return writeJSON(w, http.StatusAccepted, job.wire())
}

// trackOf reads the path and the query: what a track is called.
func trackOf(r *http.Request) (texttrack.Track, error) {
	bad := func(format string, args ...any) error {
		return problem(http.StatusBadRequest, "track_invalid", fmt.Sprintf(format, args...))
	}
	t, err := texttrack.ParseID(r.PathValue("lang"))
	if err != nil {
		return t, bad("%v", err)
	}
	named := t.Name
	for key, values := range r.URL.Query() {
		value := values[0]
		switch key {
		case "name":
			t.Name = value
		case "kind":
			t.Kind = texttrack.Kind(value)
		case "forced", "default":
			yes, err := strconv.ParseBool(value)
			if err != nil {
				return t, bad("%s: want true or false", key)
			}
			if key == "forced" {
				t.Forced = yes
			} else {
				t.Default = yes
			}
		default:
			return t, bad("unknown parameter %s: known are name, kind, forced and default", strconv.Quote(key))
		}
	}
	if t.Name == named {
		t.Name = "" // the kind may have changed it
	}
	if err := t.Check(); err != nil {
		return t, bad("%v", err)
	}
	return t, nil
}

func (s *server) putTrackText(r *http.Request, hash string, track texttrack.Track, body []byte) (Job, error) {
	doc, err := texttrack.Parse(body)
	var bad *texttrack.Error
	if errors.As(err, &bad) {
		detail := bad.Message
		if bad.Line > 0 {
			detail = fmt.Sprintf("line %d: %s", bad.Line, bad.Message)
		}
		return Job{}, problem(http.StatusUnprocessableEntity, bad.Code, detail)
	}
	if err != nil {
		return Job{}, internalError(err)
	}
	return s.Tracks.PutTrack(r.Context(), hash, track, string(texttrack.Whole(doc.Cues)), callerOf(r))
}

func (s *server) putTrackSource(r *http.Request, hash string, track texttrack.Track, body []byte) (Job, error) {
	var wire struct {
		Source string `json:"source"`
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&wire); err != nil || dec.More() || wire.Source == "" {
		return Job{}, problem(http.StatusBadRequest, "payload_invalid", `want {"source": "an object key in the source bucket"}`)
	}
	payload, err := json.Marshal(map[string]any{"hash": hash, "source": wire.Source, "options": track})
	if err != nil {
		return Job{}, internalError(err)
	}
	job, _, err := s.Jobs.Submit(r.Context(), JobRequest{Type: "video:text", Payload: payload, By: callerOf(r)})
	return job, err
}

// deleteTrack takes a track off that was put beside the source.
func (s *server) deleteTrack(w http.ResponseWriter, r *http.Request) error {
	hash := r.PathValue("hash")
	unknown := problem(http.StatusNotFound, "track_not_found", "there is no such text track")
	track, err := texttrack.ParseID(r.PathValue("lang"))
	if err != nil || !cenc.IsHash(hash) {
		return unknown
	}
	err = s.Tracks.DeleteTrack(r.Context(), hash, track.ID(), callerOf(r))
	if err != nil && !errors.Is(err, ErrNotFound) {
		s.metrics.failed(r, depPostgres)
		return unavailable(err)
	}
	if err != nil {
		entry, lookup := s.freshEntry(r, hash)
		if tracks, _ := entry.tracks(); lookup == nil {
			for _, t := range tracks {
				if t.ID == track.ID() {
					return problem(http.StatusConflict, "track_embedded", "the source itself has this track: put another one in its place")
				}
			}
		}
		return unknown
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}
