package pipeline

import (
	"context"
	"log/slog"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
)

// Key is the content key of one output.
type Key struct {
	KID     cenc.KID
	Content cenc.ContentKey
	URI     string // what playlists say
}

// Request is one attempt to process an asset.
type Request struct {
	Hash           string // the asset: 64 lower-case hex digits
	Prefix         string // the attempt: objects go to stream/<hash>/<prefix>/
	SourceKey      string // object key in the source bucket
	MaxSourceBytes int64  // 0: no limit
	Options        Options
	Nice           int            // priority of the children: 0 is ours, 19 the lowest
	Light          bool           // with less memory: an attempt before ran out of it
	NotCopied      string         // why the source's pictures shall be no rendition; empty: they may be one
	Keys           map[string]Key // by output name; none for clear outputs and those with key periods

	// PeriodKey issues the content key of a key period (from 1) of an output,
	// while the encode runs: the same key whenever it is asked again.
	PeriodKey func(ctx context.Context, output string, period int) (Key, error)

	// LicenceURI is where EME players get the key of an encrypted cmaf output
	// (W3C Clear Key).
	LicenceURI string

	// StoredKey reads a key back from the key store, for the verify gate: what
	// viewers will get must open what was made.
	StoredKey func(ctx context.Context, kid cenc.KID) (cenc.ContentKey, error)
	// Show is given what may be shown before the attempt has ended, in an order
	// in which nothing refers to what is still to come; it must not block. nil:
	// nothing is shown early.
	Show func([]EarlyObject)
	// Progress is told of every step. It must not block.
	Progress func(Progress)
	Log      *slog.Logger
}

// Stage is a part of an attempt.
type Stage string

// The stages in order. They overlap; a stage is current from its first action
// until the next one starts.
const (
	StageProbe   Stage = "probe"
	StageEncode  Stage = "encode"
	StagePack    Stage = "pack"
	StageVerify  Stage = "verify"
	StagePublish Stage = "publish"
)

// Progress says where an attempt is.
type Progress struct {
	Stage   Stage
	Percent float64       // of the whole attempt, 0–100
	ETA     time.Duration // until the end of the attempt; negative: unknown
}

// StageTime says when a stage began and how long it was current.
type StageTime struct {
	Stage    Stage
	Start    time.Time
	Duration time.Duration
	In, Out  int64 // bytes read of the source and written to the media bucket meanwhile
}

// Presentation is what an attempt made: everything is in the store, nothing
// is visible yet.
type Presentation struct {
	Duration       time.Duration // of the longest rendition
	SourceBytes    int64
	SourceETag     string
	SourceVerified bool  // its bytes have the SHA-256 that the request named
	Bytes          int64 // of all objects
	Outputs        []Output
	Video          []VideoTrack
	Audio          []AudioTrack
	Objects        []Object // the inventory
	NotCopied      string   // why the source's pictures are no rendition; empty: they are, or nobody asked
	Stages         []StageTime
	Children       []ChildUsage
	// EncodeEnd is when ffmpeg ended.
	EncodeEnd time.Time
}

// Output is one packaging.
type Output struct {
	Name           string
	Container      string      // fmp4 or mpegts
	Scheme         cenc.Scheme // empty: clear
	KeyPeriods     int         // content keys, one after the other; 0: one for all
	MasterPlaylist string      // object names relative to the prefix
	Manifest       string      // the MPD, or empty
	EMEPlaylist    string      // the multivariant playlist for EME players, or empty
}

// VideoTrack is one video rendition in one output.
type VideoTrack struct {
	Output, Rung, Codec         string
	Width, Height               int
	FrameRate                   float64
	Bandwidth, AverageBandwidth int64 // bit/s: of the worst segment, of the whole
	Frames, Bytes               int64
	Copied                      bool // the source's own pictures
	Duration                    time.Duration
}

// AudioTrack is one audio rendition in one output.
type AudioTrack struct {
	Output, Name, Language, Codec string
	Default                       bool
	GainDB                        float64 // of loudness
	Channels, SampleRate          int
	Bandwidth, AverageBandwidth   int64
	Bytes                         int64
	Duration                      time.Duration
}

// Object is one line of the inventory.
type Object struct {
	Name        string // relative to the prefix
	Size        int64
	SHA256      [32]byte
	ContentType string
}

// ChildUsage is what a child process used.
type ChildUsage struct {
	Name         string // ffmpeg, ffprobe, packager
	Stage        Stage  // that its work belongs to
	CPU          time.Duration
	MaxRSS       int64 // bytes
	BytesWritten int64 // to block devices, as the kernel counts
}
