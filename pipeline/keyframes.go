package pipeline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/sealcast/sealcast/internal/proc"
)

// pictureScan is what a pass over the packets of a source's pictures found.
type pictureScan struct {
	frames int64
	gops   []int64 // the first picture of each closed GOP
	bytes  []int64 // of each
}

// What a stream may have that is to be copied.
const (
	maxGOPs      = 1 << 20
	maxGOPFrames = 20 * maxFrameRate
)

// span returns the bytes and the pictures of segment i; first names the GOP
// with which each segment begins.
func (s pictureScan) span(first []int, i int) (bytes, frames int64) {
	end, last := len(s.gops), s.frames
	if i+1 < len(first) {
		end = first[i+1]
		last = s.gops[end]
	}
	for _, n := range s.bytes[first[i]:end] {
		bytes += n
	}
	return bytes, last - s.gops[first[i]]
}

// keyFrameArgs returns ffmpeg's arguments to list, without decoding, the
// packets of the pictures three times over: all of them; those that are left
// when only slices of IDR pictures stay (ITU-T H.264, table 7-1, type 5); the
// parameter sets among them (types 7 and 8).
func keyFrameArgs(src *Source, url string) []string {
	args := append([]string{"-nostdin", "-hide_banner", "-loglevel", "error"}, inputArgs(src.Container)...)
	stream := fmt.Sprintf("0:%d", src.Video.Index)
	return append(args, "-i", url, "-map", stream, "-map", stream, "-map", stream, "-c", "copy",
		"-bsf:v:1", "filter_units=pass_types=5", "-bsf:v:2", "filter_units=pass_types=7-8", "-f", "framecrc", "pipe:1")
}

// tryCopy returns the plan with the top rung copied when the source allows it,
// else with the reason why not.
func (a *attempt) tryCopy(ctx context.Context, src *Source, p Plan) (Plan, error) {
	if a.req.Options.Passthrough == PassthroughOff || len(p.Video) == 0 {
		return p, nil
	}
	if p.NotCopied = p.refuseCopy(src); p.NotCopied == "" {
		p.NotCopied = a.req.NotCopied
	}
	if p.NotCopied != "" {
		return p, nil
	}
	encoded := p
	scan, why, err := a.scanPictures(ctx, src, p.Rate)
	if err != nil {
		return p, err
	}
	if why == "" {
		p, why = p.copyTop(scan)
	}
	if why == "" && a.req.Options.KeyPeriodSeconds > 0 && p.longestSegment() > float64(a.req.Options.SegmentSeconds)*1.01 {
		p, why = encoded, "key periods need segments that are no longer than asked for"
	}
	p.NotCopied = why
	return p, nil
}

// scanPictures reads the source through; the gateway hashes it meanwhile. It
// stops at the first fault.
func (a *attempt) scanPictures(ctx context.Context, src *Source, rate Rational) (pictureScan, string, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	lines := newPictureLines(rate)
	r, w := io.Pipe()
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines.read(r)
		if lines.why != "" {
			stop()
		}
		_, _ = io.Copy(io.Discard, r)
	}()
	res, err := a.childOf(ctx, StageProbe, proc.Spec{Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: keyFrameArgs(src, a.sourceURL()), Stdout: w})
	_ = w.Close()
	<-read
	if fault := a.gateway.fault(); fault != nil {
		return pictureScan{}, "", fault
	}
	var exit *proc.ExitError
	switch {
	case lines.why != "":
		return pictureScan{}, lines.why, nil
	case err == nil && res.Stderr != "":
		return pictureScan{}, "its packets have errors", nil
	case errors.As(err, &exit) && !fromOutside(exit) && !a.starved.Load():
		return pictureScan{}, "its packets cannot be read through", nil
	case err != nil:
		return pictureScan{}, "", transient(CodeEncodeFailed, "the source could not be read through", err)
	}
	scan, why := lines.end()
	return scan, why, nil
}

// pictureLines reads the list that keyFrameArgs asks for. The first fault ends it.
type pictureLines struct {
	rate     Rational
	why      string
	num, den int64 // time base
	scan     pictureScan
	seen     []bool // pictures of the current GOP
	packets  int64
	delay    int64 // frames between decoding and showing, of the first packet
	idr      []int64
	sets     string // checksum of the parameter sets within the stream
}

func newPictureLines(rate Rational) *pictureLines { return &pictureLines{rate: rate} }

func (l *pictureLines) refuse(format string, args ...any) {
	if l.why == "" {
		l.why = fmt.Sprintf(format, args...)
	}
}

func (l *pictureLines) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	for l.why == "" && lines.Scan() {
		l.line(lines.Text())
	}
	if lines.Err() != nil {
		l.refuse("its packets cannot be listed")
	}
}

// packetLine is one line of ffmpeg's framecrc muxer: stream, dts, pts,
// duration, size, checksum, and flags where they are not just "key".
type packetLine struct {
	stream, flags  int64
	dts, pts, size int64
	sum            string
}

const (
	packetKey     = 1
	packetDiscard = 2 | 4 // corrupt, or cut away by an edit list
)

func parsePacketLine(s string) (p packetLine, ok bool) {
	f := strings.Split(s, ",")
	if len(f) < 6 {
		return p, false
	}
	p.flags = packetKey
	for i, dst := range []*int64{&p.stream, &p.dts, &p.pts, nil, &p.size} {
		if dst == nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(f[i]), 10, 64)
		if err != nil {
			return p, false
		}
		*dst = n
	}
	p.sum = strings.TrimSpace(f[5])
	for _, more := range f[6:] {
		if v, is := strings.CutPrefix(strings.TrimSpace(more), "F=0x"); is {
			n, err := strconv.ParseInt(v, 16, 64)
			if err != nil {
				return p, false
			}
			p.flags = n
		}
	}
	return p, true
}

func (l *pictureLines) line(s string) {
	if base, ok := strings.CutPrefix(s, "#tb 0: "); ok {
		tb := rational(strings.TrimSpace(base))
		l.num, l.den = int64(tb.Num), int64(tb.Den)
	}
	if strings.HasPrefix(s, "#") {
		return
	}
	p, ok := parsePacketLine(s)
	if !ok || l.den == 0 {
		l.refuse("its packets cannot be listed")
		return
	}
	switch p.stream {
	case 0:
		l.picture(p)
	case 1:
		if at, exact := l.frame(p.pts); exact && len(l.idr) < maxGOPs {
			l.idr = append(l.idr, at)
		}
	case 2:
		if l.sets == "" {
			l.sets = p.sum
		}
		if p.sum != l.sets {
			l.refuse("its parameter sets change")
		}
	}
}

// frame returns which picture of a constant rate has a time stamp.
func (l *pictureLines) frame(ts int64) (int64, bool) {
	if ts > 1<<40 || ts < -1<<40 {
		return 0, false
	}
	over, under := l.num*int64(l.rate.Num), l.den*int64(l.rate.Den)
	if over <= 0 || under <= 0 || over > 1<<22 {
		return 0, false
	}
	return ts * over / under, ts*over%under == 0
}

func (l *pictureLines) picture(p packetLine) {
	at, exact := l.frame(p.pts)
	decoded, exactToo := l.frame(p.dts)
	if l.packets == 0 {
		l.delay = at - decoded
	}
	switch {
	case p.flags&packetDiscard != 0:
		l.refuse("an edit list or damage hides some of its pictures")
	case !exact || !exactToo || decoded != l.packets-l.delay || l.delay < 0 || decoded > at:
		l.refuse("its time stamps are not those of a constant %s frames a second", l.rate)
	case l.packets == 0 && (at != 0 || p.flags&packetKey == 0):
		l.refuse("it does not begin with a key frame at the start of the sound")
	case p.flags&packetKey != 0:
		l.closeGOP()
		l.scan.gops, l.scan.bytes = append(l.scan.gops, at), append(l.scan.bytes, 0)
	}
	if l.why != "" {
		return
	}
	l.packets++
	last := len(l.scan.gops) - 1
	l.scan.bytes[last] += p.size
	n := at - l.scan.gops[last]
	switch {
	case n < 0:
		l.refuse("it has open GOPs: pictures that follow a key frame are shown before it")
	case n >= maxGOPFrames || last >= maxGOPs:
		l.refuse("its key frames are too far apart, or too many")
	default:
		for int64(len(l.seen)) <= n {
			l.seen = append(l.seen, false)
		}
		if l.seen[n] {
			l.refuse("it has two pictures at one time")
		}
		l.seen[n] = true
	}
}

// closeGOP wants every picture of the GOP, and the GOP to follow the one before it.
func (l *pictureLines) closeGOP() {
	if last := len(l.scan.gops) - 1; last >= 0 {
		if l.scan.gops[last] != l.scan.frames || slices.Contains(l.seen, false) {
			l.refuse("pictures are missing, or are shown out of their GOP")
		}
		l.scan.frames += int64(len(l.seen))
	}
	l.seen = l.seen[:0]
}

// end returns what was found when the list has ended.
func (l *pictureLines) end() (pictureScan, string) {
	l.closeGOP()
	if l.packets == 0 {
		l.refuse("it has no packets")
	}
	if !slices.Equal(l.idr, l.scan.gops) {
		l.refuse("some of its key frames are no IDR pictures")
	}
	return l.scan, l.why
}
