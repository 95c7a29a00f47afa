package pipeline

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
	dto "github.com/prometheus/client_model/go"
)

// What the tests of the outer package look at.
var (
	EncodeArgs    = encodeArgs
	FilterThreads = filterThreads
	SameButTimes  = sameButTimes
	PackArgs      = packArgs
	CoverArgs     = coverArgs
	PreviewArgs   = previewArgs
	BoardArgs     = storyboardArgs
	StoryboardVTT = storyboardVTT
	WebPFrames    = webpFrames
	Renditions    = renditions
	NewPlan       = newPlan
	ParseProbe    = parseProbe
	CheckDuration = (*Source).checkDuration
	ParseProgress = parseProgress
	ParseRange    = parseRange
	Sniff         = sniff
	RedactKeys    = redactKeys
	Measure       = measure
	SealSegment   = sealSegment
	OpenSegment   = openSegment

	CheckManifest = checkManifest
	CompareGOPs   = compareGOPs
	PictureFault  = pictureFault
	Forecast      = forecast
	Animation     = animation
	Bounded       = Preview.bounded
	Disjoint      = disjoint
)

type (
	Protection = protection
	IVRange    = ivRange
)

// Protect returns how the packager encrypts cmaf with a key.
func Protect(o Options, key Key) *Protection { return o.protectionOf(OutputCMAF, key) }

// IVs returns the range of initialization vectors.
func IVs(first, last uint64) IVRange { return ivRange{first, last} }

// SinkForTests returns a sink that counts uploads and remembers why it aborted.
func SinkForTests() (s http.Handler, closeSink func(), uploads *int, aborted *error) {
	sink := newSink(Options{}, newContentKeys(Request{}, nil), &watchdog{}, 1<<20)
	uploads, aborted = new(int), new(error)
	sink.upload = func(_ *segment, _ []byte, held int64) { *uploads++; sink.room.release(held) }
	sink.abort = func(err error) { *aborted = err }
	return http.StripPrefix("/", sink), sink.close, uploads, aborted
}

// EncodeBudget is encodeBudget.
var EncodeBudget = encodeBudget

// SetBudget gives every attempt the same time.
func SetBudget(r *Runner, d time.Duration) { r.budget = func(*Source, Plan) time.Duration { return d } }

// SourceHash is a sourceHash.
type SourceHash struct{ s *sourceHash }

func NewSourceHash() SourceHash                  { return SourceHash{newSourceHash()} }
func (s SourceHash) Feed(off int64, data []byte) { s.s.feed(off, data) }
func (s SourceHash) Reached() int64              { return s.s.reached() }
func (s SourceHash) Sum() []byte                 { return s.s.sum.Sum(nil) }

// Tap copies the encoder's streams to what open returns.
func Tap(r *Runner, open func(rendition string) io.Writer) { r.tap = open }

// CountOOM makes r read the kernel's counts of kills from files.
func CountOOM(r *Runner, files ...string) { r.oom = files }

// OOMCounters are the files that a Runner reads.
var OOMCounters = oomCounters

// Light returns the plan of a light attempt.
func Light(p Plan) Plan { return p.light() }

// SinkPeak returns the most segment bytes that the last attempt held.
func SinkPeak(r *Runner) int64 {
	var m dto.Metric
	if err := r.metrics.sinkPeak.Write(&m); err != nil {
		panic(err)
	}
	return int64(m.GetGauge().GetValue())
}

// MeasureSegments measures a playlist of the given segments.
func MeasureSegments(target float64, seconds []float64, bytes []int64) (peak, average int64) {
	p := mediaPlaylist{TargetDuration: target}
	for i, s := range seconds {
		p.Segments = append(p.Segments, playlistSegment{URI: strconv.Itoa(i), Seconds: s})
	}
	b := measure(p, func(uri string) int64 { i, _ := strconv.Atoi(uri); return bytes[i] })
	return b.Peak, b.Average
}

// SampleMaster writes a multivariant playlist of two rungs and two languages.
func SampleMaster() []byte {
	return multivariantPlaylist([]variant{
		{URI: "v-720p/index.m3u8", Codec: "avc1.64001f", Width: 1280, Height: 720, FrameRate: 30000.0 / 1001, Bits: trackBits{Peak: 2_500_000, Average: 2_000_000}, IFrames: trackBits{Peak: 90_000, Average: 70_000, Bytes: 1}},
		{URI: "v-360p/index.m3u8", Codec: "avc1.64001e", Width: 640, Height: 360, FrameRate: 30000.0 / 1001, Bits: trackBits{Peak: 700_000, Average: 600_000}},
	}, []alternative{
		{URI: "a-0/index.m3u8", Name: "English", Language: "en", Codec: "mp4a.40.2", Default: true, Channels: 2, Bits: trackBits{Peak: 140_000, Average: 130_000}},
		{URI: "a-1/index.m3u8", Name: "Audio 2", Language: "und", Codec: "mp4a.40.2", Channels: 2, Bits: trackBits{Peak: 150_000, Average: 129_000}},
	}, false)
}

// SealPlaylist parses a media playlist and writes keys into it.
func SealPlaylist(doc string) (segments int, keyed string, err error) {
	p, err := parseMediaPlaylist([]byte(doc))
	if err != nil {
		return 0, "", err
	}
	out, err := addSegmentKeys([]byte(doc), func(string) (string, [16]byte, bool) { return "https://x/key", [16]byte{1}, true })
	return len(p.Segments), string(out), err
}

// ReadPackets reads ffprobe's list of packets in writes of the given size, and
// says what it made of it and how much it holds back.
func ReadPackets(list []byte, size int) (packets map[int]int64, end map[int]float64, held int) {
	l := &packetLines{seen: map[int]packetScan{}}
	for len(list) > 0 {
		n := min(max(size, 1), len(list))
		_, _ = l.Write(list[:n])
		list, held = list[n:], max(held, len(l.rest))
	}
	packets, end = map[int]int64{}, map[int]float64{}
	for i, s := range l.seen {
		packets[i], end[i] = s.packets, s.end.Seconds()
	}
	return packets, end, held
}

// ReadFrames reads progress lines and returns every number of frames.
func ReadFrames(r io.Reader) (frames []int64) {
	readProgress(r, func(n int64) { frames = append(frames, n) })
	return frames
}

// ScanBoxes finds boxes in a stream written in pieces of the given size.
func ScanBoxes(stream []byte, size int) (boxes [][]byte, err error) {
	s := boxScanner{withMedia: true, onBox: func(_ string, box []byte) error { boxes = append(boxes, box); return nil }}
	for len(stream) > 0 && err == nil {
		n := min(max(size, 1), len(stream))
		_, err = s.Write(stream[:n])
		stream = stream[n:]
	}
	return boxes, err
}

// What EME players get.
var (
	SplitKeys       = splitKeys
	WithSessionKeys = withSessionKeys
	MultivariantEME = multivariantEME
	SignalClearKey  = signalClearKey
)

// CheckPeriods refuses too many key periods.
func CheckPeriods(o Options, segments int) error { return o.checkPeriods(segments) }

// Progressive gives the front of a progressive MP4 of tracks (an init segment,
// and the samples of each chunk), and the size of the whole.
func Progressive(inits []*mp4.InitSegment, chunks [][][]mp4.FullSample) (head []byte, size int64, err error) {
	var tables []*sampleTable
	for i, init := range inits {
		t, err := newSampleTable(init)
		if err != nil {
			return nil, 0, err
		}
		for _, c := range chunks[i] {
			if err := t.add(c); err != nil {
				return nil, 0, err
			}
		}
		if err := t.finish(); err != nil {
			return nil, 0, err
		}
		tables = append(tables, t)
	}
	f, err := newProgressive("isom", tables)
	if err != nil {
		return nil, 0, err
	}
	return f.head, f.size, nil
}
