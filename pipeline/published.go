package pipeline

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/sealcast/sealcast/internal/cenc"
)

// What is derived of a published generation is made of its segments, as players
// get them: it shows what they show, needs no second encode and no source.

// publishedTrack is one rendition of a published generation, in fMP4.
type publishedTrack struct {
	a        *attempt
	dir      string // below the film's prefix
	init     []byte
	sampled  bool // encrypted sample by sample
	segments []publishedSegment
	table    *sampleTable
}

type publishedSegment struct {
	uri    string
	keyURI string // empty: clear
	iv     []byte // of a segment that is encrypted whole
}

var (
	keyMethod = regexp.MustCompile(`\bMETHOD=([A-Z0-9-]+)`)
	quotedURI = regexp.MustCompile(`\bURI="([^"]*)"`)
	keyIV     = regexp.MustCompile(`\bIV=0x([0-9A-Fa-f]{32})`)
	groupID   = regexp.MustCompile(`\bGROUP-ID="([^"]*)"`)
)

func attribute(re *regexp.Regexp, line string) string {
	if m := re.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return ""
}

// filmTracks are the renditions that a multivariant playlist of ours names: the
// playlists of pictures, and those of the first group of sound, the default first.
type filmTracks struct{ pictures, sound []string }

// parseMaster reads the playlist with the given name (RFC 8216bis, 4.4.6); URIs
// become names below the prefix.
func parseMaster(name string, doc []byte) (t filmTracks) {
	group, variant := "", false
	for line := range strings.Lines(string(doc)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#EXT-X-MEDIA:TYPE=AUDIO,"):
			id, uri := attribute(groupID, line), path.Join(path.Dir(name), attribute(quotedURI, line))
			if group == "" {
				group = id
			}
			switch {
			case id != group:
			case strings.Contains(line, ",DEFAULT=YES"):
				t.sound = append([]string{uri}, t.sound...)
			default:
				t.sound = append(t.sound, uri)
			}
		case strings.HasPrefix(line, "#EXT-X-STREAM-INF:"):
			variant = true
		case variant && line != "" && !strings.HasPrefix(line, "#"):
			if uri := path.Join(path.Dir(name), line); strings.HasPrefix(path.Base(path.Dir(uri)), "v-") {
				t.pictures = append(t.pictures, uri)
			}
			variant = false
		}
	}
	return t
}

// parseSegments reads a media playlist of ours with the keys of its segments.
func parseSegments(doc []byte) (segments []publishedSegment, sampled bool, err error) {
	var key publishedSegment
	for line := range strings.Lines(string(doc)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#EXT-X-KEY:"):
			key = publishedSegment{}
			switch method := attribute(keyMethod, line); method {
			case "NONE":
			case "AES-128":
				key.keyURI = attribute(quotedURI, line)
				if key.iv, err = hex.DecodeString(attribute(keyIV, line)); err != nil || len(key.iv) != 16 {
					return nil, false, fmt.Errorf("a key without an IV")
				}
			case "SAMPLE-AES", "SAMPLE-AES-CTR":
				key.keyURI, sampled = attribute(quotedURI, line), true
			default:
				return nil, false, fmt.Errorf("key method %q", method)
			}
		case line != "" && !strings.HasPrefix(line, "#"):
			key.uri = line
			segments = append(segments, key)
		}
	}
	if len(segments) == 0 {
		return nil, false, fmt.Errorf("no segments")
	}
	return segments, sampled, nil
}

// filmMaster finds the output in fMP4 of the film and reads its playlist.
func (a *attempt) filmMaster(ctx context.Context) (filmTracks, error) {
	for _, output := range []string{OutputCMAF, OutputCMAFAES128} {
		name := formats[output].master
		doc, err := a.readFilm(ctx, name)
		if errors.Is(err, ErrObjectNotFound) {
			continue
		}
		if err != nil {
			return filmTracks{}, err
		}
		return parseMaster(name, doc), nil
	}
	return filmTracks{}, permanent(CodeOptionsInvalid, fmt.Sprintf(
		"downloads are made of the outputs %s and %s, and the published film has neither", OutputCMAF, OutputCMAFAES128), nil)
}

// readFilm reads an object of the published generation.
func (a *attempt) readFilm(ctx context.Context, name string) (body []byte, err error) {
	err = a.dog.retry(ctx, func(ctx context.Context) error {
		r, err := a.cfg.Media.Get(ctx, KeyPrefix(a.req.Hash, a.film.Prefix)+name, "", 0, -1)
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		body, err = io.ReadAll(io.LimitReader(r, maxObject+1))
		return err
	})
	switch {
	case errors.Is(err, ErrObjectNotFound):
		return nil, permanent(CodeSourceChanged, "the published film is not there any more", err)
	case err != nil:
		return nil, transient(CodeStoreUnavailable, "the object store did not answer", err)
	}
	a.filmRead.Add(int64(len(body)))
	return body, nil
}

// openTrack reads a rendition's playlist and init segment.
func (a *attempt) openTrack(ctx context.Context, playlist string) (*publishedTrack, error) {
	t := &publishedTrack{a: a, dir: path.Dir(playlist)}
	doc, err := a.readFilm(ctx, playlist)
	if err != nil {
		return nil, err
	}
	if t.segments, t.sampled, err = parseSegments(doc); err != nil {
		return nil, filmError(playlist, err)
	}
	if t.init, err = a.readFilm(ctx, t.dir+"/init.mp4"); err != nil {
		return nil, err
	}
	init, err := t.decode(nil, cenc.ContentKey{})
	if err == nil {
		t.table, err = newSampleTable(init.Init)
	}
	return t, filmError(playlist, err)
}

func filmError(name string, err error) error {
	if err == nil {
		return nil
	}
	return transient(CodeEncodeFailed, "the published film could not be read", fmt.Errorf("%s: %w", name, err))
}

// decode parses the init segment and a segment, and brings both into the clear.
func (t *publishedTrack) decode(segment []byte, key cenc.ContentKey) (*mp4.File, error) {
	f, err := mp4.DecodeFile(bytes.NewReader(append(bytes.Clone(t.init), segment...)))
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	if f.Init == nil {
		return nil, fmt.Errorf("no init segment")
	}
	if !t.sampled {
		return f, nil
	}
	info, err := mp4.DecryptInit(f.Init)
	if err != nil {
		return nil, fmt.Errorf("read protection: %w", err)
	}
	for _, s := range f.Segments {
		if err := mp4.DecryptSegment(s, info, key.Bytes()); err != nil {
			return nil, fmt.Errorf("decrypt: %w", err)
		}
	}
	return f, nil
}

// samples reads a segment and gives its samples in the clear.
func (t *publishedTrack) samples(ctx context.Context, i int) (list []mp4.FullSample, err error) {
	seg := t.segments[i]
	body, err := t.a.readFilm(ctx, t.dir+"/"+seg.uri)
	if err != nil {
		return nil, err
	}
	var key cenc.ContentKey
	if seg.keyURI != "" {
		if key, err = t.a.servedKey(ctx, seg.keyURI); err != nil {
			return nil, err
		}
	}
	if seg.iv != nil {
		if body, err = openSegment(key, [16]byte(seg.iv), body); err != nil {
			return nil, filmError(seg.uri, err)
		}
	}
	f, err := t.decode(body, key)
	if err != nil {
		return nil, filmError(t.dir+"/"+seg.uri, err)
	}
	for _, s := range f.Segments {
		for _, fragment := range s.Fragments {
			more, err := fragment.GetFullSamples(f.Init.Moov.Mvex.Trex)
			if err != nil {
				return nil, filmError(t.dir+"/"+seg.uri, err)
			}
			list = append(list, more...)
		}
	}
	return list, nil
}

// servedKey asks for the key behind a key URI of ours, once.
func (a *attempt) servedKey(ctx context.Context, uri string) (key cenc.ContentKey, err error) {
	if key, ok := a.filmKeys[uri]; ok {
		return key, nil
	}
	var kid *cenc.KID
	if _, text, named := strings.Cut(uri, "?kid="); named {
		parsed, err := cenc.ParseKID(text)
		if err != nil {
			return key, filmError(uri, err)
		}
		kid = &parsed
	}
	err = a.dog.retry(ctx, func(ctx context.Context) (err error) {
		key, err = a.filmKey(ctx, kid)
		return err
	})
	if err != nil {
		return key, transient(CodeKeyUnavailable, "the content key of the film could not be read", err)
	}
	a.filmKeys[uri] = key
	return key, nil
}
