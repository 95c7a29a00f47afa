package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/sealcast/sealcast/internal/proc"
	"github.com/sealcast/sealcast/internal/texttrack"
)

// EmbeddedText is the part of all text tracks that a source has.
type EmbeddedText struct{}

// embeddedIndex is an object that tells what was found, also when that is
// nothing.
const embeddedIndex = "text/embedded.json"

// maxTextTracks bounds how many streams of a source become tracks.
const maxTextTracks = 32

// Validate implements Part.
func (EmbeddedText) Validate() error { return nil }

// TextSource is one subtitle stream of a source.
type TextSource struct {
	Index           int
	Codec           string
	Language, Title string
	Default, Forced bool
	Captions        bool // for who does not hear
}

// textCodecs are those that ffmpeg turns into text. All others are pictures
// (PGS, VobSub, DVB) or teletext, which needs a page to be chosen.
var textCodecs = []string{"subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text", "microdvd", "subviewer", "ttml", captionCodec}

// LeftOut is a stream that did not become a track, and why.
type LeftOut struct {
	Stream   int    `json:"stream"`
	Codec    string `json:"codec"`
	Language string `json:"language"`
	Reason   string `json:"reason"`
}

func (e EmbeddedText) maker() maker { return maker{ofSource: e.make} }

func (e EmbeddedText) make(ctx context.Context, a *attempt, src *Source) (Facts, error) {
	film := a.film
	if film.Length <= 0 {
		film.Length = src.Duration
	}
	streams, left := chooseText(src.Text)
	docs, err := a.extractText(ctx, src, streams)
	if err != nil {
		return nil, err
	}
	captions, err := a.pictureCaptions(ctx, src)
	switch {
	case err != nil && (ctx.Err() != nil || a.gateway.fault() != nil):
		return nil, err
	case err != nil: // whatever it was, the other tracks are there
		a.log.Warn("captions left out", "error", err)
		left = append(left, LeftOut{src.Video.Index, captionCodec, "und", "the captions in the pictures cannot be read"})
	case captions != nil:
		streams, docs = append(streams, captionTrack(src)), append(docs, captions)
	}
	facts := []TextFact{}
	used := map[string]bool{}
	for i, s := range streams {
		doc, err := texttrack.ParseEncoded(docs[i])
		if err != nil {
			left = append(left, LeftOut{s.Index, s.Codec, s.Language, reasonOf(err)})
			continue
		}
		track := s.track(i)
		fact, err := a.putTrack(ctx, uniqueID(track.ID(), used), track, doc, film)
		if err != nil {
			return nil, err
		}
		facts = append(facts, fact)
	}
	result := Facts{"tracks": facts, "left_out": left}
	index, err := json.Marshal(result)
	if err != nil {
		return nil, err
	}
	return result, a.up.putAll(ctx, map[string][]byte{embeddedIndex: index})
}

func reasonOf(err error) string {
	var bad *texttrack.Error
	if errors.As(err, &bad) {
		return bad.Message
	}
	return "it cannot be read"
}

// chooseText parts streams of text from those that are none.
func chooseText(all []TextSource) (streams []TextSource, left []LeftOut) {
	left = []LeftOut{}
	for _, s := range all {
		switch {
		case !slices.Contains(textCodecs, s.Codec):
			left = append(left, LeftOut{s.Index, s.Codec, s.Language, "it is not text but pictures, or of a codec that we do not read"})
		case len(streams) == maxTextTracks:
			left = append(left, LeftOut{s.Index, s.Codec, s.Language, fmt.Sprintf("more than %d tracks", maxTextTracks)})
		default:
			streams = append(streams, s)
		}
	}
	return streams, left
}

// track names the i-th stream.
func (s TextSource) track(i int) texttrack.Track {
	t := texttrack.Track{Language: s.Language, Name: s.Title, Kind: texttrack.Subtitles, Forced: s.Forced, Default: s.Default}
	if s.Captions {
		t.Kind = texttrack.Captions
	}
	if t.Name == "" && t.Language == "und" {
		t.Name = fmt.Sprintf("Subtitles %d", i+1)
	}
	if err := t.Check(); err != nil { // a language or a title that playlists cannot carry
		t.Language, t.Name = "und", fmt.Sprintf("Subtitles %d", i+1)
	}
	return t
}

// uniqueID numbers a second track in a language.
func uniqueID(id string, used map[string]bool) string {
	unique := id
	for n := 2; used[unique]; n++ {
		unique = fmt.Sprintf("%s_%d", id, n)
	}
	used[unique] = true
	return unique
}

const textFD = 3

// textArgs returns ffmpeg's arguments: each stream as WebVTT into a pipe of its
// own, from firstFD on. Times count from the container's first one, as those of
// pictures and sound do.
func textArgs(src *Source, streams []TextSource, url string, firstFD int) []string {
	args := append([]string{"-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "1"}, inputArgs(src.Container)...)
	args = append(args, "-i", url)
	for i, s := range streams {
		args = append(args, "-map", fmt.Sprintf("0:%d", s.Index), "-c:s", "webvtt", "-map_metadata", "-1", "-map_chapters", "-1",
			"-f", "webvtt", fmt.Sprintf("pipe:%d", firstFD+i))
	}
	return args
}

// extractText runs one ffmpeg for all streams, for it reads the whole source.
func (a *attempt) extractText(ctx context.Context, src *Source, streams []TextSource) ([][]byte, error) {
	if len(streams) == 0 {
		return nil, nil
	}
	return a.readTexts(ctx, textArgs(src, streams, a.sourceURL(), textFD), len(streams))
}

// readTexts runs ffmpeg and returns what it writes to n descriptors from textFD on.
func (a *attempt) readTexts(ctx context.Context, args []string, n int) ([][]byte, error) {
	var ours, theirs []*os.File
	for range n {
		r, w, err := pipe()
		if err != nil {
			closeFiles(ours)
			closeFiles(theirs)
			return nil, transient(CodeEncodeFailed, "the text tracks could not be read", err)
		}
		ours, theirs = append(ours, r), append(theirs, w)
	}
	p, err := a.start(ctx, proc.Spec{
		Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: args, Files: theirs,
	})
	if err != nil {
		closeFiles(ours)
		return nil, transient(CodeEncodeFailed, "the text tracks could not be read", err)
	}
	docs := make([]bytes.Buffer, n)
	var reading sync.WaitGroup
	for i, r := range ours {
		reading.Go(func() {
			defer func() { _ = r.Close() }()
			_, _ = io.Copy(&limitedBuffer{Buffer: &docs[i], left: texttrack.MaxBytes + 1}, r)
		})
	}
	_, err = a.wait(p, "ffmpeg", StageEncode)
	reading.Wait()
	if err := a.textFault(ctx, err); err != nil {
		return nil, err
	}
	out := make([][]byte, n)
	for i := range docs {
		out[i] = docs[i].Bytes()
	}
	return out, nil
}

// textFault turns the end of a child that reads text into an error.
func (a *attempt) textFault(ctx context.Context, err error) error {
	if fault := a.gateway.fault(); fault != nil {
		return fault
	}
	var exit *proc.ExitError
	switch {
	case errors.As(err, &exit) && !fromOutside(exit) && !a.starved.Load() && ctx.Err() == nil:
		return permanent(CodeSourceUnreadable, "the source's text tracks cannot be read", err)
	case err != nil:
		return transient(CodeEncodeFailed, "the text tracks could not be read", err)
	}
	return nil
}

// textSource reads a subtitle stream's facts.
func textSource(s *probeStream) TextSource {
	title := cleanTag(s.Tags["title"])
	if title == "" {
		title = cleanTag(s.Tags["handler_name"])
	}
	if strings.EqualFold(title, "SubtitleHandler") {
		title = "" // what every program writes
	}
	return TextSource{
		Index: s.Index, Codec: s.CodecName, Language: languageTag(s.Tags["language"]), Title: title,
		Default: s.Disposition.Default == 1, Forced: s.Disposition.Forced == 1,
		Captions: s.Disposition.HearingImpaired == 1 || s.CodecName == captionCodec,
	}
}
