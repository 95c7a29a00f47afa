package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/texttrack"
	"github.com/sealcast/sealcast/pipeline"
)

// TypeText makes text tracks: with a language the one whose text is the job's
// source, without options all that the film's source has.
const TypeText = "video:text"

// trackField is the option of video:full that lists tracks which come beside
// the source.
const trackField = "text_tracks"

// maxTracks bounds that list.
const maxTracks = 100

// parseText reads the options of one track, or of those of the source.
func parseText(r *reader) pipeline.Part {
	if len(r.obj) == 0 {
		return pipeline.EmbeddedText{}
	}
	r.only("language", "name", "kind", "forced", "default", "source", "document")
	var t pipeline.Text
	kind := ""
	r.text("language", &t.Language)
	r.text("name", &t.Name)
	r.text("kind", &kind)
	r.flag("forced", &t.Forced)
	r.flag("default", &t.Default)
	r.text("source", &t.Source)
	r.text("document", &t.Document)
	t.Kind = texttrack.Kind(kind)
	_ = t.Check() // makes it canonical; Validate tells what is wrong
	return t
}

// loadText is parseText's way back from the job row.
func loadText(options json.RawMessage) (pipeline.Part, error) {
	var t pipeline.Text
	if err := json.Unmarshal(options, &t); err != nil || t.Language == "" {
		return pipeline.EmbeddedText{}, err
	}
	return t, nil
}

// parseTracks reads the list of tracks beside the source.
func parseTracks(r *reader, s *Submission) *RequestError {
	for _, p := range s.Parts {
		if _, ok := trackOf(p.Part); ok {
			return badPayload("%s takes no options: tracks beside the source are listed in %s", join(r.path, "text"), join(r.path, trackField))
		}
	}
	v, there := r.obj[trackField]
	if !there {
		return nil
	}
	list, ok := v.([]any)
	if !ok || len(list) > maxTracks {
		r.want(trackField, fmt.Sprintf("a list of at most %d tracks", maxTracks))
		return r.err
	}
	for i, entry := range list {
		path := fmt.Sprintf("%s[%d]", join(r.path, trackField), i)
		o, ok := entry.(object)
		if !ok {
			return badPayload("%s must be an object", path)
		}
		p, bad := parsePart(TypeText, &reader{path: path, obj: o})
		if bad != nil {
			return bad
		}
		t, ok := p.Part.(pipeline.Text)
		if !ok || t.Document != "" {
			return badPayload("%s must have a language and a source, an object key in the source bucket", path)
		}
		if fault := sourceFault(t.Source); fault != "" {
			return badPayload("%s.source %s", path, fault)
		}
		if slices.ContainsFunc(s.Parts, func(o PartSubmission) bool { return o.Kind == p.Kind && o.Name == p.Name }) {
			return &RequestError{CodeOptionsInvalid, path + " is a second track of the same language and kind"}
		}
		s.Parts = append(s.Parts, p)
	}
	return nil
}

// trackOf gives the track that a part is, if it is one.
func trackOf(p pipeline.Part) (pipeline.Text, bool) {
	t, ok := p.(pipeline.Text)
	return t, ok
}

// named sets the part's name among those of its kind, and lets the job's source
// be the text where the options name none.
func (p *PartSubmission) named(source string) {
	switch part := p.Part.(type) {
	case pipeline.Static:
		p.Name = part.Rung
		return
	case pipeline.Download:
		p.Name = part.Format
		return
	}
	t, ok := trackOf(p.Part)
	if !ok {
		return
	}
	p.Name = t.ID()
	if t.Source == "" && t.Document == "" {
		t.Source = source
		p.Part = t
	}
}

// TextSubmission asks for a track whose text is at hand. source is the film's.
func TextSubmission(hash, source string, track texttrack.Track, document string) (Submission, error) {
	t := pipeline.Text{Track: track, Document: document}
	if err := t.Check(); err != nil {
		return Submission{}, &RequestError{CodeOptionsInvalid, err.Error()}
	}
	s := Submission{Hash: hash, Source: source}
	return s.child(PartSubmission{Type: TypeText, Kind: pipeline.TextKind, Name: t.ID(), Part: t}), nil
}

// recordTrack puts on record that somebody asks for a text track of a title.
func recordTrack(ctx context.Context, tx pgx.Tx, sub Submission, job Job) error {
	if sub.Part == nil {
		return nil
	}
	if _, ok := trackOf(sub.Part.Part); !ok {
		return nil
	}
	return sub.By.record(ctx, tx, actionPutTrack, sub.Hash, map[string]any{"track": sub.Part.Name, "job": job.ID})
}

// Film gives what parts must know of the film, and the source of what is published.
// ErrPublicationNotFound.
func (s *JobStore) Film(ctx context.Context, hash string) (film pipeline.Film, source string, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var length, from float64
	err = s.pool.QueryRow(ctx, `
		SELECT coalesce((j.results->>'duration_seconds')::float8, 0), coalesce((j.options #>> '{clip,start}')::float8, 0), p.prefix, a.encrypted, j.options->'clip', j.source
		FROM assets a JOIN publications p ON p.hash = a.hash AND p.generation = a.generation JOIN jobs j ON j.id = p.job_id
		WHERE a.hash = $1`, hash).Scan(&length, &from, &film.Prefix, &film.Encrypted, &film.Clip, &source)
	if errors.Is(err, pgx.ErrNoRows) {
		return pipeline.Film{}, "", ErrPublicationNotFound
	}
	if err != nil {
		return pipeline.Film{}, "", fmt.Errorf("look for the film of %s: %w", hash, err)
	}
	film.Length, film.From = time.Duration(length*float64(time.Second)), time.Duration(from*float64(time.Second))
	return film, source, nil
}

// film gives what is published of the job's asset; nothing when there is none.
func (a *attempt) film(ctx context.Context) (pipeline.Film, error) {
	film, _, err := a.w.cfg.Store.Film(ctx, a.job.Hash)
	if errors.Is(err, ErrPublicationNotFound) {
		return pipeline.Film{}, nil
	}
	return film, err
}

// segmentOfText reports whether an object of a text track is a segment: a long
// film has hundreds, which results need not list.
func segmentOfText(kind, name string) bool {
	return kind == pipeline.TextKind && path.Ext(name) == ".vtt" && path.Base(name) != texttrack.WholeName
}
