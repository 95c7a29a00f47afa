package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
)

// Part is something that is made of a source beside the film: it can fail, be
// made again or be added alone. Cover, Preview and Storyboard are parts.
type Part interface {
	// Validate reports the first fault as a permanent Error with code
	// options_invalid. Its message names fields from "options." on.
	Validate() error
	maker() maker
}

// maker makes a part below the attempt's prefix, with put, and returns its
// facts: of the film's source, or without it. One of the two is there.
type maker struct {
	ofSource func(ctx context.Context, a *attempt, src *Source) (Facts, error)
	alone    func(ctx context.Context, a *attempt, film Film) (Facts, error)
}

// Clippable is a Part that is made of the source and shows a film that may be a
// clip of it: the film's times are its times.
type Clippable interface {
	Part
	// InClip is the part of a film that is such a clip, unless it says itself.
	InClip(*Clip) Part
	// OwnClip is the clip that the part itself names; nil: that of the film.
	OwnClip() *Clip
}

// Facts are what results and the API must know of a part; they become JSON.
type Facts map[string]any

// PartRequest is one attempt to make a part.
type PartRequest struct {
	Hash           string // the asset: 64 lower-case hex digits
	Prefix         string // the attempt: objects go to stream/<hash>/<prefix>/
	SourceKey      string // object key in the source bucket
	MaxSourceBytes int64  // 0: no limit
	Part           Part
	Film           Film // what is published of the asset
	// Clip is what the film shows of the source, for a Part that does not say
	// so itself; nil: all of it.
	Clip  *Clip
	Nice  int  // priority of the children: 0 is ours, 19 the lowest
	Light bool // with less memory: an attempt before ran out of it

	// Verified reports whether the source with this ETag is known to have the
	// asset's SHA-256; then it need not be read through. May be nil.
	Verified func(ctx context.Context, etag string) (bool, error)
	// ServedKey gives a content key of the published film, the one named by kid
	// or, when kid is nil, the default one. Only downloads ask; nil: none do.
	ServedKey func(ctx context.Context, kid *cenc.KID) (cenc.ContentKey, error)
	// Progress is told of every step. It must not block.
	Progress func(Progress)
	Log      *slog.Logger
}

// MadePart is what an attempt made: everything is in the store, nothing is
// visible yet.
type MadePart struct {
	Facts          Facts
	Duration       time.Duration // of the source
	SourceBytes    int64
	SourceETag     string
	SourceVerified bool  // its bytes have the SHA-256 that the request named
	BytesRead      int64 // of the source, or of the published film
	Bytes          int64 // of all objects
	Objects        []Object
	Stages         []StageTime
	Children       []ChildUsage
}

// MakePart makes a part: probe, encode, publish. Its errors and its promise are
// those of Run.
func (r *Runner) MakePart(ctx context.Context, req PartRequest) (*MadePart, error) {
	if err := req.Part.Validate(); err != nil {
		return nil, err
	}
	if !cenc.IsHash(req.Hash) || !prefixPattern.MatchString(req.Prefix) {
		return nil, permanent(CodeOptionsInvalid, "the asset's hash or the attempt's prefix is malformed", nil)
	}
	return attempted(ctx, r, Request{
		Hash: req.Hash, Prefix: req.Prefix, SourceKey: req.SourceKey, MaxSourceBytes: req.MaxSourceBytes,
		Nice: req.Nice, Light: req.Light, Progress: req.Progress, Log: req.Log,
	}, func(a *attempt, ctx context.Context, abort context.CancelCauseFunc) (*MadePart, error) {
		return a.makePart(ctx, abort, req)
	})
}

func (a *attempt) makePart(ctx context.Context, abort context.CancelCauseFunc, req PartRequest) (*MadePart, error) {
	a.film, a.filmKey, a.filmKeys = req.Film, req.ServedKey, map[string]cenc.ContentKey{}
	maker := req.Part.maker()
	if maker.alone != nil {
		a.track.enter(StageEncode, percentProbed)
		defer a.limitTime(baseBudget+budgetFactor*req.Film.Length, abort)()
		facts, err := maker.alone(ctx, a, req.Film)
		if err != nil {
			return nil, err
		}
		return a.madePart(ctx, &MadePart{Facts: facts, Duration: req.Film.Length, BytesRead: a.filmRead.Load()})
	}
	a.track.enter(StageProbe, 0)
	src, err := a.probe(ctx, abort)
	if err != nil {
		return nil, err
	}
	if c, ok := req.Part.(Clippable); ok {
		clip := c.OwnClip()
		if clip == nil {
			clip = req.Clip
		}
		if err := src.clip(clip); err != nil {
			return nil, err
		}
	}
	plan, err := newPlan(src, DefaultOptions())
	if err != nil {
		return nil, err
	}
	known := false
	if req.Verified != nil {
		if known, err = req.Verified(ctx, src.ETag); err != nil {
			return nil, err
		}
	}
	a.track.enter(StageEncode, percentProbed)
	done := a.limitTime(a.planned(src, plan), abort)
	defer done()
	facts, err := maker.ofSource(ctx, a, src)
	if err != nil {
		return nil, err
	}
	a.track.enter(StageVerify, percentPacked)
	if !known {
		if err := a.checkSource(ctx); err != nil {
			return nil, err
		}
	}
	return a.madePart(ctx, &MadePart{
		Facts: facts, Duration: src.Duration, SourceBytes: src.Size, SourceETag: src.ETag,
		SourceVerified: a.gateway.sum != nil, BytesRead: a.gateway.read.Load(),
	})
}

// madePart holds the store against what was uploaded, and tells what it took.
func (a *attempt) madePart(ctx context.Context, made *MadePart) (_ *MadePart, err error) {
	a.track.enter(StagePublish, percentVerified)
	if made.Objects, made.Bytes, err = a.stored(ctx); err != nil {
		return nil, err
	}
	if len(made.Objects) == 0 {
		return nil, verifyError(errors.New("the part has no objects"))
	}
	made.Stages = a.track.finish()
	made.Children = a.usage()
	return made, nil
}

// stored compares the store with what was uploaded and returns the inventory.
func (a *attempt) stored(ctx context.Context) (objects []Object, bytes int64, err error) {
	objects, bytes = a.up.list()
	return objects, bytes, a.checkInventory(ctx, len(objects))
}
