package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/sealcast/sealcast/pipeline"
)

// partNice is the priority of children that make parts: the film goes first.
const partNice = 10

// processPart is the recipe of an attempt on a part.
func (a *attempt) processPart(held, working context.Context, reporter *reporter, rest func()) error {
	part, err := a.job.part()
	if err != nil {
		return err
	}
	req := a.partRequest(part, reporter)
	if req.Film, err = a.film(working); err != nil {
		return err
	}
	alone := a.job.ParentID == ""
	if alone { // who asks for a film's parts with it says which clip
		req.Clip = req.Film.Clip
	}
	a.part, err = a.w.cfg.Parts.MakePart(working, req)
	if err != nil {
		return err
	}
	results, err := partResults(a.w.cfg.BaseURL, a.job, a.part, req.Film.Encrypted)
	if err != nil {
		return fmt.Errorf("results of job %s: %w", a.job.ID, err)
	}
	var madeOf *string
	shows, clippable := part.(pipeline.Clippable)
	if partKinds[a.job.Type].afterFilm || clippable && alone && shows.OwnClip() == nil {
		madeOf = &req.Film.Prefix
	}
	rest()
	if err := context.Cause(held); err != nil {
		return err
	}
	return a.persist(held, func() error {
		return a.w.cfg.Store.PublishPart(held, PublishPart{
			Fence: a.job.Fence(), Hash: a.job.Hash, Kind: a.job.PartKind, Name: a.job.PartName,
			Facts: a.part.Facts, Objects: a.part.Objects, Results: results,
			Source: verifiedSource(a.job.Source, a.part.SourceETag, a.part.SourceVerified), Film: madeOf,
			OfFilm: clippable && !alone,
		})
	})
}

func (a *attempt) partRequest(part pipeline.Part, reporter *reporter) pipeline.PartRequest {
	return pipeline.PartRequest{
		Hash: a.job.Hash, Prefix: a.job.Fence().Prefix(),
		SourceKey: a.job.Source, MaxSourceBytes: a.w.cfg.MaxSourceBytes,
		Part: part, Nice: partNice, Light: a.job.Light, ServedKey: a.servedKey,
		Verified: func(ctx context.Context, etag string) (bool, error) {
			return a.w.cfg.Store.verified(ctx, a.job.Hash, VerifiedSource{a.job.Source, etag})
		},
		Progress: reporter.Report, Log: a.log,
	}
}

// verifiedSource is what the publish transaction keeps of a source.
func verifiedSource(key, etag string, verified bool) VerifiedSource {
	if !verified {
		return VerifiedSource{}
	}
	return VerifiedSource{Key: key, ETag: etag}
}

// partResults is the results object of a job that made a part: the wire
// contract. The facts of each kind stand beside it. Downloads of an encrypted
// title have addresses under its playback keys only.
func partResults(baseURL string, job Job, made *pipeline.MadePart, encrypted bool) (json.RawMessage, error) {
	root := baseURL + "/stream/" + job.Hash + "/"
	urls := map[string]string{}
	for _, o := range made.Objects {
		if gated := encrypted && job.PartKind == pipeline.StaticKind; !gated && !segmentOfText(job.PartKind, o.Name) {
			urls[o.Name] = root + o.Name
		}
	}
	r := map[string]any{}
	maps.Copy(r, made.Facts)
	maps.Copy(r, map[string]any{
		"hash": job.Hash, "urls": urls, "duration_seconds": made.Duration.Seconds(), "source_bytes": made.SourceBytes,
		"bytes": made.Bytes, "objects": len(made.Objects), "stages": stageResults(made.Stages),
		"actuals": actualsOf(made.Duration, made.Stages, made.Children),
	})
	return json.Marshal(r)
}

func stageResults(stages []pipeline.StageTime) []stageResult {
	out := []stageResult{}
	for _, s := range stages {
		out = append(out, stageResult{s.Stage, s.Start.UTC(), s.Duration.Seconds()})
	}
	return out
}
