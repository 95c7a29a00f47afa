package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sealcast/sealcast/pipeline"
)

// A part of an asset is what can fail, be made again or be added alone: a job of
// its own makes it, from the queue of parts, beside the film. Its objects lie
// below a prefix of their own, and publishing it is a pointer swap (partstore.go).

// QueueParts has the jobs of parts. Upload services do not write there.
const QueueParts = "parts"

// The task types of parts.
const (
	TypeCover      = "video:cover"
	TypePreview    = "video:preview"
	TypeStoryboard = "video:storyboard"
)

// PartMaker makes parts; pipeline.Runner has it.
type PartMaker interface {
	MakePart(context.Context, pipeline.PartRequest) (*pipeline.MadePart, error)
}

// partKind is one row of the table of parts.
type partKind struct {
	kind  string // on the wire and in asset_parts
	field string // of the options of video:full
	// apart from video:full: it does not ask for it.
	apart bool
	// listed parts are several of a kind, and the field is a list that names them.
	listed bool
	// byDefault says that video:full makes it unless told otherwise.
	byDefault bool
	// afterFilm says that it is made of what the film's job publishes.
	afterFilm bool
	// parse reads the options.
	parse func(*reader) pipeline.Part
	// load reads what parse gave and the job row keeps.
	load func(json.RawMessage) (pipeline.Part, error)
}

// partKinds is the table, by task type.
var partKinds = map[string]partKind{
	TypeCover:      {kind: "cover", field: "cover", byDefault: true, parse: parseCover, load: loadAs[pipeline.Cover]},
	TypePreview:    {kind: "preview", field: "preview", byDefault: true, parse: parsePreview, load: loadAs[pipeline.Preview]},
	TypeStoryboard: {kind: "storyboard", field: "storyboard", byDefault: true, parse: parseStoryboard, load: loadAs[pipeline.Storyboard]},
	TypeText:       {kind: pipeline.TextKind, field: "text", byDefault: true, afterFilm: true, parse: parseText, load: loadText},
	TypeStatic:     {kind: pipeline.StaticKind, field: staticField, listed: true, afterFilm: true, parse: parseStatic, load: loadAs[pipeline.Static]},
	TypeDownload:   {kind: pipeline.StaticKind, field: downloadField, apart: true, afterFilm: true, parse: parseDownload, load: loadAs[pipeline.Download]},
}

// partOrder is the order in which video:full asks for parts.
var partOrder = []string{TypeCover, TypePreview, TypeStoryboard, TypeText, TypeStatic, TypeDownload}

func loadAs[P pipeline.Part](options json.RawMessage) (pipeline.Part, error) {
	var p P
	if err := json.Unmarshal(options, &p); err != nil {
		return nil, err
	}
	return p, nil
}

func parseCover(r *reader) pipeline.Part {
	var c pipeline.Cover
	r.only("time", "clip")
	r.number("time", &c.Time)
	c.Clip = clipOf(r)
	return c
}

func parsePreview(r *reader) pipeline.Part {
	var p pipeline.Preview
	r.only("start", "length", "width", "fps", "format", "clip")
	p.Clip = clipOf(r)
	r.number("start", &p.Start)
	r.decimal("length", &p.Length)
	r.whole("width", &p.Width)
	r.whole("fps", &p.FPS)
	r.text("format", &p.Format)
	return p
}

func parseStoryboard(r *reader) pipeline.Part {
	var s pipeline.Storyboard
	r.only("interval", "width", "clip")
	s.Clip = clipOf(r)
	r.decimal("interval", &s.Interval)
	r.whole("width", &s.Width)
	return s
}

// PartSubmission is the part that a submission asks for.
type PartSubmission struct {
	Type string
	Kind string
	Name string // among the parts of its kind; empty where there is one
	Part pipeline.Part
}

// parsePart reads the options of a part and checks them.
func parsePart(taskType string, options *reader) (PartSubmission, *RequestError) {
	kind := partKinds[taskType]
	p := PartSubmission{Type: taskType, Kind: kind.kind, Part: kind.parse(options)}
	if options.err != nil {
		return p, options.err
	}
	p.named("")
	return p, optionsFault(p.Part.Validate(), options.path)
}

// optionsFault turns what Validate says into a refusal that names the field
// where it stood.
func optionsFault(err error, path string) *RequestError {
	if err == nil {
		return nil
	}
	bad := &RequestError{CodeOptionsInvalid, "the options are not valid"}
	var e *pipeline.Error
	if errors.As(err, &e) {
		bad.Message = strings.Replace(e.Message, "options.", path+".", 1)
	}
	return bad
}

// parseFull reads the options of video:full beside the transcode's: each part
// is an object of options, or true, or false.
func parseFull(r *reader, s *Submission) *RequestError {
	for _, taskType := range partOrder {
		kind := partKinds[taskType]
		if kind.listed || kind.apart {
			continue
		}
		wanted := kind.byDefault
		options := &reader{path: join(r.path, kind.field), obj: object{}}
		switch v := r.obj[kind.field].(type) {
		case nil:
			if _, there := r.obj[kind.field]; there {
				r.want(kind.field, "an object, true or false")
			}
		case bool:
			wanted = v
		default:
			wanted, options = true, r.sub(kind.field)
		}
		if r.err != nil {
			return r.err
		}
		if !wanted {
			s.Without = append(s.Without, kind.field)
			continue
		}
		part, bad := parsePart(taskType, options)
		if bad != nil {
			return bad
		}
		s.Parts = append(s.Parts, part)
	}
	return parseTracks(r, s)
}

// fullFields are the names of video:full's options.
func fullFields() []string {
	names := []string{"transcode", trackField}
	for _, taskType := range partOrder {
		if !partKinds[taskType].apart {
			names = append(names, partKinds[taskType].field)
		}
	}
	return names
}

// fullWire is the canonical spelling of video:full's options: what is as it is
// by default does not stand there.
func (s Submission) fullWire() map[string]any {
	wire := map[string]any{"transcode": s.Options}
	for _, field := range s.Without {
		if kindOf(field).byDefault {
			wire[field] = false
		}
	}
	var tracks []pipeline.Text
	var rungs []string
	for _, p := range s.Parts {
		if static, ok := p.Part.(pipeline.Static); ok {
			rungs = append(rungs, static.Rung)
			continue
		}
		if t, ok := trackOf(p.Part); ok {
			tracks = append(tracks, t)
			continue
		}
		kind := partKinds[p.Type]
		if options, _ := json.Marshal(p.Part); !kind.byDefault || string(options) != "{}" {
			wire[kind.field] = p.Part
		}
	}
	if len(tracks) > 0 {
		wire[trackField] = tracks
	}
	if len(rungs) > 0 {
		wire[staticField] = rungs
	}
	return wire
}

func kindOf(field string) partKind {
	for _, k := range partKinds {
		if k.field == field {
			return k
		}
	}
	return partKind{}
}

// child is the submission of a part that s asks for: of the film's clip, unless
// the part has one of its own.
func (s Submission) child(p PartSubmission) Submission {
	clippable, shows := p.Part.(pipeline.Clippable)
	if shows {
		p.Part = clippable.InClip(s.Options.Clip)
	}
	c := Submission{
		Type: p.Type, Queue: QueueParts, Hash: s.Hash, Source: s.Source, CallbackURL: s.CallbackURL, Metadata: s.Metadata, Part: &p,
		OfFilm: shows,
	}
	if t, ok := trackOf(p.Part); ok && t.Source != "" {
		c.Source = t.Source
	}
	c.Digest = c.digest()
	return c
}

// stored is what the job row keeps of the options.
func (s Submission) stored() any {
	switch {
	case s.Part != nil:
		return s.Part.Part
	case s.DryRun:
		return s.planOptions()
	}
	return s.Options
}

// wireOptions is the canonical spelling of the options.
func (s Submission) wireOptions() any {
	switch {
	case s.Part != nil:
		return s.Part.Part
	case s.Type == TypeFull:
		return s.fullWire()
	case s.Type == TypeAudio:
		return s.soundWire()
	}
	return s.Options
}

// part names the part that a submission makes, or nothing.
func (s Submission) part() (kind, name string) {
	if s.Part == nil {
		return "", ""
	}
	return s.Part.Kind, s.Part.Name
}

// Part gives the part that a job makes.
func (j Job) part() (pipeline.Part, error) {
	kind, ok := partKinds[j.Type]
	if !ok {
		return nil, fmt.Errorf("job %s makes no part", j.ID)
	}
	p, err := kind.load(j.Options)
	if err != nil {
		return nil, fmt.Errorf("options of job %s: %w", j.ID, err)
	}
	return p, nil
}
