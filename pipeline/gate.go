package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealcast/sealcast/internal/cenc"
)

// gate is the verify gate: nothing is published that it did not read back.
// First and middle segments are checked while the encode runs, the last ones
// while the packagers end (lastrow.go), each as soon as they are durable; the
// rest follows when the packagers have ended.
type gate struct {
	a      *attempt
	abort  func(error)
	src    *Source
	plan   Plan
	rs     []*rendition
	early  []int          // segment numbers to check while the encode runs
	checks sync.WaitGroup // running checks
	// uploads counts segments on their way to the store.
	uploads sync.WaitGroup

	mu      sync.Mutex
	waiting map[int][]*segment // by number, durable but not all there yet
	ready   []*segment         // whole rows that wait for the next one
	last    lastRow
	picked  map[string]bool // names that were given to a check
	periods chan struct{}   // holds as many as there are checks of key periods
}

// behindTheEncode is the priority of checks that run while the encode does.
const behindTheEncode = 15

// packed is what the gate let pass.
type packed struct {
	playlists map[string][]byte    // media playlists as they will be published
	inits     map[string][]byte    // durable
	manifest  []byte               // the MPD; nil without cmaf
	tracks    map[string]trackBits // by output/track
	iframes   map[string]trackBits // of I-frame playlists, by output/track
}

func newGate(a *attempt, abort func(error), src *Source, plan Plan, rs []*rendition) *gate {
	n := plan.segments(src.Duration.Seconds())
	g := &gate{a: a, abort: abort, src: src, plan: plan, rs: rs, waiting: map[int][]*segment{}, picked: map[string]bool{}, periods: make(chan struct{}, parallelPeriods)}
	g.last = newLastRow(n, a.req.Options.Outputs, rs)
	if n >= 2 {
		g.early = []int{1}
	}
	if middle := (n + 1) / 2; middle > 1 && middle < n {
		g.early = append(g.early, middle)
	}
	return g
}

// together is the largest middle number with which the first row is checked in
// one go: to start a decoder costs more than to decode a row.
const together = 4

// row returns how many segments of one number there are.
func (g *gate) row() (n int) {
	for _, output := range g.a.req.Options.Outputs {
		n += len(carried(output, g.rs))
	}
	return n
}

// durable is told of each segment that lies in the store. When every
// rendition of every output has an early number, that row is checked; in a
// short film the first row waits for the middle one.
func (g *gate) durable(ctx context.Context, seg *segment) {
	g.durableLast(ctx, seg)
	if !slices.Contains(g.early, seg.Number) {
		if g.a.req.Options.beginsPeriod(seg.Output, seg.Number) && seg.Track == smallest(carried(seg.Output, g.rs)).Name {
			g.checkPeriod(ctx, seg)
		}
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting[seg.Number] = append(g.waiting[seg.Number], seg)
	row := g.waiting[seg.Number]
	if len(row) < g.row() {
		return
	}
	all := len(g.early) * len(row)
	g.ready = append(g.ready, row...)
	if g.early[len(g.early)-1] <= together && len(g.ready) < all {
		return // verify picks what waits in vain: the source ends before its promise
	}
	row, g.ready = g.ready, nil
	for _, s := range row {
		g.picked[s.Object.Name] = true
	}
	g.checks.Add(1)
	go func() {
		defer g.checks.Done()
		if err := g.a.checkSegments(ctx, row, behindTheEncode); err != nil {
			g.abort(err) // ends the encode, too
		}
	}()
}

// parallelPeriods bounds the checks of key periods that run at once.
const parallelPeriods = 2

// checkPeriod checks the first segment of a key period in one rendition: every
// key that viewers will get has opened something. Early rows hold the others.
func (g *gate) checkPeriod(ctx context.Context, seg *segment) {
	g.mu.Lock()
	g.picked[seg.Object.Name] = true
	g.mu.Unlock()
	g.checks.Go(func() {
		g.periods <- struct{}{}
		defer func() { <-g.periods }()
		if err := g.a.checkSegments(ctx, []*segment{seg}, behindTheEncode); err != nil {
			g.abort(err)
		}
	})
}

// smallest returns the last video rendition, or the first one of sound.
func smallest(rs []*rendition) *rendition {
	last := rs[0]
	for _, r := range rs {
		if r.Video != nil {
			last = r
		}
	}
	return last
}

// wait returns when no upload and no check is running.
func (g *gate) wait() {
	g.uploads.Wait()
	g.checks.Wait()
	g.leaveLast()
}

// verify checks the whole result and returns the documents to publish.
func (g *gate) verify(ctx context.Context) (*packed, error) {
	defer g.wait()
	p := &packed{playlists: map[string][]byte{}, inits: map[string][]byte{}, tracks: map[string]trackBits{}, iframes: map[string]trackBits{}}
	if err := g.checkEncode(); err != nil {
		return nil, err
	}
	if err := g.forgetOtherInits(); err != nil {
		return nil, verifyError(err)
	}
	var grid []float64
	rest := map[string][]*segment{} // by output, not checked yet
	named := 0
	for _, output := range g.a.req.Options.Outputs {
		for _, r := range carried(output, g.rs) {
			list, err := g.readBack(output, r, p)
			if err != nil {
				return nil, verifyError(err)
			}
			if r.Video != nil {
				if grid == nil {
					grid = boundaries(list)
				}
				if err := sameGrid(grid, boundaries(list), 1/g.plan.Rate.Float()); err != nil {
					return nil, verifyError(fmt.Errorf("%s: %w", trackDir(output, r.Name), err))
				}
			}
			rest[output] = append(rest[output], g.picksOf(output, r, list)...)
			named += len(list.Segments)
		}
	}
	if made := len(g.a.sink.all()); made != named {
		return nil, verifyError(fmt.Errorf("%d segments were made, the playlists name %d", made, named))
	}
	if err := errors.Join(g.readManifest(p), g.checkIVs()); err != nil {
		return nil, verifyError(err)
	}
	// Nothing refers to init segments yet: they need not wait.
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error { return g.a.up.putAll(both, p.inits) })
	for _, segs := range rest { // at once, for nothing else runs now
		group.Go(func() error { return g.a.checkSegments(both, segs, 0) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	g.checks.Wait() // one that fails ends ctx
	return p, context.Cause(ctx)
}

// protection returns how the packager encrypted an output.
func (g *gate) protection(output string) *protection {
	return g.a.req.Options.protectionOf(output, g.a.req.Keys[output])
}

// checkIVs wants no initialization vector of a cenc output twice.
func (g *gate) checkIVs() error {
	if p := g.protection(OutputCMAF); p == nil || p.scheme != cenc.SchemeCENC {
		return nil
	}
	var ranges []ivRange
	for _, seg := range g.a.sink.all() {
		if seg.Output == OutputCMAF {
			ranges = append(ranges, seg.IVs)
		}
	}
	return disjoint(ranges)
}

// readManifest compares the MPD with the segments that were made.
func (g *gate) readManifest(p *packed) error {
	if !slices.Contains(g.a.req.Options.Outputs, OutputCMAF) {
		return nil
	}
	doc, ok := g.a.sink.doc(manifestCMAF)
	if !ok {
		return fmt.Errorf("the packager made no manifest")
	}
	made := map[string]int{}
	for _, seg := range g.a.sink.all() {
		if seg.Output == OutputCMAF {
			made[trackDir(seg.Output, seg.Track)]++
		}
	}
	if err := checkManifest(doc, made, g.protection(OutputCMAF)); err != nil {
		return err
	}
	p.manifest = doc
	if g.protection(OutputCMAF) == nil {
		return nil
	}
	var err error
	p.manifest, err = signalClearKey(doc, g.a.req.LicenceURI)
	return err
}

// checkEncode compares what was encoded with the plan and with what the source
// promised. ffmpeg exits with 0 on a source that ends early, so this decides.
func (g *gate) checkEncode() error {
	var full int64
	for _, r := range g.rs {
		if r.Video == nil {
			if err := r.checkChannels(); err != nil {
				return verifyError(err)
			}
			continue
		}
		if r.Facts.Frames == 0 {
			return permanent(CodeSourceTruncated, "no picture of the source could be decoded", nil)
		}
		if r.Facts.Width != r.Video.Width || r.Facts.Height != r.Video.Height {
			return verifyError(fmt.Errorf("%s is %d×%d, planned was %d×%d", r.Name,
				r.Facts.Width, r.Facts.Height, r.Video.Width, r.Video.Height))
		}
		frames := r.Facts.Frames
		if !r.Video.Halved {
			if full == 0 {
				full = frames
			}
			if frames != full {
				return verifyError(fmt.Errorf("%s has %d frames, %s has %d", r.Name, frames, g.rs[0].Name, full))
			}
		} else if full > 0 && frames != (full+1)/2 {
			return verifyError(fmt.Errorf("%s has %d frames, half of %d was due", r.Name, frames, full))
		}
	}
	if err := g.plan.checkKeyFrames(g.rs); err != nil {
		return verifyError(err)
	}
	return g.checkDurations()
}

// checkDurations compares the whole, the pictures and each sound track with
// what the source says of them, as far as it does.
func (g *gate) checkDurations() error {
	longest := 0.0
	for _, r := range g.rs {
		longest = max(longest, r.Facts.seconds())
	}
	promised := g.src.Duration.Seconds()
	if longest-promised > tolerance(promised) {
		return endless(promised)
	}
	if err := ends("", promised, longest); err != nil {
		return err
	}
	for _, r := range g.rs {
		what, due, got := "of pictures ", g.src.Video.Duration+g.src.still(), r.Facts.seconds()
		if r.Audio != nil {
			what, due = fmt.Sprintf("of sound (stream %d) ", r.Audio.Stream), g.src.audioDuration(r.Audio.Stream)
			if silence := g.src.silence(r.Audio.Stream); got < g.src.film().Seconds()-0.1 { // all of the silence did not do
				got -= silence.Seconds()
			}
		}
		if err := ends(what, due.Seconds(), got); err != nil {
			return err
		}
	}
	return nil
}

// ends is the verdict on a stream that is shorter than promised.
func ends(what string, promised, got float64) error {
	if promised <= 0 || promised-got <= tolerance(promised) {
		return nil
	}
	return permanent(CodeSourceTruncated, fmt.Sprintf("the source promises %s %sbut ends after %s",
		roundSeconds(promised), what, roundSeconds(got)), nil)
}

// readBack takes one rendition's media playlist, compares it with the
// segments that were made and adds what will be published.
func (g *gate) readBack(output string, r *rendition, p *packed) (mediaPlaylist, error) {
	dir := trackDir(output, r.Name)
	name := dir + "/index.m3u8"
	doc, ok := g.a.sink.doc(name)
	if !ok {
		return mediaPlaylist{}, fmt.Errorf("%s was not made", name)
	}
	if g.plan.Early {
		doc = ended(doc, g.plan.earlyTarget())
	}
	list, err := parseMediaPlaylist(doc)
	if err != nil {
		return list, fmt.Errorf("%s: %w", name, err)
	}
	as := formats[output]
	segments := g.a.sink.all()
	var frames int64
	for i, s := range list.Segments {
		seg := segments[dir+"/"+s.URI]
		if seg == nil || seg.Number != i+1 {
			return list, fmt.Errorf("%s names %s, which was not made in this place", name, s.URI)
		}
		frames += seg.Frames
	}
	switch {
	case !list.Ended || len(list.Segments) == 0:
		return list, fmt.Errorf("%s is not complete", name)
	case frames != r.Facts.Frames && (r.Video != nil || as.container == containerMP4):
		return list, fmt.Errorf("%s has %d frames, the encoder made %d", dir, frames, r.Facts.Frames)
	case math.Abs(list.seconds()-r.Facts.seconds()) > tolerance(r.Facts.seconds()):
		return list, fmt.Errorf("%s lasts %.3f s, the encoder made %.3f s", dir, list.seconds(), r.Facts.seconds())
	}
	p.tracks[dir] = measure(list, func(uri string) int64 { return segments[dir+"/"+uri].Object.Size })
	if as.container == containerMP4 {
		init, ok := g.a.sink.doc(dir + "/init.mp4")
		if !ok {
			return list, fmt.Errorf("%s has no init segment", dir)
		}
		p.inits[dir+"/init.mp4"] = init
		if err := checkProtection(init, doc, g.protection(output)); err != nil {
			return list, fmt.Errorf("%s: %w", dir, err)
		}
	}
	if prot := g.protection(output); prot != nil {
		doc, p.playlists[dir+"/"+playlistEME] = splitKeys(doc, prot, g.a.req.LicenceURI)
	}
	if g.a.req.Options.Encrypt && as.sealed {
		doc, err = addSegmentKeys(doc, func(uri string) (string, [16]byte, bool) {
			seg := segments[dir+"/"+uri]
			if seg == nil || seg.Key.KID.IsZero() {
				return "", [16]byte{}, false
			}
			return seg.Key.URI, seg.IV, true
		})
	}
	p.playlists[name] = doc
	if err == nil && g.a.req.Options.hasIFrames(output, r) {
		err = g.addIFrames(dir, list, p)
	}
	return list, err
}

// picksOf returns first, middle and last segment, but for those that were
// checked already.
func (g *gate) picksOf(output string, r *rendition, list mediaPlaylist) []*segment {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []*segment
	n := len(list.Segments)
	middle := (n - 1) / 2
	if len(g.early) == 2 && g.early[1] <= n {
		middle = g.early[1] - 1 // as planned; the source may end a little off its promise
	}
	for _, i := range []int{0, middle, n - 1} {
		name := path.Join(trackDir(output, r.Name), list.Segments[i].URI)
		if !g.picked[name] {
			g.picked[name] = true
			out = append(out, g.a.sink.all()[name])
		}
	}
	return out
}

// tolerance is how far durations may differ: half a second, or one per cent.
func tolerance(seconds float64) float64 { return max(0.5, seconds/100) }

// boundaries returns the start of each segment in seconds.
func boundaries(p mediaPlaylist) []float64 {
	out := make([]float64, len(p.Segments))
	var at float64
	for i, s := range p.Segments {
		out[i] = at
		at += s.Seconds
	}
	return out
}

// sameGrid reports whether segments begin at the same times, but for the
// rounding of printed durations and less than half a frame.
func sameGrid(a, b []float64, frame float64) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d segments, the others have %d", len(b), len(a))
	}
	for i := range a {
		if math.Abs(a[i]-b[i]) > frame/2+0.0005*float64(i) {
			return fmt.Errorf("segment %d begins at %.3f s, in the others at %.3f s", i+1, b[i], a[i])
		}
	}
	return nil
}

func verifyError(err error) *Error {
	return transient(CodeVerifyFailed, "what was made did not pass verification", err)
}

func roundSeconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(10 * time.Millisecond)
}
