package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/pipeline"
)

// TypeStatic makes a download of the published film: one rung as a progressive MP4.
const TypeStatic = "video:static"

// staticField is the option of video:full that lists the rungs to make.
const staticField = "static_mp4"

func parseStatic(r *reader) pipeline.Part {
	var s pipeline.Static
	r.only("rung")
	r.text("rung", &s.Rung)
	return s
}

// parseStatics reads the list of rungs that shall be there as downloads.
func parseStatics(r *reader, s *Submission) *RequestError {
	var rungs []string
	r.texts(staticField, &rungs)
	if r.err != nil {
		return r.err
	}
	path := join(r.path, staticField)
	bad := func(format string, args ...any) *RequestError {
		return &RequestError{CodeOptionsInvalid, path + fmt.Sprintf(format, args...)}
	}
	for i, rung := range rungs {
		part := pipeline.Static{Rung: rung}
		switch {
		case part.Validate() != nil:
			return bad(" has %q: known rungs are %s", rung, strings.Join(pipeline.RungNames(), ", "))
		case slices.Contains(rungs[:i], rung):
			return bad(" names %q twice", rung)
		case len(s.Options.Ladder) > 0 && !slices.Contains(s.Options.Ladder, rung):
			return bad(" has %q, which is not in the ladder", rung)
		case !pipeline.Downloadable(s.Options):
			return bad(" needs the output %s or %s, with the codec %s", pipeline.OutputCMAF, pipeline.OutputCMAFAES128, pipeline.CodecH264)
		}
	}
	for _, rung := range pipeline.RungNames() {
		if slices.Contains(rungs, rung) {
			s.Parts = append(s.Parts, PartSubmission{Type: TypeStatic, Kind: pipeline.StaticKind, Name: rung, Part: pipeline.Static{Rung: rung}})
		}
	}
	return nil
}

// servedKey lets a part open the published film, as viewers do.
func (a *attempt) servedKey(ctx context.Context, kid *cenc.KID) (cenc.ContentKey, error) {
	key, err := a.w.cfg.Keys.Served(ctx, a.job.Hash, kid)
	return key.Content, err
}
