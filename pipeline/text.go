package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"time"

	"github.com/sealcast/sealcast/internal/texttrack"
)

// Text tracks are parts: one of its own for each that comes beside the source
// (Text), and one for all that the source itself has (EmbeddedText).

// TextKind is the kind of both in asset_parts.
const TextKind = "text"

// Film is what is published of an asset, as far as its parts must know.
type Film struct {
	Length time.Duration // of the publication; 0: there is none
	From   time.Duration // of the source that is the film's beginning
	Prefix string        // of its objects; empty: there is none

	Encrypted bool
	Clip      *Clip // of the source that it is; nil: all of it
}

// Text is a track that comes beside the source. The JSON names are what job
// rows keep.
type Text struct {
	texttrack.Track
	Source   string `json:"source,omitempty"`   // object key in the source bucket, or
	Document string `json:"document,omitempty"` // the text itself
}

// Validate implements Part.
func (t Text) Validate() error {
	if err := t.Check(); err != nil {
		return permanent(CodeOptionsInvalid, "options."+err.Error(), nil)
	}
	return nil
}

func (t Text) maker() maker { return maker{alone: t.make} }

func (t Text) make(ctx context.Context, a *attempt, film Film) (Facts, error) {
	if film.Length <= 0 {
		return nil, permanent(CodeOptionsInvalid, "the title is not published: a text track is cut to its film", nil)
	}
	if t.Source == "" && t.Document == "" {
		return nil, permanent(CodeOptionsInvalid, "options.source must name an object of the source bucket", nil)
	}
	data := []byte(t.Document)
	if t.Document == "" {
		var err error
		if data, err = a.readText(ctx, t.Source); err != nil {
			return nil, err
		}
	}
	doc, err := texttrack.Parse(data)
	if err != nil {
		return nil, textError(err)
	}
	fact, err := a.putTrack(ctx, t.ID(), t.Track, doc, film)
	if err != nil {
		return nil, err
	}
	return Facts{"tracks": []TextFact{fact}}, nil
}

// readText reads a small object of the source bucket.
func (a *attempt) readText(ctx context.Context, key string) (data []byte, err error) {
	var info ObjectInfo
	err = a.dog.retry(ctx, func(ctx context.Context) error {
		if info, err = a.cfg.Sources.Stat(ctx, key); err != nil {
			return err
		}
		if info.Size > texttrack.MaxBytes {
			return nil
		}
		body, err := a.cfg.Sources.Get(ctx, key, info.ETag, 0, -1)
		if err != nil {
			return err
		}
		defer func() { _ = body.Close() }()
		data, err = io.ReadAll(io.LimitReader(body, texttrack.MaxBytes+1))
		return err
	})
	switch {
	case errors.Is(err, ErrObjectNotFound):
		return nil, permanent(CodeSourceNotFound, "the text is not in the source bucket", err)
	case err != nil:
		return nil, transient(CodeStoreUnavailable, "the object store did not answer", err)
	case info.Size > texttrack.MaxBytes:
		return nil, permanent(CodeSourceTooLarge, fmt.Sprintf("the text has %d bytes, the limit is %d", info.Size, texttrack.MaxBytes), nil)
	}
	return data, nil
}

// textError turns what is wrong with a document into an error of ours.
func textError(err error) error {
	var bad *texttrack.Error
	if !errors.As(err, &bad) {
		return transient(CodeEncodeFailed, "the text track could not be made", err)
	}
	if bad.Line > 0 {
		return permanent(CodeSourceUnreadable, fmt.Sprintf("text, line %d: %s", bad.Line, bad.Message), err)
	}
	return permanent(CodeSourceUnreadable, "text: "+bad.Message, err)
}

// TextFact is what results and the API must know of a track. Its objects lie
// below Dir, with the names of package texttrack.
type TextFact struct {
	ID string `json:"id"`
	texttrack.Track
	Format  texttrack.Format `json:"format"` // that it came in
	Cues    int              `json:"cues"`
	Dropped int              `json:"dropped"` // that show nothing
	Dir     string           `json:"dir"`
}

// putTrack writes a track's objects: segments before the playlists.
func (a *attempt) putTrack(ctx context.Context, id string, track texttrack.Track, doc texttrack.Document, film Film) (TextFact, error) {
	fact := TextFact{ID: id, Track: track, Format: doc.Format, Cues: len(doc.Cues), Dropped: doc.Dropped, Dir: "text/" + id}
	cues := doc.Cues
	if film.Clip != nil {
		cues = texttrack.Clip(cues, film.From, film.Length.Truncate(time.Millisecond))
	}
	files, err := texttrack.Files(cues, film.Length, int64(TSOffset/time.Millisecond)*90)
	if err != nil {
		return fact, textError(err)
	}
	segments, playlists := map[string][]byte{}, map[string][]byte{}
	for name, body := range files {
		if path.Ext(name) == ".m3u8" {
			playlists[fact.Dir+"/"+name] = body
		} else {
			segments[fact.Dir+"/"+name] = body
		}
	}
	if err := a.up.putAll(ctx, segments); err != nil {
		return fact, err
	}
	a.log.Info("text track made", slog.String("track", id), slog.Int("cues", fact.Cues), slog.Int("dropped", fact.Dropped),
		slog.Int("objects", len(files)))
	return fact, a.up.putAll(ctx, playlists)
}
