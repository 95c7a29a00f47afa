package worker

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/pipeline"
)

// The task types. Upload services enqueue the first two, and those of parts
// (part.go), with plain asynq; the third is our own doorbell.
const (
	TypeTranscode = "video:transcode"
	TypeFull      = "video:full" // the film and its parts
	TypeRun       = "job:run"
)

// The queues. The second is for big files and has its own concurrency.
const (
	QueueDefault = "default"
	QueueLarge   = "video:large"
)

// Queues lists the queues that upload services write to.
var Queues = []string{QueueDefault, QueueLarge}

// runQueue is where doorbells for a queue's jobs ring. Upload services do not
// write there: so their tasks are adopted at once, while every slot is taken.
func runQueue(queue string) string { return "run:" + queue }

// The codes of a RequestError.
const (
	CodePayloadTooLarge  = "payload_too_large"
	CodePayloadInvalid   = "payload_invalid"
	CodeTypeUnknown      = "type_unknown"
	CodeOptionsInvalid   = pipeline.CodeOptionsInvalid
	CodeEncryptionSealed = "encryption_sealed"
	CodeCallbackRefused  = "callback_refused"
	CodeWebhooksOff      = "webhooks_off"
	CodeKeyReused        = "idempotency_key_reused"
)

// RequestError says why a request is refused. Both parts are fit for
// strangers; asking again the same way is refused the same way.
type RequestError struct {
	Code    string
	Message string
}

// Error implements error.
func (e *RequestError) Error() string { return e.Code + ": " + e.Message }

func badPayload(format string, args ...any) *RequestError {
	return &RequestError{CodePayloadInvalid, fmt.Sprintf(format, args...)}
}

// Submission is a request to process an asset, checked and with its defaults
// applied.
type Submission struct {
	Type        string
	Queue       string           // QueueDefault unless the caller says otherwise; no part of the digest
	Hash        string           // 64 lower-case hex digits
	Source      string           // object key in the source bucket
	Options     pipeline.Options // of the film
	CallbackURL string           // where webhooks go; empty: none
	Metadata    json.RawMessage  // an object of the client's, given back as it came; nil: none

	Part  *PartSubmission  // what is asked for is this part; nil: a film
	Parts []PartSubmission // what is asked for beside the film
	// Without names the options of parts that video:full shall not make.
	Without []string
	// SourceTTL is how many seconds after success the source is removed from
	// its bucket; nil: it stays.
	SourceTTL *int
	// DryRun asks for the plan alone.
	DryRun bool
	// ParentID is the job that asks; empty: a client. No part of the digest.
	ParentID string
	// OfFilm: the part shows the film that asks for it. Asked for alone, with the
	// same options, it shows what is published, and that is another request.
	OfFilm bool

	// Private closes the asset to everybody who has no playback token. It is
	// policy and makes no other request: no part of the digest.
	Private bool

	// By says who asks; no actor: a task on the queue. No part of the digest.
	By Origin

	// IdempotencyKey stands for the job from now on; empty: none. No part of
	// the digest.
	IdempotencyKey string

	// Digest names the request: two requests that mean the same have the
	// same one, however they are spelled.
	Digest [sha256.Size]byte
}

// Types lists the types of jobs.
func Types() []string { return append(requestTypes(), TypePlan) }

// requestTypes lists the types that can be asked for.
func requestTypes() []string {
	return append([]string{TypeTranscode, TypeFull, TypeAudio}, partOrder...)
}

// wirePayload is the canonical spelling of a payload.
type wirePayload struct {
	Hash        string          `json:"hash"`
	Source      string          `json:"source"`
	Options     any             `json:"options"`
	CallbackURL string          `json:"callback_url,omitempty"`
	Private     bool            `json:"private,omitempty"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	DryRun      bool            `json:"dry_run,omitempty"`
	SourceTTL   *int            `json:"source_ttl,omitempty"`
}

// Payload returns the canonical task payload: ParseSubmission takes it and
// gives the same digest.
func (s Submission) Payload() []byte {
	p := wirePayload{Hash: s.Hash, Source: s.Source, Options: s.wireOptions(), CallbackURL: s.CallbackURL, Private: s.Private, Metadata: s.Metadata, DryRun: s.DryRun, SourceTTL: s.SourceTTL}
	data, _ := json.Marshal(p) // strings, numbers and booleans: cannot fail
	return data
}

// digest is that of the request without its policy.
func (s Submission) digest() [sha256.Size]byte {
	s.Private = false
	what := "request 1"
	if s.OfFilm {
		what = "part of a film 1"
	}
	return sha256.Sum256(append([]byte("sealcast "+what+"\n"+s.Type+"\n"), s.Payload()...))
}

// ParseSubmission decodes a payload strictly and applies the defaults. Every
// error is a *RequestError whose message names the field.
func ParseSubmission(taskType string, payload []byte) (Submission, error) {
	s := Submission{Type: taskType, Queue: QueueDefault, Options: pipeline.DefaultOptions()}
	if known := requestTypes(); !slices.Contains(known, taskType) {
		return Submission{}, &RequestError{CodeTypeUnknown, fmt.Sprintf("unknown type %s: known are %s", name(taskType), strings.Join(known, ", "))}
	}
	obj, bad := decodeObject(payload)
	if bad != nil {
		return Submission{}, bad
	}
	r := &reader{obj: obj}
	r.only("hash", "source", "options", "callback_url", "private", "metadata", "dry_run", "keep_source", "source_ttl")
	r.text("hash", &s.Hash)
	r.text("source", &s.Source)
	r.text("callback_url", &s.CallbackURL)
	r.flag("private", &s.Private)
	r.metadata("metadata", &s.Metadata)
	r.flag("dry_run", &s.DryRun)
	s.SourceTTL = keepPolicy(r)
	if bad := s.parseType(r); bad != nil {
		return Submission{}, bad
	}
	if bad := s.check(); bad != nil {
		return Submission{}, bad
	}
	if s.SourceTTL != nil && (s.Part != nil || s.DryRun) {
		return Submission{}, badPayload("only a film decides what becomes of its source: keep_source and source_ttl are for %s, %s and %s", TypeTranscode, TypeFull, TypeAudio)
	}
	if s.DryRun { // it makes nothing, so it closes nothing
		if s.Part != nil {
			return Submission{}, badPayload(`"dry_run" is for %s, %s and %s`, TypeTranscode, TypeFull, TypeAudio)
		}
		s.Queue, s.Private = QueueParts, false
	}
	s.Digest = s.digest()
	return s, nil
}

// parseType reads the options, which each type has of its own.
func (s *Submission) parseType(r *reader) *RequestError {
	options := r.sub("options")
	if r.err != nil {
		return r.err
	}
	if _, isPart := partKinds[s.Type]; isPart {
		part, bad := parsePart(s.Type, options)
		part.named(s.Source)
		s.Part, s.Queue = &part, QueueParts
		return bad
	}
	if s.Type == TypeAudio {
		return parseSound(options, s)
	}
	outer := options
	if s.Type == TypeFull {
		options.only(fullFields()...)
		options = outer.sub("transcode")
		if outer.err != nil {
			return outer.err
		}
		if bad := parseFull(outer, s); bad != nil {
			return bad
		}
	}
	parseOptions(options, &s.Options)
	if options.err != nil {
		return options.err
	}
	if bad := optionsFault(s.Options.Validate(), options.path); bad != nil {
		return bad
	}
	s.Options = s.Options.Canonical()
	if s.Type == TypeFull {
		return parseStatics(outer, s)
	}
	return nil
}

func parseOptions(r *reader, o *pipeline.Options) {
	r.only("encrypt", "outputs", "ladder", "segment_seconds", "codecs", "audio", "clip", "loudness", "watermark",
		"passthrough", "scheme", "pssh", "key_period_seconds", "early_publish")
	r.flag("encrypt", &o.Encrypt)
	r.texts("outputs", &o.Outputs)
	r.texts("ladder", &o.Ladder)
	r.whole("segment_seconds", &o.SegmentSeconds)
	r.texts("codecs", &o.Codecs)
	r.text("passthrough", &o.Passthrough)
	parseTreatment(r, o)
	r.text("scheme", &o.Scheme)
	r.texts("pssh", &o.PSSH)
	r.whole("key_period_seconds", &o.KeyPeriodSeconds)
	r.flag("early_publish", &o.EarlyPublish)
}

// parseTreatment takes the objects that change what is seen and heard.
func parseTreatment(r *reader, o *pipeline.Options) {
	r.optional("audio", func(in *reader) {
		o.Audio = &pipeline.AudioOptions{}
		in.text("surround", &o.Audio.Surround)
		in.flag("audio_only", &o.Audio.AudioOnly)
	}, "surround", "audio_only")
	o.Clip = clipOf(r)
	parseLoudness(r, o)
	r.optional("watermark", func(in *reader) {
		w := pipeline.DefaultWatermark()
		in.text("source", &w.Source)
		in.text("position", &w.Position)
		in.decimal("opacity", &w.Opacity)
		in.decimal("scale", &w.Scale)
		if fault := sourceFault(w.Source); fault != "" {
			in.fail(badPayload("%s %s", name(join(in.path, "source")), fault))
		}
		o.Watermark = &w
	}, "source", "position", "opacity", "scale")
}

func clipOf(r *reader) (clip *pipeline.Clip) {
	r.optional("clip", func(in *reader) {
		clip = &pipeline.Clip{}
		in.decimal("start", &clip.Start)
		in.decimal("end", &clip.End)
	}, "start", "end")
	return clip
}

func parseLoudness(r *reader, o *pipeline.Options) {
	r.optional("loudness", func(in *reader) {
		l := pipeline.DefaultLoudness()
		in.decimal("lufs", &l.LUFS)
		in.decimal("true_peak", &l.TruePeak)
		o.Loudness = &l
	}, "lufs", "true_peak")
}

// check looks at what the fields beside the options say.
func (s Submission) check() *RequestError {
	if !cenc.IsHash(s.Hash) {
		return badPayload(`"hash" must be the SHA-256 of the source as 64 lower-case hex digits`)
	}
	if fault := sourceFault(s.Source); fault != "" {
		return badPayload(`"source" %s`, fault)
	}
	return callbackForm(s.CallbackURL)
}

// sourceFault says what is wrong with an object key, or nothing.
func sourceFault(key string) string {
	switch {
	case key == "":
		return "is missing: it is the object key of the upload"
	case len(key) > 1024:
		return "is longer than 1024 bytes"
	case strings.HasPrefix(key, "/"):
		return "must not begin with a slash"
	case strings.ContainsFunc(key, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }):
		return "has a control character or one that is not Unicode"
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "." || part == ".." {
			return `must not have "." or ".." as a path segment`
		}
	}
	return ""
}
