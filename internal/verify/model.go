package verify

import (
	"math"
	"time"
)

// What a foreign presentation may ask of us.
const (
	maxDocument   = 16 << 20  // bytes of a playlist or manifest
	maxSegment    = 128 << 20 // bytes of a segment
	maxKey        = 64 << 10  // bytes of an answer with a key or a licence
	maxRenditions = 500
	maxSegments   = 100_000 // of one rendition
)

// kind says what a rendition carries.
type kind string

const (
	video  kind = "video" // with or without audio in the same segments
	audio  kind = "audio"
	text   kind = "text"
	iframe kind = "iframe" // I-frames for trick play (RFC 8216bis, 4.4.3.6)
	other  kind = "other"
)

// The protocols.
const (
	protocolHLS  = "HLS"
	protocolDASH = "DASH"
)

// presentation is what was found behind one address.
type presentation struct {
	Protocol   string
	URL        string
	Origin     string // that requests came from, for CORS; empty: not asked
	Documents  []*document
	Playlists  []*playlist // HLS: every playlist
	Manifest   *manifest   // DASH
	Variants   []*variant  // HLS
	Renditions []*rendition
	Keys       []*contentKey
	Probes     []probe
	Preflights []probe // OPTIONS requests to key routes, when Origin is set
}

// document is a playlist or manifest as it was answered.
type document struct {
	Name   string
	Answer answer
	Media  bool // not the entry document
}

// variant is a stream of an HLS multivariant playlist: a rendition and the
// audio that may play with it.
type variant struct {
	Name      string
	Tag       tag
	Rendition *rendition
	Audio     []*rendition // of its group
}

// rendition is a media playlist, or a representation of a manifest.
type rendition struct {
	Name     string
	Kind     kind
	URL      string // of the media playlist; of the manifest for DASH
	Set      string // renditions of one set have their segments aligned
	List     *playlist
	Rep      *representation
	Segments []*segment
	Inits    []*initSegment
	Decoded  decoded
	Unknown  string // why its samples were not decoded; empty: they were
}

// segment is one media segment with what was measured of it.
type segment struct {
	Resource      resource
	Number        int    // in the rendition, from 0
	Sequence      uint64 // media sequence number, or $Number$
	Listed        float64
	Start         float64 // where the playlist or manifest puts it, in seconds
	mediaOffset   float64 // media time at the period's start (presentationTimeOffset)
	Init          *initSegment
	Key           *keyTag
	Discontinuity bool
	Gap           bool // the playlist says that it is not there

	Answer    answer
	Tracks    []trackFacts
	Container string // what is wrong with its boxes or packets
	Decrypt   string // why it did not decrypt
	Clear     string // how it was seen that it is not encrypted
	IVs       []ivRun
	Text      string // what is wrong with its WebVTT
}

// trackFacts are what a segment says of one of its tracks; times in seconds.
type trackFacts struct {
	Kind          kind
	Codec         string // RFC 6381; empty when the segment does not tell
	Width, Height int    // of MPEG-TS pictures; fragmented MP4 has them in the init segment
	Start         float64
	Duration      float64
	Samples       int
	Longest       float64 // longest distance of two samples
	StartsWithKey bool
	KeyKnown      bool
}

// initSegment is the header of fragmented MP4 (ISO/IEC 14496-12, 8.16).
type initSegment struct {
	Resource resource
	Answer   answer
	Fault    string
	Tracks   []trackInit
}

// trackInit is one track of an init segment.
type trackInit struct {
	ID            uint32
	Kind          kind
	Codec         string
	Width, Height int
	Scheme        string // cenc, cbcs; empty: clear
	KID           string // 32 hex digits
	IVSize        int    // of each sample; 0: one constant IV
	Protected     bool   // tenc says so
}

// resource is a URL or a range of one.
type resource struct {
	URL    string
	Offset int64
	Length int64 // 0: all of it
}

// keyTag is the encryption that holds for a segment.
type keyTag struct {
	Method string // AES-128, SAMPLE-AES, SAMPLE-AES-CTR; cenc or cbcs for DASH
	URI    string // resolved; empty when none gives the key itself
	IV     [16]byte
	HasIV  bool
	KID    string // where the playlist or the manifest names it; 32 hex digits
	// Licence: the URI is that of a Clear Key licence server, not of the key.
	Licence bool
}

// contentKey is a key URI and what was answered.
type contentKey struct {
	URI    string // shown, without query values of a token
	Answer answer
	Size   int
	Fault  string
	value  []byte
	id     []byte // key id of a licence request
}

// probe is a request to a key route that must not give a key.
type probe struct {
	What   string
	Want   int
	Code   string // that the problem document should carry
	URI    string
	Answer answer
	Got    string // its code
	Leaks  bool   // 16 bytes came all the same
}

// primary returns the track that a rendition is about.
func (s *segment) primary(k kind) *trackFacts {
	if k == iframe {
		k = video
	}
	for i := range s.Tracks {
		if s.Tracks[i].Kind == k {
			return &s.Tracks[i]
		}
	}
	return nil
}

// fetched reports whether the segment is there.
func (s *segment) fetched() bool { return s.Answer.ok() }

// slack is what two times of a track may differ by: rounding to 1/90000 s and
// milliseconds, and half a sample.
func (f *trackFacts) slack() float64 { return math.Max(0.02, 0.6*f.Longest) }

func roundSeconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond)
}
