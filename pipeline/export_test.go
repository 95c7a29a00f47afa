package pipeline

import (
	"context"

	dto "github.com/prometheus/client_model/go"
)

// What the tests of the outer package look at.
var (
	EncodeArgs    = encodeArgs
	PackArgs      = packArgs
	PosterArgs    = posterArgs
	Renditions    = renditions
	NewPlan       = newPlan
	ParseProbe    = parseProbe
	ParseProgress = parseProgress
	ParseRange    = parseRange
	Sniff         = sniff
	RedactKeys    = redactKeys
	Measure       = measure
	SealSegment   = sealSegment
	OpenSegment   = openSegment
)

// ProbeFile probes an object as Run does.
func (r *Runner) ProbeFile(ctx context.Context, req Request) (*Source, error) {
	a := &attempt{cfg: r.cfg, metrics: r.metrics, req: req, log: r.cfg.Log, track: newTracker(nil)}
	a.gateway = &gateway{store: r.cfg.Sources, abort: func(error) {}}
	a.sink = newSink(nil, 1<<20)
	loop, err := newLoopback(ctx, a.gateway, a.sink, r.cfg.Log)
	if err != nil {
		return nil, err
	}
	defer loop.close()
	a.loop = loop
	return a.probe(ctx)
}

// SinkPeak returns the most segment bytes that the last attempt held.
func SinkPeak(r *Runner) int64 {
	var m dto.Metric
	if err := r.metrics.sinkPeak.Write(&m); err != nil {
		panic(err)
	}
	return int64(m.GetGauge().GetValue())
}
